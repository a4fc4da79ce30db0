//! Requests that come before a pool has its first verdict wait for it, for a short time after the start.

use std::rc::Rc;

use super::worker::{Home, Worker, World};
use crate::clock;
use crate::pool::snapshot::Pick;

/// The first pick of a request and the world it was made in; `None`: nobody is in rotation.
pub(super) async fn first_pick(worker: &Worker, home: &Home) -> Option<(Rc<World>, Pick)> {
    let world = home.world();
    match world.snapshot.pick(&home.pool.cursor) {
        Some(pick) => Some((world, pick)),
        None if world.snapshot.settled => None,
        None => Box::pin(wait_for_verdict(worker, home)).await,
    }
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
