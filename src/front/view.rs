//! What the admin server may ask of a running front.
//!
//! ```text
//! /readyz, /metrics, /api/v1 ──▶ View ──▶ pools · members · counters · phase
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::control::Shared;
use crate::admin::{self, Durations, Requests, Served, Source};
use crate::clock;
use crate::gossip::core::member::Members;
use crate::gossip::core::node::Stats;
use crate::gossip::driver::Handle;
use crate::pool::snapshot::Pool;
use crate::proxy::stats::{BOUNDS_MS, CLASSES};
use crate::proxy::{Counters, Scrape};

/// Everything shown, read at each request.
#[derive(Debug)]
pub(super) struct View {
    pub(super) gossip: Handle,
    pub(super) shared: Shared,
    pub(super) requests: Counters,
    pub(super) phase: Arc<Phase>,
}

/// When a load balancer above us, or a unit file, may send traffic here.
#[derive(Debug)]
pub(super) struct Phase {
    started: Instant,
    grace: Duration,
    requires_backend: bool,
    stopping: AtomicBool,
}

impl Phase {
    /// Pools may take `grace` from now for their first verdict.
    pub(super) fn new(grace: Duration, requires_backend: bool) -> Self {
        Self {
            started: clock::now(),
            grace,
            requires_backend,
            stopping: AtomicBool::new(false),
        }
    }

    /// From now on: not ready.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn ready(&self, pools: &[Arc<Pool>], now: Instant) -> Result<(), String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err("stopping".to_owned());
        }
        let waited = now.saturating_duration_since(self.started) >= self.grace;
        admin::readiness(pools, waited, self.requires_backend)
    }
}

impl Source for View {
    fn node(&self) -> String {
        self.gossip.name().to_owned()
    }

    fn members(&self) -> Arc<Members> {
        Arc::clone(&self.gossip.members().borrow())
    }

    async fn gossip(&self) -> Stats {
        self.gossip.stats().await
    }

    fn ready(&self) -> Result<(), String> {
        self.phase.ready(&self.pools(), clock::now())
    }

    fn pools(&self) -> Vec<Arc<Pool>> {
        self.shared.routes.load().pools.clone()
    }

    fn requests(&self) -> Requests {
        requests(&self.requests.scrape())
    }

    fn checks(&self) -> (u64, u64) {
        self.shared.checks.read()
    }
}

/// The data path's numbers in the admin's words.
fn requests(scrape: &Scrape) -> Requests {
    let mut served = Vec::new();
    let mut durations: BTreeMap<Arc<str>, Durations> = BTreeMap::new();
    for counts in &scrape.backends {
        let backend = counts
            .backend
            .as_ref()
            .map(|(_, address)| address.to_string());
        for (class, count) in CLASSES.into_iter().zip(counts.classes) {
            if count > 0 {
                served.push(Served {
                    pool: Arc::clone(&counts.pool),
                    backend: backend.clone().unwrap_or_default(),
                    class,
                    count,
                });
            }
        }
        let of_pool = durations
            .entry(Arc::clone(&counts.pool))
            .or_insert_with(|| Durations {
                pool: Arc::clone(&counts.pool),
                buckets: BOUNDS_MS.map(|bound| (bound / 1000.0, 0)).to_vec(),
                sum_s: 0.0,
                count: 0,
            });
        for (sum, count) in of_pool.buckets.iter_mut().zip(counts.buckets) {
            sum.1 += count;
        }
        of_pool.count += counts.buckets.iter().sum::<u64>();
        of_pool.sum_s += counts.seconds;
    }
    Requests {
        served,
        durations: durations.into_values().collect(),
        retries: scrape
            .retries
            .iter()
            .map(|(reason, count)| (reason.label(), *count))
            .collect(),
        connections: scrape.connections_open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::snapshot::Snapshot;

    fn pools(settled: bool) -> Vec<Arc<Pool>> {
        let pool = Pool::new("web");
        pool.snapshot.store(Arc::new(Snapshot {
            settled,
            ..Snapshot::default()
        }));
        vec![Arc::new(pool)]
    }

    #[test]
    fn a_pool_without_a_verdict_is_waited_for_but_not_for_ever() {
        let phase = Phase::new(Duration::from_secs(1), false);

        assert!(phase.ready(&pools(false), phase.started).is_err());
        assert_eq!(
            phase.ready(&pools(false), phase.started + Duration::from_secs(1)),
            Ok(())
        );
    }

    #[test]
    fn a_stopping_front_is_not_ready() {
        let phase = Phase::new(Duration::ZERO, false);
        assert_eq!(phase.ready(&pools(true), clock::now()), Ok(()));

        phase.stop();

        assert_eq!(
            phase.ready(&pools(true), clock::now()),
            Err("stopping".to_owned())
        );
    }
}
