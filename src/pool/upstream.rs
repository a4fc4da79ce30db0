//! One address that receives traffic, and its counters that outlive snapshots.

use std::iter;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use super::ejection::Tally;
use super::queue::Queue;
use super::spec::UpstreamId;
use crate::announce::Proto;

/// The time of the last answer is written at most this often, so that workers don't fight for its cache line.
const ANSWER_EVERY_MS: u64 = 4;

/// How long a line on which a packet was lost is taken for a bad one: checks look each second, and on a bad line every
/// second one of them sees it.
const LOSSY_FOR_MS: u64 = 10_000;

/// Shared by workers and by all snapshots; follows (identity, address).
#[derive(Debug, Default)]
pub struct Live {
    load: CachePadded<Load>,
    answers: CachePadded<Answers>,
    downs: AtomicU64,
    falls: AtomicU64,
    /// When a packet was last seen to be lost, in ms since the epoch of `answers`, plus 1; 0: never.
    lost: AtomicU64,
    /// Who waits for room in its pool.
    queue: Arc<Queue<Lease>>,
}

/// Requests under way, and how many there may be: on one cache line, which a request writes anyway.
#[derive(Debug, Default)]
struct Load {
    in_flight: AtomicU32,
    /// 0: no limit.
    max: AtomicU32,
    /// It takes requests now, so those that wait may be sent there.
    open: AtomicBool,
}

/// How real requests fared.
#[derive(Debug, Default)]
struct Answers {
    /// Times are counted from here; the first to be told sets it.
    epoch: OnceLock<Instant>,
    /// Of the last answer, in ms since `epoch`, plus 1; 0: none yet.
    last: AtomicU64,
    /// Successes are counted.
    watched: AtomicBool,
    passed: AtomicU64,
    failed: AtomicU64,
    row: AtomicU32,
}

impl Answers {
    /// `at` in ms since the epoch, plus 1.
    fn ms(&self, at: Instant) -> u64 {
        let epoch = *self.epoch.get_or_init(|| at);
        at.saturating_duration_since(epoch).as_millis() as u64 + 1
    }
}

impl Live {
    /// Of a backend whose pool lets requests wait in `queue`.
    pub(super) fn of(queue: Arc<Queue<Lease>>) -> Self {
        Self {
            queue,
            ..Self::default()
        }
    }

    /// Requests under way.
    pub fn in_flight(&self) -> u32 {
        self.load.in_flight.load(Ordering::Relaxed)
    }

    /// Most requests under way; 0: no limit.
    pub fn max_in_flight(&self) -> u32 {
        self.load.max.load(Ordering::Relaxed)
    }

    /// From the next lease on. What is above it already ends in its own time.
    pub(super) fn limit(&self, max: u32) {
        self.load.max.store(max, Ordering::Relaxed);
    }

    /// Whether waiting requests may be sent there. The registry opens after the store of a snapshot
    /// that has it in its rotation, and closes before one that has not.
    pub(super) fn open(&self, open: bool) {
        self.load.open.store(open, Ordering::Release);
    }

    fn is_open(&self) -> bool {
        self.load.open.load(Ordering::Acquire)
    }

    /// Counts one in, if there is room.
    fn enter(&self) -> bool {
        let Load { in_flight, max, .. } = &*self.load;
        // Sequentially consistent, as the queue needs it; on x86 that costs an atomic addition nothing.
        match max.load(Ordering::Relaxed) {
            0 => {
                in_flight.fetch_add(1, Ordering::SeqCst);
                true
            }
            max => in_flight
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| {
                    (now < max).then_some(now + 1)
                })
                .is_ok(),
        }
    }

    /// Times it began to fail, also while it was drained. Read it before sending: a request
    /// that sees it grow moves on. A snapshot is stored with each growth, which wakes who waits.
    pub fn downs(&self) -> u64 {
        self.downs.load(Ordering::Acquire)
    }

    /// Times it was found down, by more than connects: relayed connections end by it. Grows only together with [`Self::downs`].
    pub fn falls(&self) -> u64 {
        self.falls.load(Ordering::Acquire)
    }

    /// A packet to it or from it was lost on the way.
    pub fn lost(&self, at: Instant) {
        let ms = self.answers.ms(at);
        self.lost.fetch_max(ms, Ordering::Relaxed);
    }

    /// Whether packets to it or from it are lost these days: a request that waits may wait for one of them.
    pub fn is_lossy(&self, now: Instant) -> bool {
        let lost = self.lost.load(Ordering::Relaxed);
        lost > 0 && self.answers.ms(now) < lost + LOSSY_FOR_MS
    }

    /// A request was answered well. Costs two loads, and now and then a store.
    pub fn succeeded(&self, now: Instant) {
        let answers = &*self.answers;
        let ms = answers.ms(now);
        let last = answers.last.load(Ordering::Relaxed);
        if last == 0 || ms >= last + ANSWER_EVERY_MS {
            answers.last.store(ms, Ordering::Relaxed);
        }
        if answers.row.load(Ordering::Relaxed) != 0 {
            answers.row.store(0, Ordering::Relaxed);
        }
        if answers.watched.load(Ordering::Relaxed) {
            answers.passed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request failed there. From now on successes are counted, until [`Self::watch`] ends it.
    pub fn failed(&self) {
        let answers = &*self.answers;
        answers.failed.fetch_add(1, Ordering::Relaxed);
        answers.row.fetch_add(1, Ordering::Relaxed);
        answers.watched.store(true, Ordering::Relaxed);
    }

    /// When a request was last answered well; up to 5 ms too early.
    pub fn last_answer(&self) -> Option<Instant> {
        let ms = self.answers.last.load(Ordering::Relaxed).checked_sub(1)?;
        Some(*self.answers.epoch.get()? + Duration::from_millis(ms))
    }

    /// Requests so far, as far as they were counted.
    pub fn tally(&self) -> Tally {
        Tally {
            passed: self.answers.passed.load(Ordering::Relaxed),
            failed: self.answers.failed.load(Ordering::Relaxed),
            row: self.answers.row.load(Ordering::Relaxed),
        }
    }

    /// Whether successes are to be counted. A failure between look and call is not lost: it is counted anyway.
    pub(super) fn watch(&self, watched: bool) {
        if self.answers.watched.load(Ordering::Relaxed) != watched {
            self.answers.watched.store(watched, Ordering::Relaxed);
        }
    }

    /// The row of failures begins anew.
    pub(super) fn forgive(&self) {
        self.answers.row.store(0, Ordering::Relaxed);
    }

    /// It fails from now on: requests that wait there move on. The registry calls this, and stores.
    pub(super) fn mark_down(&self) {
        self.downs.fetch_add(1, Ordering::AcqRel);
    }

    /// It is found down; [`Self::mark_down`] goes with it.
    pub(super) fn mark_fallen(&self) {
        self.falls.fetch_add(1, Ordering::AcqRel);
    }
}

/// A backend as requests see it.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Identity.
    pub id: UpstreamId,
    /// Where to connect.
    pub address: SocketAddr,
    /// The protocol that it is spoken to in.
    pub proto: Proto,
    /// Effective weight.
    pub weight: u16,
    /// Tier, higher first.
    pub tier: u8,
    /// A backup.
    pub backup: bool,
    /// Counters.
    pub live: Arc<Live>,
}

/// One request's hold on an upstream: counted while it lives.
#[derive(Debug)]
pub struct Lease {
    /// Whom.
    pub upstream: Arc<Upstream>,
}

impl Lease {
    /// Counts one request in; `None`: the upstream is full.
    pub fn take(upstream: &Arc<Upstream>) -> Option<Self> {
        upstream.live.enter().then(|| Self {
            upstream: Arc::clone(upstream),
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let live = &self.upstream.live;
        live.load.in_flight.fetch_sub(1, Ordering::SeqCst);
        if !live.queue.is_empty() {
            let upstream = &self.upstream;
            let room = || live.is_open().then(|| Self::take(upstream)).flatten();
            live.queue.serve(iter::from_fn(room), false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_is_known_within_five_ms_and_never_too_late() {
        let start = crate::clock::now();
        let live = Live::default();
        assert_eq!(live.last_answer(), None);

        for ms in 0..100 {
            let now = start + Duration::from_millis(ms) + Duration::from_micros(900);
            live.succeeded(now);

            let last = live.last_answer().unwrap();
            assert!(
                last <= now && now - last <= Duration::from_millis(5),
                "{ms}"
            );
        }
    }

    #[test]
    fn a_lost_packet_makes_a_line_bad_for_ten_seconds() {
        let start = crate::clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        let live = Live::default();
        assert!(!live.is_lossy(at(0)));

        live.lost(at(5));
        live.lost(at(1_005));
        live.lost(at(5));

        assert!(live.is_lossy(at(1_005)));
        assert!(live.is_lossy(at(11_004)));
        assert!(!live.is_lossy(at(11_005)));
    }

    #[test]
    fn successes_end_a_row_and_are_counted_once_something_failed() {
        let now = crate::clock::now();
        let live = Live::default();

        live.succeeded(now);
        live.failed();
        live.failed();
        let bad = live.tally();
        live.succeeded(now);

        let tally = |passed, failed, row| Tally {
            passed,
            failed,
            row,
        };
        assert_eq!(bad, tally(0, 2, 2));
        assert_eq!(live.tally(), tally(1, 2, 0));
        live.watch(false);
        live.succeeded(now);
        assert_eq!(live.tally(), tally(1, 2, 0));
    }
}
