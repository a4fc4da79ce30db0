//! A client joined with a backend: bytes both ways, until both sides have ended or nothing moves.
//!
//! ```text
//! client ──▶ out (at most one buffer) ──▶ backend      each way ends by itself: a half-closed side still hears
//! client ◀── back (at most one buffer) ◀── backend     a reset on one side is a reset on the other
//! ```
//!
//! Reading waits until what was read before is written, so that whoever reads slowly holds one buffer and no more.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};

use super::access::entry::End;
use super::alarm::Alarm;
use super::buffer::{Buffer, READ_SLOWLY_MAX};
use super::guards::Parting;
use super::link::Link;
use super::socket::Socket;
use super::worker::Worker;

/// One direction.
struct Way {
    bytes: Buffer,
    /// Bytes that its sender sent.
    read: u64,
    /// Nothing more comes.
    ended: bool,
    /// Its receiver was told so, or takes no more.
    over: bool,
    /// Its receiver has just made us wait.
    slow: bool,
}

/// A side that is gone without an end in order.
enum Broke {
    Sender,
    Receiver,
}

impl Way {
    fn new(bytes: Buffer) -> Self {
        Self {
            read: bytes.len() as u64,
            bytes,
            ended: false,
            over: false,
            slow: false,
        }
    }

    /// Moves what goes, and the end after it. True: something moved.
    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<bool, Broke> {
        let (mut moved, mut filled) = (false, false);
        while !self.over {
            let before = self.bytes.len();
            match self.bytes.poll_drain(cx, to) {
                Poll::Ready(Ok(())) => self.slow &= !filled,
                Poll::Ready(Err(_)) => {
                    self.over = true;
                    drop(self.bytes.take());
                    return Err(Broke::Receiver);
                }
                Poll::Pending => {
                    self.slow = true;
                    return Ok(moved || self.bytes.len() < before);
                }
            }
            moved |= before > 0;
            if self.ended {
                // Only TLS may have to wait until its last word is out.
                if Pin::new(&mut *to).poll_shutdown(cx).is_pending() {
                    return Ok(moved);
                }
                self.over = true;
                return Ok(true);
            }
            let most = if self.slow {
                READ_SLOWLY_MAX
            } else {
                usize::MAX
            };
            match self.bytes.poll_fill_to(cx, from, most) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(bytes)) => {
                    self.read += bytes as u64;
                    filled = true;
                }
                Poll::Ready(Err(_)) => return Err(Broke::Sender),
                Poll::Pending => return Ok(moved),
            }
        }
        Ok(moved)
    }

    /// Says the end now, if its receiver has all that came. False: it has not.
    fn end(&mut self, cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin)) -> bool {
        if !self.over && self.bytes.poll_drain(cx, to).is_ready() {
            self.over = true;
            let _ = Pin::new(to).poll_shutdown(cx);
        }
        self.over
    }
}

/// How two sides parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parted {
    /// Both said their end.
    InOrder,
    /// This one broke off, and the other was reset.
    Broke(End),
    /// This one took no more, but said its own end.
    Deaf(End),
    /// Nothing moved for too long.
    Idle,
    /// We stop: both were told the end.
    Stopped,
}

impl Parted {
    /// Who ended it, and why where it was no end in order.
    pub(super) fn told(self) -> (End, Option<&'static str>) {
        match self {
            Self::InOrder => (End::Done, None),
            Self::Broke(end) => (end, Some("the connection broke")),
            Self::Deaf(end) => (end, Some("it closed while it was sent to")),
            Self::Idle => (End::Lb, Some("nothing moved either way")),
            Self::Stopped => (End::Lb, Some("lb stopped")),
        }
    }

    /// The client may still send, which must not cost it what it was sent.
    pub(super) fn wants_linger(self) -> bool {
        matches!(self, Self::Stopped | Self::Deaf(End::Backend))
    }
}

/// Both directions.
pub(super) struct Relay {
    _parting: Parting,
    worker: Rc<Worker>,
    out: Way,
    back: Way,
    idle_max: Duration,
    /// When a byte last moved.
    moved: Instant,
    /// Who takes no more.
    deaf: Option<End>,
}

impl Relay {
    /// What came already, of the client and of the backend.
    pub(super) fn new(worker: &Rc<Worker>, out: Buffer, back: Buffer, idle_max: Duration) -> Self {
        Self {
            _parting: Parting::new(worker),
            moved: worker.now(),
            worker: worker.clone(),
            out: Way::new(out),
            back: Way::new(back),
            idle_max,
            deaf: None,
        }
    }

    /// Bytes of the client.
    pub(super) fn received(&self) -> u64 {
        self.out.read
    }

    /// Bytes of the backend.
    pub(super) fn sent(&self) -> u64 {
        self.back.read
    }

    /// Ends it from here. A side that does not take all of what came is not told that it has all.
    fn end(&mut self, cx: &mut Context<'_>, mut client: &Socket, link: &mut Link) {
        if !self.out.end(cx, &mut link.stream) {
            link.cut();
        }
        if !self.back.end(cx, &mut client) {
            client.cut();
        }
    }

    /// Moves what goes, until both sides have parted.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        alarm: &Alarm,
        mut client: &Socket,
        link: &mut Link,
    ) -> Poll<Parted> {
        if self.worker.cutting.get() {
            self.end(cx, client, link);
            return Poll::Ready(Parted::Stopped);
        }
        loop {
            let mut moved = false;
            match self.out.turn(cx, &mut client, &mut link.stream) {
                Ok(some) => moved |= some,
                Err(Broke::Sender) => {
                    link.cut();
                    return Poll::Ready(Parted::Broke(End::Client));
                }
                // What it said before may still be here to read.
                Err(Broke::Receiver) => moved |= self.deaf.replace(End::Backend).is_none(),
            }
            match self.back.turn(cx, &mut link.stream, &mut client) {
                Ok(some) => moved |= some,
                Err(Broke::Sender) => {
                    client.cut();
                    return Poll::Ready(Parted::Broke(End::Backend));
                }
                Err(Broke::Receiver) => moved |= self.deaf.replace(End::Client).is_none(),
            }
            if self.out.over && self.back.over {
                return Poll::Ready(self.deaf.map_or(Parted::InOrder, Parted::Deaf));
            }
            let now = self.worker.now();
            if moved {
                self.moved = now;
                continue;
            }
            let limit = self.moved + self.idle_max;
            if now >= limit {
                self.end(cx, client, link);
                return Poll::Ready(Parted::Idle);
            }
            alarm.wake_by(cx, limit);
            return Poll::Pending;
        }
    }
}
