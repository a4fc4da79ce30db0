//! A backend's answer: its head, and its body as it comes.
//!
//! ```text
//! Flight.input ─▶ absorb (count or dechunk, in place) ─┐
//!                                                      ├─▶ take ─▶ the client's front ─▶ take_trailers
//! Stream ─▶ poll_body (as its window allows) ──────────┘
//!                    └── whole? ─▶ lease released, connection idle again
//! ```

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::alarm::Alarm;
use super::asker::Asker;
use super::buffer::Buffer;
use super::courier::Courier;
use super::fault::{BodyError, in_words};
use super::forward::ResponseHead;
use super::h1::chunked;
use super::h1::request::Length;
use super::hop::Hop;
use super::link::Link;
use super::site::Site;
use super::upload::Upload;
use crate::pool::upstream::Lease;

/// What is still to come of a body.
#[derive(Debug)]
enum Rest {
    Exactly(u64),
    Chunked(chunked::Decoder),
    UntilClose,
    /// Of a stream, which says itself when it ends: so much by its head's word, if it has one.
    Streamed(Option<u64>),
    Nothing,
}

/// A backend's answer.
pub(super) struct Reply {
    pub(super) head: ResponseHead,
    pub(super) upload: Upload,
    rest: Rest,
    /// `None` once its connection is of no more use here.
    hop: Option<Hop>,
    /// Bytes of the body that came and were not taken.
    ready: Buffer,
    site: Rc<Site>,
    /// Released with the last byte.
    lease: Option<Lease>,
    /// Field lines behind the body.
    trailers: Option<Box<[u8]>>,
    /// `None`: it may be silent for as long as it likes.
    progress_max: Option<Duration>,
    /// Since when nothing came.
    waiting_since: Option<Instant>,
}

impl Reply {
    /// What came of it besides the head is looked at; `now` is for its connection, which may be free already.
    ///
    /// # Errors
    /// The body is none.
    pub(super) fn new(
        head: ResponseHead,
        mut hop: Hop,
        upload: &mut Upload,
        site: Rc<Site>,
        lease: Lease,
        progress_max: Duration,
        now: Instant,
    ) -> Result<Box<Self>, BodyError> {
        let mut reply = Box::new(Self {
            rest: match (&hop, head.length) {
                (_, Length::None) => Rest::Nothing,
                // Trailers may follow a body of no bytes.
                (Hop::Many(_), Length::Exactly(bytes)) => Rest::Streamed(Some(bytes)),
                (Hop::Many(_), _) => Rest::Streamed(None),
                (_, Length::Exactly(0)) => Rest::Nothing,
                (_, Length::Exactly(bytes)) => Rest::Exactly(bytes),
                (_, Length::Chunked) => Rest::Chunked(chunked::Decoder::new()),
                (_, Length::UntilClose) => Rest::UntilClose,
            },
            head,
            upload: Upload::default(),
            progress_max: match &hop {
                Hop::One(_) => Some(progress_max),
                Hop::Many(stream) => stream.progress_max(progress_max),
            },
            ready: match &mut hop {
                Hop::One(flight) => flight.input.take(),
                Hop::Many(stream) => stream.input.take(),
            },
            hop: Some(hop),
            site,
            lease: Some(lease),
            trailers: None,
            waiting_since: None,
        });
        reply.absorb(0, now)?;
        // Only now: whoever asks another backend still needs it.
        reply.upload = std::mem::take(upload);
        Ok(reply)
    }

    /// The backend says that it, or what is behind it, can't serve now.
    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self.head.status, 502..=504)
    }

    /// The backend failed at the request. 501 and 505 speak about the request, not about the backend.
    pub(super) fn is_failure(&self) -> bool {
        self.head.status >= 500 && !matches!(self.head.status, 501 | 505)
    }

    /// Who answered.
    pub(super) fn site(&self) -> &Rc<Site> {
        &self.site
    }

    /// Nothing more comes from the backend.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    /// The bytes of the body that have come.
    pub(super) fn take(&mut self) -> Buffer {
        self.ready.take()
    }

    /// This is the answer: the request is not sent again.
    pub(super) fn settle(&mut self) {
        self.upload.forget();
        if self.hop.is_none() {
            self.upload.release();
        }
    }

    /// It has to wait, perhaps long, before it is passed on.
    pub(super) fn hold(&mut self) {
        self.ready.rest();
    }

    /// Goes on sending the request, if its answer came before its end.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>, asker: &mut dyn Asker) {
        match &mut self.hop {
            Some(Hop::One(flight)) if flight.has_sent_head() => {
                flight.send(cx, &[], &mut self.upload, asker);
            }
            Some(Hop::Many(stream)) => stream.send(cx, None, &mut self.upload, asker),
            _ => {}
        }
    }

    /// Field lines that came behind the body, as text, names in lower case; only once it is whole.
    pub(super) fn take_trailers(&mut self) -> Option<Box<[u8]>> {
        self.trailers.take()
    }

    /// The connection, after a change of protocol, with what came over it already.
    pub(super) fn take_link(&mut self) -> Option<(Link, Buffer, Option<Lease>)> {
        let Some(Hop::One(flight)) = self.hop.take() else {
            return None;
        };
        Some((flight.link, self.ready.take(), self.lease.take()))
    }

    /// Reads what has come already, up to `most`, without a wait: an answer that broke off at once is then not
    /// passed on at all.
    pub(super) fn look_ahead(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        most: usize,
    ) -> Result<(), BodyError> {
        if self.head.upgrade || self.ready.len() >= most {
            return Ok(());
        }
        match self.poll_read(cx, now, most) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits for more of the body, at most `most` bytes of it.
    pub(super) fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        alarm: &Alarm,
        now: Instant,
        most: usize,
    ) -> Poll<Result<(), BodyError>> {
        let polled = self.poll_read(cx, now, most);
        if polled.is_ready() {
            self.waiting_since = None;
            return polled;
        }
        let Some(progress_max) = self.progress_max else {
            return Poll::Pending;
        };
        let limit = *self.waiting_since.get_or_insert(now) + progress_max;
        if now >= limit {
            self.cut();
            return Poll::Ready(Err(BodyError::UpstreamSlow));
        }
        alarm.wake_by(cx, limit);
        Poll::Pending
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        most: usize,
    ) -> Poll<Result<(), BodyError>> {
        let Some(hop) = self
            .hop
            .as_mut()
            .filter(|_| !matches!(self.rest, Rest::Nothing))
        else {
            return Poll::Ready(Ok(()));
        };
        let Hop::One(flight) = hop else {
            return self.poll_stream(cx, now, most);
        };
        let from = self.ready.len();
        let broke = match ready!(self.ready.poll_fill_to(cx, &mut flight.link.stream, most)) {
            Ok(0) if matches!(self.rest, Rest::UntilClose) => {
                self.rest = Rest::Nothing;
                self.finish(true, now);
                return Poll::Ready(Ok(()));
            }
            // No room, which is no end: the client has to take something first.
            Ok(0) if from > 0 && self.ready.is_full() => return Poll::Ready(Ok(())),
            Ok(0) => "connection closed".to_owned(),
            Ok(_) => return Poll::Ready(self.absorb(from, now)),
            Err(error) => in_words(&error),
        };
        self.cut();
        Poll::Ready(Err(BodyError::Upstream(broke)))
    }

    fn poll_stream(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        most: usize,
    ) -> Poll<Result<(), BodyError>> {
        let Some(Hop::Many(stream)) = &mut self.hop else {
            return Poll::Ready(Ok(()));
        };
        let from = self.ready.len();
        let ended = match ready!(stream.poll_body(cx, &mut self.ready, most)) {
            Ok(ended) => ended,
            Err(error) => {
                self.cut();
                return Poll::Ready(Err(error));
            }
        };
        let fresh = (self.ready.len() - from) as u64;
        if let Rest::Streamed(Some(left)) = &mut self.rest {
            let kept = left.checked_sub(fresh);
            if kept.is_none_or(|left| ended && left > 0) {
                self.cut();
                let why = "its length is not the one announced".to_owned();
                return Poll::Ready(Err(BodyError::Upstream(why)));
            }
            *left -= fresh;
        }
        if ended {
            self.trailers = stream.take_trailers();
            self.rest = Rest::Nothing;
            self.finish(false, now);
        }
        Poll::Ready(Ok(()))
    }

    /// Understands what came behind the first `from` bytes.
    fn absorb(&mut self, from: usize, now: Instant) -> Result<(), BodyError> {
        let fresh = self.ready.len() - from;
        let mut surplus = false;
        let mut data = fresh;
        match &mut self.rest {
            _ if self.head.upgrade => return Ok(()),
            Rest::Nothing => (surplus, data) = (fresh > 0, 0),
            Rest::Exactly(left) => {
                data = fresh.min(usize::try_from(*left).unwrap_or(usize::MAX));
                surplus = data < fresh;
                *left -= data as u64;
                if *left == 0 {
                    self.rest = Rest::Nothing;
                }
            }
            Rest::Chunked(decoder) => {
                let decoded = decoder.decode(&mut self.ready.bytes_mut()[from..]);
                let decoded = match decoded {
                    Ok(decoded) => decoded,
                    Err(malformed) => {
                        self.cut();
                        return Err(BodyError::Upstream(malformed.to_string()));
                    }
                };
                data = decoded.data;
                surplus = decoded.read < fresh;
                if decoder.is_done() {
                    self.rest = Rest::Nothing;
                }
            }
            Rest::UntilClose | Rest::Streamed(_) => {}
        }
        self.ready.truncate(from + data);
        if matches!(self.rest, Rest::Nothing) {
            self.finish(surplus, now);
        }
        Ok(())
    }

    /// All of it came: the connection is free, unless it carries something that nobody asked for.
    fn finish(&mut self, surplus: bool, now: Instant) {
        self.lease = None;
        self.upload.release();
        let Some(Hop::One(flight)) = self.hop.take() else {
            return;
        };
        if self.head.persistent && !surplus && flight.is_sent() {
            self.site.put_idle(flight.link, now);
        }
    }

    fn cut(&mut self) {
        self.lease = None;
        self.hop = None;
        self.upload.release();
    }
}
