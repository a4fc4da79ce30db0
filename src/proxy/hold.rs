//! Requests that can't be sent yet: their pool has no first verdict, or all its backends are full.
//!
//! ```text
//! pick ─┬─▶ a place ─────────────────────────────────────────────────▶ sent
//!       ├─ nobody, and not settled yet: wait, shortly after the start ─┤
//!       └─ all full: join the pool's queue ─ turn, or too late ────────┘
//! ```
//!
//! A client that leaves is not waited for, and its place in line goes with it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Instant;

use super::alarm::Alarm;
use super::asker::Asker;
use super::fault::Fault;
use super::stats::Dropped;
use super::worker::{Home, Worker};
use crate::clock;
use crate::pool::queue::{Joined, Ticket};
use crate::pool::snapshot::{Pick, Unpicked};
use crate::pool::upstream::Lease;

/// The first pick of a request.
pub(super) async fn first_pick(
    worker: &Worker,
    home: &Home,
    alarm: &Alarm,
    asker: &mut dyn Asker,
) -> Result<Pick, Fault> {
    let world = home.world();
    let mut picked = home.pool.pick(&world.snapshot);
    if matches!(picked, Err(Unpicked::Nobody)) && !world.snapshot.settled {
        picked = Box::pin(wait_while_asked(worker, home, asker)).await?;
    }
    match picked {
        Ok(pick) => Ok(pick),
        Err(Unpicked::Nobody) => Err(nobody(home)),
        Err(Unpicked::Full) => Box::pin(wait_in_line(worker, home, alarm, asker)).await,
    }
}

fn nobody(home: &Home) -> Fault {
    Fault::Nobody {
        pool: home.pool.name.clone(),
    }
}

async fn wait_while_asked(
    worker: &Worker,
    home: &Home,
    asker: &mut dyn Asker,
) -> Result<Result<Pick, Unpicked>, Fault> {
    let mut verdict = pin!(wait_for_verdict(worker, home));
    poll_fn(|cx| {
        if asker.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Fault::ClientGone));
        }
        verdict.as_mut().poll(cx).map(Ok)
    })
    .await
}

async fn wait_for_verdict(worker: &Worker, home: &Home) -> Result<Pick, Unpicked> {
    let until = worker.started + worker.settings.timeouts.first_verdict;
    let mut changes = home.pool.changes();
    loop {
        let world = home.world();
        let picked = home.pool.pick(&world.snapshot);
        let waits = matches!(picked, Err(Unpicked::Nobody)) && !world.snapshot.settled;
        if !waits || clock::now() >= until {
            return picked;
        }
        // Either it changed or the time is up; the next turn sees which.
        let _ = tokio::time::timeout_at(until.into(), changes.changed()).await;
    }
}

/// Waits for room at one of the backends that take requests now.
async fn wait_in_line(
    worker: &Worker,
    home: &Home,
    alarm: &Alarm,
    asker: &mut dyn Asker,
) -> Result<Pick, Fault> {
    let queue = &home.pool.queue;
    let max = home.world().snapshot.limits.queue;
    let pool = || home.pool.name.clone();
    let ticket = match queue.join(max, || look(home)) {
        Joined::Room(pick) => return Ok(pick),
        Joined::Waits(ticket) => ticket,
        Joined::Full => {
            home.waits.dropped(Dropped::Overflow);
            return Err(Fault::QueueFull { pool: pool() });
        }
    };
    let begun = worker.now();
    let ended = poll_fn(|cx| {
        if asker.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Fault::ClientGone));
        }
        poll_turn(cx, worker, home, alarm, &ticket, begun)
    })
    .await;
    let waited = worker.now().saturating_duration_since(begun);
    match &ended {
        Ok(_) => home.waits.served(waited),
        Err(Fault::QueueSlow { .. }) => home.waits.dropped(Dropped::Timeout),
        Err(Fault::ClientGone) => home.waits.dropped(Dropped::Left),
        Err(_) => home.waits.dropped(Dropped::Nobody),
    }
    ended
}

fn look(home: &Home) -> Option<Pick> {
    home.world().snapshot.find_room(&home.pool.cursor)
}

fn poll_turn(
    cx: &mut Context<'_>,
    worker: &Worker,
    home: &Home,
    alarm: &Alarm,
    ticket: &Ticket<Lease>,
    begun: Instant,
) -> Poll<Result<Pick, Fault>> {
    while let Poll::Ready(lease) = ticket.poll(cx) {
        let refused = match home.world().snapshot.pick_of(lease) {
            Ok(pick) => return Poll::Ready(Ok(pick)),
            Err(refused) => refused,
        };
        // Before it is let go: that may be what gives us another.
        let found = ticket.rejoin(|| look(home));
        drop(refused);
        if let Some(pick) = found {
            return Poll::Ready(Ok(pick));
        }
    }
    let world = home.world();
    if world.snapshot.active.is_empty() {
        return Poll::Ready(Err(nobody(home)));
    }
    let limit = begun + world.snapshot.limits.queue_timeout;
    if worker.now() >= limit {
        let pool = home.pool.name.clone();
        return Poll::Ready(Err(Fault::QueueSlow { pool }));
    }
    alarm.wake_by(cx, limit);
    Poll::Pending
}
