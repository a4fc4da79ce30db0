//! What an HTTP/2 client is told: a backend's answer, piece by piece, or why there is none.
//!
//! ```text
//! Reply ─▶ compose (HEADERS) ─▶ relay { send as the window lets ◀─ more } ─▶ END_STREAM, trailers, or RST_STREAM
//! Fault ─▶ tell ────────────────────────────────────────────────────────▶ END_STREAM
//! ```

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Response};

use super::super::access::entry::End;
use super::super::alarm::Alarm;
use super::super::asker::Asker;
use super::super::buffer::Buffer;
use super::super::fault::{BodyError, Fault};
use super::super::forward::{self, RequestHead};
use super::super::h1::request::Length;
use super::super::patience::Patience;
use super::super::record::Record;
use super::super::reply::Reply;
use super::super::worker::Worker;
use super::calm::{FOR_ANSWER, FOR_DATA, TINY, TINY_BYTES};
use super::hub::Hub;
use super::piece::{Piece, Source};
use super::stream::Stream;
use super::{fields, grpc};

/// In the access log.
const CLOSED: &str = "the client reset the stream";

/// Room for an answer of ours.
const TOLD_BYTES: usize = 256;

/// Why an answer did not get through.
enum Cut {
    /// The client's side.
    Left(&'static str),
    /// The backend's.
    Broke(BodyError),
}

/// An answer of ours.
pub(super) struct Told<'f> {
    pub(super) fault: &'f Fault,
    /// The request was HEAD.
    pub(super) bodiless: bool,
    /// The request was gRPC.
    pub(super) grpc: bool,
}

/// Tells the client why there is no response of a backend.
pub(super) async fn tell(
    hub: &Rc<Hub>,
    alarm: &Alarm,
    stream: &mut Stream<'_>,
    told: Told<'_>,
    record: &mut Record,
) {
    let fault = told.fault;
    record.faulted(fault);
    if matches!(fault, Fault::ClientGone) {
        return;
    }
    record.answered(fault.status());
    let text = fault.text();
    let mut wire = Vec::with_capacity(TOLD_BYTES);
    wire.extend_from_slice(b"\r\n");
    let status = match told.grpc {
        // Trailers alone; how it went is in them.
        true => {
            let (code, message) = (grpc::status(fault), grpc::message(&fault.to_string()));
            let lines = format!(
                "content-type: application/grpc\r\ngrpc-status: {code}\r\ngrpc-message: {message}\r\n"
            );
            wire.extend_from_slice(lines.as_bytes());
            200
        }
        false => {
            let bytes = text.len();
            let lines = format!(
                "content-type: text/plain; charset=utf-8\r\ncontent-length: {bytes}\r\n{}",
                fault.fields()
            );
            wire.extend_from_slice(lines.as_bytes());
            fault.status()
        }
    };
    hub.worker.date(&mut wire);
    let whole = told.grpc || told.bodiless;
    let Some(response) = fields::response(status, &Bytes::from(wire)) else {
        return;
    };
    if !stream.begin(response, whole) || whole {
        return record.note(|entry, _| entry.kept());
    }
    let mut out = Out::new(hub);
    let mut buffer = Buffer::new(&hub.worker.buffers);
    buffer.append(&text);
    out.source = Source::new(hub, buffer);
    let sent = poll_fn(|cx| out.poll_send(cx, alarm, stream, true)).await;
    if sent.is_ok() {
        record.note(|entry, _| {
            entry.sent(text.len() as u64);
            entry.kept();
        });
    }
}

/// The head of a backend's answer.
fn compose(worker: &Worker, reply: &mut Reply) -> Option<Response<()>> {
    let mut wire = std::mem::take(&mut reply.head.wire);
    if let Some(bytes) = reply.head.announced
        && !matches!(reply.head.status, 204 | 304)
    {
        forward::frame(&mut wire, Length::Exactly(bytes));
    }
    if !reply.head.dated {
        worker.date(&mut wire);
    }
    fields::response(reply.head.status, &Bytes::from(wire))
}

/// Passes a backend's answer on.
pub(super) async fn pass(
    hub: &Rc<Hub>,
    alarm: &Alarm,
    stream: &mut Stream<'_>,
    reply: &mut Reply,
    asked: &mut RequestHead,
    record: &mut Record,
) {
    let worker = &hub.worker;
    // It is out: attempts are over.
    worker.buffers.give_head(std::mem::take(&mut asked.wire));
    record.answered(reply.head.status);
    let mut out = Out::new(hub);
    let trailers = out.load(reply);
    let bare = out.left() == 0 && out.whole && trailers.is_none();
    let head = compose(worker, reply);
    let begun = head.is_some_and(|head| stream.begin(head, bare));
    let passed = match (begun, bare) {
        (false, _) => Err(Cut::Left(CLOSED)),
        (true, true) => Ok(()),
        (true, false) => relay(alarm, stream, reply, &mut out, trailers).await,
    };
    record.note(|entry, _| {
        entry.sent(out.sent);
        entry.received(reply.upload.taken());
        entry.ended(End::Done, None);
    });
    match passed {
        Ok(()) => {
            hub.wire.calm.borrow_mut().earn(FOR_ANSWER);
            record.note(|entry, _| entry.kept());
        }
        Err(Cut::Left(why)) => {
            stream.reset(Reason::CANCEL);
            record.note(|entry, _| entry.ended(End::Client, Some(&why)));
        }
        Err(Cut::Broke(error)) => {
            tracing::debug!(backend = %reply.site().key.id, %error, "an answer broke off");
            stream.reset(Reason::INTERNAL_ERROR);
            record.broke_off(&error);
        }
    }
}

/// Sends piece after piece, as they come; goes on sending the request, if its answer came before its end.
async fn relay(
    alarm: &Alarm,
    stream: &mut Stream<'_>,
    reply: &mut Reply,
    out: &mut Out,
    mut trailers: Option<HeaderMap>,
) -> Result<(), Cut> {
    let hub = out.hub.clone();
    poll_fn(|cx| {
        loop {
            reply.poll_upload(cx, stream);
            match out.poll_send(cx, alarm, stream, trailers.is_none()) {
                Poll::Ready(Ok(())) if out.whole => {
                    let voice = stream.out();
                    if let (Some(trailers), Some(voice)) = (trailers.take(), voice) {
                        // Fails only where nobody wants them any more.
                        let _ = voice.send_trailers(trailers);
                    }
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(why)) => return Poll::Ready(Err(Cut::Left(why))),
                Poll::Pending => return Poll::Pending,
            }
            if stream.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Cut::Left(CLOSED)));
            }
            let most = out.patience.read_max().min(hub.read_max());
            match reply.poll_more(cx, alarm, hub.worker.now(), most) {
                Poll::Ready(Ok(())) => trailers = out.load(reply),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Cut::Broke(error))),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// What goes out next.
struct Out {
    hub: Rc<Hub>,
    source: Rc<Source>,
    /// Of the source.
    at: usize,
    /// It is the last.
    whole: bool,
    /// Its end was said.
    ended: bool,
    /// Bytes that h2 took.
    sent: u64,
    patience: Patience,
}

impl Out {
    fn new(hub: &Rc<Hub>) -> Self {
        Self {
            hub: hub.clone(),
            source: Source::new(hub, Buffer::new(&hub.worker.buffers)),
            at: 0,
            whole: true,
            ended: false,
            sent: 0,
            patience: Patience::default(),
        }
    }

    /// Takes what has come of an answer, and its trailers with the last of it.
    fn load(&mut self, reply: &mut Reply) -> Option<HeaderMap> {
        (self.source, self.at) = (Source::new(&self.hub, reply.take()), 0);
        self.whole = reply.is_whole();
        let trailers = match self.whole {
            true => reply.take_trailers(),
            false => None,
        };
        trailers.map(|lines| fields::map(&Bytes::from(lines)))
    }

    fn left(&self) -> usize {
        self.source.len() - self.at
    }

    /// Hands over as much as the window lets. Ready: that was all. `last`: nothing follows a whole answer's last byte.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        alarm: &Alarm,
        stream: &mut Stream<'_>,
        last: bool,
    ) -> Poll<Result<(), &'static str>> {
        let ends = self.whole && last;
        let hub = self.hub.clone();
        let polled = self.poll_hand_over(cx, stream, ends);
        self.patience
            .poll(cx, &hub.worker, alarm, self.left(), polled)
    }

    fn poll_hand_over(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream<'_>,
        ends: bool,
    ) -> Poll<Result<(), &'static str>> {
        let Some(voice) = stream.out() else {
            return Poll::Ready(Err(CLOSED));
        };
        while self.left() > 0 || (ends && !self.ended) {
            let left = self.left();
            let mut room = 0;
            if left > 0 {
                // The socket is what is slow, and that for all streams alike.
                ready!(self.hub.poll_room(cx));
                voice.reserve_capacity(left);
                room = voice.capacity().min(left);
                while room == 0 {
                    room = match voice.poll_capacity(cx) {
                        Poll::Ready(Some(Ok(room))) => room.min(left),
                        Poll::Ready(_) => return Poll::Ready(Err(CLOSED)),
                        Poll::Pending => return Poll::Pending,
                    };
                }
            }
            let end = ends && room == left;
            let piece = Piece::new(&self.source, self.at, self.at + room);
            if voice.send_data(piece, end).is_err() {
                return Poll::Ready(Err(CLOSED));
            }
            self.at += room;
            self.sent += room as u64;
            self.ended = end;
            self.weigh(room, left);
        }
        Poll::Ready(Ok(()))
    }

    /// A window of a few bytes makes a frame of a few bytes, for the price of another frame.
    fn weigh(&self, room: usize, left: usize) {
        let mut calm = self.hub.wire.calm.borrow_mut();
        match room < left && room < TINY_BYTES {
            true if !calm.spend(TINY) => self.hub.wire.flood(),
            true => {}
            false => calm.earn(FOR_DATA),
        }
    }
}
