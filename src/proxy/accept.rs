//! A worker's life: it accepts connections, one task each, until it is told to stop; then it drains.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::front_h1;
use super::stats::{WorkerStats, bump, drop_one};
use super::worker::{Shared, Worker};

/// Pause of accepting when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Runs a worker until it has stopped and drained. Call it inside a local runtime, which the
/// caller drops afterwards: that cuts what is still open.
pub(super) async fn run(
    shared: Shared,
    stats: Arc<WorkerStats>,
    listeners: Vec<std::net::TcpListener>,
) -> std::io::Result<()> {
    let mut stop = shared.stop.clone();
    let worker = Worker::new(shared, stats);
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let listener = TcpListener::from_std(listener)?;
            Ok(tokio::task::spawn_local(accept(worker.clone(), listener)))
        })
        .collect::<std::io::Result<_>>()?;
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
    let _ = tokio::time::timeout(worker.settings.timeouts.drain, drained).await;
    Ok(())
}

async fn accept(worker: Rc<Worker>, listener: TcpListener) {
    let mut stopped = pin!(worker.stopped.notified());
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
            Ok((stream, peer)) => spawn(&worker, stream, peer),
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

fn spawn(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    worker.shared.connections.fetch_add(1, Ordering::Relaxed);
    worker.open.set(worker.open.get() + 1);
    bump(&worker.stats.connections_open, 1);
    bump(&worker.stats.connections_total, 1);
    let guard = Open(worker.clone());
    tokio::task::spawn_local(async move {
        let worker = &guard.0;
        let mut serving = pin!(front_h1::serve(worker, stream, peer));
        std::future::poll_fn(|cx| {
            worker.begin_poll();
            serving.as_mut().poll(cx)
        })
        .await;
    });
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
