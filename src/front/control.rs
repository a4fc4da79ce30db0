//! The one task that owns the registry: every opinion arrives here, every snapshot leaves from here.
//!
//! ```text
//! members (watch) ──specs()──┐
//! check reports ─────────────┼─▶ Control ── Registry ──▶ ArcSwap<Snapshot>
//! feedback of workers ───────┤      │└──── targets ────▶ health::Supervisor
//! memory of the last run ────┤
//! orders (reload) ───────────┘      └───── changes ────▶ log line, timeline
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

use super::memory::Memory;
use crate::discovery::{self, Trust};
use crate::gossip::core::member::Members;
use crate::health;
use crate::pool::effective::State;
use crate::pool::registry::{Change, Key, Outcome, Registry};
use crate::pool::spec::Spec;
use crate::proxy::{Feedback, Routes};
use crate::timeline::{Entry, Timeline};
use crate::{clock, config};

/// One pool with what only the wiring knows of it.
#[derive(Clone, Debug)]
pub(super) struct PoolPlan {
    /// As configured.
    pub cluster: config::Cluster,
    /// Backends of flags and file, resolved.
    pub statics: Vec<Spec>,
    /// Which gossip addresses may be backends.
    pub trust: Trust,
}

/// Something an operator wants.
#[derive(Debug)]
pub(super) enum Order {
    /// New pools; everything that can fail has been done before.
    Reload {
        plans: Vec<PoolPlan>,
        done: oneshot::Sender<()>,
    },
}

/// Checks made, for metrics.
#[derive(Debug, Default)]
pub(super) struct CheckCounts {
    passed: AtomicU64,
    failed: AtomicU64,
}

impl CheckCounts {
    /// (passed, failed).
    pub(super) fn read(&self) -> (u64, u64) {
        (
            self.passed.load(Ordering::Relaxed),
            self.failed.load(Ordering::Relaxed),
        )
    }
}

/// What the task is connected to.
#[derive(Debug)]
pub(super) struct Inputs {
    pub members: watch::Receiver<Arc<Members>>,
    pub feedback: mpsc::Receiver<Feedback>,
    pub orders: mpsc::Receiver<Order>,
    pub memory: Memory,
}

/// What others read.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub routes: Arc<ArcSwap<Routes>>,
    pub timeline: Arc<Mutex<Timeline>>,
    pub checks: Arc<CheckCounts>,
}

/// The registry's owner.
#[derive(Debug)]
pub(super) struct Control {
    registry: Registry,
    plans: Vec<PoolPlan>,
    supervisor: health::Supervisor<Key>,
    reports: mpsc::Receiver<health::Report<Key>>,
    /// Of the last `targets` given to the supervisor; `None` before the first.
    targets_generation: Option<u64>,
    /// When something remembered from the last run is to be forgotten.
    forget_at: Option<Instant>,
    inputs: Inputs,
    shared: Shared,
}

impl Control {
    /// Builds the pools; nothing is checked before `run`.
    pub(super) fn new(
        plans: Vec<PoolPlan>,
        inputs: Inputs,
        timeline: Arc<Mutex<Timeline>>,
    ) -> Self {
        let registry = Registry::new(
            clock::now(),
            plans.iter().map(|plan| plan.cluster.pool.clone()).collect(),
        );
        let routes = Arc::new(ArcSwap::from_pointee(Routes {
            pools: registry.pools(),
        }));
        let (sender, reports) = mpsc::channel(REPORTS_MAX);
        Self {
            registry,
            plans,
            supervisor: health::Supervisor::new(sender),
            reports,
            targets_generation: None,
            forget_at: None,
            inputs,
            shared: Shared {
                routes,
                timeline,
                checks: Arc::default(),
            },
        }
    }

    /// What others read.
    pub(super) fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// Runs until the order channel closes.
    pub(super) async fn run(mut self) {
        self.take_members();
        self.settle();
        let mut gossip = true;
        loop {
            let due = self.poll_timeout();
            tokio::select! {
                changed = self.inputs.members.changed(), if gossip => match changed {
                    Ok(()) => self.take_members(),
                    // Gossip has ended: keep the last view and go on with checks.
                    Err(_) => gossip = false,
                },
                Some(report) = self.reports.recv() => self.take_report(report),
                Some(feedback) = self.inputs.feedback.recv() => self.take_feedback(feedback),
                order = self.inputs.orders.recv() => match order {
                    Some(Order::Reload { plans, done }) => {
                        self.reload(plans);
                        let _ = done.send(());
                    }
                    None => return,
                },
                () = sleep_until(due) => self.handle_timeout(),
            }
            self.settle();
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let registry = self.registry.poll_timeout();
        [registry, self.forget_at].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self) {
        let now = clock::now();
        self.registry.handle_timeout(now);
        if self.forget_at.is_some_and(|due| due <= now) {
            self.take_members();
        }
    }

    /// Level-triggered: the full list replaces what was known.
    fn take_members(&mut self) {
        let members = Arc::clone(&self.inputs.members.borrow_and_update());
        let now = clock::now();
        let memory = &mut self.inputs.memory;
        memory.look(now, &members);
        let mut discovered = BTreeMap::new();
        for plan in &self.plans {
            let pool = &plan.cluster.pool;
            let mut found = discovery::specs(&members, &pool.name, pool.default_port, &plan.trust);
            found.extend(memory.specs(now, plan));
            discovered.insert(pool.name.clone(), found.clone());
            found.extend(plan.statics.iter().cloned());
            self.registry.set_specs(now, &pool.name, found);
        }
        memory.save(discovered, &self.registry.pools());
        self.forget_at = memory.poll_timeout(now, &self.plans);
    }

    fn take_report(&mut self, report: health::Report<Key>) {
        let counter = if report.result.is_ok() {
            &self.shared.checks.passed
        } else {
            &self.shared.checks.failed
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let outcome = Outcome {
            started: report.started,
            ended: report.ended,
            result: report.result,
            timed_out: report.timed_out,
            up: report.up,
        };
        self.registry.checked(clock::now(), &report.key, outcome);
    }

    fn take_feedback(&mut self, feedback: Feedback) {
        let now = clock::now();
        match feedback {
            Feedback::ConnectFailed { key, reason } => {
                self.registry.connect_failed(now, &key, &reason)
            }
            Feedback::Connected { key } => self.registry.connected(now, &key),
            Feedback::Slow { key } => self.registry.slow(now, &key),
        }
    }

    /// The infallible half of a reload.
    fn reload(&mut self, plans: Vec<PoolPlan>) {
        self.plans = plans;
        self.registry.configure(
            clock::now(),
            self.plans
                .iter()
                .map(|plan| plan.cluster.pool.clone())
                .collect(),
        );
        self.take_members();
        self.shared.routes.store(Arc::new(Routes {
            pools: self.registry.pools(),
        }));
        // Timing of checks may have changed without any target changing.
        self.targets_generation = None;
    }

    /// Tells health and people what came of it.
    fn settle(&mut self) {
        let generation = self.registry.targets_generation();
        if self.targets_generation != Some(generation) {
            self.targets_generation = Some(generation);
            let timing: BTreeMap<&str, &health::Settings> = self
                .plans
                .iter()
                .map(|plan| (plan.cluster.pool.name.as_str(), &plan.cluster.check))
                .collect();
            let targets = self
                .registry
                .targets()
                .into_iter()
                .map(|target| health::Target {
                    address: target.key.address,
                    check: target.check,
                    settings: timing
                        .get(&*target.key.pool)
                        .copied()
                        .cloned()
                        .unwrap_or_default(),
                    extra: target.extra,
                    key: target.key,
                });
            self.supervisor.set(targets.collect());
        }
        while let Some(change) = self.registry.poll_change() {
            tell(&change);
            self.shared
                .timeline
                .lock()
                .expect("no holder panics")
                .push(entry(change));
        }
    }
}

/// One line for a change, at the level of its weight.
fn tell(change: &Change) {
    let pool = &*change.pool;
    let in_rotation = change.in_count;
    let Some((id, address)) = &change.backend else {
        warn!(pool, in_rotation, "pool {pool}: {}", change.reason);
        return;
    };
    let node = &*id.node;
    let reason = &change.reason;
    match change.to {
        None => info!(pool, %address, in_rotation, "{node} removed: {reason}"),
        Some(State::Unproven) => debug!(pool, %address, in_rotation, "{node} unproven: {reason}"),
        Some(State::Up) => info!(pool, %address, in_rotation, "{node} up: {reason}"),
        Some(state @ (State::Drain | State::Maint)) => {
            info!(pool, %address, in_rotation, "{node} {state}: {reason}")
        }
        Some(state) => warn!(pool, %address, in_rotation, "{node} {state}: {reason}"),
    }
}

fn entry(change: Change) -> Entry {
    let what = match change.to {
        None => "removed",
        Some(State::Unproven) => "unproven",
        Some(State::Up) => "up",
        Some(State::Down) => "down",
        Some(State::Drain) => "drain",
        Some(State::Maint) => "maint",
        Some(State::Ejected) => "ejected",
        Some(State::Lost) => "lost",
        Some(State::Unusable) => "unusable",
        Some(State::Shadowed) => "shadowed",
    };
    Entry {
        at: clock::wall_of(change.at),
        pool: change.pool.to_string(),
        node: change
            .backend
            .map(|(id, _)| id.node.to_string())
            .unwrap_or_default(),
        what,
        reason: change.reason,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Reports waiting for this task; a full channel makes checks wait, not pile up.
const REPORTS_MAX: usize = 1024;
