//! The one task that owns the registry: every opinion arrives here, every snapshot leaves from here.
//!
//! ```text
//! members (watch) ──specs()──┐
//! check reports ─────────────┼─▶ Control ── Registry ──▶ ArcSwap<Snapshot>
//! feedback of workers ───────┤      │└──── targets ────▶ health::Supervisor
//! memory of the last run ────┤
//! orders (reload) ───────────┘      └───── changes ────▶ log line, timeline, event handlers
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

use super::http2;
use super::memory::Memory;
use super::occasions;
use super::plan::PoolPlan;
use super::pulse::{Bystander, Pulse};
use crate::clock;
use crate::discovery;
use crate::gossip::core::member::Members;
use crate::gossip::driver::Acks;
use crate::handlers::Handlers;
use crate::health;
use crate::pool::effective::State;
use crate::pool::registry::{Change, Key, Outcome, Registry};
use crate::pool::spec::Spec;
use crate::proxy::{Feedback, Routes};
use crate::timeline::{Entry, Timeline};

/// Something an operator wants.
#[derive(Debug)]
pub(super) enum Order {
    /// New pools; everything that can fail has been done before.
    Reload {
        plans: Vec<PoolPlan>,
        done: oneshot::Sender<()>,
    },
    /// What a successor should know of the backends.
    Recall {
        reply: oneshot::Sender<BTreeMap<String, Vec<Spec>>>,
    },
}

/// Checks made, for metrics.
#[derive(Debug, Default)]
pub(super) struct CheckCounts {
    passed: AtomicU64,
    failed: AtomicU64,
    void: AtomicU64,
}

impl CheckCounts {
    /// (passed, failed).
    pub(super) fn read(&self) -> (u64, u64) {
        (
            self.passed.load(Ordering::Relaxed),
            self.failed.load(Ordering::Relaxed),
        )
    }

    /// Failed ones that did not count.
    pub(super) fn void(&self) -> u64 {
        self.void.load(Ordering::Relaxed)
    }
}

/// What the task is connected to.
#[derive(Debug)]
pub(super) struct Inputs {
    pub members: watch::Receiver<Arc<Members>>,
    pub acks: Acks,
    pub feedback: mpsc::Receiver<Feedback>,
    pub orders: mpsc::Receiver<Order>,
    pub memory: Memory,
    pub handlers: Handlers,
}

/// What wakes the task.
#[derive(Debug)]
enum Input {
    /// False: gossip has ended.
    Members(bool),
    Report(health::Report<Key>),
    Feedback(Feedback),
    Order(Option<Order>),
    Due,
}

/// What others read.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub routes: Arc<ArcSwap<Routes>>,
    pub timeline: Arc<Mutex<Timeline>>,
    pub checks: Arc<CheckCounts>,
    pub pulse: Arc<Pulse>,
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
        let routes = Arc::new(ArcSwap::from_pointee(routes(&registry, &plans)));
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
                pulse: Arc::new(Pulse::new(clock::now())),
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
            let beat = self.shared.pulse.due();
            let due = self.poll_timeout();
            let due = due.map_or(beat, |due| due.min(beat));
            let input = tokio::select! {
                changed = self.inputs.members.changed(), if gossip => Input::Members(changed.is_ok()),
                Some(report) = self.reports.recv() => Input::Report(report),
                Some(feedback) = self.inputs.feedback.recv() => Input::Feedback(feedback),
                order = self.inputs.orders.recv() => Input::Order(order),
                () = tokio::time::sleep_until(due.into()) => Input::Due,
            };
            // Before anything is believed: were we there to hear it?
            if let Some(pause) = self.shared.pulse.beat(clock::now()) {
                self.slept(pause);
            }
            match input {
                Input::Members(true) => self.take_members(),
                // Gossip has ended: keep the last view and go on with checks.
                Input::Members(false) => gossip = false,
                Input::Report(report) => self.take_report(report),
                Input::Feedback(feedback) => self.take_feedback(feedback),
                Input::Order(Some(Order::Reload { plans, done })) => {
                    self.reload(plans);
                    let _ = done.send(());
                }
                Input::Order(Some(Order::Recall { reply })) => {
                    let _ = reply.send(self.inputs.memory.latest());
                }
                Input::Order(None) => return,
                Input::Due => self.handle_timeout(),
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

    fn slept(&mut self, pause: Duration) {
        let pause = clock::readable(pause);
        warn!("this process slept for {pause}: what failed meanwhile is not counted");
        self.registry.slept();
        push(
            &self.shared.timeline,
            Entry {
                at: clock::wall(),
                pool: String::new(),
                node: String::new(),
                what: "slept",
                reason: format!("this process was not running for {pause}"),
            },
        );
    }

    fn take_report(&mut self, report: health::Report<Key>) {
        let checks = &self.shared.checks;
        let counter = match (&report.void, &report.result) {
            (Some(_), _) => &checks.void,
            (None, Ok(_)) => &checks.passed,
            (None, Err(_)) => &checks.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(void) = report.void {
            debug!(backend = %report.key.id, result = ?report.result, ?void, "a check does not count");
            return;
        }
        let outcome = Outcome {
            started: report.started,
            ended: report.ended,
            result: report.result,
            timed_out: report.timed_out,
            up: report.up,
        };
        if report.lost
            && let Some(live) = self.registry.live(&report.key)
        {
            live.lost(report.ended);
        }
        self.registry.checked(clock::now(), &report.key, outcome);
    }

    fn take_feedback(&mut self, feedback: Feedback) {
        let now = clock::now();
        let aftermath = self.shared.pulse.is_aftermath(now);
        match feedback {
            Feedback::ConnectFailed { .. } | Feedback::Failed { .. } if aftermath => {}
            Feedback::ConnectFailed { key, reason } => {
                self.registry.connect_failed(now, &key, &reason)
            }
            Feedback::Failed { key, reason } => self.registry.request_failed(now, &key, &reason),
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
        let routes = routes(&self.registry, &self.plans);
        self.shared.routes.store(Arc::new(routes));
        // Timing of checks may have changed without any target changing.
        self.targets_generation = None;
    }

    /// Tells health and people what came of it.
    fn settle(&mut self) {
        let generation = self.registry.targets_generation();
        if self.targets_generation != Some(generation) {
            self.targets_generation = Some(generation);
            let plans = self.plans.iter();
            let plans: BTreeMap<&str, &PoolPlan> = plans
                .map(|plan| (plan.cluster.pool.name.as_str(), plan))
                .collect();
            let targets = self.registry.targets().into_iter().map(|target| {
                let plan = plans.get(&*target.key.pool);
                health::Target {
                    address: target.key.address,
                    http2: http2::asked_over(&target.check, target.proto),
                    check: target.check,
                    settings: plan
                        .map_or_else(health::Settings::default, |plan| plan.cluster.check.clone()),
                    extra: target.extra,
                    witness: self.witness(&target.key),
                    secured: plan.map(|plan| secured(plan, &target.key)),
                    key: target.key,
                }
            });
            self.supervisor.set(targets.collect());
        }
        while let Some(change) = self.registry.poll_change() {
            tell(&change);
            occasions::deliver(&change, &self.inputs.handlers);
            push(&self.shared.timeline, entry(change));
        }
    }

    /// Who may void failed checks of this backend.
    fn witness(&self, key: &Key) -> Option<Arc<dyn health::Witness>> {
        let bystander = Bystander {
            pulse: Arc::clone(&self.shared.pulse),
            live: self.registry.live(key)?,
            node: Arc::clone(&key.id.node),
            acks: self.inputs.acks.clone(),
        };
        Some(Arc::new(bystander))
    }
}

/// How a backend's checks speak TLS, should they have to.
fn secured(plan: &PoolPlan, key: &Key) -> health::secure::Secured {
    health::secure::Secured {
        by: plan.secure.clone(),
        name: plan.cluster.tls.name_of(&key.id.node, key.address),
    }
}

fn routes(registry: &Registry, plans: &[PoolPlan]) -> Routes {
    let tls = plans.iter().map(|plan| {
        let cluster = &plan.cluster;
        (cluster.pool.name.as_str().into(), cluster.tls.clone())
    });
    Routes {
        pools: registry.pools(),
        tls: tls.collect(),
    }
}

fn push(timeline: &Mutex<Timeline>, entry: Entry) {
    timeline.lock().expect("no holder panics").push(entry);
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
        None if change.backend.is_none() => "pool",
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

/// Reports waiting for this task; a full channel makes checks wait, not pile up.
const REPORTS_MAX: usize = 1024;

#[cfg(test)]
mod tests;
