//! The datagram socket. An error here is weather, never an end: gossip expects loss.
//!
//! ```text
//! Transmit ─▶ send ─▶ socket ─▶ receive ─▶ (bytes, from)
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tracing::debug;

/// Largest datagram there is.
pub(super) const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// As memberlist asks for: a burst must not be lost while the task sleeps. The system may give less.
const RECEIVE_BUFFER_BYTES: usize = 2 << 20;

/// One socket; an IPv6 one on the unspecified address speaks IPv4 as well.
#[derive(Debug)]
pub(super) struct Udp {
    socket: UdpSocket,
    local: SocketAddr,
}

impl Udp {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        socket.bind(&address.into())?;
        Self::take(socket.into())
    }

    /// One that is bound.
    pub(super) fn take(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let local = socket.local_addr()?;
        Ok(Self { socket, local })
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn port(&self) -> u16 {
        self.local.port()
    }

    /// Sends, or loses it as a network might.
    pub(super) async fn send(&self, packet: &[u8], to: SocketAddr) {
        let mapped = match (self.local.ip(), to.ip()) {
            (IpAddr::V6(_), IpAddr::V4(ip)) => {
                SocketAddr::new(ip.to_ipv6_mapped().into(), to.port())
            }
            _ => to,
        };
        if let Err(error) = self.socket.send_to(packet, mapped).await {
            debug!(%to, "a packet could not be sent: {error}");
        }
    }

    /// Waits until something may be read.
    pub(super) async fn readable(&self) {
        let _ = self.socket.readable().await;
    }

    /// The next datagram that is here already, in place of what is in `buffer`; as much of it as there is room for.
    pub(super) fn receive(&self, buffer: &mut Vec<u8>) -> Option<SocketAddr> {
        buffer.clear();
        match self.socket.try_recv_buf_from(buffer) {
            Ok((_, from)) => Some(SocketAddr::new(from.ip().to_canonical(), from.port())),
            Err(error) => {
                // An ICMP answer to something we sent; the error is taken off the socket by this read.
                if error.kind() != io::ErrorKind::WouldBlock {
                    debug!("receiving: {error}");
                }
                None
            }
        }
    }
}
