//! How long a client that does not read is waited for, and how much is read for it meanwhile.

use std::task::{Context, Poll};
use std::time::Instant;

use super::alarm::Alarm;
use super::buffer::READ_SLOWLY_MAX;
use super::worker::Worker;

/// Gives up on a client that does not read.
#[derive(Default)]
pub(super) struct Patience {
    /// Bytes left when some last went out, and when that was.
    blocked: Option<(usize, Instant)>,
    /// It has made us wait for the last piece.
    slow: bool,
}

impl Patience {
    /// How much to read for it.
    pub(super) fn read_max(&self) -> usize {
        match self.slow {
            true => READ_SLOWLY_MAX,
            false => usize::MAX,
        }
    }

    /// How writing went: Pending with `left` bytes, for as long as there is progress.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        alarm: &Alarm,
        left: usize,
        written: Poll<Result<(), &'static str>>,
    ) -> Poll<Result<(), &'static str>> {
        if written.is_ready() {
            self.slow = self.blocked.take().is_some();
            return written;
        }
        let now = worker.now();
        let since = match self.blocked {
            Some((before, since)) if before == left => since,
            _ => {
                self.blocked = Some((left, now));
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
