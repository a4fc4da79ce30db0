//! One member, two processes: the old one falls silent, the new one speaks in its place.
//!
//! ```text
//! old:  Handle::sockets ─▶ copies of both          new:  start_at(settings, Seat { sockets, turn })
//!       Handle::suspend ─▶ silence, Heritage ──────────▶ turn: Node::inherit, then the owner's loop begins
//!       Suspended::end  ─▶ ended without a leave
//!       dropped         ─▶ goes on, as after a pause
//! ```
//!
//! What comes meanwhile waits in the sockets, which are the same ones in both processes.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use tokio::sync::oneshot;

use super::udp::Udp;
use super::{Command, Handle, StartError};
use crate::gossip::core::io::Heritage;

/// What the owner is asked to do.
#[derive(Debug)]
pub(super) enum Order {
    Sockets {
        reply: oneshot::Sender<io::Result<Sockets>>,
    },
    Suspend {
        reply: oneshot::Sender<Suspended>,
    },
}

/// The sockets of a member.
#[derive(Debug)]
pub struct Sockets {
    /// Listens for streams.
    pub tcp: OwnedFd,
    /// Sends and receives datagrams.
    pub udp: OwnedFd,
}

impl Sockets {
    pub(super) fn of(listener: &tokio::net::TcpListener, udp: &Udp) -> io::Result<Self> {
        Ok(Self {
            tcp: listener.as_fd().try_clone_to_owned()?,
            udp: udp.descriptor().try_clone_to_owned()?,
        })
    }

    /// For a runtime of this process; `address` is where they are, for words.
    pub(super) fn open(
        self,
        address: SocketAddr,
    ) -> Result<(tokio::net::TcpListener, Udp), StartError> {
        let failed = |protocol| {
            move |source| StartError::Bind {
                address,
                protocol,
                source,
            }
        };
        let listener = std::net::TcpListener::from(self.tcp);
        let listener = listener
            .set_nonblocking(true)
            .and_then(|()| tokio::net::TcpListener::from_std(listener));
        let udp = Udp::take(self.udp.into());
        Ok((
            listener.map_err(failed("tcp"))?,
            udp.map_err(failed("udp"))?,
        ))
    }
}

/// A place that becomes free.
#[derive(Debug)]
pub struct Seat {
    /// Of the one who sits there now.
    pub sockets: Sockets,
    /// When it becomes free, and with what to go on. Gossip has ended before it began where this is dropped.
    pub turn: oneshot::Receiver<Heritage>,
}

/// A member that is silent. Dropping it has the member go on.
#[derive(Debug)]
pub struct Suspended {
    /// As of now.
    pub heritage: Heritage,
    verdict: oneshot::Sender<()>,
}

impl Suspended {
    pub(super) fn new(heritage: Heritage, verdict: oneshot::Sender<()>) -> Self {
        Self { heritage, verdict }
    }

    /// Ends gossip in this process. The others are not told: for them nothing has changed.
    pub fn end(self) {
        let _ = self.verdict.send(());
    }
}

impl Handle {
    /// Copies of the sockets; `None` once gossip has ended.
    pub async fn sockets(&self) -> Option<io::Result<Sockets>> {
        self.ask(|reply| Command::Relay(Order::Sockets { reply }))
            .await
    }

    /// From now on nothing is sent and nothing read; `None` once gossip has ended.
    pub async fn suspend(&self) -> Option<Suspended> {
        self.ask(|reply| Command::Relay(Order::Suspend { reply }))
            .await
    }
}
