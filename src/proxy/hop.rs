//! The ways to a backend: a connection for one request at a time, or one that carries many.
//!
//! ```text
//! Way (found or opened) ─▶ Courier (carries the request, waits for the answer's head) ─▶ Hop (the rest, in a Reply)
//!   One:  Link ──────────── Flight
//!   Many: Seat ──────────── Stream
//! ```

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::asker::Asker;
use super::fault::Fault;
use super::flight::{Flight, HeadLimits, Loss};
use super::forward::{RequestHead, ResponseHead};
use super::link::Link;
use super::multiplex::{Seat, Stream};
use super::upload::Upload;

/// Fields of an answer.
const FIELDS_MAX: usize = 256;

/// Bytes of an answer's head.
const HEAD_MAX: usize = 64 * 1024;

/// What a request may be sent over.
pub(super) enum Way {
    /// HTTP/1.
    One(Link),
    /// HTTP/2.
    Many(Seat),
}

/// What a request was sent over.
pub(super) enum Hop {
    /// HTTP/1.
    One(Box<Flight>),
    /// HTTP/2.
    Many(Box<Stream>),
}

/// Carries one request.
pub(super) trait Courier {
    /// Sends as much of the request as goes: its head (`None` once the answer's head has come), then its body. Nothing
    /// to be told: who waits looks at what was counted.
    fn send(
        &mut self,
        cx: &mut Context<'_>,
        asked: Option<&RequestHead>,
        upload: &mut Upload,
        asker: &mut dyn Asker,
    );

    /// The head of the final answer; interim ones go to `asker`.
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        asked: &RequestHead,
        asker: &mut dyn Asker,
    ) -> Poll<Result<ResponseHead, Fault>>;

    /// Grows with whatever moves, both ways.
    fn moved(&self) -> u64;

    /// Some of an answer has come.
    fn has_answered(&self) -> bool;

    /// A request that is not idempotent can't be sent again any more, whatever happens now.
    fn is_past_repeating(&self) -> bool;

    /// An interim answer has gone to the client.
    fn has_passed_interim(&self) -> bool;

    /// The time that the client named has passed; asked at `sent`.
    fn is_past_deadline(&self, _sent: Instant, _now: Instant) -> bool {
        false
    }

    /// When to give up: asked at `sent`, moved last at `progress`; `usual` is what is waited without progress.
    fn limit(&self, sent: Instant, progress: Instant, usual: Duration) -> Option<Instant>;

    /// Its answer is passed on.
    fn into_hop(self: Box<Self>) -> Hop;
}

impl Courier for Flight {
    fn send(
        &mut self,
        cx: &mut Context<'_>,
        asked: Option<&RequestHead>,
        upload: &mut Upload,
        asker: &mut dyn Asker,
    ) {
        let wire = asked.map_or(&[][..], |asked| &asked.wire);
        Self::send(self, cx, wire, upload, asker);
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        asked: &RequestHead,
        asker: &mut dyn Asker,
    ) -> Poll<Result<ResponseHead, Fault>> {
        let limits = HeadLimits {
            bytes: HEAD_MAX,
            fields: FIELDS_MAX,
        };
        let polled = self.poll_head(cx, asked, limits, asker);
        polled.map_err(|loss| fault_of(self, loss))
    }

    fn moved(&self) -> u64 {
        self.written() + self.read()
    }

    fn has_answered(&self) -> bool {
        self.read() > 0
    }

    fn is_past_repeating(&self) -> bool {
        self.written() > 0
    }

    fn has_passed_interim(&self) -> bool {
        Self::has_passed_interim(self)
    }

    fn limit(&self, _: Instant, progress: Instant, usual: Duration) -> Option<Instant> {
        Some(progress + usual)
    }

    fn into_hop(self: Box<Self>) -> Hop {
        Hop::One(self)
    }
}

fn fault_of(flight: &Flight, loss: Loss) -> Fault {
    let stale = flight.link.reused && flight.read() == 0;
    match loss {
        Loss::Garbage(why) => Fault::Garbage(why.to_owned()),
        Loss::Ended(_) if flight.written() == 0 => Fault::Unsent { stale },
        Loss::Ended(why) => Fault::Reset { why, stale },
    }
}
