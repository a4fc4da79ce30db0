//! A connection to a backend, busy or idle.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use rustix::net::{RecvFlags, recv};
use tokio::net::TcpStream;

use crate::clock;

/// A connection to a backend.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) stream: TcpStream,
    /// It has carried a request before this one.
    pub(super) reused: bool,
    /// When it was put aside.
    pub(super) idle_since: Instant,
}

impl Link {
    /// Connects. The caller limits the time.
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            reused: false,
            idle_since: clock::now(),
        })
    }

    /// Whether an idle connection can carry a request. `thorough` asks the kernel, at the cost of
    /// a system call; otherwise only what the event loop has already noticed counts.
    pub(super) fn is_usable(&self, thorough: bool) -> bool {
        let mut byte = [0];
        // No system call unless the socket has become readable. Bytes that nobody asked for are as bad as the end.
        let quiet = self.stream.try_read(&mut byte);
        if !quiet.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            return false;
        }
        if !thorough {
            return true;
        }
        let looked = recv(
            &self.stream,
            &mut byte,
            RecvFlags::PEEK | RecvFlags::DONTWAIT,
        );
        looked.is_err_and(|error| error == rustix::io::Errno::AGAIN)
    }
}
