//! One request under way on one connection: bytes out, and the answer's head back.
//!
//! ```text
//! RequestHead.wire ─┬─ one write where it fits ─▶ backend ─▶ input ─▶ head (scan, read, rewrite)
//! Upload ───────────┘
//! ```
//!
//! It counts bytes both ways, so that "nothing was written yet" and "nothing was answered yet" are
//! facts and not guesses: the retry rules hang on them.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::asker::Asker;
use super::buffer::{Buffer, Buffers};
use super::fault::in_words;
use super::forward::{self, RequestHead, ResponseHead};
use super::h1::head::{self, Scan};
use super::h1::response;
use super::link::Link;
use super::upload::{Cursor, Upload};

/// A body's first bytes go with the head up to this many: copying them costs less than a second write.
const JOINED_MAX: usize = 16 * 1024;

/// Interim answers to one request.
const INTERIM_MAX: u32 = 32;

const TOO_LARGE: &str = "a head that is too large";

/// A backend's answer: what is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    pub(super) bytes: usize,
    pub(super) fields: usize,
}

/// Why there is no answer on this connection.
#[derive(Clone, Debug)]
pub(super) enum Loss {
    /// What came was none.
    Garbage(&'static str),
    /// It ended; in a person's words.
    Ended(String),
}

/// One request on one connection.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) link: Link,
    /// What came and was not taken yet.
    pub(super) input: Buffer,
    /// Of the head; with a body, the head goes by `out`.
    head_at: usize,
    head_sent: bool,
    out: Vec<u8>,
    out_at: usize,
    cursor: Cursor,
    written: u64,
    read: u64,
    /// A write has failed. What came before may still be read.
    broken: bool,
    interims: u32,
}

impl Flight {
    /// Nothing sent yet.
    pub(super) fn new(link: Link, buffers: &Rc<Buffers>) -> Self {
        Self {
            link,
            input: Buffer::new(buffers),
            head_at: 0,
            head_sent: false,
            out: Vec::new(),
            out_at: 0,
            cursor: Cursor::default(),
            written: 0,
            read: 0,
            broken: false,
            interims: 0,
        }
    }

    /// Bytes of the request that the kernel took.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes of the answer that came.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// The request is out, to its last byte.
    pub(super) fn is_sent(&self) -> bool {
        self.head_sent && self.out_at == self.out.len() && self.cursor.is_ended() && !self.broken
    }

    /// An interim answer has gone to the client.
    pub(super) fn has_passed_interim(&self) -> bool {
        self.interims > 0
    }

    /// Only a body may be left to send.
    pub(super) fn has_sent_head(&self) -> bool {
        self.head_sent
    }

    /// Writes as much of the request as goes. Nothing to be told: who waits looks at what was counted.
    pub(super) fn send(
        &mut self,
        cx: &mut Context<'_>,
        wire: &[u8],
        upload: &mut Upload,
        asker: &mut dyn Asker,
    ) {
        self.cursor.tidy(upload);
        if self.broken || self.is_sent() {
            return;
        }
        if !self.head_sent {
            if upload.is_some() {
                self.out.extend_from_slice(wire);
                self.head_sent = true;
            } else {
                while self.head_at < wire.len() {
                    match self.poll_write(cx, &wire[self.head_at..]) {
                        Poll::Ready(Some(bytes)) => self.head_at += bytes,
                        _ => return,
                    }
                }
                self.head_sent = true;
            }
        }
        loop {
            if self.out_at == self.out.len() {
                self.out.clear();
                self.out_at = 0;
            }
            // What was cut short has to go first.
            while self.written > 0
                && self.out.is_empty()
                && let Poll::Ready(Some(plain)) = self.cursor.poll_plain(cx, upload, asker)
            {
                let written = Pin::new(&mut self.link.stream).poll_write(cx, plain);
                match self.wrote(written) {
                    Poll::Ready(Some(bytes)) => self.cursor.wrote_plain(upload, asker, bytes),
                    _ => return,
                }
            }
            while self.out.len() < JOINED_MAX {
                let most = JOINED_MAX - self.out.len();
                if !self.cursor.fill(cx, upload, asker, &mut self.out, most) {
                    break;
                }
            }
            if self.out.is_empty() {
                if self.cursor.is_ended() {
                    self.out = Vec::new();
                }
                return;
            }
            while self.out_at < self.out.len() {
                let out = std::mem::take(&mut self.out);
                let polled = self.poll_write(cx, &out[self.out_at..]);
                self.out = out;
                match polled {
                    Poll::Ready(Some(bytes)) => self.out_at += bytes,
                    _ => return,
                }
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Option<usize>> {
        let written = Pin::new(&mut self.link.stream).poll_write(cx, bytes);
        self.wrote(written)
    }

    /// Ready with nothing: this connection takes no more.
    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<Option<usize>> {
        match ready!(written) {
            Ok(bytes) if bytes > 0 => {
                self.written += bytes as u64;
                Poll::Ready(Some(bytes))
            }
            _ => {
                self.broken = true;
                Poll::Ready(None)
            }
        }
    }

    /// The head of the final answer; interim ones go to `asker`.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        asked: &RequestHead,
        limits: HeadLimits,
        asker: &mut dyn Asker,
    ) -> Poll<Result<ResponseHead, Loss>> {
        loop {
            while let Some(head) = self.take_head(asked, limits).map_err(Loss::Garbage)? {
                if head.status >= 200 || head.upgrade {
                    return Poll::Ready(Ok(head));
                }
                self.interims += 1;
                if self.interims > INTERIM_MAX {
                    return Poll::Ready(Err(Loss::Garbage("too many interim responses")));
                }
                if !asked.old {
                    asker.interim(&head);
                }
            }
            let most = self.input.len().saturating_add(asker.read_max());
            let stream = &mut self.link.stream;
            let Poll::Ready(filled) = self.input.poll_fill_to(cx, stream, most) else {
                self.input.rest();
                return Poll::Pending;
            };
            let why = match filled {
                Ok(0) => "connection closed before a response".to_owned(),
                Ok(bytes) => {
                    self.read += bytes as u64;
                    continue;
                }
                Err(error) => in_words(&error),
            };
            return Poll::Ready(Err(Loss::Ended(why)));
        }
    }

    /// An answer, from the bytes that are there; `None`: not all of its head is.
    fn take_head(
        &mut self,
        asked: &RequestHead,
        limits: HeadLimits,
    ) -> Result<Option<ResponseHead>, &'static str> {
        const START: &[u8] = b"HTTP/1.";
        let bytes = self.input.bytes();
        // Asked for each request before its answer has come: slices are compared by the C library, and empty ones are dear.
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut seen = bytes.iter().zip(START);
        if seen.any(|(byte, start)| byte != start) {
            return Err("not HTTP");
        }
        let response = match response::read(bytes, limits.fields) {
            Ok(response) if response.head.len() <= limits.bytes => response,
            Ok(_) => return Err(TOO_LARGE),
            // Not all of it is here, perhaps.
            Err(why) => match head::scan(bytes) {
                Scan::Whole(length) if length <= limits.bytes => return Err(why),
                Scan::Partial if bytes.len() < limits.bytes => return Ok(None),
                Scan::BareLf => return Err(head::BARE_LF),
                Scan::Whole(_) | Scan::Partial => return Err(TOO_LARGE),
            },
        };
        let length = response.head.len();
        let head = forward::response(&response, asked, self.input.lender().take_head())?;
        self.input.consume(length);
        Ok(Some(head))
    }
}
