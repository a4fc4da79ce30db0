//! Plain TCP, read and written with as little around the system call as there can be.
//!
//! ```text
//! event loop says ready ─▶ recv, send ─┬─ done; fewer bytes than room: no more is there until the event loop says so
//!                                      └─ would block: wait
//! ```
//!
//! The C library makes each such call a point where a thread can be cancelled, which costs as much as reading a head
//! does; and what returns through many functions after a system call is slow, since kernels make the processor forget
//! where it came from. So these go past the library, and into their callers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Reads once, where the descriptor does not block.
///
/// # Errors
/// Of the kernel; [`io::ErrorKind::WouldBlock`] among them.
#[inline(always)]
pub(super) fn read(fd: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match recv(fd, &mut *room, RecvFlags::empty()) {
            Ok((bytes, _)) => return Ok(bytes),
            // A signal came between.
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes once, where the descriptor does not block. `more` follows at once: what fills no packet may wait for it.
///
/// # Errors
/// Of the kernel; [`io::ErrorKind::WouldBlock`] among them.
#[inline(always)]
pub(super) fn write(fd: BorrowedFd<'_>, bytes: &[u8], more: bool) -> io::Result<usize> {
    let flags = match more {
        true => SendFlags::NOSIGNAL | SendFlags::MORE,
        false => SendFlags::NOSIGNAL,
    };
    loop {
        match send(fd, bytes, flags) {
            Err(Errno::INTR) => {}
            done => return done.map_err(io::Error::from),
        }
    }
}

/// What is read of `stream` into `room`, as [`tokio::io::AsyncRead`] has it.
#[inline(always)]
pub(super) fn poll_read(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    room: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    // Memory that nobody wrote to yet (of the h2 crate) would have to be filled with zeroes for us, and not for tokio.
    if room.initialized().len() < room.capacity() {
        return Pin::new(stream).poll_read(cx, room);
    }
    let most = room.remaining();
    loop {
        ready!(stream.poll_read_ready(cx))?;
        match read(stream.as_fd(), room.initialize_unfilled()) {
            Ok(bytes) => {
                room.advance(bytes);
                if 0 < bytes && bytes < most {
                    is_quiet(stream, Interest::READABLE);
                }
                return Poll::Ready(Ok(()));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                is_quiet(stream, Interest::READABLE);
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// Writes some of `bytes` to `stream`, as [`tokio::io::AsyncWrite`] has it.
#[inline(always)]
pub(super) fn poll_write(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    bytes: &[u8],
    more: bool,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match write(stream.as_fd(), bytes, more) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                is_quiet(stream, Interest::WRITABLE);
            }
            Ok(written) if 0 < written && written < bytes.len() => {
                is_quiet(stream, Interest::WRITABLE);
                return Poll::Ready(Ok(written));
            }
            done => return Poll::Ready(done),
        }
    }
}

/// The kernel had or took less than it was asked for: the next time is an event of its own, which spares the call that
/// would say so. No event comes between that call and this one: a worker's event loop runs on the thread of its tasks.
fn is_quiet(stream: &TcpStream, side: Interest) {
    let blocked = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
    // What it gives back is what it was told.
    let _ = stream.try_io(side, blocked);
}
