//! A client's socket as the h2 crate sees it.
//!
//! ```text
//! socket ─▶ read ─▶ Calm (counts frames) ─▶ h2
//! socket ◀─ one write per turn ◀─ out ◀─ every frame that h2 writes
//! ```
//!
//! h2 flushes after each frame that is not tiny, which would be a system call per answer and per 16 KiB of a body. Here
//! a flush is a promise: all that one poll of the connection wrote goes out at its end.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::buffer::Buffer;
use super::super::socket::Socket;
use super::super::worker::Worker;
use super::calm::Calm;

/// Collected before it is written.
const COLLECTED_MAX: usize = 64 * 1024;

/// Read in one turn of the connection. What it brought is then taken by whom it is for, before there is more of it: the
/// h2 crate ends a connection on which too many small frames wait.
const TURN_MAX: usize = 64 * 1024;

/// One connection's bytes, both ways.
pub(super) struct Wire {
    worker: Rc<Worker>,
    pub(super) socket: Socket,
    /// Read before it was known that this is HTTP/2.
    early: RefCell<Buffer>,
    out: RefCell<Buffer>,
    pub(super) calm: RefCell<Calm>,
    flooded: Cell<bool>,
    /// Read in this turn.
    heard: Cell<usize>,
    /// Since when the client has taken nothing.
    stuck_since: Cell<Option<Instant>>,
}

impl Wire {
    /// `early` was read from `socket` before.
    pub(super) fn new(worker: &Rc<Worker>, socket: Socket, early: Buffer) -> Self {
        Self {
            worker: worker.clone(),
            socket,
            early: RefCell::new(early),
            out: RefCell::new(Buffer::new(&worker.buffers)),
            calm: RefCell::new(Calm::new(worker.now())),
            flooded: Cell::new(false),
            heard: Cell::new(0),
            stuck_since: Cell::new(None),
        }
    }

    /// The connection has its turn.
    pub(super) fn begin_turn(&self) {
        self.heard.set(0);
    }

    /// The client has said too much: nothing more is read.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.get()
    }

    /// What a client did elsewhere than in its frames was too much.
    pub(super) fn flood(&self) {
        self.flooded.set(true);
    }

    /// Since when the client has taken nothing of what is there for it.
    pub(super) fn stuck_since(&self) -> Option<Instant> {
        self.stuck_since.get()
    }

    /// Writes what was collected. Ready: all of it is out.
    pub(super) fn poll_out(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.out.borrow_mut();
        let before = out.len();
        let polled = out.poll_drain(cx, &mut &self.socket);
        match polled {
            Poll::Ready(_) => self.stuck_since.set(None),
            Poll::Pending if out.len() < before || self.stuck_since.get().is_none() => {
                self.stuck_since.set(Some(self.worker.now()));
            }
            Poll::Pending => {}
        }
        ready!(polled)?;
        Pin::new(&mut &self.socket).poll_flush(cx)
    }

    /// Takes `bytes`, once there is room.
    fn poll_take(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.out.borrow().len() >= COLLECTED_MAX {
            ready!(self.poll_out(cx))?;
        }
        let mut out = self.out.borrow_mut();
        let most = bytes.len().min(COLLECTED_MAX);
        out.append(&bytes[..most]);
        Poll::Ready(Ok(most))
    }
}

/// What h2 gets of it.
pub(super) struct Io(pub(super) Rc<Wire>);

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &self.0;
        if wire.is_flooded() {
            return Poll::Pending;
        }
        if wire.heard.get() >= TURN_MAX {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = room.filled().len();
        let mut early = wire.early.borrow_mut();
        if early.is_empty() {
            ready!(Pin::new(&mut &wire.socket).poll_read(cx, room))?;
        } else {
            let bytes = early.len().min(room.remaining());
            room.put_slice(&early.bytes()[..bytes]);
            early.consume(bytes);
        }
        let bytes = &room.filled()[before..];
        wire.heard.set(wire.heard.get() + bytes.len());
        if !wire.calm.borrow_mut().hear(bytes, wire.worker.now()) {
            wire.flood();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_take(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_out(cx))?;
        Pin::new(&mut &self.0.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        for piece in pieces {
            match self.0.poll_take(cx, piece) {
                Poll::Ready(Ok(bytes)) => {
                    taken += bytes;
                    if bytes < piece.len() {
                        break;
                    }
                }
                _ if taken > 0 => break,
                polled => return polled,
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
