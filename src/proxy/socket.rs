//! A client's socket, known to the event loop only once somebody has to wait for it.
//!
//! ```text
//! accepted ─▶ Fresh: read and write at once ─┬─ served and closed: the event loop never heard of it
//!                                            └─ would block ─▶ Watched (registered) ─▶ …
//! ```
//!
//! A client behind TLS is `Secured` from the start: its handshake was waited for.
//!
//! Most connections that carry one request have it in the kernel by the time they are accepted, and take their answer
//! at once: registering and forgetting them would be two system calls and a wake-up each.

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream as Plain};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::plain;
use crate::tls;

/// After so long a silence a client's machine is asked whether it is there, so often, and so many times.
const ALIVE_AFTER: Duration = Duration::from_secs(60);
const ALIVE_EVERY: Duration = Duration::from_secs(15);
const ALIVE_TRIES: u32 = 4;

/// One client's socket. Shared by its reader and its writer, which live in one task.
pub(super) struct Socket(Cell<State>);

#[derive(Default)]
enum State {
    /// Non-blocking, and unknown to the event loop.
    Fresh(Plain),
    Watched(TcpStream),
    Secured(Box<Secured>),
    /// A proxy in front said to which address its client had connected.
    Introduced(Box<Introduced>),
    /// Handed to the event loop, which did not take it; and while one of its methods runs.
    #[default]
    Gone,
}

/// A client's connection within TLS.
pub(super) struct Secured {
    pub(super) stream: tls::stream::Stream,
    /// Field lines about its certificate, where clients are asked for one.
    pub(super) told: Option<Rc<[u8]>>,
}

struct Introduced {
    /// Any state but this one.
    state: State,
    local: SocketAddr,
}

impl State {
    /// What it is, whoever introduced it.
    #[inline]
    fn own(&mut self) -> &mut Self {
        match self {
            Self::Introduced(introduced) => &mut introduced.state,
            state => state,
        }
    }

    /// Waits from now on are the event loop's.
    fn watch(&mut self) -> io::Result<&mut TcpStream> {
        if let Self::Fresh(_) = self
            && let Self::Fresh(plain) = std::mem::replace(self, Self::Gone)
        {
            *self = Self::Watched(TcpStream::from_std(plain)?);
        }
        match self {
            Self::Watched(stream) => Ok(stream),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

fn would_block<T>(done: &io::Result<T>) -> bool {
    matches!(done, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

impl Socket {
    /// `accepted` is non-blocking.
    pub(super) fn new(accepted: Plain) -> Self {
        Self(Cell::new(State::Fresh(accepted)))
    }

    /// After its handshake.
    pub(super) fn secured(secured: Box<Secured>) -> Self {
        Self(Cell::new(State::Secured(secured)))
    }

    /// Within TLS.
    pub(super) fn is_secured(&self) -> bool {
        self.with(|state| matches!(state, State::Secured(_)))
    }

    /// This protocol was agreed on within TLS.
    pub(super) fn is_agreed_on(&self, protocol: &[u8]) -> bool {
        self.with(|state| match state {
            State::Secured(secured) => secured.stream.protocol() == Some(protocol),
            _ => false,
        })
    }

    /// Field lines about the client's certificate, where clients are asked for one.
    pub(super) fn told(&self) -> Option<Rc<[u8]>> {
        self.with(|state| match state {
            State::Secured(secured) => secured.told.clone(),
            _ => None,
        })
    }

    /// What was said is all, where that is told at all. False: it takes a wait.
    pub(super) fn say_end(&mut self) -> bool {
        match self.0.get_mut().own() {
            State::Secured(secured) => secured.stream.say_end(),
            _ => true,
        }
    }

    /// The socket for the event loop, and the address that a proxy in front said its client had connected to.
    pub(super) fn into_parts(self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        let (mut state, local) = match self.0.into_inner() {
            State::Introduced(introduced) => (introduced.state, Some(introduced.local)),
            state => (state, None),
        };
        state.watch()?;
        match state {
            State::Watched(stream) => Ok((stream, local)),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// It, for another owner; what stays is closed.
    pub(super) fn take(&self) -> Self {
        Self(Cell::new(self.0.take()))
    }

    #[inline]
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.0.take();
        let done = act(state.own());
        self.put(state);
        done
    }

    /// Puts back what was taken out. What stood in its place is [`State::Gone`], which there is no need to drop.
    #[inline]
    fn put(&self, state: State) {
        std::mem::forget(self.0.replace(state));
    }

    /// The address that the client connected to.
    pub(super) fn local(&self) -> io::Result<SocketAddr> {
        let state = self.0.take();
        let local = match &state {
            State::Fresh(plain) => plain.local_addr(),
            State::Watched(stream) => stream.local_addr(),
            State::Secured(secured) => secured.stream.io().local_addr(),
            State::Introduced(introduced) => Ok(introduced.local),
            State::Gone => Err(io::ErrorKind::NotConnected.into()),
        };
        self.put(state);
        local
    }

    /// A proxy in front says that its client connected to `local`.
    pub(super) fn introduced(self, local: SocketAddr) -> Self {
        let state = self.0.into_inner();
        let introduced = Introduced { state, local };
        Self(Cell::new(State::Introduced(Box::new(introduced))))
    }

    /// Copies what has come and was not read, without a wait.
    pub(super) fn peek(&self, room: &mut [u8]) -> io::Result<usize> {
        let mut peeked = Err(io::ErrorKind::NotConnected.into());
        self.with_fd(|fd| {
            let looked = recv(fd, room, RecvFlags::PEEK | RecvFlags::DONTWAIT);
            peeked = looked.map(|(bytes, _)| bytes).map_err(io::Error::from);
        });
        peeked
    }

    /// The client has reset it, whether or not what came before that was read.
    pub(super) fn is_broken(&self) -> bool {
        let mut failed = false;
        self.with_fd(|fd| failed = !matches!(SockRef::from(&fd).take_error(), Ok(None)));
        if failed {
            return true;
        }
        let peeked = self.peek(&mut [0]);
        !would_block(&peeked) && peeked.is_err()
    }

    /// Once it is dropped it ends with a reset: an end in order would say that all has come.
    pub(super) fn cut(&self) {
        self.with(|state| {
            if let State::Secured(secured) = state {
                secured.stream.never_say_end();
            }
        });
        self.with_fd(|fd| {
            let _ = SockRef::from(&fd).set_linger(Some(Duration::ZERO));
        });
    }

    /// Has the kernel ask now and then whether the client's machine is still there: one that waits in silence, rightly, for as
    /// long as it likes would else be waited for when it is long gone.
    pub(super) fn keep_alive(&self) {
        let often = TcpKeepalive::new()
            .with_time(ALIVE_AFTER)
            .with_interval(ALIVE_EVERY)
            .with_retries(ALIVE_TRIES);
        self.with_fd(|fd| {
            // One that is gone already is found out by the next read.
            let _ = SockRef::from(&fd).set_tcp_keepalive(&often);
        });
    }

    /// Whether reading may give something; asks the event loop only. Pending also while it does not know the socket.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.with(|state| match state {
            State::Fresh(_) => Poll::Pending,
            State::Watched(stream) => stream.poll_read_ready(cx).map(|_| ()),
            State::Secured(secured) => secured.stream.poll_readable(cx),
            State::Introduced(_) | State::Gone => Poll::Ready(()),
        })
    }

    /// The event loop knows it.
    pub(super) fn is_watched(&self) -> bool {
        self.with(|state| !matches!(state, State::Fresh(_)))
    }

    /// From now on [`Self::poll_readable`] tells when the client says something or leaves.
    pub(super) fn watch(&self) {
        // One that the event loop does not take is gone, which the next read says.
        self.with(|state| {
            if let State::Fresh(_) = state {
                drop(state.watch());
            }
        });
    }

    /// Calls `act` on its descriptor.
    pub(super) fn with_fd(&self, act: impl FnOnce(BorrowedFd<'_>)) {
        self.with(|state| match state {
            State::Fresh(plain) => act(plain.as_fd()),
            State::Watched(stream) => act(stream.as_fd()),
            State::Secured(secured) => act(secured.stream.io().as_fd()),
            State::Introduced(_) | State::Gone => {}
        });
    }

    /// For the event loop alone, from now on; below TLS.
    pub(super) fn stream(&mut self) -> io::Result<&mut TcpStream> {
        match self.0.get_mut().own() {
            State::Secured(secured) => Ok(secured.stream.io_mut()),
            state => state.watch(),
        }
    }
}

/// A client that is written to for the last time: what is written may wait for the end that follows at once, and leave in
/// one packet with it: a shutdown.
pub(super) struct Last<'s>(pub(super) &'s Socket);

impl Socket {
    #[inline]
    fn poll_send(&self, cx: &mut Context<'_>, bytes: &[u8], more: bool) -> Poll<io::Result<usize>> {
        self.with(|state| {
            if let State::Watched(stream) = state {
                return plain::poll_write(stream, cx, bytes, more);
            }
            if let State::Fresh(plain) = state {
                let written = plain::write(plain.as_fd(), bytes, more);
                if !would_block(&written) {
                    return Poll::Ready(written);
                }
            }
            if let State::Secured(secured) = state {
                return Pin::new(&mut secured.stream).poll_write(cx, bytes);
            }
            plain::poll_write(state.watch()?, cx, bytes, more)
        })
    }
}

impl AsyncWrite for Last<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_send(cx, bytes, true)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl AsyncRead for &Socket {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(|state| {
            if let State::Watched(stream) = state {
                return plain::poll_read(stream, cx, room);
            }
            if let State::Fresh(plain) = state {
                let read = plain::read(plain.as_fd(), room.initialize_unfilled());
                if !would_block(&read) {
                    return Poll::Ready(read.map(|bytes| room.advance(bytes)));
                }
            }
            if let State::Secured(secured) = state {
                return Pin::new(&mut secured.stream).poll_read(cx, room);
            }
            plain::poll_read(state.watch()?, cx, room)
        })
    }
}

impl AsyncWrite for &Socket {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bytes, false)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|state| match state {
            State::Secured(secured) => Pin::new(&mut secured.stream).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|state| match state {
            State::Fresh(plain) => Poll::Ready(plain.shutdown(Shutdown::Write)),
            State::Watched(stream) => Pin::new(stream).poll_shutdown(cx),
            State::Secured(secured) => Pin::new(&mut secured.stream).poll_shutdown(cx),
            State::Introduced(_) | State::Gone => Poll::Ready(Ok(())),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::task::Waker;

    use super::*;

    #[test]
    fn what_is_written_last_arrives_whole_and_with_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Plain::connect(listener.local_addr().unwrap()).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let accepted = listener.accept().unwrap().0;
        accepted.set_nonblocking(true).unwrap();
        let socket = Socket::new(accepted);
        let mut cx = Context::from_waker(Waker::noop());

        for piece in [&b"an "[..], b"answer"] {
            let written = Pin::new(&mut Last(&socket)).poll_write(&mut cx, piece);
            assert!(matches!(written, Poll::Ready(Ok(bytes)) if bytes == piece.len()));
        }
        let ended = Pin::new(&mut Last(&socket)).poll_shutdown(&mut cx);
        assert!(matches!(ended, Poll::Ready(Ok(()))));

        let mut read = String::new();
        client.read_to_string(&mut read).unwrap();
        assert_eq!(read, "an answer");
    }

    #[test]
    fn a_silent_client_is_asked_whether_it_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = Plain::connect(listener.local_addr().unwrap()).unwrap();
        let socket = Socket::new(listener.accept().unwrap().0);

        socket.keep_alive();

        socket.with_fd(|fd| {
            let known = SockRef::from(&fd);
            assert!(known.keepalive().unwrap());
            assert_eq!(known.tcp_keepalive_time().unwrap(), ALIVE_AFTER);
            assert_eq!(known.tcp_keepalive_interval().unwrap(), ALIVE_EVERY);
            assert_eq!(known.tcp_keepalive_retries().unwrap(), ALIVE_TRIES);
        });
    }
}
