//! Plain numbers, counted per worker and summed when somebody asks.
//!
//! Each worker writes its own counters only, so a count is a load and a store on a cache line that
//! nobody else writes. No names of metrics here: see `crate::admin`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::pool::spec::UpstreamId;
use crate::tls::failure::{self, Failure};

/// Upper bounds of the duration buckets, in milliseconds; one more bucket takes the rest.
pub const BOUNDS_MS: [f64; 15] = [
    0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0,
    60_000.0,
];

/// Labels of [`BackendCounts::classes`]; `aborted`: the client left before an answer; `broken`: the
/// backend's answer was passed on, whatever its status, and ended before its end.
pub const CLASSES: [&str; 7] = ["1xx", "2xx", "3xx", "4xx", "5xx", "aborted", "broken"];

/// Labels of [`BackendCounts::connections`]: who ended a relayed connection; `done`: both sides, in order; `lb`: ourselves,
/// as nothing moved, there was nobody to relay to, or we stopped.
pub const ENDS: [&str; 4] = ["done", "client", "backend", "lb"];

/// Why a connection that was to begin with a PROXY header was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheaded {
    /// It came from an address that is not trusted to.
    Untrusted,
    /// It began with something else, or with too much of it.
    Malformed,
    /// The header was not whole in time.
    Slow,
    /// It closed before its header was whole.
    Closed,
}

impl Unheaded {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Untrusted, Self::Malformed, Self::Slow, Self::Closed];

    /// Label of a metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::Malformed => "malformed",
            Self::Slow => "slow",
            Self::Closed => "closed",
        }
    }
}

/// Why a request was repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The connect failed.
    Connect,
    /// The connect took long, so a second one was begun.
    SlowConnect,
    /// No byte of it had been written.
    Unsent,
    /// The connection was reset or closed before an answer.
    Reset,
    /// No first byte in time.
    FirstByte,
    /// 502, 503 or 504 from the backend.
    Status,
    /// The backend went down while the request waited there.
    Rescue,
    /// It waited long where packets are lost.
    Loss,
}

impl Reason {
    /// All, in order.
    pub const ALL: [Self; 8] = [
        Self::Connect,
        Self::SlowConnect,
        Self::Unsent,
        Self::Reset,
        Self::FirstByte,
        Self::Status,
        Self::Rescue,
        Self::Loss,
    ];

    /// Label of a metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::SlowConnect => "slow_connect",
            Self::Unsent => "unsent",
            Self::Reset => "reset",
            Self::FirstByte => "first_byte",
            Self::Status => "status",
            Self::Rescue => "rescue",
            Self::Loss => "loss",
        }
    }
}

/// Why a request that was to wait for room got none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// As many as may wait did.
    Overflow,
    /// It waited too long.
    Timeout,
    /// The client left.
    Left,
    /// The last backend went out meanwhile.
    Nobody,
}

impl Dropped {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Overflow, Self::Timeout, Self::Left, Self::Nobody];

    /// Label of a metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Timeout => "timeout",
            Self::Left => "left",
            Self::Nobody => "nobody",
        }
    }
}

/// Everything at one moment, over all workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    /// Requests by who answered them.
    pub backends: Vec<BackendCounts>,
    /// Requests that waited for room, by pool.
    pub queues: Vec<QueueCounts>,
    /// Repeats by reason, all reasons in order.
    pub retries: Vec<(Reason, u64)>,
    /// Repeats that the budget refused.
    pub retries_refused: u64,
    /// Client connections now.
    pub connections_open: u64,
    /// Client connections ever.
    pub connections_total: u64,
    /// Requests under way now.
    pub requests_in_flight: u64,
    /// Connections closed for want of a PROXY header, in the order of [`Unheaded::ALL`].
    pub unheaded: [u64; Unheaded::ALL.len()],
    /// Lines of the access log that were not written.
    pub access_log_lost: u64,
    /// TLS handshakes with clients.
    pub handshakes: Handshakes,
}

/// TLS handshakes with clients.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Handshakes {
    /// From scratch.
    pub full: u64,
    /// Of sessions that were begun before.
    pub resumed: u64,
    /// Those that came to nothing, in the order of [`failure::LABELS`].
    pub failed: [u64; failure::LABELS.len()],
}

/// Requests of one pool that one backend answered (or that failed there last).
#[derive(Clone, Debug, PartialEq)]
pub struct BackendCounts {
    /// Pool.
    pub pool: Arc<str>,
    /// Backend; `None`: answered by ourselves, no backend was asked.
    pub backend: Option<(UpstreamId, SocketAddr)>,
    /// Requests by class, see [`CLASSES`].
    pub classes: [u64; CLASSES.len()],
    /// Requests by duration.
    pub durations: Durations,
    /// Relayed connections that ended, see [`ENDS`].
    pub connections: [u64; ENDS.len()],
    /// Bytes of relayed connections from clients.
    pub received: u64,
    /// Bytes of relayed connections to clients.
    pub sent: u64,
}

/// Requests of one pool that waited since its backends were full.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueCounts {
    /// Pool.
    pub pool: Arc<str>,
    /// How long those waited that then had their turn.
    pub waits: Durations,
    /// The others, in the order of [`Dropped::ALL`].
    pub dropped: [u64; Dropped::ALL.len()],
}

/// How long things took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// How many, by duration, not cumulative, see [`BOUNDS_MS`].
    pub buckets: [u64; BOUNDS_MS.len() + 1],
    /// Sum of all durations.
    pub seconds: f64,
}

/// [`Durations`] of one worker, live.
#[derive(Debug, Default)]
struct Clocked {
    buckets: [AtomicU64; BOUNDS_MS.len() + 1],
    nanos: AtomicU64,
}

impl Clocked {
    fn add(&self, took: Duration) {
        let ms = took.as_secs_f64() * 1000.0;
        let bucket = BOUNDS_MS.iter().position(|bound| ms <= *bound);
        bump(&self.buckets[bucket.unwrap_or(BOUNDS_MS.len())], 1);
        bump(&self.nanos, took.as_nanos() as u64);
    }

    fn add_to(&self, sum: &mut Durations) {
        for (total, counter) in sum.buckets.iter_mut().zip(&self.buckets) {
            *total += counter.load(Ordering::Relaxed);
        }
        sum.seconds += self.nanos.load(Ordering::Relaxed) as f64 / 1e9;
    }
}

/// [`BackendCounts`] of one worker, live.
#[derive(Debug)]
pub(super) struct Counts {
    pool: Arc<str>,
    backend: Option<(UpstreamId, SocketAddr)>,
    classes: [AtomicU64; CLASSES.len()],
    durations: Clocked,
    connections: [AtomicU64; ENDS.len()],
    received: AtomicU64,
    sent: AtomicU64,
}

impl Counts {
    /// Zeroes.
    pub(super) fn new(pool: Arc<str>, backend: Option<(UpstreamId, SocketAddr)>) -> Self {
        Self {
            pool,
            backend,
            classes: Default::default(),
            durations: Clocked::default(),
            connections: Default::default(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    /// Of which pool.
    pub(super) fn pool(&self) -> &str {
        &self.pool
    }

    /// Of which backend.
    pub(super) fn backend(&self) -> Option<&(UpstreamId, SocketAddr)> {
        self.backend.as_ref()
    }

    /// One finished request; `class` indexes [`CLASSES`].
    pub(super) fn add(&self, class: usize, took: Duration) {
        bump(&self.classes[class], 1);
        self.durations.add(took);
    }

    /// One relayed connection that ended; `end` indexes [`ENDS`].
    pub(super) fn add_connection(&self, end: usize) {
        bump(&self.connections[end], 1);
    }

    /// Bytes of a relayed connection, from and to its client.
    pub(super) fn add_bytes(&self, received: u64, sent: u64) {
        bump(&self.received, received);
        bump(&self.sent, sent);
    }
}

/// [`QueueCounts`] of one worker, live.
#[derive(Debug)]
pub(super) struct Waits {
    pool: Arc<str>,
    served: Clocked,
    dropped: [AtomicU64; Dropped::ALL.len()],
}

impl Waits {
    /// Zeroes.
    pub(super) fn new(pool: Arc<str>) -> Self {
        Self {
            pool,
            served: Clocked::default(),
            dropped: Default::default(),
        }
    }

    /// One had its turn after `waited`.
    pub(super) fn served(&self, waited: Duration) {
        self.served.add(waited);
    }

    /// One had none.
    pub(super) fn dropped(&self, why: Dropped) {
        bump(&self.dropped[why as usize], 1);
    }
}

/// One worker's numbers.
#[derive(Debug, Default)]
pub(super) struct WorkerStats {
    backends: Mutex<Vec<Arc<Counts>>>,
    queues: Mutex<Vec<Arc<Waits>>>,
    retries: [AtomicU64; Reason::ALL.len()],
    pub(super) retries_refused: AtomicU64,
    pub(super) connections_open: AtomicU64,
    pub(super) connections_total: AtomicU64,
    pub(super) requests_in_flight: AtomicU64,
    handshakes_full: AtomicU64,
    handshakes_resumed: AtomicU64,
    handshakes_failed: [AtomicU64; failure::LABELS.len()],
    unheaded: [AtomicU64; Unheaded::ALL.len()],
}

impl WorkerStats {
    /// A client's TLS handshake is done.
    pub(super) fn shook_hands(&self, resumed: bool) {
        let counter = match resumed {
            true => &self.handshakes_resumed,
            false => &self.handshakes_full,
        };
        bump(counter, 1);
    }

    /// It came to nothing.
    pub(super) fn shook_no_hands(&self, why: &Failure) {
        bump(&self.handshakes_failed[why.label()], 1);
    }

    /// Has `counts` scraped from now on.
    pub(super) fn add(&self, counts: Arc<Counts>) {
        locked(&self.backends).push(counts);
    }

    /// Ends a series.
    pub(super) fn remove(&self, counts: &Arc<Counts>) {
        locked(&self.backends).retain(|other| !Arc::ptr_eq(other, counts));
    }

    /// Has `waits` scraped from now on.
    pub(super) fn add_waits(&self, waits: Arc<Waits>) {
        locked(&self.queues).push(waits);
    }

    /// Ends a series.
    pub(super) fn remove_waits(&self, waits: &Arc<Waits>) {
        locked(&self.queues).retain(|other| !Arc::ptr_eq(other, waits));
    }

    /// One connection without its PROXY header.
    pub(super) fn unheaded(&self, why: Unheaded) {
        bump(&self.unheaded[why as usize], 1);
    }

    /// One repeat.
    pub(super) fn retried(&self, reason: Reason) {
        bump(&self.retries[reason as usize], 1);
    }
}

fn locked<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds to a counter that only this thread writes.
pub(super) fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed) + by, Ordering::Relaxed);
}

/// Takes one from a gauge that only this thread writes.
pub(super) fn drop_one(gauge: &AtomicU64) {
    gauge.store(gauge.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
}

/// The sum of all workers.
pub(super) fn scrape<'a>(workers: impl Iterator<Item = &'a WorkerStats>) -> Scrape {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut sum = Scrape {
        retries: Reason::ALL.map(|reason| (reason, 0)).to_vec(),
        ..Scrape::default()
    };
    let mut by_backend = BTreeMap::new();
    let mut by_pool = BTreeMap::new();
    for worker in workers {
        for (reason, count) in &mut sum.retries {
            *count += read(&worker.retries[*reason as usize]);
        }
        sum.retries_refused += read(&worker.retries_refused);
        sum.connections_open += read(&worker.connections_open);
        sum.connections_total += read(&worker.connections_total);
        sum.requests_in_flight += read(&worker.requests_in_flight);
        sum.handshakes.full += read(&worker.handshakes_full);
        sum.handshakes.resumed += read(&worker.handshakes_resumed);
        let failed = sum.handshakes.failed.iter_mut();
        for (total, counter) in failed.zip(&worker.handshakes_failed) {
            *total += read(counter);
        }
        for (total, counter) in sum.unheaded.iter_mut().zip(&worker.unheaded) {
            *total += read(counter);
        }
        for counts in locked(&worker.backends).iter() {
            let known = by_backend
                .entry((counts.pool.clone(), counts.backend.clone()))
                .or_insert_with_key(|(pool, backend)| BackendCounts {
                    pool: pool.clone(),
                    backend: backend.clone(),
                    classes: Default::default(),
                    durations: Durations::default(),
                    connections: Default::default(),
                    received: 0,
                    sent: 0,
                });
            known.received += read(&counts.received);
            known.sent += read(&counts.sent);
            for (total, counter) in known.connections.iter_mut().zip(&counts.connections) {
                *total += read(counter);
            }
            for (total, counter) in known.classes.iter_mut().zip(&counts.classes) {
                *total += read(counter);
            }
            counts.durations.add_to(&mut known.durations);
        }
        for waits in locked(&worker.queues).iter() {
            let known = by_pool
                .entry(waits.pool.clone())
                .or_insert_with_key(|pool| QueueCounts {
                    pool: pool.clone(),
                    waits: Durations::default(),
                    dropped: Default::default(),
                });
            for (total, counter) in known.dropped.iter_mut().zip(&waits.dropped) {
                *total += read(counter);
            }
            waits.served.add_to(&mut known.waits);
        }
    }
    sum.backends = by_backend.into_values().collect();
    sum.queues = by_pool.into_values().collect();
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_summed_by_pool_and_backend() {
        let workers = [WorkerStats::default(), WorkerStats::default()];
        for worker in &workers {
            let counts = Arc::new(Counts::new("web".into(), None));
            worker.add(counts.clone());
            counts.add(1, Duration::from_millis(1));
            counts.add(4, Duration::from_secs(3600));
            worker.retried(Reason::Reset);
            let waits = Arc::new(Waits::new("web".into()));
            worker.add_waits(waits.clone());
            waits.served(Duration::from_millis(1));
            waits.dropped(Dropped::Timeout);
        }

        let sum = scrape(workers.iter());

        assert_eq!(sum.backends.len(), 1);
        assert_eq!(sum.backends[0].classes, [0, 2, 0, 0, 2, 0, 0]);
        assert_eq!(sum.backends[0].durations.buckets[1], 2);
        assert_eq!(sum.backends[0].durations.buckets[BOUNDS_MS.len()], 2);
        assert!((sum.backends[0].durations.seconds - 7200.002).abs() < 1e-6);
        assert!(sum.retries.contains(&(Reason::Reset, 2)));
        assert_eq!(sum.queues.len(), 1);
        assert_eq!(sum.queues[0].dropped, [0, 2, 0, 0]);
        assert_eq!(sum.queues[0].waits.buckets[1], 2);
    }

    #[test]
    fn reasons_stand_in_the_order_of_their_numbers() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
        }
        for (at, why) in Dropped::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, at);
        }
    }
}
