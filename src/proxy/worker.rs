//! One worker's memory: an OS thread, a current-thread runtime and a listener of its own go with it.
//!
//! ```text
//! accept ─▶ one local task per client connection ─▶ service ─▶ Site (idle connections, counters)
//! sweep (1 s) ─▶ idle connections, gone backends      watch (per pool) ─▶ wakes waiting requests
//! ```
//!
//! Shared with other workers: snapshots, the rotation's cursor, the retry reserve, the number of
//! client connections. Nothing here locks on the way of a request.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{Notify, mpsc, watch};

use super::access::{Desk, Scribe};
use super::alarm::Alarm;
use super::buffer::Buffers;
use super::peer::Peer;
use super::retry::{Reserve, Share};
use super::site::Site;
use super::stats::{Counts, Waits, WorkerStats, bump, drop_one};
use super::strangers::{self, Strangers};
use super::wakers::Wakers;
use super::{Feedback, Listener, Routes, Settings};
use crate::clock;
use crate::pool::registry::Key;
use crate::pool::snapshot::{Pool, Snapshot};
use crate::pool::upstream::{Live, Upstream};
use crate::shutdown::Shutdown;
use crate::tls;

/// Between two looks at idle connections.
const SWEEP: Duration = Duration::from_secs(1);

/// A timer that is due before all others has the event loop woken through a descriptor, which is a system call. Of a
/// request's limits the first is a quarter of a second away, so while this one ticks none of them is.
const TICK: Duration = Duration::from_millis(200);

/// Failed requests of one backend are told at most this often, so that a flood of them costs the control task little.
const FAILED_EVERY: Duration = Duration::from_millis(2);

/// How old a Date may be. The field counts seconds.
const DATE_EVERY: Duration = Duration::from_millis(500);

/// Timers kept for the next requests. Each holds the memory of the last task that it was to wake.
const ALARMS_KEPT: usize = 64;

/// How long the counters of a gone backend are still shown (DESIGN §5).
const GONE_KEPT: Duration = Duration::from_secs(300);

/// Addresses are their own hashes, once their upper bits have been stirred in: nobody chooses them.
#[derive(Default)]
struct Address(u64);

impl Hasher for Address {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, address: u64) {
        self.0 = address.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn write_usize(&mut self, address: usize) {
        self.write_u64(address as u64);
    }
}

/// What all workers have in common.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) routes: Arc<ArcSwap<Routes>>,
    pub(super) feedback: mpsc::Sender<Feedback>,
    pub(super) stop: Shutdown,
    /// Another process accepts on the same sockets, and has all the time that there is.
    pub(super) replaced: Arc<AtomicBool>,
    pub(super) reserve: Arc<Reserve>,
    /// Client connections of all workers.
    pub(super) connections: Arc<AtomicUsize>,
    pub(super) started: Instant,
    pub(super) workers: usize,
    /// Of the access log.
    pub(super) desk: Option<Desk>,
    /// TLS to backends of pools that say nothing of it.
    pub(super) tls: Arc<tls::client::Client>,
    pub(super) strangers: Arc<Strangers>,
}

/// One worker's memory.
pub(super) struct Worker {
    pub(super) settings: Arc<Settings>,
    pub(super) stats: Arc<WorkerStats>,
    pub(super) started: Instant,
    pub(super) wakers: Wakers,
    pub(super) stopping: Cell<bool>,
    /// Whose end means something ends now: who relays bytes, or answers to the end of the connection.
    pub(super) cutting: Cell<bool>,
    /// How many of those there are.
    pub(super) partings: Cell<usize>,
    pub(super) buffers: Rc<Buffers>,
    pub(super) dice: RefCell<ChaCha8Rng>,
    pub(super) shared: Shared,
    /// Client connections.
    pub(super) open: Cell<usize>,
    pub(super) closed: Notify,
    pub(super) stopped: Notify,
    /// Of the access log.
    pub(super) scribe: Option<Scribe>,
    /// Timers that a request is done with.
    alarms: RefCell<Vec<Alarm>>,
    /// The time of the current poll, once somebody asked.
    now: Cell<Option<Instant>>,
    going_on: Cell<bool>,
    /// The current second as a Date field line, and until when it is.
    date: RefCell<(Option<Instant>, Vec<u8>)>,
    routes: RefCell<Cache<Arc<ArcSwap<Routes>>, Arc<Routes>>>,
    homes: RefCell<Vec<Rc<Home>>>,
    /// By the address of their `Live`, which they keep from being used again.
    sites: RefCell<HashMap<*const Live, Rc<Site>, BuildHasherDefault<Address>>>,
    share: RefCell<Share>,
    /// The last one in which a request came, since the start, and its end.
    second: Cell<(u64, Instant)>,
    /// For pools that say nothing of it.
    tls: Arc<tls::client::Client>,
}

/// A pool as one worker sees it.
pub(super) struct Home {
    pub(super) pool: Arc<Pool>,
    /// Requests that no backend was asked for.
    pub(super) unanswered: Arc<Counts>,
    /// Requests that waited for room.
    pub(super) waits: Arc<Waits>,
    world: RefCell<(Newest, Rc<World>)>,
}

/// Knows a pool's newest snapshot without taking hold of it each time.
type Newest = Cache<Snapshots, Arc<Snapshot>>;

/// Those of a pool.
struct Snapshots(Arc<Pool>);

impl Deref for Snapshots {
    type Target = ArcSwap<Snapshot>;

    fn deref(&self) -> &ArcSwap<Snapshot> {
        &self.0.snapshot
    }
}

/// A snapshot, counted within the worker: workers then don't fight for one reference count.
pub(super) struct World {
    pub(super) snapshot: Arc<Snapshot>,
}

impl Home {
    /// The newest.
    pub(super) fn world(&self) -> Rc<World> {
        let (newest, world) = &mut *self.world.borrow_mut();
        let newest = newest.load();
        if !Arc::ptr_eq(newest, &world.snapshot) {
            *world = Rc::new(World {
                snapshot: Arc::clone(newest),
            });
        }
        world.clone()
    }
}

async fn sweep(worker: Rc<Worker>) {
    let timeouts = &worker.settings.timeouts;
    let period = SWEEP
        .min(timeouts.upstream_idle)
        .min(timeouts.client_idle / 4);
    let mut due = worker.started + period;
    loop {
        tokio::time::sleep(period.min(TICK)).await;
        let now = clock::now();
        if now >= due {
            due = now + period;
            worker.sweep_sites(now);
            worker.wakers.wake_due(now);
            let listeners = &worker.settings.listeners;
            worker.shared.strangers.tell_due(listeners, now);
        }
    }
}

/// Wakes everybody when a pool changed: a request that waits at a backend that went down looks up.
/// Ends with the pool.
async fn watch(worker: Rc<Worker>, mut changes: watch::Receiver<u64>) {
    let mut downs = 0;
    while changes.changed().await.is_ok() {
        let known = std::mem::replace(&mut downs, worker.downs());
        if known != downs {
            worker.wakers.wake_all();
        }
        worker.sweep_sites(clock::now());
    }
}

impl Worker {
    /// A client without a request is to be let go. One that sends it at this moment would lose it, which a program that
    /// ends can't help; one that has a successor can: it waits for the request, or for the end of the drain.
    pub(super) fn ends_idle(&self) -> bool {
        self.stopping.get() && !self.shared.replaced.load(Ordering::Relaxed)
    }

    /// Nothing known, nothing open.
    pub(super) fn new(shared: Shared, stats: Arc<WorkerStats>) -> Rc<Self> {
        let settings = shared.settings.clone();
        Rc::new(Self {
            started: shared.started,
            wakers: Wakers::default(),
            stopping: Cell::new(false),
            cutting: Cell::new(false),
            partings: Cell::new(0),
            buffers: Rc::default(),
            dice: RefCell::new(clock::random()),
            open: Cell::new(0),
            closed: Notify::new(),
            stopped: Notify::new(),
            scribe: shared.desk.clone().map(Scribe::new),
            alarms: RefCell::default(),
            now: Cell::new(None),
            going_on: Cell::new(false),
            date: RefCell::default(),
            routes: RefCell::new(Cache::new(Arc::clone(&shared.routes))),
            homes: RefCell::default(),
            sites: RefCell::default(),
            second: Cell::new((0, shared.started)),
            share: RefCell::new(Share::new(settings.limits.retry_percent)),
            settings,
            tls: shared.tls.clone(),
            stats,
            shared,
        })
    }

    /// Starts what goes on beside the connections.
    pub(super) fn begin(self: &Rc<Self>) {
        tokio::task::spawn_local(sweep(self.clone()));
        if self.scribe.is_some() {
            let worker = self.clone();
            tokio::task::spawn_local(async move {
                if let Some(scribe) = &worker.scribe {
                    scribe.flush_in_time().await;
                }
            });
        }
    }

    /// One more client connection. Only by [`super::guards::Counted`].
    pub(super) fn began(&self) {
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        self.open.set(self.open.get() + 1);
        bump(&self.stats.connections_open, 1);
    }

    /// One less.
    pub(super) fn ended(&self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.open.set(self.open.get() - 1);
        drop_one(&self.stats.connections_open);
        self.closed.notify_waiters();
    }

    /// A task is polled: time has passed.
    pub(super) fn begin_poll(&self) {
        if !self.going_on.replace(false) {
            self.now.set(None);
        }
    }

    /// What is polled next is polled by the same task, which has not returned in between.
    pub(super) fn go_on(&self) {
        self.going_on.set(true);
    }

    /// The time of this poll, read at most once.
    pub(super) fn now(&self) -> Instant {
        let now = self.now.get().unwrap_or_else(clock::now);
        self.now.set(Some(now));
        now
    }

    /// A timer for one request's task.
    pub(super) fn take_alarm(&self) -> Alarm {
        let kept = self.alarms.borrow_mut().pop();
        kept.unwrap_or_default()
    }

    /// Its request has ended.
    pub(super) fn give_alarm(&self, mut alarm: Alarm) {
        let mut kept = self.alarms.borrow_mut();
        if alarm.has_timer() && kept.len() < ALARMS_KEPT {
            kept.push(alarm.hand_over());
        }
    }

    /// Adds a Date field line.
    pub(super) fn date(&self, head: &mut Vec<u8>) {
        let now = self.now();
        let mut date = self.date.borrow_mut();
        if date.0.is_none_or(|until| now >= until) {
            let line = format!("date: {}\r\n", httpdate::fmt_http_date(clock::wall()));
            *date = (Some(now + DATE_EVERY), line.into_bytes());
        }
        head.extend_from_slice(&date.1);
    }

    /// One more request that retries are weighed against.
    pub(super) fn count_request(&self, now: Instant) {
        let (mut second, end) = self.second.get();
        if now >= end {
            second = now.saturating_duration_since(self.started).as_secs();
            let end = self.started + Duration::from_secs(second + 1);
            self.second.set((second, end));
        }
        self.share.borrow_mut().request(second);
    }

    /// The settings of the listener of this number.
    pub(super) fn listener(&self, number: u8) -> &Listener {
        &self.settings.listeners[usize::from(number)]
    }

    /// A client did not get as far as its first request.
    pub(super) fn turned_away(&self, why: strangers::Reason, peer: Peer) {
        let (listeners, number) = (&self.settings.listeners, peer.listener());
        let strangers = &self.shared.strangers;
        strangers.note(listeners, number, why, peer.address(), clock::now());
    }

    /// Some listener asks clients for certificates, so that what is said of them counts for something.
    pub(super) fn asks_clients(&self) -> bool {
        let mut listeners = self.settings.listeners.iter();
        listeners.any(|listener| listener.tls.as_ref().is_some_and(|tls| tls.asks_clients()))
    }

    /// How TLS is spoken to backends of `pool`.
    pub(super) fn tls_of(&self, pool: &str) -> Arc<tls::client::Client> {
        let routes = self.shared.routes.load();
        let known = routes.tls.get(pool).cloned();
        known.unwrap_or_else(|| self.tls.clone())
    }

    /// The pool for what comes by `listener`; `None`: there is none at all.
    pub(super) fn route(self: &Rc<Self>, listener: u8) -> Option<Rc<Home>> {
        let mut routes = self.routes.borrow_mut();
        let routes = routes.load();
        let pool = routes.pool(self.listener(listener).cluster.as_deref())?;
        if let Some(home) = self
            .homes
            .borrow()
            .iter()
            .find(|home| Arc::ptr_eq(&home.pool, pool))
        {
            return Some(home.clone());
        }
        let home = Rc::new(Home {
            pool: pool.clone(),
            unanswered: Arc::new(Counts::new(pool.name.clone(), None)),
            waits: Arc::new(Waits::new(pool.name.clone())),
            world: RefCell::new((
                Cache::new(Snapshots(pool.clone())),
                Rc::new(World {
                    snapshot: pool.snapshot.load_full(),
                }),
            )),
        });
        self.stats.add(home.unanswered.clone());
        self.stats.add_waits(home.waits.clone());
        tokio::task::spawn_local(watch(self.clone(), pool.changes()));
        let mut homes = self.homes.borrow_mut();
        homes.retain(|known| {
            let mut pools = routes.pools.iter();
            let kept = pools.any(|pool| Arc::ptr_eq(pool, &known.pool));
            if !kept {
                self.stats.remove(&known.unanswered);
                self.stats.remove_waits(&known.waits);
            }
            kept
        });
        homes.push(home.clone());
        Some(home)
    }

    /// This worker's memory of a backend.
    pub(super) fn site(&self, home: &Home, upstream: &Upstream) -> Rc<Site> {
        let live = Arc::as_ptr(&upstream.live);
        if let Some(site) = self.sites.borrow().get(&live) {
            return site.clone();
        }
        let key = Key {
            pool: home.pool.name.clone(),
            id: upstream.id.clone(),
            address: upstream.address,
        };
        let counts = Arc::new(Counts::new(
            key.pool.clone(),
            Some((key.id.clone(), key.address)),
        ));
        self.stats.add(counts.clone());
        let idle_max = self.settings.limits.idle_per_backend / self.shared.workers;
        let site = Rc::new(Site::new(
            key,
            upstream.live.clone(),
            counts,
            idle_max.max(1),
        ));
        self.sites.borrow_mut().insert(live, site.clone());
        site
    }

    /// Grows whenever a backend that requests may wait at goes down.
    fn downs(&self) -> u64 {
        let sites = self.sites.borrow();
        sites.values().map(|site| site.live.downs()).sum()
    }

    /// Drops idle connections that are of no more use, and what is known of backends long gone.
    fn sweep_sites(&self, now: Instant) {
        let (mut known, mut taking) = (BTreeSet::new(), BTreeSet::new());
        for pool in &self.shared.routes.load().pools {
            let snapshot = pool.snapshot.load();
            known.extend(
                snapshot
                    .backends
                    .iter()
                    .map(|backend| Arc::as_ptr(&backend.upstream.live)),
            );
            let takers = snapshot.active.iter().chain(&snapshot.standby);
            taking.extend(takers.map(|upstream| Arc::as_ptr(&upstream.live)));
        }
        let age_max = self.settings.timeouts.upstream_idle;
        self.sites.borrow_mut().retain(|live, site| {
            let in_rotation = taking.contains(live);
            site.sweep(now, age_max, in_rotation);
            if in_rotation || known.contains(live) {
                site.gone_since.set(None);
                return true;
            }
            let since = site.gone_since.get().unwrap_or(now);
            site.gone_since.set(Some(since));
            let kept = now.saturating_duration_since(since) < GONE_KEPT;
            if !kept {
                self.stats.remove(&site.counts);
            }
            kept
        });
    }

    /// Takes a retry from the budget.
    pub(super) fn take_retry(&self, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.started).as_secs();
        let granted = self.share.borrow_mut().take(second) || self.shared.reserve.take(now);
        if !granted {
            bump(&self.stats.retries_refused, 1);
        }
        granted
    }

    /// Tells the registry of a failed connect.
    pub(super) fn connect_failed(&self, site: &Site, why: &str) {
        site.failing.set(true);
        self.report(Feedback::ConnectFailed {
            key: site.key.clone(),
            reason: why.to_owned(),
        });
    }

    /// Tells the registry of a connect that succeeded after a failed one.
    pub(super) fn connected(&self, site: &Site) {
        if site.failing.replace(false) {
            self.report(Feedback::Connected {
                key: site.key.clone(),
            });
        }
    }

    /// A request failed there. All are counted; the registry is told now and then, to look at the count.
    pub(super) fn failed(&self, site: &Site, why: impl FnOnce() -> String) {
        site.live.failed();
        let now = self.now();
        let told = site.failed_at.get();
        if told.is_none_or(|told| now.saturating_duration_since(told) >= FAILED_EVERY) {
            site.failed_at.set(Some(now));
            self.report(Feedback::Failed {
                key: site.key.clone(),
                reason: why(),
            });
        }
    }

    /// Asks for a check, but not too often.
    pub(super) fn report_slow(&self, site: &Site, now: Instant) {
        let gap = self.settings.timeouts.slow_first_byte;
        let told = site.slow_since.get();
        if told.is_none_or(|told| now.saturating_duration_since(told) >= gap) {
            site.slow_since.set(Some(now));
            self.report(Feedback::Slow {
                key: site.key.clone(),
            });
        }
    }

    fn report(&self, feedback: Feedback) {
        // A full channel means that the registry already has plenty to judge by.
        let _ = self.shared.feedback.try_send(feedback);
    }
}
