//! A worker's life: it accepts connections, one task each, until it is told to stop; then it drains.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::Interest;
use tokio::net::TcpStream as Watched;

use super::arrival;
use super::peer::Peer;
use super::stats::WorkerStats;
use super::worker::{Shared, Worker};
use crate::clock;

/// Pause of accepting when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long those that are joined with a backend have to part in order, once the time to drain is over.
const PARTING: Duration = Duration::from_secs(1);

/// Between two warnings of one listener that it can't accept: it tries twenty times a second.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Runs a worker until it has stopped and drained. Call it inside a local runtime, which the
/// caller drops afterwards: that cuts what is still open.
pub(super) async fn run(
    shared: Shared,
    stats: Arc<WorkerStats>,
    listeners: Vec<(u8, TcpListener)>,
) -> io::Result<()> {
    let mut stop = shared.stop.clone();
    let worker = Worker::new(shared, stats);
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|(number, listener)| {
            let listener = Listener::new(listener)?;
            let accepting = accept(worker.clone(), listener, number);
            Ok(tokio::task::spawn_local(accepting))
        })
        .collect::<io::Result<_>>()?;
    worker.begin();

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
    let in_time = tokio::time::timeout(worker.settings.timeouts.drain, drained).await;
    if in_time.is_err() {
        worker.cutting.set(true);
        worker.wakers.wake_all();
        let parted = async {
            while worker.partings.get() > 0 {
                worker.closed.notified().await;
            }
        };
        let _ = tokio::time::timeout(PARTING, parted).await;
    }
    Ok(())
}

async fn accept(worker: Rc<Worker>, listener: Listener, number: u8) {
    let mut told_to_stop = pin!(worker.stopped.notified());
    told_to_stop.as_mut().enable();
    // A worker that is stopped while it starts has told so before this task ran.
    let mut stopped = pin!(async {
        if !worker.stopping.get() {
            told_to_stop.await;
        }
    });
    let mut told: Option<Instant> = None;
    loop {
        let limit = worker.settings.limits.connections;
        if worker.shared.connections.load(Ordering::Relaxed) >= limit && !worker.stopping.get() {
            // Another worker may be the one that has room again, so this does not only wait for ours.
            let _ = tokio::time::timeout(ACCEPT_PAUSE, worker.closed.notified()).await;
            continue;
        }
        // Whoever waits in the backlog is the successor's.
        if worker.stopping.get() && worker.shared.replaced.load(Ordering::Relaxed) {
            return;
        }
        let accepted = poll_fn(|cx| match listener.poll_next(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            // Only when nobody waits in the backlog any more.
            Poll::Pending => stopped.as_mut().poll(cx).map(|()| None),
        });
        let Some(accepted) = accepted.await else {
            return;
        };
        match accepted {
            Ok((stream, peer)) => {
                arrival::begin(&worker, stream, Peer::new(peer, number));
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                let now = clock::now();
                if told.is_none_or(|told| now.saturating_duration_since(told) >= WARN_EVERY) {
                    told = Some(now);
                    tracing::warn!(%error, "not accepting until this passes; connections wait in the kernel");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                if worker.stopping.get() {
                    return;
                }
            }
        }
    }
}

/// A listening socket, whose connections are unknown to the event loop (see [`Socket`]), unlike those of tokio's.
struct Listener(
    /// Only its readiness is asked for, and that is the same question for a socket that listens.
    Watched,
);

impl Listener {
    fn new(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let socket = TcpStream::from(OwnedFd::from(listener));
        Ok(Self(Watched::from_std(socket)?))
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let accept = || Ok(acceptfrom_with(&self.0, flags)?);
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            let (socket, peer) = match self.0.try_io(Interest::READABLE, accept) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                accepted => accepted?,
            };
            let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
            let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
            return Poll::Ready(Ok((socket.into(), peer)));
        }
    }
}

/// A client that left while it waited to be accepted; the next one is as good as ever.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | ConnectionRefused
    )
}
