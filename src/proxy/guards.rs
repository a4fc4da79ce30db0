//! What a client's connection holds of its worker: given back by `Drop`, never by remembering.

use std::ops::Deref;
use std::rc::Rc;
use std::task::Context;

use super::stats::bump;
use super::wakers::Slot;
use super::worker::Worker;

/// A client's connection, counted while this lives.
pub(super) struct Counted(Rc<Worker>);

impl Counted {
    /// One more.
    pub(super) fn new(worker: &Rc<Worker>) -> Self {
        bump(&worker.stats.connections_total, 1);
        Self::taking_over(worker)
    }

    /// The same one, which whoever has it so far lets go of.
    pub(super) fn taking_over(worker: &Rc<Worker>) -> Self {
        worker.began();
        Self(worker.clone())
    }
}

impl Deref for Counted {
    type Target = Rc<Worker>;

    fn deref(&self) -> &Rc<Worker> {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.ended();
    }
}

/// A connection whose end means something to its other side: a stop that will not wait any longer waits for that.
pub(super) struct Parting(Rc<Worker>);

impl Parting {
    /// One more.
    pub(super) fn new(worker: &Rc<Worker>) -> Self {
        worker.partings.set(worker.partings.get() + 1);
        Self(worker.clone())
    }
}

impl Drop for Parting {
    fn drop(&mut self) {
        let partings = &self.0.partings;
        partings.set(partings.get() - 1);
        self.0.closed.notify_waiters();
    }
}

/// A task that is woken with all others while this lives.
pub(super) struct Awake<'w> {
    worker: &'w Worker,
    slot: Slot,
}

impl<'w> Awake<'w> {
    /// The task that polls now.
    pub(super) fn new(worker: &'w Worker, cx: &Context<'_>) -> Self {
        let slot = worker.wakers.add(cx.waker().clone());
        Self { worker, slot }
    }
}

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        self.worker.wakers.remove(self.slot);
    }
}
