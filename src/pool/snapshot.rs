//! The world as one request sees it: immutable, replaced whole.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;
use tokio::sync::watch;

use super::effective::Verdict;
use super::queue::{Queue, Settings as Limits};
use super::upstream::{Lease, Live, Upstream};
use super::{hop, smooth_weighted};

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
    /// True once a backend was in, or all known ones were decided; it stays true.
    pub settled: bool,
    /// Nobody is in but those whose own check passes although requests or their node say otherwise.
    pub panic: bool,
    /// Everyone known, in identity order.
    pub backends: Vec<Backend>,
    /// In the tier that takes requests now; `table` indexes it.
    pub active: Vec<Arc<Upstream>>,
    /// In, but of a lower tier or backups of a pool with primaries in; best first. Only retries go there.
    pub standby: Vec<Arc<Upstream>>,
    /// Smooth weighted order over `active`.
    pub table: Vec<u32>,
    /// How much each may get, and how many may wait.
    pub limits: Limits,
    /// How connections to them begin, and what ends them.
    pub hop: hop::Settings,
}

/// A choice: whom, counted in already, and where to go on from.
#[derive(Debug)]
pub struct Pick {
    /// Slot of the table it came from.
    pub slot: usize,
    /// Whom.
    pub lease: Lease,
}

/// Why there is no choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpicked {
    /// Nobody is in, or may be asked.
    Nobody,
    /// Whoever may be asked is full.
    Full,
}

impl Snapshot {
    /// Orders those that are in: the best tier rotates, the others stand by.
    ///
    /// Primaries come before backups, and within both a higher tier before a lower one.
    /// `backends` are in identity order.
    pub fn new(generation: u64, settled: bool, backends: Vec<Backend>) -> Self {
        let mut active: Vec<Arc<Upstream>> = backends
            .iter()
            .filter(|backend| backend.verdict.in_rotation)
            .map(|backend| backend.upstream.clone())
            .collect();
        let rank = |upstream: &Upstream| (upstream.backup, Reverse(upstream.tier));
        // Stable, so identity order remains within a tier.
        active.sort_by_key(|upstream| rank(upstream));
        let first_rank = active.first().map(|first| rank(first));
        let tier = active.partition_point(|upstream| Some(rank(upstream)) == first_rank);
        let standby = active.split_off(tier);
        let weights: Vec<u16> = active.iter().map(|upstream| upstream.weight).collect();
        Self {
            generation,
            settled,
            panic: false,
            backends,
            table: smooth_weighted::table(&weights),
            limits: Limits::default(),
            hop: hop::Settings::default(),
            active,
            standby,
        }
    }

    /// The next of the rotation, or the first after it that has room.
    ///
    /// The cursor counts picks and is reduced modulo the table's length, so that any number of workers
    /// share one exact order. A snapshot with another length goes on from another slot; the order
    /// jumps once more when the cursor itself wraps, after 2⁶⁴ picks.
    ///
    /// # Errors
    /// Nobody is in, or everybody of the best tier is full. Others stand by for when that tier is down, not for when it
    /// is busy: a sorry page that comes with every peak would help nobody.
    pub fn pick(&self, cursor: &AtomicUsize) -> Result<Pick, Unpicked> {
        if self.table.is_empty() {
            return Err(Unpicked::Nobody);
        }
        let slot = cursor.fetch_add(1, Ordering::Relaxed) % self.table.len();
        self.pick_at(slot)
            .or_else(|| self.rotation(slot).find_map(|slot| self.pick_at(slot)))
            .ok_or(Unpicked::Full)
    }

    /// The first with room from `cursor` on, which does not move.
    pub fn find_room(&self, cursor: &AtomicUsize) -> Option<Pick> {
        let slots = self.table.len();
        let slot = cursor.load(Ordering::Relaxed).checked_rem(slots)?;
        (slot..slot + slots).find_map(|slot| self.pick_at(slot % slots))
    }

    /// For a retry: scans on from `slot`, skipping addresses in `tried`, then `standby`. Does not move the cursor.
    ///
    /// # Errors
    /// Nobody is left, or who is left is full.
    pub fn pick_after(&self, slot: usize, tried: &[SocketAddr]) -> Result<Pick, Unpicked> {
        let mut why = Unpicked::Nobody;
        let rotation = self
            .rotation(slot)
            .filter_map(|slot| Some((slot, self.at(slot)?)));
        let standby = self.standby.iter().map(|upstream| (slot, upstream));
        for (slot, upstream) in rotation.chain(standby) {
            if tried.contains(&upstream.address) {
                continue;
            }
            match Lease::take(upstream) {
                Some(lease) => return Ok(Pick { slot, lease }),
                None => why = Unpicked::Full,
            }
        }
        Err(why)
    }

    /// The pick that a lease from elsewhere amounts to here.
    ///
    /// # Errors
    /// It is not in rotation; the lease, to be let go.
    pub fn pick_of(&self, lease: Lease) -> Result<Pick, Lease> {
        let live = &lease.upstream.live;
        let mut active = self.active.iter();
        let Some(index) = active.position(|upstream| Arc::ptr_eq(&upstream.live, live)) else {
            return Err(lease);
        };
        let slot = self.table.iter().position(|at| *at as usize == index);
        Ok(Pick {
            slot: slot.unwrap_or_default(),
            lease,
        })
    }

    /// All slots of the table, from the one after `slot` around to itself.
    fn rotation(&self, slot: usize) -> impl Iterator<Item = usize> {
        let slots = self.table.len();
        (slot + 1..=slot + slots).map(move |slot| slot % slots)
    }

    fn pick_at(&self, slot: usize) -> Option<Pick> {
        let lease = Lease::take(self.at(slot)?)?;
        Some(Pick { slot, lease })
    }

    /// Places at those in rotation, each in turn, until all are full.
    fn places(&self) -> impl Iterator<Item = Lease> {
        let (mut turns, mut full) = (self.active.iter().cycle(), 0);
        iter::from_fn(move || {
            while full < self.active.len() {
                full += 1;
                if let Some(lease) = turns.next().and_then(Lease::take) {
                    full = 0;
                    return Some(lease);
                }
            }
            None
        })
    }

    /// Whether `address` is in rotation (active or standby).
    pub fn has(&self, address: SocketAddr) -> bool {
        let mut all = self.active.iter().chain(&self.standby);
        all.any(|upstream| upstream.address == address)
    }

    fn at(&self, slot: usize) -> Option<&Arc<Upstream>> {
        self.active.get(*self.table.get(slot)? as usize)
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
    /// Who waits because all are full.
    pub queue: Arc<Queue<Lease>>,
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
            queue: Arc::default(),
            stored: watch::Sender::new(0),
        }
    }

    /// The next of `snapshot`'s rotation. Who waits already comes first.
    ///
    /// # Errors
    /// As [`Snapshot::pick`].
    pub fn pick(&self, snapshot: &Snapshot) -> Result<Pick, Unpicked> {
        if !self.queue.is_empty() && !snapshot.active.is_empty() {
            return Err(Unpicked::Full);
        }
        snapshot.pick(&self.cursor)
    }

    /// Has requests of `snapshot` from now on, and wakes those it has room for.
    pub(super) fn store(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        let stays: BTreeSet<*const Live> = snapshot
            .active
            .iter()
            .map(|upstream| Arc::as_ptr(&upstream.live))
            .collect();
        for upstream in &self.snapshot.load().active {
            if !stays.contains(&Arc::as_ptr(&upstream.live)) {
                upstream.live.open(false);
            }
        }
        // Before anybody can pick one that is new.
        for backend in &snapshot.backends {
            let max = snapshot.limits.max_in_flight;
            backend.upstream.live.limit(max);
        }
        self.snapshot.store(Arc::clone(&snapshot));
        for upstream in &snapshot.active {
            upstream.live.open(true);
        }
        self.queue
            .serve(snapshot.places(), snapshot.active.is_empty());
        self.stored.send_replace(snapshot.generation);
    }

    /// Changes with each new snapshot.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.stored.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::announce::Proto;
    use crate::pool::effective::State;
    use crate::pool::spec::UpstreamId;

    fn backend(host: u8, weight: u16, tier: u8, backup: bool, in_rotation: bool) -> Backend {
        Backend {
            upstream: Arc::new(Upstream {
                id: UpstreamId {
                    node: format!("web{host}").into(),
                    service: "web".into(),
                },
                address: address(host),
                weight,
                tier,
                backup,
                proto: Proto::Http,
                live: Arc::default(),
            }),
            verdict: Verdict {
                in_rotation,
                state: if in_rotation { State::Up } else { State::Down },
                reason: String::new(),
                weight,
                tier,
                backup,
            },
            since: crate::clock::now(),
        }
    }

    fn address(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 80))
    }

    fn host(pick: Result<Pick, Unpicked>) -> Option<u8> {
        pick.ok().map(|pick| match pick.lease.upstream.address {
            SocketAddr::V4(address) => address.ip().octets()[3],
            SocketAddr::V6(_) => 0,
        })
    }

    #[test]
    fn nobody_in_is_nobody_picked() {
        let cursor = AtomicUsize::new(0);
        let out = Snapshot::new(1, true, vec![backend(1, 1, 0, false, false)]);

        assert_eq!(out.pick(&cursor).unwrap_err(), Unpicked::Nobody);
        assert_eq!(out.pick_after(0, &[]).unwrap_err(), Unpicked::Nobody);
        assert!(Snapshot::default().pick(&cursor).is_err());
        assert!(!out.has(address(1)));
    }

    #[test]
    fn two_equal_backends_alternate_strictly_across_threads_and_the_wrap() {
        let two = [1, 2].map(|host| backend(host, 7, 0, false, true)).to_vec();
        let pool = Snapshot::new(1, true, two);
        let cursor = AtomicUsize::new(usize::MAX - 3);

        let picked: Vec<_> = (0..8).map(|_| host(pool.pick(&cursor))).collect();
        assert_eq!(picked, [1, 2, 1, 2, 1, 2, 1, 2].map(Some));

        let firsts: usize = thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    let count = || {
                        (0..500)
                            .filter(|_| host(pool.pick(&cursor)) == Some(1))
                            .count()
                    };
                    scope.spawn(count)
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap())
                .sum()
        });
        assert_eq!(firsts, 1000);
    }

    #[test]
    fn the_best_tier_rotates_and_the_others_stand_by_in_order() {
        let pool = Snapshot::new(
            1,
            true,
            vec![
                backend(1, 1, 9, true, true),
                backend(2, 1, 0, false, true),
                backend(3, 1, 5, false, true),
                backend(4, 1, 5, false, true),
                backend(5, 1, 9, false, false),
                backend(6, 1, 3, true, true),
            ],
        );
        let cursor = AtomicUsize::new(0);

        let picked: Vec<_> = (0..4).map(|_| host(pool.pick(&cursor))).collect();

        assert_eq!(picked, [3, 4, 3, 4].map(Some));
        let standby: Vec<_> = pool.standby.iter().map(|one| one.address).collect();
        assert_eq!(standby, [2, 1, 6].map(address));
        assert!(pool.has(address(6)) && !pool.has(address(5)));
    }

    #[test]
    fn a_retry_scans_on_and_then_takes_a_standby() {
        let mut backends: Vec<_> = (1..4).map(|n| backend(n, 1, 0, false, true)).collect();
        backends.push(backend(4, 1, 0, true, true));
        let pool = Snapshot::new(1, true, backends);
        let cursor = AtomicUsize::new(1);

        let first = pool.pick(&cursor).unwrap();
        let mut tried = vec![first.lease.upstream.address];
        let mut slot = first.slot;
        let mut order = vec![];
        while let Ok(next) = pool.pick_after(slot, &tried) {
            tried.push(next.lease.upstream.address);
            slot = next.slot;
            order.push(next.lease.upstream.address);
        }

        assert_eq!(first.lease.upstream.address, address(2));
        assert_eq!(order, [3, 1, 4].map(address));
        assert_eq!(cursor.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_lone_standby_is_found_from_an_empty_table() {
        let mut pool = Snapshot::new(1, true, vec![backend(1, 1, 0, true, true)]);
        pool.standby = std::mem::take(&mut pool.active);
        pool.table.clear();

        assert_eq!(host(pool.pick_after(0, &[])), Some(1));
    }
}
