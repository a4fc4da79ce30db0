//! One request under way on a connection that carries many.
//!
//! ```text
//! RequestHead ─▶ HEADERS ─┐                        ┌─▶ head (interim ones go to the client at once)
//! Upload ─▶ staged ─▶ DATA ┴─▶ backend ─▶ DATA ────┼─▶ the reply's buffer; the window opens as it is taken
//!           (≤ 16 KiB, then as its window allows)   └─▶ trailers
//! ```
//!
//! What a backend has certainly not processed may be asked of another, whatever the method: a stream that it refused
//! (REFUSED_STREAM), one above the last it named when it said goodbye (GOAWAY), one of which no byte left the house.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};

use super::super::asker::Asker;
use super::super::buffer::{Buffer, Buffers};
use super::super::courier::Courier;
use super::super::fault::{BodyError, Fault, in_words};
use super::super::forward::{RequestHead, ResponseHead};
use super::super::upload::{Cursor, Upload};
use super::head::{self, Pace};
use super::mux::Seat;

/// Of a body, taken from the client before there is room to send it.
const STAGED_MAX: usize = 16 * 1024;

/// Of an answer, taken at once.
const TAKEN_MAX: usize = 256 * 1024;

/// A call's own deadline, whatever it says.
const DEADLINE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Behind a call's own deadline.
const DEADLINE_GRACE: Duration = Duration::from_millis(500);

/// Interim answers to one request.
const INTERIM_MAX: u32 = 32;

/// One request on one stream.
pub(in super::super) struct Stream {
    response: Option<ResponseFuture>,
    send: Option<SendStream<Bytes>>,
    body: Option<RecvStream>,
    trailers: Option<Box<[u8]>>,
    /// For what comes of the body.
    pub(in super::super) input: Buffer,
    cursor: Cursor,
    /// Taken from the client, not yet handed over.
    staged: Bytes,
    /// The end of the request was handed over.
    sent: bool,
    /// It takes no more of the request.
    broken: bool,
    begun: Begun,
    pace: Pace,
    moved: u64,
    read: u64,
    interims: u32,
    /// Last, so that the stream has ended when its room is given back.
    seat: Seat,
}

/// How far its beginning has come.
enum Begun {
    No,
    /// With the connection's counts of bytes at the time, and whether it had been idle.
    Yes {
        written: u64,
        read: u64,
        alone: bool,
    },
    Failed(Fault),
}

impl Stream {
    /// Nothing sent yet.
    pub(in super::super) fn new(seat: Seat, buffers: &Rc<Buffers>) -> Self {
        Self {
            response: None,
            send: None,
            body: None,
            trailers: None,
            input: Buffer::new(buffers),
            cursor: Cursor::unframed(),
            staged: Bytes::new(),
            sent: false,
            broken: false,
            begun: Begun::No,
            pace: Pace::default(),
            moved: 0,
            read: 0,
            interims: 0,
            seat,
        }
    }

    /// Whether the connection had carried a request before.
    pub(in super::super) fn is_reused(&self) -> bool {
        self.seat.reused
    }

    /// How long an answer's body may make no progress; a gRPC call may be silent for ever, since PINGs show whether its
    /// connection lives.
    pub(in super::super) fn progress_max(&self, usual: Duration) -> Option<Duration> {
        (!self.pace.is_call).then_some(usual)
    }

    /// When a call ends by its own word. Its client, who began to count before us, is to be first.
    fn deadline(&self, sent: Instant) -> Option<Instant> {
        let deadline = self.pace.deadline.filter(|_| self.pace.is_call)?;
        Some(sent + deadline.min(DEADLINE_MAX) + DEADLINE_GRACE)
    }

    /// Nothing has come of the request's body, which is not what a call is silent for.
    fn owes_all(&self) -> bool {
        !self.sent && self.moved <= 1 && self.staged.is_empty()
    }

    /// Field lines behind the body, once it has ended.
    pub(in super::super) fn take_trailers(&mut self) -> Option<Box<[u8]>> {
        self.trailers.take()
    }

    fn begin(&mut self, asked: &RequestHead, end: bool, silent: bool) {
        let conn = &self.seat.conn;
        let (request, mut pace) = match head::request(asked, conn.scheme.clone()) {
            Ok(request) => request,
            Err(why) => {
                self.begun = Begun::Failed(Fault::Untranslatable(why));
                return;
            }
        };
        pace.is_call &= silent;
        let traffic = conn.traffic();
        self.begun = match conn.begin(request, end) {
            Some(Ok((response, send))) => {
                (self.response, self.send) = (Some(response), Some(send));
                (self.pace, self.sent, self.moved) = (pace, end, 1);
                Begun::Yes {
                    written: traffic.written.get(),
                    read: traffic.read.get(),
                    alone: self.seat.reused && conn.is_alone(),
                }
            }
            // It has ended since its room was taken.
            _ => Begun::Failed(Fault::Unsent { stale: true }),
        };
    }

    /// Hands over what there is room for. False: nothing more for now.
    fn hand_over(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(send) = &mut self.send else {
            return false;
        };
        while send.capacity() == 0 {
            send.reserve_capacity(self.staged.len());
            if send.capacity() > 0 {
                break;
            }
            match send.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => {
                    self.broken = true;
                    return false;
                }
                Poll::Pending => return false,
            }
        }
        let bytes = send.capacity().min(self.staged.len());
        let piece = self.staged.split_to(bytes);
        let last = self.staged.is_empty() && self.cursor.is_ended();
        self.moved += bytes as u64;
        self.sent |= last;
        self.broken |= send.send_data(piece, last).is_err();
        !self.broken
    }

    /// Why there is no answer, or no more of it.
    fn fault(&self, error: &h2::Error) -> Fault {
        let why = self.words(error);
        // Of this stream. What ends the connection ends all of its streams, and most of them did nothing.
        if error.is_library() && !error.is_go_away() {
            return Fault::Garbage(why);
        }
        let unprocessed = error.is_remote()
            && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
        if unprocessed && self.read == 0 {
            return Fault::Unprocessed(why);
        }
        let Begun::Yes {
            written,
            read,
            alone,
        } = self.begun
        else {
            return Fault::Unsent { stale: true };
        };
        let traffic = self.seat.conn.traffic();
        // A kept connection that closed at once, as those of HTTP/1 do.
        let stale = alone && !error.is_remote() && traffic.read.get() == read;
        match traffic.written.get() == written {
            true if !error.is_remote() => Fault::Unsent { stale },
            _ => Fault::Reset { why, stale },
        }
    }

    fn words(&self, error: &h2::Error) -> String {
        let reason = error.reason().map(|reason| format!("{reason:?}"));
        match reason {
            Some(reason) if error.is_go_away() => format!("connection ended: {reason}"),
            Some(reason) => format!("stream reset: {reason}"),
            None => match (self.seat.conn.why(), error.get_io()) {
                (Some(why), _) => why.to_owned(),
                (None, Some(error)) => in_words(error),
                (None, None) => error.to_string(),
            },
        }
    }

    /// Adds what came of the body to `ready`, up to `most` bytes in all. True: that is all of it.
    pub(in super::super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        ready: &mut Buffer,
        most: usize,
    ) -> Poll<Result<bool, BodyError>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(Ok(true));
        };
        let from = ready.len();
        let broke = loop {
            if ready.len() >= most.min(TAKEN_MAX) {
                return Poll::Ready(Ok(false));
            }
            match body.poll_data(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    ready.append(&bytes);
                    self.read += bytes.len() as u64;
                    // An error means that the stream has ended, which the next turn sees.
                    let _ = body.flow_control().release_capacity(bytes.len());
                }
                Poll::Ready(None) => match ready!(body.poll_trailers(cx)) {
                    Ok(None) => return Poll::Ready(Ok(true)),
                    Ok(Some(fields)) => match head::trailers(&fields) {
                        Ok(lines) => {
                            self.trailers = Some(lines);
                            return Poll::Ready(Ok(true));
                        }
                        Err(why) => break why.to_owned(),
                    },
                    Err(error) => break self.words(&error),
                },
                // What came before is told first; then it fails again.
                Poll::Ready(Some(Err(_))) | Poll::Pending if ready.len() > from => {
                    return Poll::Ready(Ok(false));
                }
                Poll::Ready(Some(Err(error))) => break self.words(&error),
                Poll::Pending => return Poll::Pending,
            }
        };
        Poll::Ready(Err(BodyError::Upstream(broke)))
    }

    fn poll_interim(
        &mut self,
        cx: &mut Context<'_>,
        asked: &RequestHead,
        asker: &mut dyn Asker,
    ) -> Result<(), Fault> {
        while let Some(response) = &mut self.response
            && let Poll::Ready(Some(interim)) = response.poll_informational(cx)
        {
            let interim = interim.map_err(|error| self.fault(&error))?;
            let garbage = |why: &str| Fault::Garbage(why.to_owned());
            self.read += 1;
            self.interims += 1;
            if self.interims > INTERIM_MAX {
                return Err(garbage("too many interim responses"));
            }
            let head = head::response(&interim, false, asked, Vec::new()).map_err(garbage)?;
            if !asked.old {
                asker.interim(&head);
            }
        }
        Ok(())
    }
}

impl Courier for Stream {
    fn send(
        &mut self,
        cx: &mut Context<'_>,
        asked: Option<&RequestHead>,
        upload: &mut Upload,
        asker: &mut dyn Asker,
    ) {
        if let (Begun::No, Some(asked)) = (&self.begun, asked) {
            self.begin(asked, !upload.is_some(), asker.may_be_silent());
        }
        if !matches!(self.begun, Begun::Yes { .. }) {
            return;
        }
        self.cursor.tidy(upload);
        while !self.sent && !self.broken {
            if self.staged.is_empty() {
                let mut out = Vec::new();
                while out.len() < STAGED_MAX {
                    let most = STAGED_MAX - out.len();
                    if !self.cursor.fill(cx, upload, asker, &mut out, most) {
                        break;
                    }
                }
                self.staged = out.into();
            }
            if !self.staged.is_empty() {
                if !self.hand_over(cx) {
                    return;
                }
                continue;
            }
            if !self.cursor.is_ended() {
                return;
            }
            self.sent = true;
            if let Some(send) = &mut self.send {
                self.broken |= send.send_data(Bytes::new(), true).is_err();
            }
        }
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        asked: &RequestHead,
        asker: &mut dyn Asker,
    ) -> Poll<Result<ResponseHead, Fault>> {
        if let Begun::Failed(fault) = &self.begun {
            return Poll::Ready(Err(fault.clone()));
        }
        self.poll_interim(cx, asked, asker)?;
        let Some(response) = &mut self.response else {
            return Poll::Pending;
        };
        let answer = match ready!(Pin::new(response).poll(cx)) {
            Ok(answer) => answer,
            Err(error) => return Poll::Ready(Err(self.fault(&error))),
        };
        self.response = None;
        self.read += 1;
        let (parts, body) = answer.into_parts();
        let ended = body.is_end_stream();
        let answer = http::Response::from_parts(parts, ());
        let wire = self.input.lender().take_head();
        let head = head::response(&answer, ended, asked, wire);
        self.body = Some(body);
        Poll::Ready(head.map_err(|why| Fault::Garbage(why.to_owned())))
    }

    fn moved(&self) -> u64 {
        self.moved + self.read
    }

    fn has_answered(&self) -> bool {
        self.read > 0
    }

    /// Until an answer comes, the backend may say that it did nothing.
    fn is_past_repeating(&self) -> bool {
        false
    }

    fn has_passed_interim(&self) -> bool {
        self.interims > 0
    }

    fn is_past_deadline(&self, sent: Instant, now: Instant) -> bool {
        self.deadline(sent).is_some_and(|deadline| now >= deadline)
    }

    fn limit(&self, sent: Instant, progress: Instant, usual: Duration) -> Option<Instant> {
        let usual = (!self.pace.is_call || self.owes_all()).then_some(progress + usual);
        [usual, self.deadline(sent)].into_iter().flatten().min()
    }
}
