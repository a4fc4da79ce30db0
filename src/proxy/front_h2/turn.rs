//! One stream's life, in a task of its own: its request, and the answer to it.
//!
//! ```text
//! accepted ─▶ request (fit for a backend?) ─▶ service ─▶ answer: a backend's, or why there is none
//! ```

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use h2::RecvStream;
use h2::server::SendResponse;
use http::request::Parts;
use http::{Method, Request};

use super::super::alarm::Alarm;
use super::super::asker::Asker;
use super::super::fault::Fault;
use super::super::forward::RequestHead;
use super::super::record::Record;
use super::super::service;
use super::super::wakers::Slot;
use super::answer::{self, Told};
use super::body::Body;
use super::hub::Hub;
use super::piece::Piece;
use super::request;
use super::stream::Stream;

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
        let (parts, body) = request.into_parts();
        let body = RefCell::new(Body::new(body));
        let mut exchanging = pin!(exchange(&turn, parts, &body, respond));
        poll_fn(|cx| {
            // Time passes between its polls.
            worker.begin_poll();
            if turn.slot.get().is_none() {
                turn.slot.set(Some(worker.wakers.add(cx.waker().clone())));
            }
            let polled = exchanging.as_mut().poll(cx);
            // Whatever it waits for.
            if polled.is_pending() {
                body.borrow_mut().gather(cx);
            }
            polled
        })
        .await;
    }
}

/// One request, to the end of its answer.
async fn exchange(turn: &Turn, parts: Parts, body: &RefCell<Body>, respond: SendResponse<Piece>) {
    let (hub, alarm) = (&turn.hub, &turn.alarm);
    let worker = &hub.worker;
    let (mut stream, mut record, head, grpc) = {
        // Not kept for the wait that follows.
        let parts = parts;
        let mut record = Record::begin(worker, hub.peer);
        let head = request::read(hub, &parts, body.borrow().is_empty(), &mut record);
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
    stream: &mut Stream<'_>,
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
