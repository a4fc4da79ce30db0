//! One stream: a request, asked for by its client's reading and writing side, in a task of its own.
//!
//! ```text
//! RecvStream ─▶ Stream (Asker): what came, window given back as it is consumed ─▶ flight
//! SendResponse ─▶ HEADERS ─▶ SendStream ─▶ DATA, as the window lets them
//! ```

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response};

use super::super::alarm::Alarm;
use super::super::asker::Asker;
use super::super::fault::{BodyError, Fault};
use super::super::forward::{RequestHead, ResponseHead};
use super::super::record::Record;
use super::super::service;
use super::super::wakers::Slot;
use super::answer::{self, Told};
use super::piece::Piece;
use super::{Hub, request};

/// Serves a stream to its end, in a task of its own.
pub(super) fn begin(hub: &Rc<Hub>, request: Request<RecvStream>, respond: SendResponse<Piece>) {
    hub.streams.set(hub.streams.get() + 1);
    let turn = Turn {
        hub: hub.clone(),
        slot: Cell::new(None),
        alarm: hub.worker.take_alarm(),
    };
    tokio::task::spawn_local(serve(turn, request, respond));
}

/// What a stream has of its connection and of its worker, while it lasts.
struct Turn {
    hub: Rc<Hub>,
    slot: Cell<Option<Slot>>,
    alarm: Alarm,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let worker = &self.hub.worker;
        if let Some(slot) = self.slot.get() {
            worker.wakers.remove(slot);
        }
        worker.give_alarm(std::mem::take(&mut self.alarm));
        self.hub.leave();
    }
}

#[expect(
    clippy::manual_async_fn,
    reason = "an async fn would store what it is given twice"
)]
fn serve(
    turn: Turn,
    request: Request<RecvStream>,
    respond: SendResponse<Piece>,
) -> impl Future<Output = ()> {
    async move {
        let worker = turn.hub.worker.clone();
        let mut exchanging = pin!(exchange(&turn, request, respond));
        poll_fn(|cx| {
            // Time passes between its polls.
            worker.begin_poll();
            if turn.slot.get().is_none() {
                turn.slot.set(Some(worker.wakers.add(cx.waker().clone())));
            }
            exchanging.as_mut().poll(cx)
        })
        .await;
    }
}

/// One request, to the end of its answer.
async fn exchange(turn: &Turn, request: Request<RecvStream>, respond: SendResponse<Piece>) {
    let (hub, alarm) = (&turn.hub, &turn.alarm);
    let worker = &hub.worker;
    let (mut stream, mut record, head, grpc) = {
        let mut record = Record::begin(worker, hub.peer);
        let (parts, body) = request.into_parts();
        let head = request::read(hub, &parts, body.is_end_stream(), &mut record);
        let bodiless = parts.method == Method::HEAD;
        let grpc = request::is_grpc(&parts.headers);
        let head = head.map_err(|fault| (fault, bodiless));
        (Stream::new(hub, body, respond), record, head, grpc)
    };
    // One that was taken back before it was looked at asks nobody.
    if poll_fn(|cx| Poll::Ready(stream.poll_gone(cx).is_ready())).await {
        service::unanswered(worker, &mut record);
        record.faulted(&Fault::ClientGone);
        return;
    }
    match head {
        Ok(mut head) => {
            record.note(|entry, _| entry.sends(&head.wire));
            ask(turn, &mut stream, &mut head, &mut record, grpc).await;
        }
        Err((fault, bodiless)) => {
            service::unanswered(worker, &mut record);
            let told = Told {
                fault: &fault,
                bodiless,
                grpc,
            };
            Box::pin(answer::tell(hub, alarm, &mut stream, told, &mut record)).await;
        }
    }
}

async fn ask(
    turn: &Turn,
    stream: &mut Stream,
    head: &mut RequestHead,
    record: &mut Record,
    grpc: bool,
) {
    let (hub, alarm) = (&turn.hub, &turn.alarm);
    match service::answer(&hub.worker, alarm, head, stream, record).await {
        Ok(mut reply) => answer::pass(hub, alarm, stream, &mut reply, head, record).await,
        Err(fault) => {
            let told = Told {
                fault: &fault,
                bodiless: head.method == Method::HEAD,
                grpc,
            };
            Box::pin(answer::tell(hub, alarm, stream, told, record)).await;
        }
    }
}

/// What is said to the client.
enum Voice {
    /// Nothing final yet.
    Waits(SendResponse<Piece>),
    Speaks(SendStream<Piece>),
}

/// One request of an HTTP/2 client.
pub(super) struct Stream {
    body: RecvStream,
    /// Came and was not consumed.
    piece: Bytes,
    voice: Voice,
    hub: Rc<Hub>,
}

impl Stream {
    fn new(hub: &Rc<Hub>, body: RecvStream, respond: SendResponse<Piece>) -> Self {
        Self {
            hub: hub.clone(),
            body,
            piece: Bytes::new(),
            voice: Voice::Waits(respond),
        }
    }

    /// The final answer's head; with `whole`, that is all of it. False: nobody wants it.
    pub(super) fn begin(&mut self, response: Response<()>, whole: bool) -> bool {
        let Voice::Waits(respond) = &mut self.voice else {
            return false;
        };
        match respond.send_response(response, whole) {
            Ok(voice) => {
                self.voice = Voice::Speaks(voice);
                true
            }
            Err(_) => false,
        }
    }

    /// For what follows the head.
    pub(super) fn out(&mut self) -> Option<&mut SendStream<Piece>> {
        match &mut self.voice {
            Voice::Waits(_) => None,
            Voice::Speaks(voice) => Some(voice),
        }
    }

    /// What was said is not what was meant.
    pub(super) fn reset(&mut self, reason: Reason) {
        match &mut self.voice {
            Voice::Waits(respond) => respond.send_reset(reason),
            Voice::Speaks(voice) => voice.send_reset(reason),
        }
    }
}

impl Asker for Stream {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<&[u8], BodyError>> {
        while self.piece.is_empty() {
            self.piece = match ready!(self.body.poll_data(cx)) {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => {
                    return Poll::Ready(Err(BodyError::Client(error.to_string())));
                }
                None => break,
            };
        }
        Poll::Ready(Ok(&self.piece))
    }

    fn consume(&mut self, bytes: usize) {
        self.piece.advance(bytes);
        // Fails only where the stream is gone, and its window with it.
        let _ = self.body.flow_control().release_capacity(bytes);
    }

    fn rest(&mut self) {}

    fn is_watched(&self) -> bool {
        true
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.voice {
            Voice::Waits(respond) => respond.poll_reset(cx).map(drop),
            Voice::Speaks(voice) => voice.poll_reset(cx).map(drop),
        }
    }

    fn local(&self) -> Option<SocketAddr> {
        self.hub.local
    }

    fn interim(&mut self, head: &ResponseHead) {
        let Voice::Waits(respond) = &mut self.voice else {
            return;
        };
        let wire = Bytes::copy_from_slice(&head.wire);
        if let Some(interim) = answer::read(head.status, &wire) {
            // Whether the client has left is found out elsewhere.
            let _ = respond.send_informational(interim);
        }
    }

    fn read_max(&self) -> usize {
        self.hub.read_max()
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) {}
}
