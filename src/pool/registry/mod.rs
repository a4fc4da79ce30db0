//! The only writer of pools: keeps every opinion, asks `effective`, stores snapshots.
//!
//! ```text
//! Registry ── one Roster per pool ── one Backend per (identity, address)
//!    │             │                      └─ the opinions, and the last verdict
//!    │             └─ who owns an address; when to store; changes to tell
//!    └─ finds the pool; poll_timeout, poll_change, targets over all of them
//! ```
//!
//! A backend that goes out is out with the store of the same call. Everything else waits until
//! 10 ms have passed since the store before, so that a hundred joins cost a few stores.

mod backend;
mod roster;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roster::Roster;

use super::effective::State;
use super::snapshot::Pool;
use super::spec::{Spec, UpstreamId};
use super::upstream::Live;
use super::{ejection, hop, queue};
use crate::announce::{CheckSpec, Proto};

/// What a pool is told; keys of `[cluster.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Name, and the role it takes.
    pub name: String,
    /// Check of backends that announce none.
    pub check: CheckSpec,
    /// Protocol of backends that announce none.
    pub proto: Proto,
    /// Port of backends that announce none.
    pub default_port: u16,
    /// How long a backend whose agent is lost may stay in on checks alone.
    pub lost_keep: Duration,
    /// When failed requests take a backend out.
    pub ejection: ejection::Settings,
    /// How much its backends get at once, and how many requests wait beyond that.
    pub limits: queue::Settings,
    /// How connections to its backends begin, and what ends them.
    pub hop: hop::Settings,
    /// Backends of `--backend` and `[[cluster.NAME.backend]]`.
    pub backends: Vec<StaticBackend>,
}

/// A backend that is not discovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticBackend {
    /// `HOST:PORT`, resolved at the start and at reloads.
    pub address: String,
    /// 1–1000.
    pub weight: u16,
    /// Tier.
    pub tier: u8,
    /// Backup.
    pub backup: bool,
}

/// Which upstream of which pool, at which address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Pool.
    pub pool: Arc<str>,
    /// Identity.
    pub id: UpstreamId,
    /// Address.
    pub address: SocketAddr,
}

/// What must be checked, and how eagerly.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Whom.
    pub key: Key,
    /// How.
    pub check: CheckSpec,
    /// What it speaks.
    pub proto: Proto,
    /// Grows by one for each extra check wanted now (suspect, failed, slow first byte).
    pub extra: u64,
}

/// One finished check, as health reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// When it was begun.
    pub started: Instant,
    /// When it ended.
    pub ended: Instant,
    /// `Err`: the reason, for a person.
    pub result: Result<String, String>,
    /// It failed because nothing came back in time (good news may void that).
    pub timed_out: bool,
    /// Rise/fall's standing after this check: `None` while undecided.
    pub up: Option<bool>,
}

/// A change worth a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// When.
    pub at: Instant,
    /// Pool.
    pub pool: Arc<str>,
    /// Who; `None` for the pool as a whole (empty, recovered).
    pub backend: Option<(UpstreamId, SocketAddr)>,
    /// From, `None` when new.
    pub from: Option<State>,
    /// To, `None` when forgotten.
    pub to: Option<State>,
    /// In rotation now.
    pub in_rotation: bool,
    /// What it means for the rotation; `None`: nothing.
    pub turn: Option<Turn>,
    /// Why.
    pub reason: String,
    /// Backends in rotation in this pool after it.
    pub in_count: usize,
}

/// A change of the rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The backend is in.
    In,
    /// The backend is out.
    Out,
    /// The last one of the pool is out.
    Emptied,
    /// Somebody is in again.
    Recovered,
}

/// The only writer.
#[derive(Debug)]
pub struct Registry {
    rosters: Vec<Roster>,
    changes: VecDeque<Change>,
    /// Of rosters added or removed; each roster counts its own.
    targets_generation: u64,
}

impl Registry {
    /// Empty pools, in this order.
    pub fn new(now: Instant, settings: Vec<Settings>) -> Self {
        let mut registry = Self {
            rosters: Vec::new(),
            changes: VecDeque::new(),
            targets_generation: 0,
        };
        registry.configure(now, settings);
        registry
    }

    /// The pools, in order; the same `Arc`s for the life of the pool, also across reloads.
    pub fn pools(&self) -> Vec<Arc<Pool>> {
        self.rosters
            .iter()
            .map(|roster| roster.pool.clone())
            .collect()
    }

    /// A reload: pools are added, changed and removed; kept backends keep their state.
    ///
    /// A removed pool keeps its last snapshot for the requests that still hold it. Of two settings
    /// with one name, the first counts.
    pub fn configure(&mut self, now: Instant, settings: Vec<Settings>) {
        let mut before: BTreeMap<Arc<str>, Roster> = std::mem::take(&mut self.rosters)
            .into_iter()
            .map(|roster| (roster.pool.name.clone(), roster))
            .collect();
        for settings in settings {
            if self.index(&settings.name).is_some() {
                continue;
            }
            let roster = match before.remove(settings.name.as_str()) {
                Some(mut kept) => {
                    kept.configure(now, settings, &mut self.changes);
                    kept
                }
                None => Roster::new(settings),
            };
            self.rosters.push(roster);
        }
        for (pool, gone) in before {
            // The sum over all rosters must not fall, or a change could go unnoticed.
            self.targets_generation += gone.targets_generation() + 1;
            self.changes.push_back(Change {
                at: now,
                pool,
                backend: None,
                from: None,
                to: None,
                in_rotation: false,
                turn: None,
                reason: "the pool is no longer configured".to_owned(),
                in_count: 0,
            });
        }
    }

    /// The full list of a pool, static ones included. What is missing is gone.
    pub fn set_specs(&mut self, now: Instant, pool: &str, specs: Vec<Spec>) {
        self.with(pool, |roster, changes| {
            roster.set_specs(now, specs, changes)
        });
    }

    /// A finished check.
    pub fn checked(&mut self, now: Instant, key: &Key, outcome: Outcome) {
        self.with(&key.pool, |roster, changes| {
            roster.hear(now, key, changes, |backend| backend.checked(outcome));
        });
    }

    /// A connect of a real request failed (refused, unreachable or timed out).
    pub fn connect_failed(&mut self, now: Instant, key: &Key, reason: &str) {
        self.with(&key.pool, |roster, changes| {
            roster.hear(now, key, changes, |backend| {
                backend.connect_failed(now, reason);
            });
        });
    }

    /// A connect of a real request succeeded after failures.
    pub fn connected(&mut self, now: Instant, key: &Key) {
        self.with(&key.pool, |roster, changes| {
            roster.hear(now, key, changes, |backend| backend.connected());
        });
    }

    /// A real request failed there, and was counted in [`Live::failed`]: an error status, a reset, no answer in time.
    pub fn request_failed(&mut self, now: Instant, key: &Key, why: &str) {
        self.with(&key.pool, |roster, changes| {
            roster.request_failed(now, key, why, changes);
        });
    }

    /// We slept: failed connects and requests of that time don't count.
    pub fn slept(&mut self) {
        self.rosters.iter_mut().for_each(Roster::slept);
    }

    /// The counters of a backend that is known.
    pub fn live(&self, key: &Key) -> Option<Arc<Live>> {
        self.rosters[self.index(&key.pool)?].live(&key.id, key.address)
    }

    /// A request waits long for its first byte there: wants one extra check.
    pub fn slow(&mut self, now: Instant, key: &Key) {
        self.with(&key.pool, |roster, changes| {
            roster.hear(now, key, changes, |backend| backend.slow(now));
        });
    }

    /// Due work: coalesced swaps, `lost_keep`, ejections.
    pub fn handle_timeout(&mut self, now: Instant) {
        for roster in &mut self.rosters {
            roster.handle_timeout(now, &mut self.changes);
        }
    }

    /// When `handle_timeout` wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = self.rosters.iter().filter_map(Roster::poll_timeout);
        due.min()
    }

    /// Changes to tell, oldest first.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// Whom to check now.
    pub fn targets(&self) -> Vec<Target> {
        self.rosters.iter().flat_map(Roster::targets).collect()
    }

    /// Grows whenever `targets` would differ.
    pub fn targets_generation(&self) -> u64 {
        let rosters = self.rosters.iter().map(Roster::targets_generation);
        self.targets_generation + rosters.sum::<u64>()
    }

    fn index(&self, pool: &str) -> Option<usize> {
        self.rosters
            .iter()
            .position(|roster| &*roster.pool.name == pool)
    }

    /// News of a pool that a reload has removed come late and mean nothing.
    fn with(&mut self, pool: &str, tell: impl FnOnce(&mut Roster, &mut VecDeque<Change>)) {
        if let Some(index) = self.index(pool) {
            tell(&mut self.rosters[index], &mut self.changes);
        }
    }
}
