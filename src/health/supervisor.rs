//! One small task per target, started, adapted and stopped as the set changes.
//!
//! ```text
//! set(targets) ──watch──▶ task: check ──▶ RiseFall ──▶ Report ──▶ pause, or until an extra check is wanted
//! ```

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::check::{Seen, check};
use super::rise_fall::RiseFall;
use super::{Report, Target, Void};
use crate::announce::CheckSpec;
use crate::clock;
use crate::task;

/// Runs the checks of all targets, as tasks on the current runtime. Dropping it stops them.
#[derive(Debug)]
pub struct Supervisor<K> {
    reports: mpsc::Sender<Report<K>>,
    running: HashMap<K, Running<K>>,
    counts: Arc<Counts>,
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Supervisor<K> {
    /// Reports go to `reports`; a full channel holds the checks back.
    pub fn new(reports: mpsc::Sender<Report<K>>) -> Self {
        Self {
            reports,
            running: HashMap::new(),
            counts: Arc::default(),
        }
    }

    /// The whole set: new ones are started, missing ones stopped, changed ones adapted without losing their standing
    /// (unless address or check changed). Of two targets with one key the last counts.
    ///
    /// An extra check begins at once, or right after the one under way: giving that one up would
    /// let a backend that hangs be asked again and again without ever failing.
    ///
    /// # Panics
    /// Outside a tokio runtime, when a task must be started.
    pub fn set(&mut self, targets: Vec<Target<K>>) {
        let mut before = std::mem::take(&mut self.running);
        for target in targets {
            let known = before
                .remove(&target.key)
                .or_else(|| self.running.remove(&target.key));
            let key = target.key.clone();
            let running = match known {
                Some(running) if running.is_for(&target) => {
                    running.adapt(target);
                    running
                }
                _ => self.start(target),
            };
            self.running.insert(key, running);
        }
    }

    /// Checks made, by result, for metrics: (passed, failed). Void ones are neither.
    pub fn counts(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.counts.passed), count(&self.counts.failed))
    }

    fn start(&self, target: Target<K>) -> Running<K> {
        let (target, wanted) = watch::channel(target);
        let watcher = Watcher {
            wanted,
            reports: self.reports.clone(),
            counts: self.counts.clone(),
        };
        Running {
            target,
            task: task::spawn(watcher.run()),
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    passed: AtomicU64,
    failed: AtomicU64,
}

/// The supervisor's side of a task.
#[derive(Debug)]
struct Running<K> {
    target: watch::Sender<Target<K>>,
    task: JoinHandle<()>,
}

impl<K: PartialEq> Running<K> {
    /// Whether its standing holds for `target` too.
    fn is_for(&self, target: &Target<K>) -> bool {
        let now = self.target.borrow();
        now.address == target.address && now.check == target.check && now.http2 == target.http2
    }

    fn adapt(&self, target: Target<K>) {
        self.target.send_if_modified(|now| {
            let differs = *now != target;
            *now = target;
            differs
        });
    }
}

impl<K> Drop for Running<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task's side: one target, checked for ever.
struct Watcher<K> {
    wanted: watch::Receiver<Target<K>>,
    reports: mpsc::Sender<Report<K>>,
    counts: Arc<Counts>,
}

impl<K: Clone + Send + Sync> Watcher<K> {
    /// Returns when nobody wants it, or its reports, any more.
    async fn run(mut self) {
        let mut standing = RiseFall::default();
        let mut random = clock::random();
        let mut slept = 0;
        let mut doubt = Doubt::default();
        loop {
            let target = self.wanted.borrow_and_update().clone();
            let extra = target.extra;
            let (started, seen) = (
                clock::now(),
                check(
                    target.address,
                    &target.check,
                    target.http2,
                    &target.settings,
                    target.secured.as_ref(),
                )
                .await,
            );
            let without = target.check == CheckSpec::None;
            let void = excuse(&target, started, &seen).filter(|void| match void {
                Void::Answered | Void::Alone => true,
                Void::Slept => slept < SLEPT_MAX,
            });
            let wanted = self.wanted.borrow().extra;
            let now = clock::now();
            let void = void.or_else(|| doubt.of(&standing, &target, wanted, &seen, now));
            slept = match void {
                Some(Void::Slept) => slept + 1,
                _ => 0,
            };
            if self
                .report(&mut standing, target, started, seen, void)
                .await
                .is_none()
            {
                return;
            }
            if matches!(void, Some(Void::Slept | Void::Alone)) {
                continue;
            }
            if self
                .pause(&standing, started, extra, random.random(), without)
                .await
                .is_none()
            {
                return;
            }
        }
    }

    async fn report(
        &self,
        standing: &mut RiseFall,
        target: Target<K>,
        started: Instant,
        seen: Seen,
        void: Option<Void>,
    ) -> Option<()> {
        let ended = clock::now();
        let passed = seen.result.is_ok();
        let up = match target.check {
            CheckSpec::None => Some(true),
            _ if void.is_some() => standing.up(),
            _ => {
                let counter = match passed {
                    true => &self.counts.passed,
                    false => &self.counts.failed,
                };
                counter.fetch_add(1, Ordering::Relaxed);
                standing.record(ended, passed, &target.settings)
            }
        };
        let report = Report {
            key: target.key,
            started,
            ended,
            result: seen.result,
            timed_out: seen.timed_out,
            lost: seen.lost,
            void,
            up,
        };
        self.reports.send(report).await.ok()
    }

    /// Waits for the next check's time, which new settings move, or for an extra one to be wanted.
    async fn pause(
        &mut self,
        standing: &RiseFall,
        started: Instant,
        extra: u64,
        dice: f64,
        without: bool,
    ) -> Option<()> {
        loop {
            let now = clock::now();
            let rest = {
                let target = self.wanted.borrow_and_update();
                if target.extra > extra && !without {
                    return Some(());
                }
                let due = started + standing.pause(now, &target.settings, dice);
                due.saturating_duration_since(now)
            };
            tokio::select! {
                () = sleep(rest), if !without => return Some(()),
                changed = self.wanted.changed() => changed.ok()?,
            }
        }
    }
}

/// Whether timeouts alone would take a target out.
///
/// Two in a row happen by chance on a bad line. Whoever else sees the target fail wants an extra check: gossip that
/// suspects it, a request that waits there. Then there is no time to lose; else there is nobody to hurt. Where packets
/// are seen to be lost more of them happen, and gossip and requests wait for the same packets, so that they prove nothing.
#[derive(Debug, Default)]
struct Doubt {
    /// Extra checks wanted by the start of the last check that passed.
    quiet: u64,
    /// How often it was asked once more since.
    asked: u32,
    /// When a packet was last seen to be lost.
    lost: Option<Instant>,
}

impl Doubt {
    /// Looks at a check that counts so far; `wanted`: extra checks by now.
    fn of<K>(
        &mut self,
        standing: &RiseFall,
        target: &Target<K>,
        wanted: u64,
        seen: &Seen,
        now: Instant,
    ) -> Option<Void> {
        if seen.lost {
            self.lost = Some(now);
        }
        if seen.result.is_ok() {
            (self.quiet, self.asked) = (target.extra, 0);
            return None;
        }
        let lossy = |lost: Instant| now.saturating_duration_since(lost) < LOSSY_FOR;
        let most = match self.lost.is_some_and(lossy) {
            true => ASKED_MAX_LOSSY,
            false => u32::from(wanted == self.quiet),
        };
        let doubtful = seen.timed_out && self.asked < most;
        if !(doubtful && standing.totters(&target.settings)) {
            return None;
        }
        self.asked += 1;
        Some(Void::Alone)
    }
}

/// Why a failed check does not count, if so: its own timer was late, or the witness says so.
fn excuse<K>(target: &Target<K>, started: Instant, seen: &Seen) -> Option<Void> {
    if seen.result.is_ok() {
        return None;
    }
    let ended = clock::now();
    let late = ended.saturating_duration_since(started + target.settings.timeout);
    if seen.timed_out && late > LATE_MAX {
        return Some(Void::Slept);
    }
    let witness = target.witness.as_ref()?;
    witness.excuse(&target.check, started, ended, seen.timed_out)
}

/// How long a line on which packets were lost is taken for a bad one.
const LOSSY_FOR: Duration = Duration::from_secs(60);

/// How often a target on such a line is asked once more before timeouts alone take it out. With a quarter of all
/// packets lost each way one check in eleven times out: three in a row come every few minutes, five in a day.
const ASKED_MAX_LOSSY: u32 = 3;

/// A timeout that fires later than this was waited for by somebody who was not there.
pub(super) const LATE_MAX: Duration = Duration::from_millis(50);

/// Void checks in a row because of ourselves. One who is well passes one of so many even with a starved front;
/// without a limit, a front that is always late would never notice a dead backend.
pub(super) const SLEPT_MAX: u32 = 10;

#[cfg(test)]
mod tests;
