//! What the admin server may ask of a running front.
//!
//! ```text
//! /readyz, /metrics, /api/v1 ──▶ View ──▶ pools · members · counters · phase
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::control::Shared;
use crate::admin::{self, Certificate, Source};
use crate::clock;
use crate::gossip::core::io::Stats;
use crate::gossip::core::member::Members;
use crate::gossip::driver::Handle;
use crate::handlers::{Handlers, Report};
use crate::pool::snapshot::Pool;
use crate::proxy::{Counters, Listener, Scrape};

/// Everything shown, read at each request.
#[derive(Debug)]
pub(super) struct View {
    pub(super) gossip: Handle,
    pub(super) handlers: Handlers,
    pub(super) shared: Shared,
    pub(super) requests: Counters,
    pub(super) listeners: Vec<Listener>,
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
        self.gossip.name().to_string()
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

    fn handlers(&self) -> Vec<Report> {
        self.handlers.reports()
    }

    fn requests(&self) -> Scrape {
        self.requests.scrape()
    }

    fn certificates(&self) -> Vec<Certificate> {
        let of = |listener: &Listener| {
            let tls = listener.tls.as_ref();
            let validity = tls.map(|tls| tls.validity()).unwrap_or_default();
            let name = listener.name.clone();
            validity.into_iter().map(move |one| Certificate {
                listener: name.clone(),
                name: one.name,
                until_s: one
                    .until
                    .duration_since(UNIX_EPOCH)
                    .map_or(0.0, |since| since.as_secs_f64()),
            })
        };
        self.listeners.iter().flat_map(of).collect()
    }

    fn checks(&self) -> (u64, u64) {
        self.shared.checks.read()
    }

    fn void_checks(&self) -> u64 {
        self.shared.checks.void()
    }

    fn pauses(&self) -> u64 {
        self.shared.pulse.pauses()
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
