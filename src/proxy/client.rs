//! A client's connection that speaks HTTP/1: what it says, and what it is told.
//!
//! ```text
//! Socket ─▶ Inbox ─▶ head (whole) ─▶ front_h1
//!              └───▶ body ─▶ HttpOne (Asker) ─▶ flight
//! Socket ◀─ interim answers, answers
//! ```

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::asker::Asker;
use super::buffer::{Buffer, READ_SLOWLY_MAX};
use super::fault::{BodyError, in_words};
use super::forward::ResponseHead;
use super::h1::chunked::Decoder;
use super::h1::head::{self, Scan};
use super::h1::refusal::Refusal;
use super::h1::request::Length;
use super::socket::Socket;

/// Empty lines before a request (RFC 9112 §2.2 asks for one).
const EMPTY_LINES_MAX: u32 = 4;

/// While an answer is awaited, the client's next requests are read so far, to see whether it has left.
const AHEAD_MAX: usize = 64 * 1024;

/// Bytes of a body that nobody wanted are read over so far, to keep the connection.
const UNWANTED_MAX: usize = 64 * 1024;

/// How a connection goes on after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// With the next one.
    Again,
    Close,
    /// Without another word: what was said is not all.
    Drop,
    /// What the client still sends is read over, so that it gets to read its answer.
    Linger,
    /// Closing in order would say that the answer is whole.
    Cut,
}

/// What a client sends.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) input: Buffer,
    /// It will send no more.
    ended: bool,
    /// A head has come before.
    pub(super) used: bool,
    empty_lines: u32,
}

/// How the wait for a request's head ended.
#[derive(Debug)]
pub(super) enum Heard {
    /// A head, whole or not one at all.
    Head,
    Refused(Refusal),
    /// The client has closed, perhaps within a head.
    Closed,
}

impl Inbox {
    /// Nothing read yet.
    pub(super) fn new(input: Buffer) -> Self {
        Self {
            input,
            ended: false,
            used: false,
            empty_lines: 0,
        }
    }

    /// Waits for a whole head.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        mut socket: &Socket,
        line_max: usize,
        head_max: usize,
    ) -> Poll<Heard> {
        loop {
            while self.input.bytes().starts_with(b"\r\n") {
                self.input.consume(2);
                self.empty_lines += 1;
            }
            if self.empty_lines > EMPTY_LINES_MAX {
                return Poll::Ready(Heard::Refused(Refusal::Malformed("too many empty lines")));
            }
            let bytes = self.input.bytes();
            // Whoever reads it looks at every byte anyway.
            if bytes.len() <= head_max && head::is_whole(bytes) {
                self.empty_lines = 0;
                return Poll::Ready(Heard::Head);
            }
            let refusal = match head::scan(bytes) {
                _ if bytes.is_empty() => None,
                Scan::Whole(length) if length <= head_max => {
                    self.empty_lines = 0;
                    return Poll::Ready(Heard::Head);
                }
                Scan::BareLf => Some(Refusal::Malformed(head::BARE_LF)),
                _ if memchr::memchr(b'\n', bytes).unwrap_or(bytes.len()) > line_max + 1 => {
                    Some(Refusal::LineTooLong)
                }
                _ if bytes.len() >= head_max => Some(Refusal::HeadTooLarge),
                _ => None,
            };
            if let Some(refusal) = refusal {
                return Poll::Ready(Heard::Refused(refusal));
            }
            if self.ended {
                return Poll::Ready(Heard::Closed);
            }
            // A body behind it may have to wait, and then holds what was read of it.
            let most = head_max.max(READ_SLOWLY_MAX);
            match self.input.poll_fill_to(cx, &mut socket, most) {
                Poll::Ready(Ok(bytes)) if bytes > 0 => {}
                Poll::Ready(_) => self.ended = true,
                Poll::Pending => {
                    self.input.rest();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Reads, until there are `most` bytes.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        mut socket: &Socket,
        most: usize,
    ) -> Poll<Result<(), BodyError>> {
        let closed = || BodyError::Client("connection closed".to_owned());
        if self.ended {
            return Poll::Ready(Err(closed()));
        }
        let broke = match ready!(self.input.poll_fill_to(cx, &mut socket, most)) {
            Ok(0) => closed(),
            Ok(_) => return Poll::Ready(Ok(())),
            Err(error) => BodyError::Client(in_words(&error)),
        };
        self.ended = true;
        Poll::Ready(Err(broke))
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>, mut socket: &Socket) -> Poll<()> {
        while !self.ended && self.input.len() < AHEAD_MAX {
            // Asked first, since a fill makes room, and usually there is nothing to fill.
            if socket.poll_readable(cx).is_pending() {
                self.input.rest();
                return Poll::Pending;
            }
            match self.input.poll_fill_to(cx, &mut socket, AHEAD_MAX) {
                Poll::Ready(Ok(bytes)) if bytes > 0 => {}
                Poll::Ready(_) => self.ended = true,
                Poll::Pending => {
                    self.input.rest();
                    return Poll::Pending;
                }
            }
        }
        self.input.rest();
        match self.ended {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// What is left of a request's body.
#[derive(Debug)]
enum Body {
    Exactly(u64),
    Chunked {
        decoder: Decoder,
        /// Decoded bytes at the beginning of the input.
        ready: usize,
        /// Bytes behind them that were framing.
        gap: usize,
    },
}

/// One request of an HTTP/1 client.
pub(super) struct HttpOne<'c> {
    pub(super) socket: &'c Socket,
    inbox: &'c mut Inbox,
    /// Interim answers that are not out yet.
    interim: Vec<u8>,
    body: Body,
    /// Its body was waited for once, and may be again.
    slow: bool,
}

impl<'c> HttpOne<'c> {
    /// The request's head was consumed.
    pub(super) fn new(socket: &'c Socket, inbox: &'c mut Inbox, length: Length) -> Self {
        Self {
            socket,
            inbox,
            interim: Vec::new(),
            body: match length {
                Length::Exactly(bytes) => Body::Exactly(bytes),
                Length::Chunked => Body::Chunked {
                    decoder: Decoder::new(),
                    ready: 0,
                    gap: 0,
                },
                Length::None | Length::UntilClose => Body::Exactly(0),
            },
            slow: false,
        }
    }

    /// Both sides of the connection, after a change of protocol.
    pub(super) fn sides(&mut self) -> (&mut Inbox, &'c Socket) {
        (self.inbox, self.socket)
    }

    /// What has to go out before an answer.
    pub(super) fn take_interim(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.interim)
    }

    /// Nothing is left to read that has come already.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_done() && self.inbox.input.is_empty()
    }

    /// Every byte of the body was consumed.
    pub(super) fn is_done(&self) -> bool {
        match &self.body {
            Body::Exactly(left) => *left == 0,
            Body::Chunked { decoder, ready, .. } => *ready == 0 && decoder.is_done(),
        }
    }

    /// Reads over a body that nobody wanted, as far as it has come. True: that was all of it.
    pub(super) fn read_over(&mut self, cx: &mut Context<'_>) -> bool {
        let mut unwanted = 0;
        while unwanted < UNWANTED_MAX {
            match self.poll_body(cx) {
                Poll::Ready(Ok([])) => return true,
                Poll::Ready(Ok(bytes)) => {
                    let bytes = bytes.len();
                    unwanted += bytes;
                    self.consume(bytes);
                }
                _ => return false,
            }
        }
        false
    }
}

impl Asker for HttpOne<'_> {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<&[u8], BodyError>> {
        loop {
            match &mut self.body {
                Body::Exactly(0) => return Poll::Ready(Ok(&[])),
                Body::Exactly(left) if !self.inbox.input.is_empty() => {
                    let left = usize::try_from(*left).unwrap_or(usize::MAX);
                    let bytes = self.inbox.input.len().min(left);
                    return Poll::Ready(Ok(&self.inbox.input.bytes()[..bytes]));
                }
                Body::Chunked { ready, .. } if *ready > 0 => {
                    return Poll::Ready(Ok(&self.inbox.input.bytes()[..*ready]));
                }
                Body::Chunked { decoder, .. } if decoder.is_done() => return Poll::Ready(Ok(&[])),
                Body::Chunked {
                    decoder,
                    ready,
                    gap,
                } if !self.inbox.input.is_empty() => {
                    let decoded = decoder.decode(self.inbox.input.bytes_mut());
                    let decoded = match decoded {
                        Ok(decoded) => decoded,
                        Err(malformed) => {
                            return Poll::Ready(Err(BodyError::Malformed(malformed.0)));
                        }
                    };
                    (*ready, *gap) = (decoded.data, decoded.read - decoded.data);
                    if *ready == 0 {
                        self.inbox.input.consume(std::mem::take(gap));
                    }
                }
                _ => {
                    let most = match self.slow {
                        true => READ_SLOWLY_MAX,
                        false => usize::MAX,
                    };
                    ready!(self.inbox.poll_fill(cx, self.socket, most))?;
                }
            }
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.inbox.input.consume(bytes);
        match &mut self.body {
            Body::Exactly(left) => *left -= bytes as u64,
            Body::Chunked { ready, gap, .. } => {
                *ready -= bytes;
                if *ready == 0 {
                    self.inbox.input.consume(std::mem::take(gap));
                }
            }
        }
    }

    fn rest(&mut self) {
        // Whoever was to take it holds it up.
        self.slow |= !self.inbox.input.is_empty();
        self.inbox.input.rest();
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.socket.watch();
        self.inbox.poll_gone(cx, self.socket)
    }

    fn is_watched(&self) -> bool {
        self.socket.is_watched()
    }

    fn local(&self) -> Option<SocketAddr> {
        self.socket.local().ok()
    }

    fn interim(&mut self, head: &ResponseHead) {
        self.interim.extend_from_slice(&head.wire);
        self.interim.extend_from_slice(b"\r\n");
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) {
        let Self {
            socket, interim, ..
        } = self;
        while !interim.is_empty() {
            match Pin::new(&mut *socket).poll_write(cx, interim) {
                Poll::Ready(Ok(bytes)) if bytes > 0 => {
                    interim.drain(..bytes);
                }
                // The client has left, which the wait for its next words finds out.
                Poll::Ready(_) => interim.clear(),
                Poll::Pending => return,
            }
        }
    }
}
