//! Members that failed lately are asked again and again whether they are there.
//!
//! ```text
//! failed ─▶ Timer::Recall, each second ─▶ the next few in turn ─▶ memberlist's recall ──ack──▶ push/pull
//!              └── nobody failed within the hour: the timer rests
//! ```
//!
//! Serf tries each failed member about once in 30 s, over TCP, from anywhere in the cluster: one that was cut off for
//! a minute is back half a minute after the repair. A web server is wanted sooner. So members of ours (those with our
//! tag) send one small packet: in the whole cluster about four a second for each failed member, however large the
//! cluster is, and at most eight a second from each of ours, however many failed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::layer::{Layer, Timer};
use super::leave::Life;
use super::{Serf, is_company};
use crate::gossip::core::member::Status;
use crate::gossip::core::memberlist::next_tick;

/// The tag that every member of ours has: the version of its vocabulary.
const OURS: &str = "v";

/// So long after it failed a member is asked; from then on it is Serf's slow reconnect alone.
const RECENT: Duration = Duration::from_secs(3600);

/// How many of ours ask one failed member in one interval, on average, when more of them are there.
const ASKERS: f64 = 4.0;

/// How many one of ours asks in one interval.
const AT_ONCE: usize = 8;

impl Layer {
    /// A member has just failed.
    pub(super) fn note_failure(&mut self, now: Instant, name: &str) {
        let Some(interval) = self.timing.recall_interval else {
            return;
        };
        self.failed.insert(name, &mut self.random);
        if !self.timers.is_set(&Timer::Recall) {
            let stagger = interval.mul_f64(self.random.random_range(0.0..1.0));
            self.timers.set(Timer::Recall, now + stagger);
        }
    }

    /// Who is to be asked now: name, incarnation, address.
    fn next_to_recall(&mut self, now: Instant) -> Vec<(String, u32, SocketAddr)> {
        let wanted = self.how_many_to_recall();
        let members = &self.members;
        let recent = |name: &str| {
            members.get(name).is_some_and(|member| {
                let age = |since| now.saturating_duration_since(since);
                member.shown.status == Status::Failed
                    && member.gone_since.is_some_and(|since| age(since) < RECENT)
            })
        };
        (0..wanted)
            .map_while(|_| self.failed.next(recent))
            .filter_map(|name| {
                let shown = &members.get(&*name)?.shown;
                Some((name, shown.incarnation, shown.address))
            })
            .collect()
    }

    /// Our share of the cluster's questions, rounded by chance.
    fn how_many_to_recall(&mut self) -> usize {
        let ours = self
            .members
            .values()
            .filter(|member| {
                is_company(member.shown.status) && member.shown.tags.get(OURS).is_some()
            })
            .count();
        let share = (ASKERS / ours.max(1) as f64).min(1.0) * self.failed.len() as f64;
        let chance = self.random.random_range(0.0..1.0);
        ((share + chance) as usize).min(AT_ONCE)
    }
}

impl Serf {
    pub(super) fn recall(&mut self, now: Instant, at: Instant) {
        let Some(interval) = self.layer.timing.recall_interval else {
            return;
        };
        if self.life != Life::Alive || self.layer.failed.len() == 0 {
            return;
        }
        self.layer
            .timers
            .set(Timer::Recall, next_tick(at, interval, now));
        for (name, incarnation, to) in self.layer.next_to_recall(now) {
            self.memberlist.recall(now, &name, incarnation, to);
        }
    }
}
