//! Queries that arrive, of others and our own: each is taken once and passed on once.
//!
//! ```text
//! query ─▶ seen (ltime, id)? ─▶ re-gossip unless flagged ─▶ filters ─▶ ack ─▶ Event::Query
//!                                                                       └──▶ internal: _serf_…
//! ```
//!
//! Source: serf `handleQuery`, `internal_query.go`.

use std::collections::BTreeMap;
use std::time::Instant;

use super::answers::ReturnPath;
use super::conflict::CONFLICT;
use super::filters;
use super::keys;
use super::layer::Layer;
use crate::gossip::core::io::{Event, QueryId};
use crate::gossip::core::wire::serf::Query;

/// Slots of the ring. Source: serf `QueryBuffer`.
const SLOTS: u64 = 512;

/// Queries remembered at one Lamport time.
const PER_SLOT_MAX: usize = 128;

/// Flags of a query: an ack is wanted; do not pass it on.
pub(super) const WANTS_ACK: u32 = 1;
const NO_BROADCAST: u32 = 2;

/// Queries whose names begin so are between members, and not for those above. One that we do not know is ignored.
pub(super) const INTERNAL: &str = "_serf_";

/// Its ack says all.
pub(super) const PING: &str = "_serf_ping";

/// Which queries were seen, by Lamport time.
#[derive(Debug, Default)]
pub(crate) struct QueryRing {
    /// By Lamport time modulo [`SLOTS`]; an agent that hears no queries has none.
    slots: BTreeMap<u64, (u64, Vec<u32>)>,
    /// Older queries are ignored.
    min_time: u64,
}

impl QueryRing {
    pub(super) fn ignore_before(&mut self, time: u64) {
        self.min_time = self.min_time.max(time);
    }

    /// True if this query is new and not too old at clock time `current`.
    fn record(&mut self, current: u64, ltime: u64, id: u32) -> bool {
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

impl Layer {
    /// True if it is to be passed on.
    pub(super) fn on_query(&mut self, now: Instant, query: &Query) -> bool {
        self.query_clock.witness(query.ltime);
        let current = self.query_clock.time();
        if !self.queries.record(current, query.ltime, query.id) {
            return false;
        }
        if self.is_for_us(query) {
            if query.flags & WANTS_ACK != 0 {
                self.acknowledge(now, &ReturnPath::of(query));
            }
            if query.name.starts_with(INTERNAL) {
                self.on_internal_query(now, query);
            } else {
                self.hand_up(now, query);
            }
        }
        query.flags & NO_BROADCAST == 0
    }

    fn is_for_us(&self, query: &Query) -> bool {
        let own = self.members.get(&*self.name);
        let tag = |name: &str| own.and_then(|own| own.shown.tags.get(name));
        filters::pass(&query.filters, &self.name, tag)
    }

    fn on_internal_query(&mut self, now: Instant, query: &Query) {
        if query.name == CONFLICT {
            if let Some(answer) = self.conflict_answer(&query.payload) {
                self.answer_internally(now, &ReturnPath::of(query), answer);
            }
        } else if let Some(order) = keys::Order::of(&query.name, &query.payload) {
            // The ring is memberlist's.
            self.tray.key_orders.push((ReturnPath::of(query), order));
        }
    }

    fn hand_up(&mut self, now: Instant, query: &Query) {
        let id = QueryId {
            ltime: query.ltime,
            id: query.id,
        };
        let deadline = now + super::asking::timeout_of(query.timeout_ns);
        self.answerable.open(now, ReturnPath::of(query), deadline);
        self.out.push_back(Event::Query {
            id,
            ltime: query.ltime,
            name: query.name.clone(),
            payload: query.payload.clone(),
            from: query.source_node.clone(),
            deadline,
        });
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
