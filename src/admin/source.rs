//! What the admin server reads, and from whom: implemented above, by the programs.

use std::future::Future;
use std::sync::Arc;

use crate::gossip::core::io::Stats;
use crate::gossip::core::member::Members;
use crate::handlers::Report;
use crate::pool::snapshot::Pool;
use crate::proxy::Scrape;

/// A certificate in use.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// Of which listener.
    pub listener: String,
    /// What it is for; its file, where it has no name.
    pub name: String,
    /// When it ends, in seconds since 1970.
    pub until_s: f64,
}

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
    /// How event handlers are doing, in order.
    fn handlers(&self) -> Vec<Report> {
        Vec::new()
    }
    /// What the data path counted.
    fn requests(&self) -> Scrape {
        Scrape::default()
    }
    /// Until when the certificates of listeners are good.
    fn certificates(&self) -> Vec<Certificate> {
        Vec::new()
    }
    /// Checks made: (passed, failed).
    fn checks(&self) -> (u64, u64) {
        (0, 0)
    }
    /// Failed checks that did not count.
    fn void_checks(&self) -> u64 {
        0
    }
    /// Times we found that this process had not been running.
    fn pauses(&self) -> u64 {
        0
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
