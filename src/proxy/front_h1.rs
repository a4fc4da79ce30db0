//! Clients that speak HTTP/1: one task per connection carries everything, the way to the backend included.
//!
//! ```text
//! wait (small) ─▶ head ─▶ [ forward ─▶ service ─▶ frame ─▶ pass on ] boxed per request ─▶ wait …
//!      └── idle too long, closed, refused ─▶ end
//! ```

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::num::NonZeroU64;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Method;

use super::alarm::Alarm;
use super::answer::{Told, pass, tell};
use super::buffer::Buffer;
use super::client::{Heard, HttpOne, Inbox, Then};
use super::fault::Fault;
use super::forward::{self, Client, Origin, RequestHead};
use super::guards::Counted;
use super::h1::head::{self, Scan};
use super::h1::refusal::Refusal;
use super::h1::request::{self, Length};
use super::peer::Peer;
use super::record::Record;
use super::socket::Socket;
use super::wakers::Slot;
use super::worker::Worker;
use super::{doorman, front_h2, linger, service};

/// One client's connection.
pub(super) struct Connection {
    worker: Counted,
    socket: Socket,
    inbox: Inbox,
    alarm: Alarm,
    peer: Peer,
    slot: Cell<Option<Slot>>,
    /// Since when a head is awaited, and whether it has begun.
    waiting: Cell<Option<Waiting>>,
}

/// Since when a head is awaited, and whether it has begun: in eight bytes, as every connection that waits has it.
#[derive(Clone, Copy)]
struct Waiting(NonZeroU64);

impl Waiting {
    fn new(started: Instant, since: Instant, begun: bool) -> Self {
        let micros = since.saturating_duration_since(started).as_micros() as u64;
        // The next microsecond, lest a limit that counts from there is over before its time; never 0.
        Self(NonZeroU64::MIN.saturating_add((micros << 1) + 1 + u64::from(begun)))
    }

    fn begun(self) -> bool {
        self.0.get() & 1 == 1
    }

    fn since(self, started: Instant) -> Instant {
        started + Duration::from_micros(self.0.get() >> 1)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.get() {
            self.worker.wakers.remove(slot);
        }
        self.worker.give_alarm(std::mem::take(&mut self.alarm));
    }
}

impl Connection {
    /// Nothing heard yet.
    pub(super) fn new(worker: Counted, socket: Socket, peer: Peer) -> Self {
        Self {
            inbox: Inbox::new(Buffer::new(&worker.buffers)),
            worker,
            socket,
            alarm: Alarm::default(),
            peer,
            slot: Cell::new(None),
            waiting: Cell::new(None),
        }
    }

    /// Serves it to its end.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn would store the connection twice, and each byte is taken by all that wait"
    )]
    pub(super) fn serve(mut self) -> impl Future<Output = ()> {
        async move {
            let then = loop {
                let heard = poll_fn(|cx| self.poll_heard(cx)).await;
                let Some(exchange) = self.take_on(heard) else {
                    break Then::Close;
                };
                match exchange.await {
                    Then::Again => self.worker.go_on(),
                    end => break end,
                }
            };
            // Whatever came with garbage: who lingers needs no memory, and there may be thousands.
            drop(self.inbox.input.take());
            match then {
                Then::Linger => Box::pin(linger::close(&mut self.socket)).await,
                Then::Cut => self.socket.cut(),
                Then::Again | Then::Close if self.socket.say_end() => {}
                Then::Again | Then::Close => {
                    let longest = self.worker.settings.timeouts.body_progress;
                    Box::pin(linger::say_end(&mut self.socket, longest)).await;
                }
                Then::Drop => {}
            }
        }
    }

    /// Waits for a request's head, within limits.
    fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Option<Fault>>> {
        let worker = &self.worker;
        worker.begin_poll();
        if self.slot.get().is_none() {
            self.slot.set(Some(worker.wakers.add(cx.waker().clone())));
        }
        let limits = &worker.settings.limits;
        let polled = self.inbox.poll_head(
            cx,
            &self.socket,
            limits.request_line_bytes,
            limits.head_bytes,
        );
        if let Poll::Ready(heard) = polled {
            self.idle_until(None);
            return Poll::Ready(match heard {
                Heard::Head => Ok(()),
                Heard::Refused(refusal) => Err(Some(refusal.into())),
                Heard::Closed => Err(None),
            });
        }
        let timeouts = &worker.settings.timeouts;
        let now = worker.now();
        let begun = !self.inbox.input.is_empty();
        let since = match self.waiting.get() {
            Some(waiting) if waiting.begun() == begun => waiting.since(worker.started),
            _ => {
                let waiting = Waiting::new(worker.started, now, begun);
                self.waiting.set(Some(waiting));
                let limit = now + timeouts.client_idle;
                self.idle_until((!begun).then_some(limit));
                now
            }
        };
        if !begun {
            self.alarm.rest();
            // A request that is already here is served first.
            let over = worker.ends_idle() || now >= since + timeouts.client_idle;
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

    /// A head has come, or it is clear that none will.
    fn begin(&mut self, refused: Option<Fault>) -> Begun {
        let worker = &self.worker;
        if !self.alarm.has_timer() {
            self.alarm = worker.take_alarm();
        }
        let waited = self.waiting.take().filter(|waited| waited.begun());
        let mut record = Record::begin(worker, self.peer);
        record.note(|entry, _| {
            let since = waited.map(|waited| waited.since(worker.started));
            entry.came(self.inbox.input.bytes(), since);
        });
        let mut length = 0;
        let head = match refused {
            Some(fault) => Err(fault),
            None => self.read_head(&mut length, &mut record),
        };
        let bodiless = self.inbox.input.bytes().starts_with(b"HEAD ");
        self.inbox.input.consume(length);
        match head {
            Ok(head) => {
                record.note(|entry, _| entry.sends(&head.wire));
                Begun::Asks(head, record)
            }
            Err(fault) => {
                service::unanswered(worker, &mut record);
                Begun::Refused {
                    fault,
                    bodiless,
                    record,
                }
            }
        }
    }

    /// What the head that came, or did not, leads to. It is on the heap while it lasts, so that a connection that waits
    /// is small.
    fn take_on(
        &mut self,
        heard: Result<(), Option<Fault>>,
    ) -> Option<Pin<Box<impl Future<Output = Then>>>> {
        let first = !std::mem::replace(&mut self.inbox.used, true);
        if first && heard.is_ok() && front_h2::is_preface(self.inbox.input.bytes()) {
            let (socket, early) = (self.socket.take(), self.inbox.input.take());
            front_h2::begin(Counted::taking_over(&self.worker), socket, early, self.peer);
            return None;
        }
        let begun = match heard {
            Ok(()) => self.begin(None),
            Err(fault) => self.begin(Some(fault?)),
        };
        self.worker.go_on();
        Some(Box::pin(self.exchange(begun)))
    }

    /// One request, to the end of its answer. Not an async fn, which would store what it is given twice: within
    /// 1,032 bytes the allocator has a place at hand.
    #[expect(clippy::manual_async_fn, reason = "see above")]
    fn exchange(&mut self, mut begun: Begun) -> impl Future<Output = Then> {
        async move {
            let worker = Rc::clone(&self.worker);
            let (socket, inbox, alarm) = (&self.socket, &mut self.inbox, &self.alarm);
            let mut exchanging = pin!(async {
                match &mut begun {
                    Begun::Asks(head, record) => {
                        let mut asker = HttpOne::new(socket, inbox, head.length);
                        answer(&worker, alarm, head, &mut asker, record).await
                    }
                    Begun::Refused {
                        fault,
                        bodiless,
                        record,
                    } => {
                        let mut asker = HttpOne::new(socket, inbox, Length::None);
                        let told = Told {
                            fault,
                            bodiless: *bodiless,
                            persistent: false,
                            old: false,
                        };
                        Box::pin(tell(&worker, alarm, &mut asker, told, record)).await
                    }
                }
            });
            // Time passes between its polls.
            poll_fn(|cx| {
                worker.begin_poll();
                exchanging.as_mut().poll(cx)
            })
            .await
        }
    }

    /// Reads the head that has come, and makes it fit for a backend. `length` is what it takes of what has come.
    fn read_head(&self, length: &mut usize, record: &mut Record) -> Result<RequestHead, Fault> {
        let worker = &self.worker;
        let limits = &worker.settings.limits;
        let bytes = self.inbox.input.bytes();
        let request = match request::read(bytes, limits.request_line_bytes, limits.header_fields) {
            Ok(request) => request,
            Err(refusal) => {
                // What two readers could take for different lines is worse than all else.
                let Scan::Whole(whole) = head::scan(bytes) else {
                    return Err(Refusal::Malformed(head::BARE_LF).into());
                };
                *length = whole;
                return Err(refusal.into());
            }
        };
        *length = request.head.len();
        let listener = worker.listener(self.peer.listener());
        record.note(|entry, _| entry.said(&request, |peer| listener.trusts(peer)));
        if let Some(fault) = doorman::answer(listener, &request) {
            return Err(fault);
        }
        if forward::goes_no_further(&request) {
            return Err(Fault::EndsHere);
        }
        let local = || {
            let local = self.socket.local();
            local.map_or_else(|_| "unknown".to_owned(), |local| local.to_string())
        };
        let address = self.peer.text();
        let trusted = listener.trusts(self.peer.address().ip());
        let told = self.socket.told();
        let origin = Origin {
            address: &address,
            secured: self.socket.is_secured(),
            trusted,
            client: match &told {
                Some(lines) => Client::Told(lines),
                None if !trusted && worker.asks_clients() => Client::Hidden,
                None => Client::Unknown,
            },
            local: &local,
        };
        let wire = worker.buffers.take_head();
        let mut dice = worker.dice.borrow_mut();
        forward::request(&request, &origin, &limits.upgrades, &mut *dice, wire)
    }
}

/// What a connection's next bytes were.
enum Begun {
    Asks(RequestHead, Record),
    Refused {
        fault: Fault,
        /// It was HEAD.
        bodiless: bool,
        record: Record,
    },
}

/// Has a request answered. Not an async fn for the same reason as [`Connection::exchange`].
#[expect(clippy::manual_async_fn, reason = "see above")]
fn answer<'a>(
    worker: &'a Rc<Worker>,
    alarm: &'a Alarm,
    head: &'a mut RequestHead,
    asker: &'a mut HttpOne<'_>,
    record: &'a mut Record,
) -> impl Future<Output = Then> {
    async move {
        match service::answer(worker, alarm, head, asker, record).await {
            Ok(mut reply) => pass(worker, alarm, asker, &mut reply, head, record).await,
            Err(fault) => {
                let told = Told {
                    fault: &fault,
                    bodiless: head.method == Method::HEAD,
                    persistent: head.persistent,
                    old: head.old,
                };
                Box::pin(tell(worker, alarm, asker, told, record)).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn size_of_future<F: Future>(_: impl FnOnce(Connection) -> F) -> usize {
        size_of::<F>()
    }

    /// The runtime adds 104 bytes and rounds up to multiples of 128: one byte more costs every connection that many.
    #[test]
    fn a_connection_that_waits_is_a_task_of_256_bytes() {
        let size = size_of_future(Connection::serve);
        assert!(
            size <= 256 - 104,
            "{size}, of a connection {}",
            size_of::<Connection>()
        );
    }

    /// A larger one is not among those that the allocator has at hand.
    #[test]
    fn a_request_under_way_is_a_task_of_a_kilobyte() {
        fn size_of_future<F: Future>(_: impl FnOnce(&'static mut Connection, Begun) -> F) -> usize {
            size_of::<F>()
        }
        let size = size_of_future(|connection, begun| connection.exchange(begun));
        assert!(size <= 1032, "{size}");
    }

    #[test]
    fn a_wait_fits_into_eight_bytes_for_centuries() {
        let started = clock::now();
        for micros in [0, 1, 1_000_000, u64::from(u32::MAX) * 1_000_000] {
            let since = started + Duration::from_micros(micros);
            for begun in [false, true] {
                let waiting = Waiting::new(started, since, begun);

                assert_eq!(waiting.begun(), begun);
                let error = waiting.since(started).saturating_duration_since(since);
                assert!(error <= Duration::from_micros(2), "{error:?}");
                assert!(waiting.since(started) >= since);
            }
        }
    }
}
