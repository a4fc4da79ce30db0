//! Requests that come before a pool has its first verdict wait for it, for a short time after the start.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::asker::Asker;
use super::fault::Fault;
use super::worker::{Home, Worker, World};
use crate::clock;
use crate::pool::snapshot::Pick;

/// The first pick of a request and the world it was made in.
pub(super) async fn first_pick(
    worker: &Worker,
    home: &Home,
    asker: &mut dyn Asker,
) -> Result<(Rc<World>, Pick), Fault> {
    let world = home.world();
    let picked = match world.snapshot.pick(&home.pool.cursor) {
        Some(pick) => Some((world, pick)),
        None if world.snapshot.settled => None,
        None => Box::pin(wait_while_asked(worker, home, asker)).await?,
    };
    let pool = || home.pool.name.clone();
    picked.ok_or_else(|| Fault::Nobody { pool: pool() })
}

/// A client that leaves is not waited for.
async fn wait_while_asked(
    worker: &Worker,
    home: &Home,
    asker: &mut dyn Asker,
) -> Result<Option<(Rc<World>, Pick)>, Fault> {
    let mut verdict = pin!(wait_for_verdict(worker, home));
    poll_fn(|cx| {
        if asker.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Fault::ClientGone));
        }
        verdict.as_mut().poll(cx).map(Ok)
    })
    .await
}

async fn wait_for_verdict(worker: &Worker, home: &Home) -> Option<(Rc<World>, Pick)> {
    let until = worker.started + worker.settings.timeouts.first_verdict;
    let mut changes = home.pool.changes();
    loop {
        let world = home.world();
        if let Some(pick) = world.snapshot.pick(&home.pool.cursor) {
            return Some((world, pick));
        }
        if world.snapshot.settled || clock::now() >= until {
            return None;
        }
        // Either it changed or the time is up; the next turn sees which.
        let _ = tokio::time::timeout_at(until.into(), changes.changed()).await;
    }
}
