//! One try at one backend: a connection, the request on it, and the wait for the answer's head.
//!
//! ```text
//! idle connection ─┐                    ┌─ head of the answer ─▶ Reply (streams the body)
//!                  ├─▶ send ─▶ waiting ─┼─ closed, reset, garbage, too slow ─▶ Fault
//! connect (race) ──┘                    └─ backend went down: moves on if somebody else can be asked
//! ```

use std::future::{Future, poll_fn};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::access::entry::Entry;
use super::exchange::Exchange;
use super::fault::{BodyError, Fault};
use super::flight::{Flight, HeadLimits, Loss};
use super::forward::ResponseHead;
use super::link::Link;
use super::reply::Reply;
use super::stats::Reason;
use crate::pool::snapshot::Unpicked;
use crate::pool::upstream::Lease;

/// Fields of an answer.
const FIELDS_MAX: usize = 256;

/// Between two looks for room at the others, once the backend that a request waits at is down.
const ROOM_EVERY: Duration = Duration::from_millis(20);

/// How long a request waits where packets are lost before it moves on, if it may: what is lost twice costs TCP most of
/// a second, and each further time twice as long.
const LOSS_WAIT: Duration = Duration::from_secs(1);

/// Bytes of an answer's head.
const HEAD_MAX: usize = 64 * 1024;

impl Exchange<'_> {
    /// Tries the backend of `lease`, or the one that connects first.
    pub(super) async fn attempt(&mut self, lease: Lease) -> Result<Box<Reply>, Fault> {
        let (flight, lease) = match self.idle_flight() {
            Some(flight) => (flight, lease),
            None => {
                let (link, lease) = Box::pin(self.connect(lease)).await?;
                (self.flight(link), lease)
            }
        };
        let reused = flight.link.reused;
        self.record.note(|entry, now| entry.connected(reused, now));
        let waiting = Waiting::begin(&lease, self.worker.now(), self.plan.is_idempotent());
        self.send(flight, lease, waiting).await
    }

    fn idle_flight(&self) -> Option<Box<Flight>> {
        if self.plan.wants_new_connection() {
            return None;
        }
        let link = self.take_idle(&self.site)?;
        Some(self.flight(link))
    }

    fn flight(&self, link: Link) -> Box<Flight> {
        Box::new(Flight::new(link, &self.worker.buffers))
    }

    /// Sends the request and waits for its answer.
    fn send(
        &mut self,
        flight: Box<Flight>,
        lease: Lease,
        mut waiting: Waiting,
    ) -> impl Future<Output = Result<Box<Reply>, Fault>> {
        let mut held = Some((flight, lease));
        poll_fn(move |cx| {
            let Some((flight, _)) = &mut held else {
                return Poll::Pending;
            };
            let answered = ready!(self.poll_answer(cx, flight, &mut waiting));
            let Some((flight, lease)) = held.take() else {
                return Poll::Pending;
            };
            Poll::Ready(match answered {
                Ok(head) => self.receive(cx, head, flight, lease),
                Err(fault) => {
                    self.spare = fault.is_stale().then_some(lease);
                    Err(fault)
                }
            })
        })
    }

    /// An answer's head has come, and perhaps more.
    fn receive(
        &mut self,
        cx: &mut Context<'_>,
        head: ResponseHead,
        flight: Box<Flight>,
        lease: Lease,
    ) -> Result<Box<Reply>, Fault> {
        self.record.note(Entry::head_came);
        let now = self.worker.now();
        let reply = Reply::new(
            head,
            flight,
            &mut self.upload,
            self.site.clone(),
            lease,
            self.worker.settings.timeouts.body_progress,
            now,
        );
        let mut reply = reply.map_err(Fault::Broken)?;
        if !reply.is_whole()
            && let Err(error) = reply.look_ahead(cx, now, self.asker.read_max())
        {
            self.upload = std::mem::take(&mut reply.upload);
            return Err(Fault::Broken(error));
        }
        Ok(reply)
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        flight: &mut Flight,
        waiting: &mut Waiting,
    ) -> Poll<Result<ResponseHead, Fault>> {
        flight.send(cx, &self.head.wire, &mut self.upload, self.asker);
        if let Some(error) = self.upload.failed() {
            return Poll::Ready(Err(match error {
                BodyError::Client(_) => Fault::ClientGone,
                error => Fault::ClientBody(error.clone()),
            }));
        }
        let limits = HeadLimits {
            bytes: HEAD_MAX,
            fields: FIELDS_MAX,
        };
        if let Poll::Ready(head) = flight.poll_head(cx, self.head, limits, self.asker) {
            return Poll::Ready(head.map_err(|loss| fault_of(flight, loss)));
        }
        if flight.has_passed_interim() {
            self.interim = true;
            self.asker.poll_flush(cx);
        }
        // One that came for a single quick answer is not watched for it (see `socket`).
        if self.asker.is_watched() && self.has_client_gone(cx) {
            return Poll::Ready(Err(Fault::ClientGone));
        }
        self.asker.rest();
        self.poll_waiting(cx, flight, waiting).map(Err)
    }

    /// Whether it moves on, for the backend went down or is hard to reach, and somebody else can be asked.
    fn look_elsewhere(
        &mut self,
        flight: &Flight,
        waiting: &mut Waiting,
        now: Instant,
    ) -> Option<Fault> {
        let live = &self.site.live;
        let downs = live.downs();
        let due = waiting.look_again.take_if(|at| now >= *at).is_some();
        if !(due || downs != waiting.downs) || flight.read() > 0 {
            return None;
        }
        waiting.down |= std::mem::replace(&mut waiting.downs, downs) != downs;
        let (reason, fault) = match waiting.down {
            true => (Reason::Rescue, Fault::FirstByte),
            false if live.is_lossy(now) => (Reason::Loss, Fault::Lossy),
            false => {
                waiting.look_again = Some(now + LOSS_WAIT);
                return None;
            }
        };
        match self.next(reason) {
            Ok(pick) => {
                self.next = Some(pick);
                return Some(fault);
            }
            // Those in line for the others' places were here later.
            Err(Unpicked::Full) => waiting.look_again = Some(now + ROOM_EVERY),
            Err(Unpicked::Nobody) => {}
        }
        None
    }

    fn has_client_gone(&mut self, cx: &mut Context<'_>) -> bool {
        self.upload.is_ended() && self.asker.poll_gone(cx).is_ready()
    }

    /// Nothing has come yet: is it time to move on, to ask for a check, or to give up?
    fn poll_waiting(
        &mut self,
        cx: &mut Context<'_>,
        flight: &Flight,
        waiting: &mut Waiting,
    ) -> Poll<Fault> {
        let timeouts = &self.worker.settings.timeouts;
        let now = self.worker.now();
        if let Some(moving) = self.look_elsewhere(flight, waiting, now) {
            return Poll::Ready(moving);
        }
        let moved = flight.written() + flight.read() + self.upload.taken();
        if moved != waiting.moved {
            waiting.moved = moved;
            waiting.progress = now;
            if !self.plan.is_idempotent() && flight.written() > 0 {
                self.upload.forget();
            }
        }
        let uploading = !self.upload.is_ended();
        let limit = waiting.progress
            + match uploading || flight.read() > 0 {
                true => timeouts.body_progress,
                false => timeouts.first_byte,
            };
        if now >= limit {
            return Poll::Ready(if !uploading {
                Fault::FirstByte
            } else if self.upload.is_wanted() {
                Fault::ClientSlow
            } else {
                Fault::Stalled
            });
        }
        let slow = waiting.sent + timeouts.slow_first_byte;
        if !waiting.told && now >= slow {
            waiting.told = true;
            self.worker.report_slow(&self.site, now);
            if self.has_client_gone(cx) {
                return Poll::Ready(Fault::ClientGone);
            }
        }
        let next = if waiting.told { limit } else { limit.min(slow) };
        let next = waiting.look_again.map_or(next, |at| next.min(at));
        self.alarm.wake_by(cx, next);
        Poll::Pending
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

impl Waiting {
    fn begin(lease: &Lease, now: Instant, idempotent: bool) -> Self {
        Self {
            downs: lease.upstream.live.downs(),
            sent: now,
            progress: now,
            moved: 0,
            told: false,
            down: false,
            look_again: idempotent.then_some(now + LOSS_WAIT),
        }
    }
}

/// What the wait for an answer remembers.
struct Waiting {
    /// The backend's count of downs when the request was sent.
    downs: u64,
    sent: Instant,
    /// When a byte last moved.
    progress: Instant,
    moved: u64,
    /// The slow first byte was reported.
    told: bool,
    /// The backend went down meanwhile.
    down: bool,
    /// When to look for somebody else: packets may be lost here, or the backend is down and the others were full.
    look_again: Option<Instant>,
}
