//! Bytes over TLS: one connection, either end.
//!
//! ```text
//! socket ─one read─▶ scratch (per thread) ─▶ session ─▶ the reader's own buffer
//! writer ─▶ session: records of 16 KiB ─one vectored write─▶ socket
//! ```
//!
//! rustls' own way reads 4 KiB at a time; here a read takes what there is, up to 64 KiB, and only the session's part of
//! it is copied. A connection that waits holds no memory for bytes but the session's 4 KiB.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::pki_types::CertificateDer;
use rustls::{ClientConnection, Connection, HandshakeKind, ProtocolVersion, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::failure::{Failure, in_words};

/// Read at most at once.
const READ_MAX: usize = 64 * 1024;

/// Least that is read at once, also for who wants a single byte; the session takes so much without a word.
const READ_MIN: usize = 4 * 1024;

/// Sealed at most before it is written: a head and 64 KiB of a body, in one system call. Who reads slowly makes us hold
/// that much.
const SEALED_MAX: usize = 96 * 1024;

/// The first byte of every TLS connection: a record of a handshake.
const HANDSHAKE: u8 = 22;

thread_local! {
    /// What was read and not yet taken by a session; nothing is in it between two calls.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// In the errors of a read: who closes so may have been cut off.
const TRUNCATED: &str =
    "closed without a word (TLS close_notify), so that something may be missing";

/// One connection.
///
/// A write that returns `Pending` has to be repeated with the same bytes, and perhaps more behind them: the last byte of
/// what was sealed is reported as written only once all of it is out.
#[derive(Debug)]
pub struct Stream {
    io: TcpStream,
    session: Connection,
    /// One more byte than reported is sealed.
    held: bool,
    /// Something was read.
    begun: bool,
    /// We said that nothing more comes.
    ended: bool,
    /// Read, and too much for the session until its reader takes something.
    spill: Vec<u8>,
    /// The session has taken much at once, and keeps room for as much again.
    swollen: bool,
}

impl Stream {
    /// At the server's end, before its handshake.
    pub fn server(io: TcpStream, session: ServerConnection) -> Self {
        Self::new(io, session.into())
    }

    /// At the client's end, before its handshake.
    pub fn client(io: TcpStream, session: ClientConnection) -> Self {
        Self::new(io, session.into())
    }

    fn new(io: TcpStream, mut session: Connection) -> Self {
        session.set_buffer_limit(Some(SEALED_MAX));
        Self {
            io,
            session,
            held: false,
            begun: false,
            ended: false,
            spill: Vec::new(),
            swollen: false,
        }
    }

    /// Shakes hands. Afterwards bytes can go both ways.
    ///
    /// # Errors
    /// See [`Failure`]; the other side was told, if it listens.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            if !self.session.is_handshaking() && self.may_wait() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_out(cx)).map_err(Failure::Io)?;
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            match ready!(self.poll_more(cx, READ_MIN, None)) {
                Ok(0) => return Poll::Ready(Err(Failure::Closed)),
                Ok(_) => {}
                Err(failure) => {
                    // The alert; it is no matter if it does not get there.
                    let _ = self.poll_out(cx);
                    return Poll::Ready(Err(failure));
                }
            }
        }
    }

    /// Tickets, which follow the handshake of TLS 1.3, go out with the first answer: its request is mostly here already.
    fn may_wait(&self) -> bool {
        matches!(self.session, Connection::Server(_))
            && self.session.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// The protocol that was agreed on (ALPN).
    pub fn protocol(&self) -> Option<&[u8]> {
        self.session.alpn_protocol()
    }

    /// Something has come from the other side.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The session goes on with what an earlier one agreed on.
    pub fn is_resumed(&self) -> bool {
        self.session.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// What the other side has shown; the first is its own.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        self.session.peer_certificates().unwrap_or_default()
    }

    /// The name that the client asked for.
    pub fn server_name(&self) -> Option<&str> {
        match &self.session {
            Connection::Server(session) => session.server_name(),
            Connection::Client(_) => None,
        }
    }

    /// The socket below.
    pub fn io(&self) -> &TcpStream {
        &self.io
    }

    /// The socket below, for who is done with TLS.
    pub fn io_mut(&mut self) -> &mut TcpStream {
        &mut self.io
    }

    /// Whether a read may give something; asks the event loop only.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        // It wants none while it has something, and after the end.
        if !self.session.wants_read() || !self.spill.is_empty() {
            return Poll::Ready(());
        }
        self.io.poll_read_ready(cx).map(|_| ())
    }

    /// Nobody reads or waits: whether it could still carry a request. No system call unless something came, which may
    /// be tickets.
    pub fn is_usable(&mut self) -> bool {
        loop {
            if !self.session.wants_read() || !self.spill.is_empty() {
                return false;
            }
            let mut bytes = [0; READ_MIN];
            match self.io.try_read(&mut bytes) {
                Ok(read) if read > 0 => {
                    if self.feed(&bytes[..read], None).is_err() {
                        return false;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                _ => return false,
            }
        }
    }

    /// Says that nothing more comes, as far as that goes without a wait. False: a wait is needed, see
    /// [`AsyncWrite::poll_shutdown`].
    pub fn say_end(&mut self) -> bool {
        self.end();
        while self.session.wants_write() {
            match self.session.write_tls(&mut AtOnce(&self.io)) {
                Ok(bytes) if bytes > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // Nobody hears it.
                _ => return true,
            }
        }
        true
    }

    /// Whatever follows, it must not look as if all had been said.
    pub fn never_say_end(&mut self) {
        self.ended = true;
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.session.send_close_notify();
        }
    }

    /// All that is sealed is out.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out_counted(cx, &mut 0)
    }

    /// The same; adds to `written` what the kernel took.
    fn poll_out_counted(
        &mut self,
        cx: &mut Context<'_>,
        written: &mut usize,
    ) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let io = &mut self.io;
            match self.session.write_tls(&mut Polled { io, cx }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(bytes) => *written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, at most `most` bytes; what they mean goes to `room`, as far as it fits. Ready with 0: the end.
    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
        room: Option<&mut ReadBuf<'_>>,
    ) -> Poll<Result<usize, Failure>> {
        SCRATCH.with(|scratch| {
            let mut scratch = scratch.borrow_mut();
            if scratch.is_empty() {
                scratch.resize(READ_MAX, 0);
            }
            let mut read = ReadBuf::new(&mut scratch[..most.clamp(READ_MIN, READ_MAX)]);
            let polled = ready!(Pin::new(&mut self.io).poll_read(cx, &mut read));
            polled.map_err(Failure::Io)?;
            let bytes = read.filled();
            if bytes.is_empty() {
                // The session has to see the end too.
                let _ = self.session.read_tls(&mut io::empty());
                return Poll::Ready(Ok(0));
            }
            if !std::mem::replace(&mut self.begun, true)
                && matches!(self.session, Connection::Server(_))
                && bytes[0] != HANDSHAKE
            {
                return Poll::Ready(Err(match is_http(bytes) {
                    true => Failure::PlainHttp,
                    false => Failure::NotTls,
                }));
            }
            let fed = self.feed(bytes, room).map_err(Failure::Tls);
            Poll::Ready(fed.map(|()| bytes.len()))
        })
    }

    /// Has the session take `bytes`; what they mean goes to `room`, as far as it fits.
    fn feed(
        &mut self,
        mut bytes: &[u8],
        mut room: Option<&mut ReadBuf<'_>>,
    ) -> Result<(), rustls::Error> {
        self.swollen |= bytes.len() > READ_MIN;
        while !bytes.is_empty() {
            match self.session.read_tls(&mut bytes) {
                // After its end nothing counts.
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(_) => {
                    self.spill.extend_from_slice(bytes);
                    return Ok(());
                }
            }
            self.session.process_new_packets()?;
            if let Some(room) = &mut room {
                // An end is told by the next read.
                let _ = self.take(room);
            }
        }
        Ok(())
    }

    /// Moves what the session has. False: nothing now.
    fn take(&mut self, room: &mut ReadBuf<'_>) -> io::Result<bool> {
        let before = room.filled().len();
        while room.remaining() > 0 {
            match self.session.reader().read(room.initialize_unfilled()) {
                // It said that this is the end.
                Ok(0) => return Ok(true),
                Ok(bytes) => room.advance(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) if room.filled().len() > before => break,
                Err(_) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, TRUNCATED)),
            }
        }
        Ok(room.filled().len() > before)
    }
}

/// Has nothing for now.
struct Silence;

impl Read for Silence {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// The beginning of a request in clear, or of HTTP/2 without TLS.
fn is_http(bytes: &[u8]) -> bool {
    let letters = bytes.iter().take_while(|byte| byte.is_ascii_uppercase());
    match letters.count() {
        0 => false,
        all if all == bytes.len() => true,
        letters => bytes[letters] == b' ',
    }
}

fn broken(failure: Failure) -> io::Error {
    match failure {
        Failure::Io(error) => error,
        Failure::Tls(error) => io::Error::new(io::ErrorKind::InvalidData, in_words(&error)),
        failure => failure.into(),
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = room.filled().len();
        loop {
            if room.remaining() == 0 || this.take(room)? {
                return Poll::Ready(Ok(()));
            }
            if !this.spill.is_empty() {
                let spill = std::mem::take(&mut this.spill);
                let fed = this.feed(&spill, Some(room));
                fed.map_err(|error| broken(Failure::Tls(error)))?;
                continue;
            }
            let most = room.remaining();
            let Poll::Ready(read) = this.poll_more(cx, most, Some(room)) else {
                // Who waits for us may wait for what we hold back: tickets, answers to a change of keys. What is wrong
                // with the socket is told by the next read.
                let _ = this.poll_out(cx);
                if std::mem::take(&mut this.swollen) {
                    // It gives room back when it is to read, also where nothing is there.
                    let _ = this.session.read_tls(&mut Silence);
                }
                return Poll::Pending;
            };
            read.map_err(|failure| {
                let _ = this.poll_out(cx);
                broken(failure)
            })?;
            if room.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.held {
            ready!(this.poll_out(cx))?;
            this.held = false;
            return Poll::Ready(Ok(1));
        }
        let mut sealed = this.session.writer().write(bytes)?;
        if sealed == 0 {
            ready!(this.poll_out(cx))?;
            sealed = this.session.writer().write(bytes)?;
        }
        let mut written = 0;
        match this.poll_out_counted(cx, &mut written) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(sealed)),
            // Some of it has gone: who repeats requests that never left must not take this for one. The error is
            // there for the next write too.
            Poll::Ready(Err(_)) if written > 0 && sealed > 1 => {
                this.held = true;
                Poll::Ready(Ok(sealed - 1))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if sealed == 0 => Poll::Pending,
            Poll::Pending => {
                this.held = true;
                match sealed {
                    1 => Poll::Pending,
                    _ => Poll::Ready(Ok(sealed - 1)),
                }
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_out(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.end();
        ready!(this.poll_out(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

/// A socket as the session writes to it; a wait is an error of its own kind.
struct Polled<'a, 'b> {
    io: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

fn or_would_block(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
    match polled {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Write for Polled<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.io).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.io).poll_write_vectored(self.cx, pieces))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The same, for who does not wait at all.
struct AtOnce<'a>(&'a TcpStream);

impl Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_in_clear_are_told_from_garbage() {
        for http in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"P",
            b"PRI * HTTP/2.0",
            b"DELETE",
        ] {
            assert!(is_http(http), "{http:?}");
        }
        for other in [&b"\x80\x2e\x01"[..], b"get /", b"SSH-2.0", b" GET", b"\0"] {
            assert!(!is_http(other), "{other:?}");
        }
    }
}
