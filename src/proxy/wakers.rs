//! Every connection's task of one worker, to be woken together.
//!
//! Rare events (stopping, a backend that went down) concern all of them. Waking all and letting
//! each look at a flag costs nothing per request, where a shared wait queue would cost a lock each.

use std::cell::RefCell;
use std::task::Waker;

/// Slots of wakers; a slot is freed by its guard.
#[derive(Debug, Default)]
pub(super) struct Wakers(RefCell<Slots>);

#[derive(Debug, Default)]
struct Slots {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Wakers {
    /// Adds a task; the number is for [`Wakers::remove`].
    pub(super) fn add(&self, waker: Waker) -> usize {
        let mut slots = self.0.borrow_mut();
        match slots.free.pop() {
            Some(slot) => {
                slots.wakers[slot] = Some(waker);
                slot
            }
            None => {
                slots.wakers.push(Some(waker));
                slots.wakers.len() - 1
            }
        }
    }

    /// Forgets a task.
    pub(super) fn remove(&self, slot: usize) {
        let mut slots = self.0.borrow_mut();
        if slots.wakers[slot].take().is_some() {
            slots.free.push(slot);
        }
    }

    /// Has all of them polled.
    pub(super) fn wake_all(&self) {
        for waker in self.0.borrow().wakers.iter().flatten() {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn removed_tasks_are_not_woken_and_their_slots_are_used_again() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let wakers = Wakers::default();
        let first = wakers.add(count.clone().into());
        wakers.add(count.clone().into());

        wakers.remove(first);
        wakers.wake_all();

        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(wakers.add(count.clone().into()), first);
    }
}
