//! Clients that speak HTTP/1: one task per connection carries everything, the way to the backend included.
//!
//! ```text
//! wait (small) ─▶ head ─▶ [ forward ─▶ service ─▶ frame ─▶ pass on ] boxed per request ─▶ wait …
//!      └── idle too long, closed, refused ─▶ end
//! ```

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Method;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::alarm::Alarm;
use super::answer::{Then, Told, pass, tell};
use super::buffer::Buffer;
use super::client::{Heard, HttpOne, Inbox, Outbox};
use super::fault::Fault;
use super::forward::{self, Origin, RequestHead};
use super::h1::head;
use super::h1::refusal::Refusal;
use super::h1::request::{self, Length};
use super::record::Record;
use super::worker::Worker;
use super::{linger, service};

/// One client's connection.
struct Connection<'s> {
    worker: &'s Rc<Worker>,
    inbox: Inbox<'s>,
    outbox: Outbox<'s>,
    alarm: Alarm,
    peer: SocketAddr,
    /// Of the client, as text; the address it asked is looked up when it is needed.
    address: Box<str>,
    slot: Cell<Option<usize>>,
    /// Since when a head is awaited, and whether it has begun.
    waiting: Cell<Option<(Instant, bool)>>,
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.get() {
            self.worker.wakers.remove(slot);
        }
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(worker: &Rc<Worker>, mut stream: TcpStream, peer: SocketAddr) {
    let then = {
        let (reader, writer) = stream.split();
        let mut connection = Connection {
            worker,
            inbox: Inbox::new(reader, Buffer::new(&worker.buffers)),
            outbox: Outbox::new(writer),
            alarm: Alarm::default(),
            peer,
            address: peer.ip().to_canonical().to_string().into(),
            slot: Cell::new(None),
            waiting: Cell::new(None),
        };
        loop {
            let heard = poll_fn(|cx| connection.poll_heard(cx)).await;
            // What a request needs is on the heap while it lasts, so that a connection that waits is small.
            match Box::pin(connection.exchange(heard)).await {
                Then::Again => {}
                end => break end,
            }
        }
    };
    match then {
        Then::Linger => Box::pin(linger::close(stream)).await,
        Then::Cut => {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
        Then::Again | Then::Close => {}
    }
}

impl<'s> Connection<'s> {
    /// Waits for a request's head, within limits.
    fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Option<Fault>>> {
        let worker = self.worker;
        if self.slot.get().is_none() {
            self.slot.set(Some(worker.wakers.add(cx.waker().clone())));
        }
        let limits = &worker.settings.limits;
        let polled = self
            .inbox
            .poll_head(cx, limits.request_line_bytes, limits.head_bytes);
        if let Poll::Ready(heard) = polled {
            self.idle_until(None);
            return Poll::Ready(match heard {
                Heard::Head(length) => Ok(length),
                Heard::Refused(refusal) => Err(Some(refusal.into())),
                Heard::Closed => Err(None),
            });
        }
        let timeouts = &worker.settings.timeouts;
        let now = worker.now();
        let begun = !self.inbox.input.is_empty();
        let since = match self.waiting.get() {
            Some((since, known)) if known == begun => since,
            _ => {
                self.waiting.set(Some((now, begun)));
                let limit = now + timeouts.client_idle;
                self.idle_until((!begun).then_some(limit));
                now
            }
        };
        if !begun {
            self.alarm.rest();
            // A request that is already here is served first.
            let over = worker.stopping.get() || now >= since + timeouts.client_idle;
            return if over {
                Poll::Ready(Err(None))
            } else {
                Poll::Pending
            };
        }
        let limit = since + timeouts.request_head;
        if now >= limit {
            return Poll::Ready(Err(Some(Fault::HeadSlow)));
        }
        self.alarm.wake_by(cx, limit);
        Poll::Pending
    }

    /// The worker's sweep wakes connections that idled too long, which costs them no timer.
    fn idle_until(&self, limit: Option<Instant>) {
        if let Some(slot) = self.slot.get() {
            self.worker.wakers.set_limit(slot, limit);
        }
    }

    /// One request, or why there is none.
    async fn exchange(&mut self, heard: Result<usize, Option<Fault>>) -> Then {
        let worker = self.worker;
        let waited = self.waiting.take();
        let (length, refused) = match heard {
            Ok(length) => (length, None),
            Err(Some(fault)) => (0, Some(fault)),
            Err(None) => return Then::Close,
        };
        let mut record = Record::begin(worker, self.peer);
        record.note(|entry, _| {
            let since = waited.filter(|(_, begun)| *begun).map(|(since, _)| since);
            entry.came(self.inbox.input.bytes(), since);
        });
        let head = match refused {
            Some(fault) => Err(fault),
            None => self.read_head(length, &mut record),
        };
        let bodiless = self.inbox.input.bytes().starts_with(b"HEAD ");
        self.inbox.input.consume(length);
        let mut head = match head {
            Ok(head) => head,
            Err(fault) => {
                service::unanswered(worker, &mut record);
                let mut asker = HttpOne::new(&mut self.inbox, &mut self.outbox, Length::None);
                let told = Told {
                    fault: &fault,
                    bodiless,
                    persistent: false,
                    old: false,
                };
                return tell(worker, &self.alarm, &mut asker, told, &mut record).await;
            }
        };
        record.note(|entry, _| entry.sends(&head.wire));
        let mut asker = HttpOne::new(&mut self.inbox, &mut self.outbox, head.length);
        match service::answer(worker, &self.alarm, &head, &mut asker, &mut record).await {
            Ok(mut reply) => {
                pass(
                    worker,
                    &self.alarm,
                    &mut asker,
                    &mut reply,
                    &mut head,
                    &mut record,
                )
                .await
            }
            Err(fault) => {
                let told = Told {
                    fault: &fault,
                    bodiless: head.method == Method::HEAD,
                    persistent: head.persistent,
                    old: head.old,
                };
                tell(worker, &self.alarm, &mut asker, told, &mut record).await
            }
        }
    }

    /// Reads the head that has come, and makes it fit for a backend.
    fn read_head(&self, length: usize, record: &mut Record) -> Result<RequestHead, Fault> {
        let worker = self.worker;
        let limits = &worker.settings.limits;
        let bytes = &self.inbox.input.bytes()[..length];
        let local = || {
            let stream: &TcpStream = self.outbox.writer.as_ref();
            stream
                .local_addr()
                .map_or_else(|_| "unknown".to_owned(), |local| local.to_string())
        };
        let origin = Origin {
            address: &self.address,
            proto: "http",
            trusted: worker.settings.trusts(self.peer.ip()),
            local: &local,
        };
        let too_many = |fault: &Fault| matches!(fault, Fault::Refused(Refusal::TooManyFields));
        head::with_room(limits.header_fields, too_many, |room| {
            let request = request::read(bytes, limits.request_line_bytes, room)?;
            record.note(|entry, _| entry.said(&request, |peer| worker.settings.trusts(peer)));
            if forward::goes_no_further(&request) {
                return Err(Fault::EndsHere);
            }
            let wire = worker.buffers.take_head();
            let mut dice = worker.dice.borrow_mut();
            forward::request(&request, &origin, &limits.upgrades, &mut *dice, wire)
        })
    }
}
