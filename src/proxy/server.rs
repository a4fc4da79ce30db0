//! Starts the workers and waits for their end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, oneshot};

use super::access::Log;
use super::retry::Reserve;
use super::stats::{self, Scrape, WorkerStats};
use super::worker::Shared;
use super::{Feedback, Listeners, Routes, Settings, accept};
use crate::clock;
use crate::shutdown::Shutdown;

/// The running workers.
#[derive(Debug)]
pub struct Server {
    workers: Vec<Running>,
    access_log_lost: Option<Arc<AtomicU64>>,
    replaced: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Running {
    stats: Arc<WorkerStats>,
    /// Ends when the worker has.
    ended: oneshot::Receiver<()>,
    thread: std::thread::JoinHandle<()>,
}

/// Starts one worker per set of listeners. They stop when `stop` triggers; see [`Server::drained`].
///
/// `feedback` is never waited for: what does not fit is dropped. Neither is `access`, which gets a line
/// for each request.
///
/// # Errors
/// A thread could not be started; those already running end at once.
pub fn start(
    settings: Settings,
    listeners: Listeners,
    routes: Arc<ArcSwap<Routes>>,
    feedback: mpsc::Sender<Feedback>,
    access: Option<&Log>,
    stop: Shutdown,
) -> io::Result<Server> {
    let started = clock::now();
    listeners.listen()?;
    let per_worker = listeners.into_workers();
    let shared = Shared {
        reserve: Arc::new(Reserve::new(settings.limits.retries_per_second, started)),
        connections: Arc::new(AtomicUsize::new(0)),
        settings: Arc::new(settings),
        workers: per_worker.len(),
        routes,
        feedback,
        stop,
        replaced: Arc::default(),
        started,
        desk: access.map(Log::desk),
        tls: Arc::default(),
        strangers: Arc::default(),
    };
    let replaced = Arc::clone(&shared.replaced);
    let access_log_lost = shared.desk.as_ref().map(|desk| desk.lost());
    let workers = per_worker.into_iter().enumerate().map(|(number, own)| {
        let stats = Arc::new(WorkerStats::default());
        let (ends, ended) = oneshot::channel();
        let thread = {
            let (shared, stats) = (shared.clone(), stats.clone());
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    run(shared, stats, own);
                    drop(ends);
                })?
        };
        Ok(Running {
            stats,
            ended,
            thread,
        })
    });
    let workers = workers.collect::<io::Result<_>>()?;
    Ok(Server {
        workers,
        access_log_lost,
        replaced,
    })
}

fn run(shared: Shared, stats: Arc<WorkerStats>, listeners: Vec<(u8, std::net::TcpListener)>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default());
    let outcome = runtime.and_then(|runtime| {
        // Leaving this closure drops the runtime, and with it every connection that did not end in time.
        runtime.block_on(accept::run(shared, stats, listeners))
    });
    if let Err(error) = outcome {
        tracing::error!(%error, "a worker could not run");
    }
}

/// The numbers of all workers; cheap to clone, and good beyond the workers' end.
#[derive(Clone, Debug)]
pub struct Counters {
    workers: Vec<Arc<WorkerStats>>,
    access_log_lost: Option<Arc<AtomicU64>>,
}

impl Counters {
    /// Summed now.
    pub fn scrape(&self) -> Scrape {
        let lost = self.access_log_lost.as_ref();
        Scrape {
            access_log_lost: lost.map_or(0, |lost| lost.load(Ordering::Relaxed)),
            ..stats::scrape(self.workers.iter().map(Arc::as_ref))
        }
    }
}

impl Server {
    /// How many workers run.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// For who reads numbers while the server runs.
    pub fn counters(&self) -> Counters {
        let stats = |worker: &Running| Arc::clone(&worker.stats);
        Counters {
            workers: self.workers.iter().map(stats).collect(),
            access_log_lost: self.access_log_lost.clone(),
        }
    }

    /// To be called before stopping, where another process accepts on the same sockets: whatever waits to be accepted is
    /// its own, and a client that is idle is answered once more instead of being cut off.
    pub fn replaced(&self) {
        self.replaced.store(true, Ordering::Relaxed);
    }

    /// The numbers of all workers, summed.
    pub fn stats(&self) -> Scrape {
        self.counters().scrape()
    }

    /// Returns when all workers have ended: at most `timeouts.drain` after `stop` triggered.
    pub async fn drained(self) {
        for worker in self.workers {
            // Dropping the sender is the message.
            let _ = worker.ended.await;
            let _ = worker.thread.join();
        }
    }
}
