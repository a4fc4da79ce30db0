//! The listener: so many sessions at a time, each in a task of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::Settings;
use super::membership::Membership;
use super::session::{Ended, Limits, Session};
use crate::clock;
use crate::shutdown::Shutdown;

/// Clients at a time: operators, scripts, a few watchers. More is a mistake that must not cost memory.
const CLIENTS_MAX: usize = 64;

/// How long an address that was asked for is tried: at a restart the old process may not be quite gone.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// Between two tries, also after a failure to accept.
const PAUSE: Duration = Duration::from_millis(100);

/// How long answers under way may take at the end.
const ANSWERS_MAX: Duration = Duration::from_secs(1);

/// Between two lines about the same nuisance: whoever reaches the port must not fill the log.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Why there is no RPC at the address that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("RPC cannot listen on {address}: {}", why(source))]
pub struct BindError {
    /// Address.
    pub address: SocketAddr,
    /// Cause.
    pub source: io::Error,
}

impl BindError {
    /// True where a restart with the same configuration would fail again.
    pub fn is_configuration(&self) -> bool {
        self.source.kind() != io::ErrorKind::AddrInUse
    }
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program has it; stop that one, or choose another with --rpc-addr".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has that address; correct --rpc-addr".to_owned()
        }
        _ => format!("{error}; choose another with --rpc-addr"),
    }
}

/// Listens, unless RPC is off, or the default address has another program: then a line says so.
///
/// # Errors
/// [`BindError`] for an address that was asked for.
pub async fn bind(settings: &Settings) -> Result<Option<TcpListener>, BindError> {
    let Some(address) = settings.listen else {
        return Ok(None);
    };
    let deadline = clock::now() + BUSY_MAX;
    let mut told = false;
    loop {
        let source = match TcpListener::bind(address).await {
            Ok(listener) => return Ok(Some(listener)),
            Err(source) => source,
        };
        if !settings.given {
            warn!(%address, "no RPC: {}", why(&source));
            return Ok(None);
        }
        if source.kind() != io::ErrorKind::AddrInUse || clock::now() >= deadline {
            return Err(BindError { address, source });
        }
        if !std::mem::replace(&mut told, true) {
            warn!(
                "RPC: {address} is in use by another program; trying for {} s",
                BUSY_MAX.as_secs()
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Serves on `listener` until `shutdown`, on the current runtime; without one nobody ever asks it anything.
pub fn start<M: Membership>(
    listener: Option<TcpListener>,
    settings: &Settings,
    membership: M,
    shutdown: Shutdown,
) -> Server {
    match listener {
        Some(listener) => {
            Server::start_within(Limits::default(), listener, settings, membership, shutdown)
        }
        None => {
            let (_, left) = watch::channel(false);
            Server { left }
        }
    }
}

/// A server at work.
#[derive(Clone, Debug)]
pub struct Server {
    left: watch::Receiver<bool>,
}

impl Server {
    pub(super) fn start_within<M: Membership>(
        limits: Limits,
        listener: TcpListener,
        settings: &Settings,
        membership: M,
        shutdown: Shutdown,
    ) -> Self {
        let (leaving, left) = watch::channel(false);
        let host = Host {
            membership,
            settings: settings.clone(),
            limits,
            left: Arc::new(leaving),
            crowded: Nuisance::default(),
            wrong_keys: Arc::default(),
        };
        tokio::spawn(host.serve(listener, shutdown));
        Self { left }
    }

    /// Returns once a client had us leave the cluster, and has its answer; never, if none does.
    pub async fn left(&self) {
        let mut left = self.left.clone();
        if left.wait_for(|left| *left).await.is_err() {
            std::future::pending().await
        }
    }
}

/// What all sessions share.
#[derive(Debug)]
struct Host<M> {
    membership: M,
    settings: Settings,
    limits: Limits,
    left: Arc<watch::Sender<bool>>,
    /// Refused for want of room, and for wrong keys.
    crowded: Nuisance,
    wrong_keys: Arc<Nuisance>,
}

/// Something that clients do again and again.
#[derive(Debug, Default)]
struct Nuisance(Mutex<Option<Instant>>);

impl Nuisance {
    /// Whether it is time to say so again.
    fn is_due(&self) -> bool {
        let now = clock::now();
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = told.is_none_or(|told| now.duration_since(told) >= TOLD_EVERY);
        if due {
            *told = Some(now);
        }
        due
    }
}

impl<M: Membership> Host<M> {
    async fn serve(self, listener: TcpListener, mut shutdown: Shutdown) {
        let room = Arc::new(Semaphore::new(CLIENTS_MAX));
        // Dropped at the end, and with it every session.
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.wait() => break,
                (stream, peer) = accept(&listener) => match Arc::clone(&room).try_acquire_owned() {
                    Ok(place) => self.admit(&mut open, stream, peer, place),
                    // A client that waits would wait for one that may stay for days.
                    Err(_) if self.crowded.is_due() => {
                        warn!(%peer, "RPC client refused: {CLIENTS_MAX} are connected");
                    }
                    Err(_) => {}
                },
                Some(_) = open.join_next() => {}
            }
        }
        drop(listener);
        // Who has just asked has an answer in a moment; who follows a stream would stay for ever.
        let answered = async { while open.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(ANSWERS_MAX, answered).await;
    }

    fn admit(
        &self,
        open: &mut JoinSet<()>,
        stream: TcpStream,
        peer: SocketAddr,
        place: OwnedSemaphorePermit,
    ) {
        let (membership, auth) = (self.membership.clone(), self.settings.auth.clone());
        let session = Session::new(membership, auth, self.limits);
        let (left, wrong_keys) = (Arc::clone(&self.left), Arc::clone(&self.wrong_keys));
        open.spawn(async move {
            let _place = place;
            // Records are small and somebody waits for each.
            let _ = stream.set_nodelay(true);
            match session
                .run(stream, || left.send_modify(|left| *left = true))
                .await
            {
                Ok(()) => debug!(%peer, "RPC client is done"),
                Err(Ended::WrongKeys) if wrong_keys.is_due() => {
                    warn!(%peer, "RPC client does not know the secret; perhaps somebody is guessing");
                }
                Err(ended) => debug!(%peer, "RPC session ended: {ended}"),
            }
        });
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // Out of descriptors, mostly; the client waits in the queue.
            Err(error) => {
                debug!(%error, "RPC accept failed");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
