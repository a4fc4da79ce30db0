//! A listener's sockets, one by one: where they are bound, whose they are, and why one could not be.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Why there is nothing to listen on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Ports below 1024 need a capability. The caller says how to get it.
    #[error("not allowed to listen on {address}: {source}")]
    Denied {
        /// Where.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
    /// Somebody else listens there and did not go away within 10 s.
    #[error("{address} is in use by another program")]
    Busy {
        /// Where.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
    /// A socket of the service manager that no listener wants.
    #[error(
        "the service manager passes a socket on {address} (named {name:?}), which belongs to no listener"
    )]
    Stray {
        /// Where.
        address: SocketAddr,
        /// Its name; empty: none.
        name: String,
    },
    /// Anything else.
    #[error("listening on {address}: {source}")]
    Other {
        /// Where.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
}

impl BindError {
    pub(super) fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied { address, source },
            io::ErrorKind::AddrInUse => Self::Busy { address, source },
            _ => Self::Other { address, source },
        }
    }
}

/// A socket of one worker.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) listener: u8,
    pub(super) socket: TcpListener,
    /// It came with its listener's name, not by its address.
    pub(super) named: bool,
    /// Another descriptor of a socket that another worker has too.
    pub(super) shared: bool,
}

/// One address that is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The number of its listener.
    pub listener: u8,
    /// With its port.
    pub address: SocketAddr,
}

/// One more socket on an address that all of ours share. It gets no connections before it listens.
pub(super) fn share(address: SocketAddr) -> Result<TcpListener, BindError> {
    match open(address, true) {
        Ok(socket) => Ok(socket.into()),
        Err(error) => Err(BindError::new(address, error)),
    }
}

/// A socket that does not listen yet. `shared`: others may be bound there too.
pub(super) fn open(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 too; any other IPv6 address takes only itself anyway.
        socket.set_only_v6(false)?;
    }
    // Connections of a predecessor in TIME_WAIT don't keep us from the port.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
