//! Members that are gone: tried again now and then, forgotten in the end.
//!
//! Source: serf `handleReap`, `reconnect`.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::Serf;
use super::layer::{Layer, Timer};
use super::leave::Life;
use crate::gossip::core::member::Status;
use crate::gossip::core::memberlist::{Cause, next_tick};
use crate::gossip::core::name::Name;

/// Longest time that a member is believed to be leaving while memberlist sees it alive and unsuspected. A leave
/// takes two broadcast timeouts and a second, 11 s; who crashes meanwhile is suspect soon.
const LEAVING_MAX: Duration = Duration::from_secs(60);

impl Layer {
    /// Forgets those failed or left for too long, and old intents.
    pub(super) fn reap(&mut self, now: Instant, at: Instant) {
        let next = next_tick(at, self.timing.reap_interval, now);
        self.timers.set(Timer::Reap, next);
        let timing = &self.timing;
        let overdue: Vec<Name> = self
            .members
            .iter()
            .filter(|(name, member)| {
                let keep = match member.shown.status {
                    Status::Failed => timing.reconnect_timeout,
                    Status::Left => timing.tombstone_timeout,
                    Status::Alive | Status::Leaving => return false,
                };
                **name != self.name
                    && member
                        .gone_since
                        .is_some_and(|since| now.saturating_duration_since(since) > keep)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in overdue {
            self.erase(&name);
        }
        self.recall_the_undecided(now);
        self.recent.expire(now, self.timing.recent_intent_timeout);
        self.pruned.expire(now, self.timing.recent_intent_timeout);
        self.answerable.expire(now);
    }

    /// A member that said long ago that it leaves, and is still here, is alive after all.
    ///
    /// Serf has it "leaving" for good: a leave forced by one and a join announced by another may bear the same
    /// Lamport time, and who missed the join never learns of it. For us it would be a healthy backend drained.
    fn recall_the_undecided(&mut self, now: Instant) {
        let undecided: Vec<Name> = self
            .members
            .iter()
            .filter(|(name, member)| {
                let shown = &member.shown;
                **name != self.name
                    && shown.status == Status::Leaving
                    && !shown.suspect
                    && now.saturating_duration_since(shown.since) > LEAVING_MAX
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in undecided {
            tracing::warn!(member = %name, "said that it leaves, and stays");
            self.set_status(now, &name, Status::Alive);
        }
    }
}

impl Serf {
    /// Tries one random failed member, with such a probability that in the whole cluster each is tried
    /// about once per interval.
    pub(super) fn reconnect(&mut self, now: Instant, at: Instant) {
        let next = next_tick(at, self.layer.timing.reconnect_interval, now);
        self.layer.timers.set(Timer::Reconnect, next);
        if self.life != Life::Alive {
            return;
        }
        let failed: Vec<_> = self
            .layer
            .members
            .values()
            .filter(|member| member.shown.status == Status::Failed)
            .map(|member| member.shown.address)
            .collect();
        if failed.is_empty() {
            return;
        }
        let alive = self
            .layer
            .members
            .values()
            .filter(|member| matches!(member.shown.status, Status::Alive | Status::Leaving))
            .count()
            .max(1);
        let random = &mut self.layer.random;
        let chance = failed.len() as f64 / alive as f64;
        if random.random_range(0.0..1.0) > chance {
            return;
        }
        let peer = failed[random.random_range(0..failed.len())];
        self.memberlist.push_pull(now, peer, Cause::Reconnect);
    }
}
