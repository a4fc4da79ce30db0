//! One try at one backend: a connection, the request on it, and the wait for the answer's head.
//!
//! ```text
//! idle connection ─┐                    ┌─ head of the answer ─▶ Reply (streams the body)
//!                  ├─▶ send ─▶ waiting ─┼─ closed, reset, garbage, too slow ─▶ Fault
//! connect (race) ──┘                    └─ backend went down: moves on if somebody else can be asked
//! ```
//!
//! The same over HTTP/1 and over HTTP/2, by a [`Courier`] of either kind.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::access::entry::Entry;
use super::courier::Courier;
use super::exchange::Exchange;
use super::fault::{BodyError, Fault};
use super::flight::Flight;
use super::forward::ResponseHead;
use super::hop::{Hop, Way};
use super::link::Link;
use super::multiplex::stream::Stream;
use super::reply::Reply;
use super::site::Site;
use super::stats::Reason;
use crate::pool::snapshot::Unpicked;
use crate::pool::upstream::Lease;

/// Between two looks for room at the others, once the backend that a request waits at is down.
const ROOM_EVERY: Duration = Duration::from_millis(20);

/// How long a request waits where packets are lost before it moves on, if it may: what is lost twice costs TCP most of
/// a second, and each further time twice as long.
const LOSS_WAIT: Duration = Duration::from_secs(1);

impl Exchange<'_> {
    /// Tries the backend of `lease`, or the one that connects first.
    pub(super) async fn attempt(&mut self, lease: Lease) -> Result<Box<Reply>, Fault> {
        let (flight, lease, waiting) = match self.idle_flight(&lease) {
            Some(flight) => {
                let downs = lease.upstream.live.downs();
                let waiting = self.connected(flight.link.reused, downs);
                (flight, lease, waiting)
            }
            None => match Box::pin(self.open(lease)).await? {
                Opened::Flight(flight, lease, waiting) => (flight, lease, waiting),
                Opened::Answered(reply) => return Ok(reply),
            },
        };
        self.send(flight, lease, waiting).await
    }

    fn idle_flight(&self, lease: &Lease) -> Option<Box<Flight>> {
        if lease.upstream.proto.is_multiplexed() {
            return None;
        }
        match self.open_way(&self.site, lease)? {
            Way::One(link) => Some(self.flight(link)),
            Way::Many(_) => None,
        }
    }

    fn flight(&self, link: Link) -> Box<Flight> {
        Box::new(Flight::new(link, &self.worker.buffers))
    }

    /// A new connection; or one that carries many requests, and then the answer that came over it. All of that is
    /// here so that an attempt over HTTP/1 is no larger for it.
    async fn open(&mut self, lease: Lease) -> Result<Opened, Fault> {
        let (way, lease, downs) = match self.open_way(&self.site, &lease) {
            Some(way) => {
                let downs = lease.upstream.live.downs();
                (way, lease, downs)
            }
            None => self.connect(lease).await?,
        };
        match way {
            Way::One(link) => {
                let waiting = self.connected(link.reused, downs);
                Ok(Opened::Flight(self.flight(link), lease, waiting))
            }
            Way::Many(_) if self.head.upgrade.is_some() => Err(Fault::Upgrade),
            Way::Many(seat) => {
                let stream = Box::new(Stream::new(seat, &self.worker.buffers));
                let waiting = self.connected(stream.is_reused(), downs);
                let reply = self.send(stream, lease, waiting).await?;
                Ok(Opened::Answered(reply))
            }
        }
    }

    fn connected(&mut self, reused: bool, downs: u64) -> Waiting {
        self.record.note(|entry, now| entry.connected(reused, now));
        Waiting::begin(downs, self.worker.now(), self.plan.is_idempotent())
    }

    /// A connection that is there already and has room for the request.
    pub(super) fn open_way(&self, site: &Rc<Site>, lease: &Lease) -> Option<Way> {
        if lease.upstream.proto.is_multiplexed() && !self.bound {
            return site.mux.seat().map(Way::Many);
        }
        if self.plan.wants_new_connection() {
            return None;
        }
        self.take_idle(site).map(Way::One)
    }

    /// Sends the request and waits for its answer.
    fn send<C: Courier>(
        &mut self,
        flight: Box<C>,
        lease: Lease,
        mut waiting: Waiting,
    ) -> impl Future<Output = Result<Box<Reply>, Fault>>
    where
        Hop: From<Box<C>>,
    {
        let mut held = Some((flight, lease));
        poll_fn(move |cx| {
            let Some((flight, _)) = &mut held else {
                return Poll::Pending;
            };
            let answered = ready!(self.poll_answer(cx, &mut **flight, &mut waiting));
            let Some((flight, lease)) = held.take() else {
                return Poll::Pending;
            };
            Poll::Ready(match answered {
                Ok(head) => self.receive(cx, head, flight.into(), lease),
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
        hop: Hop,
        lease: Lease,
    ) -> Result<Box<Reply>, Fault> {
        self.record.note(Entry::head_came);
        let now = self.worker.now();
        let reply = Reply::new(
            head,
            hop,
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
        flight: &mut impl Courier,
        waiting: &mut Waiting,
    ) -> Poll<Result<ResponseHead, Fault>> {
        flight.send(cx, Some(self.head), &mut self.upload, self.asker);
        if let Some(error) = self.upload.failed() {
            return Poll::Ready(Err(match error {
                BodyError::Client(_) => Fault::ClientGone,
                error => Fault::ClientBody(error.clone()),
            }));
        }
        if let Poll::Ready(head) = flight.poll_answer(cx, self.head, self.asker) {
            return Poll::Ready(head);
        }
        if flight.has_passed_interim() {
            self.interim = true;
            self.asker.poll_flush(cx);
        }
        // One that came for a single quick answer is not watched for it (see `socket`).
        if self.asker.is_watched() && self.has_client_gone(cx) {
            return Poll::Ready(Err(Fault::ClientGone));
        }
        if !self.upload.is_ended() && self.asker.poll_left(cx).is_ready() {
            return Poll::Ready(Err(Fault::ClientGone));
        }
        self.asker.rest();
        self.poll_waiting(cx, flight, waiting).map(Err)
    }

    /// Whether it moves on, for the backend went down or is hard to reach, and somebody else can be asked.
    fn look_elsewhere(
        &mut self,
        flight: &impl Courier,
        waiting: &mut Waiting,
        now: Instant,
    ) -> Option<Fault> {
        let live = &self.site.live;
        let downs = live.downs();
        let due = waiting.look_again.take_if(|at| now >= *at).is_some();
        if !(due || downs != waiting.downs) || flight.has_answered() {
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
        flight: &impl Courier,
        waiting: &mut Waiting,
    ) -> Poll<Fault> {
        let timeouts = &self.worker.settings.timeouts;
        let now = self.worker.now();
        if let Some(moving) = self.look_elsewhere(flight, waiting, now) {
            return Poll::Ready(moving);
        }
        let moved = flight.moved() + self.upload.taken();
        if moved != waiting.moved {
            waiting.moved = moved;
            // In the poll that sent it no time has passed.
            if now > waiting.sent {
                let since = now.saturating_duration_since(waiting.sent);
                waiting.progress = since.as_micros() as u64;
            }
            if !self.plan.is_idempotent() && flight.is_past_repeating() {
                self.upload.forget();
            }
        }
        let uploading = !self.upload.is_ended();
        let usual = match uploading || flight.has_answered() {
            true => timeouts.body_progress,
            false => timeouts.first_byte,
        };
        let progress = waiting.sent + Duration::from_micros(waiting.progress);
        let limit = flight.limit(waiting.sent, progress, usual);
        if limit.is_some_and(|limit| now >= limit) {
            return Poll::Ready(if flight.is_past_deadline(waiting.sent, now) {
                Fault::Deadline
            } else if !uploading {
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
        let slow = Some(slow).filter(|_| !waiting.told);
        let dues = [limit, slow, waiting.look_again];
        if let Some(next) = dues.into_iter().flatten().min() {
            self.alarm.wake_by(cx, next);
        }
        Poll::Pending
    }
}

impl Waiting {
    fn begin(downs: u64, now: Instant, idempotent: bool) -> Self {
        Self {
            downs,
            sent: now,
            progress: 0,
            moved: 0,
            told: false,
            down: false,
            look_again: idempotent.then_some(now + LOSS_WAIT),
        }
    }
}

/// What came of opening a way.
enum Opened {
    Flight(Box<Flight>, Lease, Waiting),
    Answered(Box<Reply>),
}

/// What the wait for an answer remembers.
struct Waiting {
    /// The backend's count of downs before the connect, or when the request was sent over a kept connection.
    downs: u64,
    sent: Instant,
    /// Microseconds until a byte last moved: in half of the room that a time takes.
    progress: u64,
    moved: u64,
    /// The slow first byte was reported.
    told: bool,
    /// The backend went down meanwhile.
    down: bool,
    /// When to look for somebody else: packets may be lost here, or the backend is down and the others were full.
    look_again: Option<Instant>,
}
