//! Named deadlines: what is to be done, and when.
//!
//! ```text
//! set(what, at) ─▶ one deadline per name ─▶ next() for the driver's sleep
//!                                        └▶ pop(now), earliest first
//! ```
//!
//! Setting a name again moves its deadline and cancelling removes it, so a stale timer
//! cannot fire. Equal deadlines fire in the order of the names.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// A table of deadlines, one per name.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    at: BTreeMap<K, Instant>,
    order: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Clone> Timers<K> {
    pub(crate) fn new() -> Self {
        Self {
            at: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }

    /// Arms `name`, replacing its former deadline.
    pub(crate) fn set(&mut self, name: K, at: Instant) {
        if let Some(before) = self.at.insert(name.clone(), at) {
            self.order.remove(&(before, name.clone()));
        }
        self.order.insert((at, name));
    }

    pub(crate) fn is_set(&self, name: &K) -> bool {
        self.at.contains_key(name)
    }

    pub(crate) fn cancel(&mut self, name: &K) {
        if let Some(at) = self.at.remove(name) {
            self.order.remove(&(at, name.clone()));
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the earliest deadline that is not after `now`, with the instant it was meant for.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Instant, K)> {
        if self.next()? > now {
            return None;
        }
        let (at, name) = self.order.pop_first()?;
        self.at.remove(&name);
        Some((at, name))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moved_deadline_fires_once_at_its_new_time() {
        let start = crate::clock::now();
        let mut timers = Timers::new();
        timers.set("a", start);
        timers.set("a", start + Duration::from_secs(2));
        timers.set("b", start + Duration::from_secs(1));

        assert_eq!(timers.pop(start), None);
        assert_eq!(timers.next(), Some(start + Duration::from_secs(1)));
        let late = start + Duration::from_secs(5);
        assert_eq!(
            timers.pop(late),
            Some((start + Duration::from_secs(1), "b"))
        );
        assert_eq!(
            timers.pop(late),
            Some((start + Duration::from_secs(2), "a"))
        );
        assert_eq!(timers.pop(late), None);
    }

    #[test]
    fn a_cancelled_deadline_does_not_fire() {
        let start = crate::clock::now();
        let mut timers = Timers::new();
        timers.set(1, start);
        timers.cancel(&1);

        assert_eq!(timers.next(), None);
        assert_eq!(timers.pop(start), None);
    }

    #[test]
    fn equal_deadlines_fire_in_the_order_of_their_names() {
        let start = crate::clock::now();
        let mut timers = Timers::new();
        timers.set(2, start);
        timers.set(1, start);

        assert_eq!(timers.pop(start), Some((start, 1)));
        assert_eq!(timers.pop(start), Some((start, 2)));
    }
}
