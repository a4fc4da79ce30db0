//! The last queries: each is taken once.

use std::collections::BTreeMap;

/// Slots of the ring. Source: serf `QueryBuffer`.
const SLOTS: u64 = 512;

/// Queries remembered at one Lamport time.
const PER_SLOT_MAX: usize = 128;

/// Flags of a query: an ack is wanted; do not pass it on.
pub(crate) const WANTS_ACK: u32 = 1;
pub(crate) const NO_BROADCAST: u32 = 2;

/// Which queries were seen, by Lamport time.
#[derive(Debug, Default)]
pub(crate) struct QueryRing {
    /// By Lamport time modulo [`SLOTS`]; an agent that hears no queries has none.
    slots: BTreeMap<u64, (u64, Vec<u32>)>,
    /// Older queries are ignored.
    min_time: u64,
}

impl QueryRing {
    pub(crate) fn ignore_before(&mut self, time: u64) {
        self.min_time = self.min_time.max(time);
    }

    /// True if this query is new and not too old at clock time `current`.
    pub(crate) fn record(&mut self, current: u64, ltime: u64, id: u32) -> bool {
        let too_old = current > SLOTS && ltime < current - SLOTS;
        if ltime < self.min_time || too_old {
            return false;
        }
        let slot = self.slots.entry(ltime % SLOTS);
        let (of, ids) = slot.or_insert_with(|| (ltime, Vec::new()));
        if *of != ltime {
            *of = ltime;
            ids.clear();
        }
        if ids.contains(&id) || ids.len() >= PER_SLOT_MAX {
            return false;
        }
        ids.push(id);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_seen_once_per_time_and_id() {
        let mut ring = QueryRing::default();

        assert!(ring.record(2, 1, 7));
        assert!(!ring.record(2, 1, 7));
        assert!(ring.record(2, 1, 8));
        assert!(ring.record(514, 513, 7), "the slot is taken over");
        assert!(!ring.record(1000, 487, 9), "too old");
        ring.ignore_before(900);
        assert!(!ring.record(1000, 899, 9), "of a former life");
        assert!(ring.record(1000, 900, 9));
    }
}
