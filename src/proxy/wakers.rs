//! Every connection's task of one worker, to be woken together.
//!
//! Rare events (stopping, a backend that went down) concern all of them. Waking all and letting
//! each look at a flag costs nothing per request, where a shared wait queue would cost a lock each.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::task::Waker;
use std::time::Instant;

/// Slots of wakers; a slot is freed by its guard.
#[derive(Debug, Default)]
pub(super) struct Wakers(RefCell<Slots>);

#[derive(Debug, Default)]
struct Slots {
    tasks: Vec<Option<Task>>,
    free: Vec<Slot>,
}

#[derive(Debug)]
struct Task {
    waker: Waker,
    /// To be woken then, or a little later.
    limit: Option<Instant>,
}

/// A task's place among them; small, since every connection has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(NonZeroU32);

impl Slot {
    fn last_of<T>(tasks: &[T]) -> Self {
        let number = u32::try_from(tasks.len()).ok().and_then(NonZeroU32::new);
        // Descriptors run out long before.
        Self(number.unwrap_or(NonZeroU32::MAX))
    }

    fn place(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl Wakers {
    /// Adds a task; the number is for [`Wakers::remove`].
    pub(super) fn add(&self, waker: Waker) -> Slot {
        let mut slots = self.0.borrow_mut();
        let task = Some(Task { waker, limit: None });
        match slots.free.pop() {
            Some(slot) => {
                slots.tasks[slot.place()] = task;
                slot
            }
            None => {
                slots.tasks.push(task);
                Slot::last_of(&slots.tasks)
            }
        }
    }

    /// Has a task woken at `limit`, to the next [`Self::wake_due`]; `None`: no more.
    pub(super) fn set_limit(&self, slot: Slot, limit: Option<Instant>) {
        if let Some(task) = &mut self.0.borrow_mut().tasks[slot.place()] {
            task.limit = limit;
        }
    }

    /// Wakes those whose limit has passed.
    pub(super) fn wake_due(&self, now: Instant) {
        for task in self.0.borrow().tasks.iter().flatten() {
            if task.limit.is_some_and(|limit| now >= limit) {
                task.waker.wake_by_ref();
            }
        }
    }

    /// Forgets a task.
    pub(super) fn remove(&self, slot: Slot) {
        let mut slots = self.0.borrow_mut();
        if slots.tasks[slot.place()].take().is_some() {
            slots.free.push(slot);
        }
    }

    /// Has all of them polled.
    pub(super) fn wake_all(&self) {
        for task in self.0.borrow().tasks.iter().flatten() {
            task.waker.wake_by_ref();
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

    #[test]
    fn only_tasks_whose_limit_has_passed_are_due() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let wakers = Wakers::default();
        let now = crate::clock::now();
        for limit in [
            None,
            Some(now),
            Some(now + std::time::Duration::from_secs(1)),
        ] {
            let slot = wakers.add(count.clone().into());
            wakers.set_limit(slot, limit);
        }

        wakers.wake_due(now);

        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
