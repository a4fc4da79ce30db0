//! Queries of others: acknowledged and passed on; of those to be answered only [`CONFLICT`] is known yet.
//!
//! ```text
//! query ─▶ seen (ltime, id)? ─▶ re-gossip unless flagged ─▶ filters ─▶ ack by direct UDP, and through relays
//! relay ─▶ its body, to the address in its header
//! ```
//!
//! Source: serf `handleQuery`, `shouldProcessQuery`, `relayResponse`.

use std::net::SocketAddr;

use rand::RngExt;

use super::conflict::CONFLICT;
use super::layer::Layer;
use crate::gossip::core::member::Status;
use crate::gossip::core::memberlist::node::place_of;
use crate::gossip::core::wire::message::WireAddr;
use crate::gossip::core::wire::msgpack::Reader;
use crate::gossip::core::wire::serf::{Query, QueryResponse, Relay, SerfMessage};

/// Slots of the ring. Source: serf `QueryBuffer`.
const SLOTS: u64 = 512;

/// Queries remembered at one Lamport time.
const PER_SLOT_MAX: usize = 128;

/// Flags of a query: an ack is wanted; do not pass it on. Of a response: it is an ack.
const WANTS_ACK: u32 = 1;
const NO_BROADCAST: u32 = 2;
const IS_ACK: u32 = 1;

/// Filters: a list of node names; a tag and a regular expression.
const FILTER_NODES: u8 = 0;

/// Longest response, relayed or not. Source: serf `QueryResponseSizeLimit`.
const RESPONSE_BYTES_MAX: usize = 1024;

/// First protocol whose members relay.
const RELAY_PROTOCOL: u8 = 5;

/// Which queries were seen, by Lamport time.
#[derive(Debug, Default)]
pub(crate) struct QueryRing {
    slots: Vec<Option<(u64, Vec<u32>)>>,
}

impl QueryRing {
    /// True if this query is new and not too old at clock time `current`.
    fn record(&mut self, current: u64, ltime: u64, id: u32) -> bool {
        if current > SLOTS && ltime < current - SLOTS {
            return false;
        }
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS as usize, || None);
        }
        let slot = &mut self.slots[(ltime % SLOTS) as usize];
        let (_, ids) = match slot {
            Some(seen) if seen.0 == ltime => seen,
            other => other.insert((ltime, Vec::new())),
        };
        if ids.contains(&id) || ids.len() >= PER_SLOT_MAX {
            return false;
        }
        ids.push(id);
        true
    }
}

impl Layer {
    /// True if it is to be passed on.
    pub(super) fn on_query(&mut self, query: &Query) -> bool {
        self.query_clock.witness(query.ltime);
        let current = self.query_clock.time();
        if !self.queries.record(current, query.ltime, query.id) {
            return false;
        }
        let meant = query.filters.iter().all(|filter| self.passes(filter));
        if meant && query.flags & WANTS_ACK != 0 {
            self.respond(query, IS_ACK, None);
        }
        if meant
            && query.name == CONFLICT
            && let Some(answer) = self.conflict_answer(&query.payload)
        {
            self.respond(query, 0, Some(answer));
        }
        query.flags & NO_BROADCAST == 0
    }

    /// Whether a filter lets us through. One that we cannot evaluate does not.
    fn passes(&self, filter: &[u8]) -> bool {
        match filter.split_first() {
            Some((&FILTER_NODES, names)) => names_us(names, &self.name),
            _ => false,
        }
    }

    fn respond(&mut self, query: &Query, flags: u32, payload: Option<Vec<u8>>) {
        let Some(to) = place_of(&query.addr).filter(|to| to.port() != 0) else {
            self.refuse("address");
            return;
        };
        let response = SerfMessage::QueryResponse(QueryResponse {
            ltime: query.ltime,
            id: query.id,
            from: self.name.clone(),
            flags,
            payload,
        })
        .encode();
        if response.len() > RESPONSE_BYTES_MAX {
            self.refuse("too_large");
            return;
        }
        self.relay_through_others(query, &response);
        self.tray.direct.push((to, response));
    }

    /// Sends a response through a few others too, in case the direct way is blocked.
    fn relay_through_others(&mut self, query: &Query, response: &[u8]) {
        let wanted = usize::from(query.relay_factor);
        if wanted == 0 || self.members.len() < wanted + 1 {
            return;
        }
        let relay = SerfMessage::Relay(Relay {
            // The octets of an address in a Go structure; the way they came is fine.
            dest: WireAddr {
                octets: query.addr.octets.clone(),
                port: query.addr.port,
            },
            dest_name: query.source_node.clone(),
            body: response.to_vec(),
        })
        .encode();
        if relay.len() > RESPONSE_BYTES_MAX {
            return;
        }
        for to in self.pick_relays(wanted) {
            self.tray.direct.push((to, relay.clone()));
        }
    }

    fn pick_relays(&mut self, count: usize) -> Vec<SocketAddr> {
        let mut fit: Vec<SocketAddr> = self
            .members
            .values()
            .map(|member| &member.shown)
            .filter(|member| {
                member.status == Status::Alive
                    && member.versions[1] >= RELAY_PROTOCOL
                    && member.name != self.name
            })
            .map(|member| member.address)
            .collect();
        let count = count.min(fit.len());
        for at in 0..count {
            let other = self.random.random_range(at..fit.len());
            fit.swap(at, other);
        }
        fit.truncate(count);
        fit
    }

    pub(super) fn on_relay(&mut self, relay: &Relay) {
        match place_of(&relay.dest).filter(|to| to.port() != 0) {
            Some(to) if relay.body.len() <= RESPONSE_BYTES_MAX => {
                self.tray.direct.push((to, relay.body.clone()));
            }
            Some(_) => self.refuse("too_large"),
            None => self.refuse("address"),
        }
    }
}

/// Whether an encoded list of names has `own`.
fn names_us(list: &[u8], own: &str) -> bool {
    let mut reader = Reader::new(list);
    let Ok(Some(len)) = reader.array() else {
        return false;
    };
    for _ in 0..len {
        match reader.raw() {
            Ok(Some(name)) if name == own.as_bytes() => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
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
    }

    #[test]
    fn a_list_of_nodes_means_those_in_it() {
        assert!(names_us(b"\x92\xa1a\xa2us", "us"));
        assert!(!names_us(b"\x91\xa1a", "us"));
        assert!(!names_us(b"\x92\xa1a", "us"), "truncated");
        assert!(!names_us(b"", "us"));
        assert!(!names_us(b"\xc0", "us"));
    }
}
