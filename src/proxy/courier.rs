//! Who carries one request to a backend and its answer's head back, whatever they speak to each other.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::asker::Asker;
use super::fault::Fault;
use super::flight::{Flight, HeadLimits, Loss};
use super::forward::{RequestHead, ResponseHead};
use super::upload::Upload;

/// Fields of an answer.
const FIELDS_MAX: usize = 256;

/// Bytes of an answer's head.
const HEAD_MAX: usize = 64 * 1024;

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
}

fn fault_of(flight: &Flight, loss: Loss) -> Fault {
    let stale = flight.link.reused && flight.read() == 0;
    match loss {
        Loss::Garbage(why) => Fault::Garbage(why.to_owned()),
        Loss::Ended(_) if flight.written() == 0 => Fault::Unsent { stale },
        Loss::Ended(why) => Fault::Reset { why, stale },
    }
}
