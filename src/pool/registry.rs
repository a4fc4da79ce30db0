//! The only writer of pools: keeps every opinion, asks `effective`, stores snapshots.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::effective::State;
use super::snapshot::Pool;
use super::spec::{Spec, UpstreamId};
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
    /// Why.
    pub reason: String,
    /// Backends in rotation in this pool after it.
    pub in_count: usize,
}

/// The only writer.
#[derive(Debug)]
pub struct Registry {}

#[expect(unused_variables, reason = "skeleton")]
impl Registry {
    /// Empty pools, in this order.
    pub fn new(now: Instant, settings: Vec<Settings>) -> Self {
        unimplemented!()
    }
    /// The pools, in order; the same `Arc`s for the life of the pool, also across reloads.
    pub fn pools(&self) -> Vec<Arc<Pool>> {
        unimplemented!()
    }
    /// A reload: pools are added, changed and removed; kept backends keep their state.
    pub fn configure(&mut self, now: Instant, settings: Vec<Settings>) {
        unimplemented!()
    }
    /// The full list of a pool, static ones included. What is missing is gone.
    pub fn set_specs(&mut self, now: Instant, pool: &str, specs: Vec<Spec>) {
        unimplemented!()
    }
    /// A finished check.
    pub fn checked(&mut self, now: Instant, key: &Key, outcome: Outcome) {
        unimplemented!()
    }
    /// A connect of a real request failed (refused, unreachable or timed out).
    pub fn connect_failed(&mut self, now: Instant, key: &Key, reason: &str) {
        unimplemented!()
    }
    /// A connect of a real request succeeded after failures.
    pub fn connected(&mut self, now: Instant, key: &Key) {
        unimplemented!()
    }
    /// A request waits long for its first byte there: wants one extra check.
    pub fn slow(&mut self, now: Instant, key: &Key) {
        unimplemented!()
    }
    /// Due work: coalesced swaps, `lost_keep`.
    pub fn handle_timeout(&mut self, now: Instant) {
        unimplemented!()
    }
    /// When `handle_timeout` wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        unimplemented!()
    }
    /// Changes to tell, oldest first.
    pub fn poll_change(&mut self) -> Option<Change> {
        unimplemented!()
    }
    /// Whom to check now.
    pub fn targets(&self) -> Vec<Target> {
        unimplemented!()
    }
    /// Grows whenever `targets` would differ.
    pub fn targets_generation(&self) -> u64 {
        unimplemented!()
    }
}
