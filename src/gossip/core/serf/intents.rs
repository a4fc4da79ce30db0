//! What members say they are about to do: join or leave.
//!
//! ```text
//! intent for a known member ─▶ newer than its status time? ─▶ status, re-gossip
//! intent for an unknown name ─▶ Recent (newest only, 5 min) ─▶ used when the name joins
//! ```
//!
//! Source: serf `handleNodeJoinIntent`, `handleNodeLeaveIntent`, `upsertIntent`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::layer::{Layer, Timer};
use crate::gossip::core::io::Event;
use crate::gossip::core::member::Status;
use crate::gossip::core::wire::serf::{JoinIntent, LeaveIntent, SerfMessage};

/// Names remembered at one time; more come only from a broken or hostile peer.
const RECENT_MAX: usize = 4096;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Join,
    Leave,
}

/// The newest intent of each name that is not a member yet.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    by_name: BTreeMap<String, (Kind, u64, Instant)>,
}

impl Recent {
    /// Remembers an intent; true if it was newer than what we had, `None` if there is no room.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        name: &str,
        kind: Kind,
        ltime: u64,
    ) -> Option<bool> {
        if let Some(known) = self.by_name.get_mut(name) {
            let newer = ltime > known.1;
            if newer {
                *known = (kind, ltime, now);
            }
            return Some(newer);
        }
        if self.by_name.len() >= RECENT_MAX {
            return None;
        }
        self.by_name.insert(name.to_owned(), (kind, ltime, now));
        Some(true)
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<(Kind, u64)> {
        self.by_name
            .remove(name)
            .map(|(kind, ltime, _)| (kind, ltime))
    }

    pub(crate) fn expire(&mut self, now: Instant, timeout: Duration) {
        self.by_name
            .retain(|_, (_, _, at)| now.saturating_duration_since(*at) <= timeout);
    }
}

/// How an intent came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// As a message.
    Gossip,
    /// Made up from a peer's state, which tells a time but not of what.
    State,
}

/// Members that were pruned lately, and at which time: whoever missed that is told again.
#[derive(Debug, Default)]
pub(crate) struct Pruned(BTreeMap<String, (u64, Instant)>);

impl Pruned {
    fn note(&mut self, now: Instant, name: &str, ltime: u64) {
        if self.0.len() < RECENT_MAX {
            self.0.insert(name.to_owned(), (ltime, now));
        }
    }

    /// Whether what happened at `ltime` is covered by the prune.
    fn covers(&self, name: &str, ltime: u64) -> Option<u64> {
        let (pruned, _) = self.0.get(name)?;
        (ltime <= *pruned).then_some(*pruned)
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub(crate) fn expire(&mut self, now: Instant, timeout: Duration) {
        self.0
            .retain(|_, (_, at)| now.saturating_duration_since(*at) <= timeout);
    }
}

impl Layer {
    /// True if it is to be passed on.
    pub(super) fn on_join_intent(
        &mut self,
        now: Instant,
        intent: &JoinIntent,
        source: Source,
    ) -> bool {
        self.clock.witness(intent.ltime);
        let Some(member) = self.members.get_mut(&*intent.node) else {
            return self.note_intent(now, &intent.node, Kind::Join, intent.ltime);
        };
        // At equal times a member stays: two can stamp the same time, one to join and one to force it out,
        // and whoever hears them in the other order would keep it "leaving" for good.
        let stays = source == Source::Gossip
            && member.shown.status == Status::Leaving
            && intent.ltime == member.status_ltime;
        if !stays && !member.is_news(intent.ltime, source) {
            return false;
        }
        if intent.node == self.name {
            // An earlier life of ours was heard of later than this one: whoever believes that it is leaving
            // ignores our join. Serf takes the time over and stays "leaving" there for good; we outbid it.
            self.tray.speak_up |= !self.leaving;
            return false;
        }
        member.heard(intent.ltime, source);
        // A leave that was announced earlier than this join is history.
        if member.shown.status == Status::Leaving {
            self.set_status(now, &intent.node, Status::Alive);
        }
        true
    }

    /// True if it is to be passed on.
    pub(super) fn on_leave_intent(
        &mut self,
        now: Instant,
        intent: &LeaveIntent,
        source: Source,
    ) -> bool {
        self.clock.witness(intent.ltime);
        let Some(member) = self.members.get_mut(&*intent.node) else {
            return self.note_intent(now, &intent.node, Kind::Leave, intent.ltime);
        };
        if intent.node == self.name && !self.leaving {
            // Somebody remembers an earlier life of ours, or was asked to force us out.
            self.tray.speak_up |= intent.ltime >= member.status_ltime;
            return false;
        }
        if !member.is_news(intent.ltime, source) {
            return false;
        }
        member.heard(intent.ltime, source);
        match member.shown.status {
            Status::Alive => {
                self.set_status(now, &intent.node, Status::Leaving);
            }
            Status::Failed => {
                if let Some(left) = self.set_status(now, &intent.node, Status::Left) {
                    self.out.push_back(Event::Left(left));
                }
            }
            Status::Leaving | Status::Left => {}
        }
        if intent.prune {
            self.prune(now, &intent.node);
        }
        true
    }

    /// Says that we are here, later than anything we have heard.
    pub(super) fn announce_join(&mut self) {
        let intent = JoinIntent {
            ltime: self.clock.tick(),
            node: self.name.clone(),
        };
        if let Some(own) = self.members.get_mut(&*self.name) {
            own.heard(intent.ltime, Source::Gossip);
        }
        self.spread_intent(SerfMessage::Join(intent).encode());
    }

    /// Forgets a member that was forced out, once it is no longer on its way out.
    pub(super) fn prune(&mut self, now: Instant, name: &str) {
        match self.members.get(name).map(|member| member.shown.status) {
            None | Some(Status::Alive) => {}
            // Go waits as long, and then erases a member that may still be alive in memberlist;
            // we look again.
            Some(Status::Leaving) => self.timers.set(
                Timer::Prune(name.to_owned()),
                now + self.timing.broadcast_timeout + self.timing.leave_propagate_delay,
            ),
            Some(Status::Left | Status::Failed) => {
                if let Some(member) = self.members.get(name) {
                    self.pruned.note(now, name, member.status_ltime);
                }
                self.erase(name);
            }
        }
    }

    /// A peer knows `name`, last heard of at `ltime`, and we do not. If it was pruned, the peer has missed that.
    ///
    /// In Serf such a peer keeps the member for a day, and its operator wonders.
    pub(super) fn prune_again(&mut self, name: &str, ltime: u64) {
        if let Some(ltime) = self.pruned.covers(name, ltime) {
            let intent = LeaveIntent {
                ltime,
                node: name.to_owned(),
                prune: true,
            };
            self.spread_intent(SerfMessage::Leave(intent).encode());
        }
    }

    fn note_intent(&mut self, now: Instant, name: &str, kind: Kind, ltime: u64) -> bool {
        // What is still said of one that is forgotten must not be said of it again when it comes back.
        if self.pruned.covers(name, ltime).is_some() {
            return false;
        }
        self.recent.note(now, name, kind, ltime).unwrap_or_else(|| {
            self.refuse("intents_full");
            false
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_intent_of_a_name_is_kept_and_only_for_a_while() {
        let start = crate::clock::now();
        let second = Duration::from_secs(1);
        let mut recent = Recent::default();

        assert_eq!(recent.note(start, "a", Kind::Join, 5), Some(true));
        assert_eq!(recent.note(start, "a", Kind::Leave, 5), Some(false));
        assert_eq!(recent.note(start + second, "a", Kind::Leave, 6), Some(true));
        recent.note(start, "old", Kind::Join, 1);
        recent.expire(start + 300 * second + second / 2, 300 * second);
        assert_eq!(recent.take("old"), None);
        assert_eq!(recent.take("a"), Some((Kind::Leave, 6)));
        assert_eq!(recent.take("a"), None);
    }

    #[test]
    fn a_flood_of_names_is_refused_and_known_names_still_pass() {
        let now = crate::clock::now();
        let mut recent = Recent::default();
        for number in 0..RECENT_MAX {
            recent.note(now, &number.to_string(), Kind::Join, 1);
        }

        assert_eq!(recent.note(now, "one more", Kind::Join, 1), None);
        assert_eq!(recent.note(now, "7", Kind::Join, 2), Some(true));
    }
}
