//! One worker: an OS thread, a current-thread runtime, a listener of its own, and its own memory.
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
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::StatusCode;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};

use super::front_h1::{self, Client, Front};
use super::retry::{Reserve, Share};
use super::site::Site;
use super::stats::{Counts, WorkerStats, bump, drop_one};
use super::wakers::Wakers;
use super::{Feedback, Routes, Settings};
use crate::clock;
use crate::pool::registry::Key;
use crate::pool::snapshot::{Pool, Snapshot};
use crate::pool::upstream::{Live, Upstream};
use crate::shutdown::Shutdown;

/// Between two looks at idle connections.
const SWEEP: Duration = Duration::from_secs(1);

/// Failed requests of one backend are told at most this often, so that a flood of them costs the control task little.
const FAILED_EVERY: Duration = Duration::from_millis(2);

/// How long the counters of a gone backend are still shown (DESIGN §5).
const GONE_KEPT: Duration = Duration::from_secs(300);

/// Pause of accepting when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The class of a request whose client left before an answer; see `stats::CLASSES`.
const ABORTED: usize = 5;

/// The class of a request whose answer broke off after it was begun.
const BROKEN: usize = 6;

/// What all workers have in common.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) routes: Arc<ArcSwap<Routes>>,
    pub(super) feedback: mpsc::Sender<Feedback>,
    pub(super) stop: Shutdown,
    pub(super) reserve: Arc<Reserve>,
    /// Client connections of all workers.
    pub(super) connections: Arc<AtomicUsize>,
    pub(super) started: Instant,
    pub(super) workers: usize,
}

/// One worker's memory.
pub(super) struct Worker {
    pub(super) settings: Arc<Settings>,
    pub(super) stats: Arc<WorkerStats>,
    pub(super) started: Instant,
    pub(super) front: Front,
    pub(super) wakers: Wakers,
    pub(super) stopping: Cell<bool>,
    shared: Shared,
    homes: RefCell<Vec<Rc<Home>>>,
    /// By the address of their `Live`, which they keep from being used again.
    sites: RefCell<HashMap<*const Live, Rc<Site>>>,
    share: RefCell<Share>,
    open: Cell<usize>,
    closed: Notify,
    stopped: Notify,
}

/// A pool as one worker sees it.
pub(super) struct Home {
    pub(super) pool: Arc<Pool>,
    /// Requests that no backend was asked for.
    pub(super) unanswered: Arc<Counts>,
    world: RefCell<Rc<World>>,
}

/// A snapshot, counted within the worker: workers then don't fight for one reference count.
pub(super) struct World {
    pub(super) snapshot: Arc<Snapshot>,
}

impl Home {
    /// The newest.
    pub(super) fn world(&self) -> Rc<World> {
        let newest = self.pool.snapshot.load();
        let mut world = self.world.borrow_mut();
        if !Arc::ptr_eq(&newest, &world.snapshot) {
            *world = Rc::new(World {
                snapshot: Arc::clone(&newest),
            });
        }
        world.clone()
    }
}

/// Runs a worker until it has stopped and drained. Call it inside a local runtime, which the
/// caller drops afterwards: that cuts what is still open.
pub(super) async fn run(
    shared: Shared,
    stats: Arc<WorkerStats>,
    listeners: Vec<std::net::TcpListener>,
) -> std::io::Result<()> {
    let mut stop = shared.stop.clone();
    let settings = shared.settings.clone();
    let worker = Rc::new(Worker {
        front: Front::new(&settings.limits),
        started: shared.started,
        wakers: Wakers::default(),
        stopping: Cell::new(false),
        homes: RefCell::default(),
        sites: RefCell::default(),
        share: RefCell::new(Share::new(settings.limits.retry_percent)),
        open: Cell::new(0),
        closed: Notify::new(),
        stopped: Notify::new(),
        settings: settings.clone(),
        stats,
        shared,
    });
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let listener = TcpListener::from_std(listener)?;
            Ok(tokio::task::spawn_local(accept(worker.clone(), listener)))
        })
        .collect::<std::io::Result<_>>()?;
    tokio::task::spawn_local(sweep(worker.clone()));

    stop.wait().await;
    worker.stopping.set(true);
    worker.stopped.notify_waiters();
    for task in accepting {
        let _ = task.await;
    }
    worker.wakers.wake_all();
    let drained = async {
        while worker.open.get() > 0 {
            worker.closed.notified().await;
        }
    };
    let _ = tokio::time::timeout(settings.timeouts.drain, drained).await;
    Ok(())
}

async fn accept(worker: Rc<Worker>, listener: TcpListener) {
    let stopped = worker.stopped.notified();
    tokio::pin!(stopped);
    stopped.as_mut().enable();
    loop {
        let limit = worker.settings.limits.connections;
        if worker.shared.connections.load(Ordering::Relaxed) >= limit && !worker.stopping.get() {
            // Another worker may be the one that has room again, so this does not only wait for ours.
            let _ = tokio::time::timeout(ACCEPT_PAUSE, worker.closed.notified()).await;
            continue;
        }
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            // Only when nobody waits in the backlog any more.
            () = &mut stopped => return,
        };
        match accepted {
            Ok((stream, peer)) => worker.spawn(stream, peer),
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "not accepting for a moment");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                if worker.stopping.get() {
                    return;
                }
            }
        }
    }
}

/// A client that left while it waited to be accepted; the next one is as good as ever.
fn is_about_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | ConnectionRefused
    )
}

async fn sweep(worker: Rc<Worker>) {
    let period = SWEEP.min(worker.settings.timeouts.upstream_idle);
    loop {
        tokio::time::sleep(period).await;
        worker.sweep_sites(clock::now());
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
    fn spawn(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr) {
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        self.open.set(self.open.get() + 1);
        bump(&self.stats.connections_open, 1);
        bump(&self.stats.connections_total, 1);
        let guard = Open(self.clone());
        tokio::task::spawn_local(async move {
            front_h1::serve(guard.0.clone(), stream, peer).await;
            drop(guard);
        });
    }

    /// The pool for a request; `None`: there is none at all.
    pub(super) fn route(self: &Rc<Self>) -> Option<Rc<Home>> {
        let routes = self.shared.routes.load();
        let pool = routes.pools.first()?;
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
            world: RefCell::new(Rc::new(World {
                snapshot: pool.snapshot.load_full(),
            })),
        });
        self.stats.add(home.unanswered.clone());
        tokio::task::spawn_local(watch(self.clone(), pool.changes()));
        let mut homes = self.homes.borrow_mut();
        homes.retain(|known| {
            let mut pools = routes.pools.iter();
            let kept = pools.any(|pool| Arc::ptr_eq(pool, &known.pool));
            if !kept {
                self.stats.remove(&known.unanswered);
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
        let now = clock::now();
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

/// One client connection, counted while it lives.
struct Open(Rc<Worker>);

impl Drop for Open {
    fn drop(&mut self) {
        let worker = &self.0;
        worker.shared.connections.fetch_sub(1, Ordering::Relaxed);
        worker.open.set(worker.open.get() - 1);
        drop_one(&worker.stats.connections_open);
        worker.closed.notify_waiters();
    }
}

/// One request, counted while it lives, and once more when it ends.
pub(super) struct Record {
    worker: Rc<Worker>,
    client: Rc<Client>,
    begun: Instant,
    class: usize,
    /// Where it is counted.
    pub(super) counts: Option<Arc<Counts>>,
}

impl Record {
    /// A request has come.
    pub(super) fn begin(worker: &Rc<Worker>, client: &Rc<Client>) -> Self {
        let begun = client.alarm.now();
        let second = begun.saturating_duration_since(worker.started).as_secs();
        worker.share.borrow_mut().request(second);
        bump(&worker.stats.requests_in_flight, 1);
        Self {
            worker: worker.clone(),
            client: client.clone(),
            begun,
            class: ABORTED,
            counts: None,
        }
    }

    /// Its answer is known.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.class = (usize::from(status.as_u16()) / 100).clamp(1, 5) - 1;
    }

    /// Its answer ended before its end.
    pub(super) fn broke_off(&mut self) {
        self.class = BROKEN;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        drop_one(&self.worker.stats.requests_in_flight);
        if let Some(counts) = &self.counts {
            let took = self
                .client
                .alarm
                .now()
                .saturating_duration_since(self.begun);
            counts.add(self.class, took);
        }
    }
}
