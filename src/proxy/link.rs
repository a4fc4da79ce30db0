//! A connection to a backend, busy or idle.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::plain;
use crate::clock;
use crate::tls::client::{Client, Inside};
use crate::tls::stream::Stream as Secured;

/// A connection to a backend.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) stream: Stream,
    /// It has carried a request before this one.
    pub(super) reused: bool,
    /// It serves one client only, and is never put aside.
    pub(super) bound: bool,
    /// When it was put aside.
    pub(super) idle_since: Instant,
}

/// Bytes to a backend and back.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Secured(Box<Secured>),
}

/// How a backend is to be spoken to within TLS.
#[derive(Clone, Debug)]
pub(super) struct Secure {
    pub(super) client: Arc<Client>,
    /// Who it has to be.
    pub(super) name: String,
    pub(super) inside: Inside,
}

impl Link {
    /// Connects, says `preamble` before all else, and shakes hands where TLS is spoken. The caller limits the time.
    pub(super) async fn connect(
        address: SocketAddr,
        preamble: Option<&[u8]>,
        secure: Option<Secure>,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        if let Some(preamble) = preamble {
            stream.write_all(preamble).await?;
        }
        let stream = match secure {
            None => Stream::Plain(stream),
            Some(secure) => {
                let shaking = secure.client.shake(stream, &secure.name, secure.inside);
                Stream::Secured(Box::new(Box::pin(shaking).await?))
            }
        };
        Ok(Self {
            stream,
            reused: false,
            bound: preamble.is_some(),
            idle_since: clock::now(),
        })
    }

    /// Once it is dropped it ends with a reset: an end in order would say that all has come.
    pub(super) fn cut(&self) {
        let io = match &self.stream {
            Stream::Plain(io) => io,
            Stream::Secured(secured) => secured.io(),
        };
        let _ = SockRef::from(io).set_linger(Some(Duration::ZERO));
    }

    /// Whether an idle connection can carry a request. `thorough` asks the kernel, at the cost of
    /// a system call; otherwise only what the event loop has already noticed counts.
    pub(super) fn is_usable(&mut self, thorough: bool) -> bool {
        let mut byte = [0];
        // No system call unless the socket has become readable. Bytes that nobody asked for are as bad as the end.
        let io = match &mut self.stream {
            Stream::Plain(io) => {
                let quiet = io.try_read(&mut byte);
                if !quiet.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                    return false;
                }
                io
            }
            Stream::Secured(secured) => {
                if !secured.is_usable() {
                    return false;
                }
                secured.io_mut()
            }
        };
        if !thorough {
            return true;
        }
        let looked = recv(&*io, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        looked.is_err_and(|error| error == rustix::io::Errno::AGAIN)
    }
}

/// Whether a failed connect says something about the backend, and not about us: no descriptor or
/// no local port left must not take backends out.
pub(super) fn is_theirs(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            // A handshake that failed.
            | io::ErrorKind::InvalidData
            | io::ErrorKind::UnexpectedEof
    )
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => plain::poll_read(io, cx, room),
            Self::Secured(secured) => Pin::new(secured).poll_read(cx, room),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => plain::poll_write(io, cx, bytes, false),
            Self::Secured(secured) => Pin::new(secured).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Secured(secured) => Pin::new(secured).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Secured(secured) => Pin::new(secured).poll_shutdown(cx),
        }
    }
}
