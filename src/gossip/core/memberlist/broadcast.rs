//! The queue of updates waiting to ride on packets.
//!
//! ```text
//! push(message, key) ─▶ fewest transmits, longest, newest first ─▶ take(budget) ─▶ packet
//!        └ replaces the same key          ▲                             │ +1 transmit
//!                                         └──── until `limit` ──────────┘ then finished
//! ```
//!
//! Source: memberlist `queue.go`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::gossip::core::name::Name;

/// Names one queued message, to ask whether it is still waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BroadcastId(u64);

/// Messages in the order in which they are to be sent.
#[derive(Debug, Default)]
pub(crate) struct Broadcasts {
    queued: BTreeMap<Rank, Queued>,
    by_key: BTreeMap<Name, Rank>,
    last_id: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    transmits: u32,
    len: Reverse<u32>,
    id: Reverse<u64>,
}

#[derive(Debug)]
struct Queued {
    key: Option<Name>,
    message: Box<[u8]>,
}

impl Broadcasts {
    pub(crate) fn len(&self) -> usize {
        self.queued.len()
    }

    /// Queues `message`; an older one of the same `key` is given up.
    pub(crate) fn push(&mut self, message: Vec<u8>, key: Option<Name>) -> BroadcastId {
        self.last_id += 1;
        let rank = Rank {
            transmits: 0,
            len: Reverse(message.len() as u32),
            id: Reverse(self.last_id),
        };
        if let Some(key) = &key
            && let Some(old) = self.by_key.insert(key.clone(), rank)
        {
            self.queued.remove(&old);
        }
        let message = message.into();
        self.queued.insert(rank, Queued { key, message });
        BroadcastId(self.last_id)
    }

    /// Drops what is queued under `key`.
    pub(crate) fn give_up(&mut self, key: &str) {
        if let Some(rank) = self.by_key.remove(key) {
            self.queued.remove(&rank);
        }
    }

    /// False once the message was sent often enough, replaced or pruned.
    pub(crate) fn is_waiting(&self, id: BroadcastId) -> bool {
        self.queued.keys().any(|rank| rank.id.0 == id.0)
    }

    /// Drops the most-transmitted beyond `keep`; how many were dropped.
    pub(crate) fn prune(&mut self, keep: usize) -> usize {
        let mut dropped = 0;
        while self.queued.len() > keep {
            let Some((_, last)) = self.queued.pop_last() else {
                break;
            };
            if let Some(key) = last.key {
                self.by_key.remove(&*key);
            }
            dropped += 1;
        }
        dropped
    }

    /// As many messages as fit in `budget` bytes, each costing `overhead` more; each counts as sent once
    /// and leaves the queue after `limit` times.
    pub(crate) fn take(&mut self, overhead: usize, budget: usize, limit: u32) -> Vec<Vec<u8>> {
        let (mut taken, mut again) = (Vec::new(), Vec::new());
        let (mut used, mut tier) = (0, 0);
        while let Some(free) = budget.checked_sub(used + overhead).filter(|free| *free > 0) {
            let from = Rank {
                transmits: tier,
                len: Reverse(free.try_into().unwrap_or(u32::MAX)),
                id: Reverse(u64::MAX),
            };
            let Some((&rank, _)) = self.queued.range(from..).next() else {
                break;
            };
            if rank.transmits > tier {
                // This tier has nothing that fits; look in the next one from its longest on.
                tier = rank.transmits;
                continue;
            }
            let Some(queued) = self.queued.remove(&rank) else {
                break;
            };
            used += overhead + queued.message.len();
            taken.push(queued.message.to_vec());
            if rank.transmits + 1 < limit {
                // Put back only afterwards, or this walk would meet it again.
                again.push((rank, queued));
            } else if let Some(key) = &queued.key {
                self.by_key.remove(&**key);
            }
        }
        for (mut rank, queued) in again {
            rank.transmits += 1;
            if let Some(key) = &queued.key {
                self.by_key.insert(key.clone(), rank);
            }
            self.queued.insert(rank, queued);
        }
        taken
    }
}

/// How often a broadcast is sent in a table of `nodes`: `mult × ceil(log10(nodes + 1))`.
///
/// Source: memberlist `util.go`, `retransmitLimit`.
pub(crate) fn retransmit_limit(mult: u32, nodes: usize) -> u32 {
    mult * libm::ceil(libm::log10((nodes + 1) as f64)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(taken: Vec<Vec<u8>>) -> Vec<String> {
        taken
            .into_iter()
            .map(|message| String::from_utf8(message).expect("text"))
            .collect()
    }

    #[test]
    fn fewest_transmits_then_longest_then_newest_go_first() {
        let mut queue = Broadcasts::default();
        queue.push(b"old".to_vec(), None);
        queue.take(2, 100, 4);
        queue.push(b"ab1".to_vec(), None);
        queue.push(b"ab2".to_vec(), None);
        queue.push(b"longer".to_vec(), None);

        assert_eq!(
            texts(queue.take(2, 100, 4)),
            ["longer", "ab2", "ab1", "old"]
        );
    }

    #[test]
    fn what_does_not_fit_is_passed_over_and_smaller_ones_fill_the_gap() {
        let mut queue = Broadcasts::default();
        queue.push(vec![b'x'; 50], None);
        queue.push(b"small".to_vec(), None);

        assert_eq!(texts(queue.take(2, 20, 4)), ["small"]);
        assert_eq!(queue.take(2, 7, 4).len(), 1, "exactly the budget fits");
        assert!(queue.take(2, 2, 4).is_empty());
        assert!(queue.take(2, 0, 4).is_empty());
    }

    #[test]
    fn a_message_is_sent_limit_times_and_is_then_finished() {
        let mut queue = Broadcasts::default();
        let id = queue.push(b"x".to_vec(), Some("k".into()));

        for _ in 0..3 {
            assert_eq!(queue.take(2, 100, 4).len(), 1);
            assert!(queue.is_waiting(id));
        }
        assert_eq!(queue.take(2, 100, 4).len(), 1);
        assert!(!queue.is_waiting(id));
        assert_eq!(queue.len(), 0);
        assert!(queue.by_key.is_empty());
    }

    #[test]
    fn a_newer_message_of_the_same_key_replaces_the_older_at_any_tier() {
        let mut queue = Broadcasts::default();
        let old = queue.push(b"alive 1".to_vec(), Some("a".into()));
        queue.take(2, 100, 4);
        queue.push(b"alive 2".to_vec(), Some("a".into()));

        assert!(!queue.is_waiting(old));
        assert_eq!(texts(queue.take(2, 100, 4)), ["alive 2"]);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn pruning_drops_the_most_transmitted() {
        let mut queue = Broadcasts::default();
        queue.push(b"seen".to_vec(), Some("s".into()));
        queue.take(2, 100, 4);
        queue.push(b"new".to_vec(), None);

        assert_eq!(queue.prune(1), 1);
        assert_eq!(texts(queue.take(2, 100, 4)), ["new"]);
        assert!(queue.by_key.is_empty());
    }

    #[test]
    fn the_limit_grows_with_the_logarithm_of_the_cluster() {
        let cases = [(1, 4), (3, 4), (9, 4), (10, 8), (99, 8), (100, 12)];
        for (nodes, limit) in cases {
            assert_eq!(retransmit_limit(4, nodes), limit, "{nodes} nodes");
        }
    }
}
