//! After a change of protocol: bytes both ways, until both sides have ended or nothing moves.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use super::access::entry::End;
use super::alarm::Alarm;
use super::answer::Then;
use super::buffer::Buffer;
use super::client::HttpOne;
use super::record::Record;
use super::reply::Reply;
use super::worker::Worker;

/// One direction.
struct Way {
    bytes: Buffer,
    /// Nothing more comes.
    ended: bool,
    /// Its receiver was told so.
    told: bool,
}

impl Way {
    fn new(bytes: Buffer) -> Self {
        Self {
            bytes,
            ended: false,
            told: false,
        }
    }

    /// Writes what is there, and the end after it. Ready with false: nobody reads.
    fn poll_out(&mut self, cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin)) -> Poll<bool> {
        if !self.bytes.is_empty() {
            match self.bytes.poll_drain(cx, to) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.ended && !self.told {
            if Pin::new(to).poll_shutdown(cx).is_pending() {
                return Poll::Pending;
            }
            self.told = true;
        }
        Poll::Ready(true)
    }
}

/// Joins the client and the backend that changed the protocol.
pub(super) async fn run(
    worker: &Rc<Worker>,
    alarm: &Alarm,
    asker: &mut HttpOne<'_>,
    reply: &mut Reply,
    record: &mut Record,
) -> Then {
    let Some((mut link, early, lease)) = reply.take_link() else {
        return Then::Close;
    };
    let (inbox, mut socket) = asker.sides();
    let mut out = Way::new(inbox.input.take());
    let mut back = Way::new(early);
    let idle_max = worker.settings.timeouts.upgrade_idle;
    let mut moved = worker.now();
    let (mut sent, mut received) = (back.bytes.len(), out.bytes.len());
    let ended = poll_fn(|cx| {
        loop {
            let mut again = false;
            match out.poll_out(cx, &mut link.stream) {
                Poll::Ready(true) if !out.ended => match inbox.poll_any(cx, socket) {
                    Poll::Ready(Ok(true)) => {
                        out.bytes = inbox.input.take();
                        received += out.bytes.len();
                        again = true;
                    }
                    Poll::Ready(Ok(false)) => (out.ended, again) = (true, true),
                    Poll::Ready(Err(_)) => return Poll::Ready(Some(End::Client)),
                    Poll::Pending => {}
                },
                Poll::Ready(true) | Poll::Pending => {}
                Poll::Ready(false) => return Poll::Ready(Some(End::Backend)),
            }
            match back.poll_out(cx, &mut socket) {
                Poll::Ready(true) if !back.ended => {
                    match back.bytes.poll_fill(cx, &mut link.stream) {
                        Poll::Ready(Ok(bytes)) if bytes > 0 => {
                            sent += bytes;
                            again = true;
                        }
                        Poll::Ready(Ok(_)) => (back.ended, again) = (true, true),
                        Poll::Ready(Err(_)) => return Poll::Ready(Some(End::Backend)),
                        Poll::Pending => {}
                    }
                }
                Poll::Ready(true) | Poll::Pending => {}
                Poll::Ready(false) => return Poll::Ready(Some(End::Client)),
            }
            if out.told && back.told {
                return Poll::Ready(None);
            }
            let now = worker.now();
            if again {
                moved = now;
                continue;
            }
            if now >= moved + idle_max {
                return Poll::Ready(Some(End::Lb));
            }
            alarm.wake_by(cx, moved + idle_max);
            return Poll::Pending;
        }
    })
    .await;
    drop(lease);
    record.note(|entry, _| {
        entry.sent(sent as u64);
        entry.received(received as u64);
        match ended {
            Some(End::Lb) => entry.ended(End::Lb, Some(&"nothing moved either way")),
            Some(end) => entry.ended(end, Some(&"the connection broke")),
            None => entry.ended(End::Done, None),
        }
    });
    match ended {
        Some(End::Client | End::Backend) => {
            // An end in order would say that nothing is missing.
            link.reset_at_end();
            Then::Cut
        }
        _ => Then::Close,
    }
}
