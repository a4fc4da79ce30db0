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

use super::access::End;
use super::alarm::Alarm;
use super::asker::Asker;
use super::buffer::{Buffer, READ_SLOWLY_MAX};
use super::client::{Heard, HttpOne, Inbox, Outbox};
use super::fault::{BodyError, Fault, phrase};
use super::forward::{self, Origin, RequestHead};
use super::h1::refusal::Refusal;
use super::h1::request::{self, Length};
use super::h1::{chunked, head};
use super::record::Record;
use super::reply::Reply;
use super::worker::Worker;
use super::{linger, service, tunnel};

/// How a connection goes on after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// With the next one.
    Again,
    Close,
    /// What the client still sends is read over, so that it gets to read its answer.
    Linger,
    /// Closing in order would say that the answer is whole.
    Cut,
}

/// In the access log.
const CLOSED: &str = "the client closed the connection";

/// Why an answer did not get through.
enum Cut {
    /// The client's side.
    Left(&'static str),
    /// The backend's.
    Broke(BodyError),
}

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

/// An answer of ours.
struct Told<'f> {
    fault: &'f Fault,
    bodiless: bool,
    persistent: bool,
    old: bool,
}

/// Tells the client why there is no response of a backend.
async fn tell(
    worker: &Worker,
    alarm: &Alarm,
    asker: &mut HttpOne<'_, '_>,
    told: Told<'_>,
    record: &mut Record,
) -> Then {
    let fault = told.fault;
    record.faulted(fault);
    if matches!(fault, Fault::ClientGone) {
        return Then::Close;
    }
    record.answered(fault.status());
    let whole = poll_fn(|cx| Poll::Ready(asker.read_over(cx))).await;
    let kept = told.persistent && !fault.ends_connection() && whole && !worker.stopping.get();
    let text = format!("{fault}\n");
    let mut head = format!(
        "HTTP/1.1 {status} {phrase}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {bytes}\r\n{fields}",
        status = fault.status(),
        phrase = phrase(fault.status()),
        bytes = text.len(),
        fields = fault.fields(),
    )
    .into_bytes();
    worker.date(&mut head);
    say_how_it_goes_on(&mut head, kept, told.old);
    let mut out = Buffer::new(&worker.buffers);
    if !told.bodiless {
        out.append(text.as_bytes());
    }
    out.prepend(&head);
    out.prepend(&asker.outbox.take_interim());
    let mut patience = Patience::default();
    let written = poll_fn(|cx| patience.poll_drain(cx, worker, alarm, &mut out, asker)).await;
    if written.is_ok() && !told.bodiless {
        record.note(|entry, _| entry.sent(text.len() as u64));
    }
    match written {
        Ok(()) if kept => {
            record.note(|entry, _| entry.kept());
            Then::Again
        }
        Ok(()) if asker.is_quiet() && !fault.ends_connection() => Then::Close,
        Ok(()) => Then::Linger,
        Err(_) => Then::Close,
    }
}

/// The last field line, and the empty one.
fn say_how_it_goes_on(head: &mut Vec<u8>, kept: bool, old: bool) {
    head.extend_from_slice(match (kept, old) {
        (false, _) => &b"connection: close\r\n\r\n"[..],
        (true, true) => b"connection: keep-alive\r\n\r\n",
        (true, false) => b"\r\n",
    });
}

/// How an answer's body goes out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// As it is, with its length in the head.
    Sized,
    Chunked,
    /// As it is, to the end of the connection.
    ToTheEnd,
}

/// Passes a backend's answer on.
async fn pass(
    worker: &Rc<Worker>,
    alarm: &Alarm,
    asker: &mut HttpOne<'_, '_>,
    reply: &mut Reply,
    asked: &mut RequestHead,
    record: &mut Record,
) -> Then {
    // It is out: attempts are over.
    worker.buffers.give_head(std::mem::take(&mut asked.wire));
    record.answered(reply.head.status);
    let coding = match reply.head.length {
        Length::None | Length::Exactly(_) => Coding::Sized,
        _ if asked.old => Coding::ToTheEnd,
        _ => Coding::Chunked,
    };
    let kept = asked.persistent
        && coding != Coding::ToTheEnd
        && reply.upload.is_ended()
        && !worker.stopping.get();
    let mut wire = std::mem::take(&mut reply.head.wire);
    if !reply.head.upgrade {
        match (coding, reply.head.announced) {
            (Coding::Chunked, _) => forward::frame(&mut wire, Length::Chunked),
            (_, Some(bytes)) if !matches!(reply.head.status, 204 | 304) => {
                forward::frame(&mut wire, Length::Exactly(bytes));
            }
            _ => {}
        }
        if !reply.head.dated {
            worker.date(&mut wire);
        }
        say_how_it_goes_on(&mut wire, kept, asked.old);
    } else {
        wire.extend_from_slice(b"\r\n");
    }
    let mut out = match reply.head.upgrade {
        true => Buffer::new(&worker.buffers),
        false => reply.take(),
    };
    let mut whole = reply.is_whole() || reply.head.upgrade;
    // Of the body: what is out, and what is in `out`.
    let (mut sent, mut piece) = (0, out.len());
    encode(&mut out, coding, whole);
    out.prepend(&wire);
    worker.buffers.give_head(wire);
    let interim = asker.outbox.take_interim();
    if !interim.is_empty() {
        out.prepend(&interim);
    }
    let mut patience = Patience::default();
    let passed = poll_fn(|cx| {
        loop {
            reply.poll_upload(cx, asker);
            asker.rest();
            match patience.poll_drain(cx, worker, alarm, &mut out, asker) {
                Poll::Ready(Ok(())) if whole => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(why)) => return Poll::Ready(Err(Cut::Left(why))),
                Poll::Pending => return Poll::Pending,
            }
            match reply.poll_more(cx, alarm, worker.now(), patience.read_max()) {
                Poll::Ready(Ok(())) => {
                    out = reply.take();
                    sent += piece;
                    piece = out.len();
                    whole = reply.is_whole();
                    encode(&mut out, coding, whole);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Cut::Broke(error))),
                Poll::Pending if reply.upload.is_ended() && asker.poll_gone(cx).is_ready() => {
                    return Poll::Ready(Err(Cut::Left(CLOSED)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    record.note(|entry, _| {
        // What is left may include a chunk's end.
        entry.sent((sent + piece.saturating_sub(out.len())) as u64);
        entry.received(reply.upload.taken());
        entry.ended(End::Done, None);
    });
    match passed {
        Ok(()) if reply.head.upgrade => {
            record.count();
            // Until it is told better.
            record.note(|entry, _| entry.ended(End::Lb, None));
            tunnel::run(worker, alarm, asker, reply, record).await;
            Then::Close
        }
        Ok(()) if kept && asker.is_done() => {
            record.note(|entry, _| entry.kept());
            Then::Again
        }
        Ok(()) if asker.is_quiet() => Then::Close,
        Ok(()) => Then::Linger,
        Err(Cut::Left(why)) => {
            record.note(|entry, _| entry.ended(End::Client, Some(&why)));
            Then::Close
        }
        Err(Cut::Broke(error)) => {
            tracing::debug!(backend = %reply.site().key.id, %error, "an answer broke off");
            record.broke_off(&error);
            match coding {
                Coding::ToTheEnd => Then::Cut,
                _ => Then::Close,
            }
        }
    }
}

/// Frames what came of a body.
fn encode(out: &mut Buffer, coding: Coding, whole: bool) {
    if coding != Coding::Chunked {
        return;
    }
    if !out.is_empty() {
        let (line, digits) = chunked::size_line(out.len());
        out.prepend(&line[..digits]);
        out.append(b"\r\n");
    }
    if whole {
        out.append(chunked::LAST);
    }
}

/// Gives up on a client that does not read.
#[derive(Default)]
struct Patience {
    /// Bytes left when some last went out, and when that was.
    blocked: Option<(usize, Instant)>,
    /// It has made us wait for the last piece.
    slow: bool,
}

impl Patience {
    /// How much to read for it.
    fn read_max(&self) -> usize {
        match self.slow {
            true => READ_SLOWLY_MAX,
            false => usize::MAX,
        }
    }

    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        alarm: &Alarm,
        out: &mut Buffer,
        asker: &mut HttpOne<'_, '_>,
    ) -> Poll<Result<(), &'static str>> {
        if let Poll::Ready(written) = out.poll_drain(cx, &mut asker.outbox.writer) {
            self.slow = self.blocked.take().is_some();
            return Poll::Ready(written.map_err(|_| CLOSED));
        }
        let now = worker.now();
        let since = match self.blocked {
            Some((left, since)) if left == out.len() => since,
            _ => {
                self.blocked = Some((out.len(), now));
                now
            }
        };
        let limit = since + worker.settings.timeouts.body_progress;
        if now >= limit {
            return Poll::Ready(Err("the client took no more of the answer"));
        }
        alarm.wake_by(cx, limit);
        Poll::Pending
    }
}
