//! What members say they are about to do: join or leave.
//!
//! ```text
//! intent for a known member ─▶ newer than its status time? ─▶ status, re-gossip
//! intent for an unknown name ─▶ Recent (newest only, 5 min) ─▶ used when the name joins
//! ```
//!
//! Source: serf `handleNodeJoinIntent`, `handleNodeLeaveIntent`, `upsertIntent`.

use std::time::Instant;

use super::layer::{Layer, Timer};
use super::tables::intents::{Kind, Source};
use crate::gossip::core::io::Event;
use crate::gossip::core::member::Status;
use crate::gossip::core::wire::serf::{JoinIntent, LeaveIntent, SerfMessage};

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
