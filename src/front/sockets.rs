//! All that a front listens on, and its lock: opened, or taken over from where they are open already.
//!
//! ```text
//! predecessor ─┐
//! LISTEN_FDS  ─┼─▶ Openings: state · proxy · admin · RPC · door ─▶ served
//! bind        ─┘        └─▶ Estate: a second descriptor of each, for a successor
//! ```

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use listenfd::ListenFd;
use tokio::net::TcpListener;
use tracing::warn;

use super::failure::Failure;
use super::upgrade::Estate;
use super::upgrade::door::Door;
use super::upgrade::predecessor::Predecessor;
use crate::proxy::{Handed, Inherited};
use crate::state::State;
use crate::{admin, clock, config, membership, proxy, rpc};

/// How long a busy admin port is retried, and how often.
const BUSY_MAX: Duration = Duration::from_secs(10);
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// Sockets of systemd's socket units. To be called before there is a second thread: it takes their variables out of
/// the environment, so that no script of ours takes them for its own.
///
/// # Errors
/// One that is no TCP socket.
pub(super) fn activated() -> Result<Inherited, Failure> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..passed.len() {
        let socket = passed.take_tcp_listener(index);
        let socket = socket.map_err(|source| Failure::System {
            what: "listening on a socket of the service manager",
            source,
        })?;
        sockets.extend(socket.map(|socket| Handed {
            name: names.split(':').nth(index).map(str::to_owned),
            named: true,
            socket,
        }));
    }
    Ok(Inherited {
        sockets,
        strict: true,
    })
}

/// Everything open.
#[derive(Debug)]
pub(super) struct Openings {
    pub(super) state: Option<Arc<State>>,
    pub(super) listeners: proxy::Listeners,
    pub(super) admin: Option<TcpListener>,
    pub(super) rpc: Option<TcpListener>,
    pub(super) door: Option<Door>,
    pub(super) estate: Estate,
}

impl Openings {
    /// Binds what nobody left us.
    pub(super) async fn open(
        config: &config::Front,
        activated: Inherited,
        mut predecessor: Option<&mut Predecessor>,
    ) -> Result<Self, Failure> {
        let kept = predecessor
            .as_mut()
            .and_then(|predecessor| predecessor.state(config));
        let state = match kept {
            Some(state) => Some(state),
            None => membership::state(config.state.as_deref(), &config.gossip.node).await?,
        };
        let inherited = match &mut predecessor {
            Some(predecessor) => Inherited {
                sockets: predecessor.proxy(),
                strict: false,
            },
            None => activated,
        };
        let proxy = &config.proxy;
        let listeners = proxy::bind_with(&proxy.listeners, proxy.workers, inherited).await?;
        let left = predecessor
            .as_mut()
            .and_then(|predecessor| predecessor.admin(config.admin.listen));
        let admin = match left {
            Some(socket) => Some(taken(socket)?),
            None => bind_admin(&config.admin).await?,
        };
        let left = predecessor
            .as_mut()
            .and_then(|predecessor| predecessor.rpc(config.rpc.listen));
        let rpc = match left {
            Some(socket) => Some(taken(socket)?),
            None => rpc::bind(&config.rpc).await?,
        };
        let door = door(config, state.is_some(), predecessor);
        let copy = |socket: &Option<TcpListener>| -> io::Result<Option<OwnedFd>> {
            let copy = socket
                .as_ref()
                .map(|socket| socket.as_fd().try_clone_to_owned());
            copy.transpose()
        };
        let estate = || -> io::Result<Estate> {
            Ok(Estate {
                proxy: listeners.copies(&proxy.listeners)?,
                admin: copy(&admin)?,
                rpc: copy(&rpc)?,
                door: door.as_ref().map(Door::copy).transpose()?,
            })
        };
        let estate = estate().map_err(no_descriptors)?;
        Ok(Self {
            state,
            listeners,
            admin,
            rpc,
            door,
            estate,
        })
    }
}

/// Where there is no directory there is no door: SIGUSR2 remains.
fn door(
    config: &config::Front,
    has_state: bool,
    predecessor: Option<&mut Predecessor>,
) -> Option<Door> {
    let root = config.state.as_deref().filter(|_| has_state)?;
    let directory = State::directory(root, &config.gossip.node);
    if let Some(door) = predecessor.and_then(|predecessor| predecessor.door(&directory)) {
        return Some(door);
    }
    match Door::open(&directory) {
        Ok(door) => Some(door),
        Err(error) => {
            warn!(
                "`lb upgrade` will not find us: {}: {error}; SIGUSR2 does the same",
                directory.display()
            );
            None
        }
    }
}

fn taken(socket: std::net::TcpListener) -> Result<TcpListener, Failure> {
    socket
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(socket))
        .map_err(no_descriptors)
}

fn no_descriptors(source: io::Error) -> Failure {
    Failure::System {
        what: "listening",
        source,
    }
}

/// A busy port is often our own predecessor, about to end.
async fn bind_admin(settings: &admin::Settings) -> Result<Option<TcpListener>, Failure> {
    let started = clock::now();
    let mut told = false;
    loop {
        let source = match admin::bind(settings).await {
            Ok(listener) => return Ok(listener),
            Err(source) => source,
        };
        let address = settings.listen.unwrap_or(config::ADMIN);
        if source.kind() != io::ErrorKind::AddrInUse || started.elapsed() >= BUSY_MAX {
            return Err(Failure::Admin { address, source });
        }
        if !std::mem::replace(&mut told, true) {
            warn!(
                "admin: {address} is in use by another program; trying for {} s",
                BUSY_MAX.as_secs()
            );
        }
        tokio::time::sleep(BUSY_PAUSE).await;
    }
}
