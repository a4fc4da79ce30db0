//! One address that receives traffic, and its counters that outlive snapshots.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use tokio::sync::Notify;

use super::spec::UpstreamId;

/// Shared by workers and by all snapshots; follows (identity, address).
#[derive(Debug, Default)]
pub struct Live {
    in_flight: CachePadded<AtomicU32>,
    downs: AtomicU64,
    down: Notify,
}

impl Live {
    /// Requests under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Times it began to fail, also while it was drained. Read it before sending; see [`Live::gone_down`].
    pub fn downs(&self) -> u64 {
        self.downs.load(Ordering::Acquire)
    }

    /// Returns once it went down after `downs` was read.
    pub async fn gone_down(&self, downs: u64) {
        loop {
            let woken = self.down.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            if self.downs() != downs {
                return;
            }
            woken.await;
        }
    }

    /// It fails from now on: wakes every request that waits there. The registry calls this.
    pub(super) fn mark_down(&self) {
        self.downs.fetch_add(1, Ordering::AcqRel);
        self.down.notify_waiters();
    }
}

/// A backend as requests see it.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Identity.
    pub id: UpstreamId,
    /// Where to connect.
    pub address: SocketAddr,
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
    /// Counts one request in.
    pub fn new(upstream: Arc<Upstream>) -> Self {
        upstream.live.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { upstream }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.upstream.live.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
