//! A connection to a backend, busy or idle.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::clock;

/// A connection to a backend.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) stream: TcpStream,
    /// It has carried a request before this one.
    pub(super) reused: bool,
    /// It serves one client only, and is never put aside.
    pub(super) bound: bool,
    /// When it was put aside.
    pub(super) idle_since: Instant,
}

impl Link {
    /// Connects, and says `preamble` before all else. The caller limits the time.
    pub(super) async fn connect(address: SocketAddr, preamble: Option<&[u8]>) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        if let Some(preamble) = preamble {
            stream.write_all(preamble).await?;
        }
        Ok(Self {
            stream,
            reused: false,
            bound: preamble.is_some(),
            idle_since: clock::now(),
        })
    }

    /// Once it is dropped it ends with a reset: an end in order would say that all has come.
    pub(super) fn cut(&self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
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
