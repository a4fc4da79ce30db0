//! What the admin server reads, and from whom: implemented above, by the programs.

use std::future::Future;
use std::sync::Arc;

use crate::gossip::core::member::Members;
use crate::gossip::core::node::Stats;
use crate::pool::snapshot::Pool;

/// Where answers come from; each is asked anew for every request.
pub trait Source: Send + Sync + 'static {
    /// Our own node name.
    fn node(&self) -> String;
    /// Everyone known to gossip.
    fn members(&self) -> Arc<Members>;
    /// Gossip's counters.
    fn gossip(&self) -> impl Future<Output = Stats> + Send;
    /// `Err`: why this process should get no traffic yet, or no longer.
    fn ready(&self) -> Result<(), String>;
    /// All pools, in order; an agent has none.
    fn pools(&self) -> Vec<Arc<Pool>> {
        Vec::new()
    }
    /// What the data path counted.
    fn requests(&self) -> Requests {
        Requests::default()
    }
    /// Checks made: (passed, failed).
    fn checks(&self) -> (u64, u64) {
        (0, 0)
    }
}

/// Whether a front is ready, by the rules that do not depend on its phase.
///
/// Each pool has its first verdict, or `waited` says that their time (1 s) is over. A pool without
/// a backend in rotation is ready, unless `requires_backend`.
///
/// # Errors
/// The reason, for a person.
pub fn readiness(pools: &[Arc<Pool>], waited: bool, requires_backend: bool) -> Result<(), String> {
    for pool in pools {
        let snapshot = pool.snapshot.load();
        if !snapshot.settled && !waited {
            return Err(format!("pool {:?} has no first verdict yet", &*pool.name));
        }
        if requires_backend && snapshot.active.is_empty() {
            return Err(format!("pool {:?} has no backend in rotation", &*pool.name));
        }
    }
    Ok(())
}

/// The data path's counters, copied out and summed over workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requests {
    /// Answers to clients.
    pub served: Vec<Served>,
    /// How long requests took, by pool.
    pub durations: Vec<Durations>,
    /// Attempts beyond the first, by reason.
    pub retries: Vec<(&'static str, u64)>,
    /// Client connections open now.
    pub connections: u64,
}

/// Answers of one class by one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Pool.
    pub pool: Arc<str>,
    /// Address of the backend; empty where none was reached.
    pub backend: String,
    /// `1xx` to `5xx`, or `aborted`.
    pub class: &'static str,
    /// How many.
    pub count: u64,
}

/// A histogram of one pool's requests, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Durations {
    /// Pool.
    pub pool: Arc<str>,
    /// Upper bound and count of this bucket alone (not cumulative), rising; the rest is in `count`.
    pub buckets: Vec<(f64, u64)>,
    /// Sum of all durations.
    pub sum_s: f64,
    /// All requests.
    pub count: u64,
}
