//! Whom to ask next whether it is there again.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// How many that are not asked any more are dropped in search of one that is.
const DROPPED_AT_ONCE: usize = 16;

/// Members that failed lately, and some that came back since, in the order in which we ask them.
///
/// Everyone has an order of their own, or all of ours would ask the same few in the same second.
#[derive(Debug, Default)]
pub(crate) struct Failed {
    order: Vec<String>,
    next: usize,
}

impl Failed {
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn insert(&mut self, name: &str, random: &mut ChaCha8Rng) {
        if !self.order.iter().any(|known| known == name) {
            let last = self.order.len();
            self.order.push(name.to_owned());
            self.order.swap(random.random_range(0..=last), last);
        }
    }

    /// The next in turn that `recent` accepts; those that it does not are dropped on the way, a few at a time.
    pub(crate) fn next(&mut self, recent: impl Fn(&str) -> bool) -> Option<String> {
        for _ in 0..DROPPED_AT_ONCE {
            if self.next >= self.order.len() {
                self.next = 0;
            }
            let name = self.order.get(self.next)?;
            if recent(name) {
                self.next += 1;
                return Some(name.clone());
            }
            self.order.swap_remove(self.next);
        }
        None
    }
}
