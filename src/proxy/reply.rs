//! A backend's answer: its head, and its body as it comes.
//!
//! ```text
//! Flight.input ─▶ absorb (count or dechunk, in place) ─▶ take ─▶ the client's front
//!                    └── whole? ─▶ lease released, connection idle again
//! ```

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::alarm::Alarm;
use super::asker::Asker;
use super::buffer::Buffer;
use super::fault::{BodyError, in_words};
use super::flight::Flight;
use super::forward::ResponseHead;
use super::h1::chunked;
use super::h1::request::Length;
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
    Nothing,
}

/// A backend's answer.
pub(super) struct Reply {
    pub(super) head: ResponseHead,
    pub(super) upload: Upload,
    rest: Rest,
    /// `None` once its connection is of no more use here.
    flight: Option<Box<Flight>>,
    /// Bytes of the body that came and were not taken.
    ready: Buffer,
    site: Rc<Site>,
    /// Released with the last byte.
    lease: Option<Lease>,
    progress_max: Duration,
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
        mut flight: Box<Flight>,
        upload: &mut Upload,
        site: Rc<Site>,
        lease: Lease,
        progress_max: Duration,
        now: Instant,
    ) -> Result<Box<Self>, BodyError> {
        let mut reply = Box::new(Self {
            rest: match head.length {
                Length::None | Length::Exactly(0) => Rest::Nothing,
                Length::Exactly(bytes) => Rest::Exactly(bytes),
                Length::Chunked => Rest::Chunked(chunked::Decoder::new()),
                Length::UntilClose => Rest::UntilClose,
            },
            head,
            upload: Upload::default(),
            ready: flight.input.take(),
            flight: Some(flight),
            site,
            lease: Some(lease),
            progress_max,
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

    /// Field lines behind the body, once it is whole: names in lower case, each line with its end.
    pub(super) fn take_trailers(&mut self) -> Option<Box<[u8]>> {
        None
    }

    /// Goes on sending the request, if its answer came before its end.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>, asker: &mut dyn Asker) {
        if let Some(flight) = &mut self.flight
            && flight.has_sent_head()
        {
            flight.send(cx, &[], &mut self.upload, asker);
        }
    }

    /// The connection, after a change of protocol, with what came over it already.
    pub(super) fn take_link(&mut self) -> Option<(Link, Buffer, Option<Lease>)> {
        let flight = self.flight.take()?;
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
        let limit = *self.waiting_since.get_or_insert(now) + self.progress_max;
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
        let Some(flight) = self
            .flight
            .as_mut()
            .filter(|_| !matches!(self.rest, Rest::Nothing))
        else {
            return Poll::Ready(Ok(()));
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
            Rest::UntilClose => {}
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
        let Some(flight) = self.flight.take() else {
            return;
        };
        if self.head.persistent && !surplus && flight.is_sent() {
            self.site.put_idle(flight.link, now);
        }
    }

    fn cut(&mut self) {
        self.lease = None;
        self.flight = None;
    }
}
