//! The world as one request sees it: immutable, replaced whole.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;
use tokio::sync::watch;

use super::effective::Verdict;
use super::upstream::Upstream;

/// A backend with its verdict, in or out, for operators.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Identity, address, counters.
    pub upstream: Arc<Upstream>,
    /// In or out, and why.
    pub verdict: Verdict,
    /// When the verdict's state last changed.
    pub since: Instant,
}

/// A pool at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows by one with each store.
    pub generation: u64,
    /// True once the pool has its first verdict (or is known to have no backend to wait for).
    pub settled: bool,
    /// Everyone known, in identity order.
    pub backends: Vec<Backend>,
    /// In the tier that takes requests now; `table` indexes it.
    pub active: Vec<Arc<Upstream>>,
    /// In, but of a lower tier or backups of a pool with primaries in; best first. Only retries go there.
    pub standby: Vec<Arc<Upstream>>,
    /// Smooth weighted order over `active`.
    pub table: Vec<u32>,
}

/// A choice: whom, and where to go on from.
#[derive(Clone, Debug)]
pub struct Pick {
    /// Slot of the table it came from.
    pub slot: usize,
    /// Whom.
    pub upstream: Arc<Upstream>,
}

impl Snapshot {
    /// The next of the rotation; `None` when nobody is in.
    pub fn pick(&self, _cursor: &AtomicUsize) -> Option<Pick> {
        unimplemented!()
    }

    /// For a retry: scans on from `slot`, skipping addresses in `tried`, then `standby`. Does not move the cursor.
    pub fn pick_after(&self, _slot: usize, _tried: &[SocketAddr]) -> Option<Pick> {
        unimplemented!()
    }

    /// Whether `address` is in rotation (active or standby).
    pub fn has(&self, _address: SocketAddr) -> bool {
        unimplemented!()
    }
}

/// A named pool: the snapshot pointer and what all workers share.
#[derive(Debug)]
pub struct Pool {
    /// Name.
    pub name: Arc<str>,
    /// Replaced by the registry only.
    pub snapshot: ArcSwap<Snapshot>,
    /// The one position of the rotation, shared by all workers.
    pub cursor: CachePadded<AtomicUsize>,
    /// Generation of the newest snapshot; wakes those who wait for the first verdict.
    pub(super) stored: watch::Sender<u64>,
}

impl Pool {
    /// An empty pool, not settled.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            snapshot: ArcSwap::default(),
            cursor: CachePadded::new(AtomicUsize::new(0)),
            stored: watch::Sender::new(0),
        }
    }

    /// Changes with each new snapshot.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.stored.subscribe()
    }
}
