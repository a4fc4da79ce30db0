//! What an HTTP/1 client is told: a backend's answer, piece by piece, or why there is none.
//!
//! ```text
//! Reply ─▶ compose (head) ─▶ relay { drain ◀─ encode ◀─ more } ─▶ Then
//! Fault ─▶ tell ───────────────────────────────────────────────▶ Then
//! ```

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use super::access::entry::End;
use super::alarm::Alarm;
use super::asker::Asker;
use super::buffer::Buffer;
use super::client::{HttpOne, Then};
use super::fault::{BodyError, Fault, phrase};
use super::forward::{self, RequestHead};
use super::guards::Parting;
use super::h1::chunked;
use super::h1::request::Length;
use super::patience::Patience;
use super::record::Record;
use super::reply::Reply;
use super::socket::Last;
use super::tunnel;
use super::worker::Worker;

/// In the access log.
pub(super) const CLOSED: &str = "the client closed the connection";

const BROKE_OFF: &str = "the request's body broke off";
const STOPPED: &str = "lb stopped";

/// Why an answer did not get through.
enum Cut {
    /// The client's side.
    Left(&'static str),
    /// The backend's.
    Broke(BodyError),
    /// Ours: the time to finish is over.
    Stopped,
}

/// An answer of ours.
pub(super) struct Told<'f> {
    pub(super) fault: &'f Fault,
    /// The request was HEAD.
    pub(super) bodiless: bool,
    /// The client wants the connection kept.
    pub(super) persistent: bool,
    /// HTTP/1.0.
    pub(super) old: bool,
}

/// Tells the client why there is no response of a backend.
pub(super) async fn tell(
    worker: &Worker,
    alarm: &Alarm,
    asker: &mut HttpOne<'_>,
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
    let text = fault.text();
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
        out.append(&text);
    }
    out.prepend(&head);
    out.prepend(&asker.take_interim());
    let mut patience = Patience::default();
    let written = poll_fn(|cx| {
        asker.rest();
        poll_drain(cx, worker, alarm, &mut patience, &mut out, asker, false)
    })
    .await;
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
        Err(_) => Then::Drop,
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

impl Coding {
    fn of(reply: &Reply, asked: &RequestHead) -> Self {
        match reply.head.length {
            Length::None | Length::Exactly(_) => Self::Sized,
            _ if asked.old => Self::ToTheEnd,
            _ => Self::Chunked,
        }
    }
}

/// The head of a backend's answer, as this client gets it.
fn compose(
    worker: &Worker,
    reply: &mut Reply,
    asked: &RequestHead,
    coding: Coding,
    kept: bool,
) -> Vec<u8> {
    let mut wire = std::mem::take(&mut reply.head.wire);
    if reply.head.upgrade {
        wire.extend_from_slice(b"\r\n");
        return wire;
    }
    match (coding, reply.head.announced) {
        (Coding::Chunked, _) => forward::frame(&mut wire, Length::Chunked),
        (_, Some(bytes)) if !matches!(reply.head.status, 204 | 304) => {
            forward::frame(&mut wire, Length::Exactly(bytes));
        }
        // Where only its end says that there is none.
        (Coding::Sized, None) => forward::frame(&mut wire, reply.head.length),
        _ => {}
    }
    if !reply.head.dated {
        worker.date(&mut wire);
    }
    say_how_it_goes_on(&mut wire, kept, asked.old);
    wire
}

/// Passes a backend's answer on.
pub(super) async fn pass(
    worker: &Rc<Worker>,
    alarm: &Alarm,
    asker: &mut HttpOne<'_>,
    reply: &mut Reply,
    asked: &mut RequestHead,
    record: &mut Record,
) -> Then {
    // It is out: attempts are over.
    worker.buffers.give_head(std::mem::take(&mut asked.wire));
    record.answered(reply.head.status);
    let coding = Coding::of(reply, asked);
    let kept = asked.persistent
        && coding != Coding::ToTheEnd
        && reply.upload.is_ended()
        && !worker.stopping.get();
    let wire = compose(worker, reply, asked, coding, kept);
    let mut out = match reply.head.upgrade {
        true => Buffer::new(&worker.buffers),
        false => reply.take(),
    };
    let whole = reply.is_whole() || reply.head.upgrade;
    let body = out.len();
    let trailers = asked.te_trailers;
    encode(&mut out, coding, whole, trailing(reply, trailers));
    out.prepend(&wire);
    worker.buffers.give_head(wire);
    let interim = asker.take_interim();
    if !interim.is_empty() {
        out.prepend(&interim);
    }
    // Nothing is left to read, so that the end may follow at once; TLS has its own word for it.
    let last =
        !kept && whole && !reply.head.upgrade && asker.is_quiet() && !asker.socket.is_secured();
    let mut piece = Piece {
        out,
        body,
        whole,
        last,
        coding,
        trailers,
    };
    let mut sent = 0;
    // Its connection's end is a part of the answer, and so is waited for at a stop.
    let _parting = (coding == Coding::ToTheEnd).then(|| Parting::new(worker));
    let passed = relay(worker, alarm, asker, reply, &mut piece, &mut sent).await;
    record.note(|entry, _| {
        // What is left may include a chunk's end.
        let left = piece.out.len();
        entry.sent((sent + piece.body.saturating_sub(left)) as u64);
        entry.received(reply.upload.taken());
        entry.ended(End::Done, None);
    });
    match passed {
        Ok(()) if reply.head.upgrade => {
            record.count();
            // Until it is told better.
            record.note(|entry, _| entry.ended(End::Lb, None));
            Box::pin(tunnel::run(worker, alarm, asker, reply, record)).await
        }
        Ok(()) if kept && asker.is_done() => {
            record.note(|entry, _| entry.kept());
            Then::Again
        }
        Ok(()) if asker.is_quiet() => Then::Close,
        Ok(()) => Then::Linger,
        Err(Cut::Left(why)) => {
            record.note(|entry, _| entry.ended(End::Client, Some(&why)));
            cut_off(coding)
        }
        Err(Cut::Stopped) => {
            record.note(|entry, _| entry.ended(End::Lb, Some(&STOPPED)));
            cut_off(coding)
        }
        Err(Cut::Broke(error)) => {
            tracing::debug!(backend = %reply.site().key.id, %error, "an answer broke off");
            record.broke_off(&error);
            cut_off(coding)
        }
    }
}

/// Ends a connection in the middle of an answer. Where its end is the answer's, an end in order would say that this is all.
fn cut_off(coding: Coding) -> Then {
    match coding {
        Coding::ToTheEnd => Then::Cut,
        _ => Then::Drop,
    }
}

/// What goes out next.
struct Piece {
    /// With its framing, and with the head before the first.
    out: Buffer,
    /// Bytes of the body in it.
    body: usize,
    /// It is the last.
    whole: bool,
    /// The connection ends with it: both leave together.
    last: bool,
    coding: Coding,
    /// The client takes trailers.
    trailers: bool,
}

/// Writes piece after piece, as they come; goes on sending the request, if its answer came before its end.
async fn relay(
    worker: &Worker,
    alarm: &Alarm,
    asker: &mut HttpOne<'_>,
    reply: &mut Reply,
    piece: &mut Piece,
    sent: &mut usize,
) -> Result<(), Cut> {
    let mut patience = Patience::default();
    poll_fn(|cx| {
        loop {
            if piece.coding == Coding::ToTheEnd && worker.cutting.get() {
                return Poll::Ready(Err(Cut::Stopped));
            }
            reply.poll_upload(cx, asker);
            asker.rest();
            let (out, last) = (&mut piece.out, piece.last);
            match poll_drain(cx, worker, alarm, &mut patience, out, asker, last) {
                Poll::Ready(Ok(())) if piece.last => {
                    // A client that is gone already has nothing to be told.
                    let _ = Pin::new(&mut Last(asker.socket)).poll_shutdown(cx);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(())) if piece.whole => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(why)) => return Poll::Ready(Err(Cut::Left(why))),
                Poll::Pending => return Poll::Pending,
            }
            match reply.poll_more(cx, alarm, worker.now(), patience.read_max()) {
                Poll::Ready(Ok(())) => {
                    *sent += piece.body;
                    piece.out = reply.take();
                    piece.body = piece.out.len();
                    piece.whole = reply.is_whole();
                    let trailers = trailing(reply, piece.trailers);
                    encode(&mut piece.out, piece.coding, piece.whole, trailers);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Cut::Broke(error))),
                // The backend may wait for the rest of a body that will not come.
                Poll::Pending if reply.upload.failed().is_some() => {
                    return Poll::Ready(Err(Cut::Left(BROKE_OFF)));
                }
                Poll::Pending if reply.upload.is_ended() && asker.poll_gone(cx).is_ready() => {
                    return Poll::Ready(Err(Cut::Left(CLOSED)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Trailers for a client that takes them.
fn trailing(reply: &mut Reply, taken: bool) -> Option<Box<[u8]>> {
    reply.take_trailers().filter(|_| taken)
}

/// Frames what came of a body.
fn encode(out: &mut Buffer, coding: Coding, whole: bool, trailers: Option<Box<[u8]>>) {
    if coding != Coding::Chunked {
        return;
    }
    if !out.is_empty() {
        let (line, digits) = chunked::size_line(out.len());
        out.prepend(&line[..digits]);
        out.append(b"\r\n");
    }
    match trailers {
        Some(lines) if whole => {
            out.append(chunked::LAST_SIZE);
            out.append(&lines);
            out.append(b"\r\n");
        }
        _ if whole => out.append(chunked::LAST),
        _ => {}
    }
}

/// Writes as much as goes, while there is patience with the client.
fn poll_drain(
    cx: &mut Context<'_>,
    worker: &Worker,
    alarm: &Alarm,
    patience: &mut Patience,
    out: &mut Buffer,
    asker: &mut HttpOne<'_>,
    last: bool,
) -> Poll<Result<(), &'static str>> {
    let drained = match last {
        true => out.poll_drain(cx, &mut Last(asker.socket)),
        false => out.poll_drain(cx, &mut asker.socket),
    };
    let drained = drained.map_err(|_| CLOSED);
    patience.poll(cx, worker, alarm, out.len(), drained)
}
