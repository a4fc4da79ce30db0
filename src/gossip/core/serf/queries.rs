//! Queries that arrive, of others and our own: each is taken once and passed on once.
//!
//! ```text
//! query ─▶ seen (ltime, id)? ─▶ re-gossip unless flagged ─▶ filters ─▶ ack ─▶ Event::Query
//!                                                                       └──▶ internal: _serf_…
//! ```
//!
//! Source: serf `handleQuery`, `internal_query.go`.

use std::time::Instant;

use super::conflict::CONFLICT;
use super::filters;
use super::keys;
use super::layer::Layer;
use super::tables::answerable::ReturnPath;
use super::tables::queries::{NO_BROADCAST, WANTS_ACK};
use crate::gossip::core::io::{Event, QueryId};
use crate::gossip::core::wire::serf::Query;

/// Queries whose names begin so are between members, and not for those above. One that we do not know is ignored.
pub(super) const INTERNAL: &str = "_serf_";

/// Its ack says all.
pub(super) const PING: &str = "_serf_ping";

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
