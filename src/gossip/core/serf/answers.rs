//! What we answer to queries, and answers of others that come through us.
//!
//! ```text
//! ack, response ─▶ straight to who asked (or into our own hands, when that is us)
//!              └─▶ as a relay to a few others ─▶ its body, to the address in its header
//! ```
//!
//! Source: serf `event.go`, `Respond`; `query.go`, `relayResponse`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use rand::RngExt;

use super::layer::Layer;
use crate::gossip::core::io::{NoAnswer, QueryId, Refused};
use crate::gossip::core::member::Status;
use crate::gossip::core::memberlist::node::place_of;
use crate::gossip::core::wire::message::WireAddr;
use crate::gossip::core::wire::serf::{Query, QueryResponse, Relay, SerfMessage};

/// Longest response, relayed or not. Source: serf `QueryResponseSizeLimit`.
const RESPONSE_BYTES_MAX: usize = 1024;

/// Flag of a response: it is an ack.
pub(super) const IS_ACK: u32 = 1;

/// First protocol whose members relay.
const RELAY_PROTOCOL: u8 = 5;

/// Queries that may be answered at one time; more within their few seconds is a flood.
const OPEN_MAX: usize = 1024;

/// Where the answer to a query goes.
#[derive(Clone, Debug)]
pub(crate) struct ReturnPath {
    pub(super) id: QueryId,
    addr: WireAddr,
    source_node: String,
    relay_factor: u8,
}

impl ReturnPath {
    pub(super) fn of(query: &Query) -> Self {
        Self {
            id: QueryId {
                ltime: query.ltime,
                id: query.id,
            },
            // The octets of an address in a Go structure; the way they came is fine.
            addr: WireAddr {
                octets: query.addr.octets.clone(),
                port: query.addr.port,
            },
            source_node: query.source_node.clone(),
            relay_factor: query.relay_factor,
        }
    }
}

/// One that those above may answer.
#[derive(Debug)]
struct Open {
    path: ReturnPath,
    deadline: Instant,
    answered: bool,
}

/// Queries handed up, until their deadlines. Those that are over go when another comes, or with the reaper.
#[derive(Debug, Default)]
pub(crate) struct Answerable(BTreeMap<QueryId, Open>);

impl Answerable {
    pub(super) fn open(&mut self, now: Instant, path: ReturnPath, deadline: Instant) {
        self.expire(now);
        if self.0.len() < OPEN_MAX {
            let open = Open {
                path,
                deadline,
                answered: false,
            };
            self.0.insert(open.path.id, open);
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.0.retain(|_, open| open.deadline > now);
    }

    fn path(&self, now: Instant, id: QueryId) -> Result<ReturnPath, NoAnswer> {
        let open = self.0.get(&id).ok_or(NoAnswer::Unknown)?;
        if open.answered {
            return Err(NoAnswer::Sent);
        }
        if open.deadline <= now {
            return Err(NoAnswer::Late);
        }
        Ok(open.path.clone())
    }
}

impl Layer {
    /// Answers a query that was handed up.
    pub(super) fn respond(
        &mut self,
        now: Instant,
        id: QueryId,
        payload: Vec<u8>,
    ) -> Result<(), Refused> {
        let path = self.answerable.path(now, id).map_err(Refused::NoAnswer)?;
        let response = self.response(&path, 0, Some(payload));
        let bytes = SerfMessage::QueryResponse(response.clone()).encode().len();
        if bytes > RESPONSE_BYTES_MAX {
            return Err(Refused::ResponseTooLong {
                bytes,
                max: RESPONSE_BYTES_MAX,
            });
        }
        if let Some(open) = self.answerable.0.get_mut(&id) {
            open.answered = true;
        }
        self.send_response(now, &path, response);
        Ok(())
    }

    pub(super) fn acknowledge(&mut self, now: Instant, path: &ReturnPath) {
        let ack = self.response(path, IS_ACK, None);
        self.send_response(now, path, ack);
    }

    /// An answer to an internal query; one that is too long for a packet is dropped, with a counter.
    pub(super) fn answer_internally(&mut self, now: Instant, path: &ReturnPath, payload: Vec<u8>) {
        let response = self.response(path, 0, Some(payload));
        self.send_response(now, path, response);
    }

    pub(super) fn response_fits(&self, path: &ReturnPath, payload: &[u8]) -> bool {
        let response = self.response(path, 0, Some(payload.to_vec()));
        SerfMessage::QueryResponse(response).encode().len() <= RESPONSE_BYTES_MAX
    }

    /// A response of ours as it goes on the wire.
    fn response(&self, path: &ReturnPath, flags: u32, payload: Option<Vec<u8>>) -> QueryResponse {
        QueryResponse {
            ltime: path.id.ltime,
            id: path.id.id,
            from: self.name.clone(),
            flags,
            payload,
        }
    }

    fn send_response(&mut self, now: Instant, path: &ReturnPath, response: QueryResponse) {
        // Serf sends itself a packet. That may be lost, and does not come back at all to an advertised address that
        // is not our own.
        if self.asking.is_open(path.id) && path.source_node == self.name {
            self.on_response(now, &response);
            return;
        }
        let Some(to) = place_of(&path.addr).filter(|to| to.port() != 0) else {
            self.refuse("address");
            return;
        };
        let response = SerfMessage::QueryResponse(response).encode();
        if response.len() > RESPONSE_BYTES_MAX {
            self.refuse("too_large");
            return;
        }
        self.relay_through_others(path, &response);
        self.tray.direct.push((to, response));
    }

    /// Sends a response through a few others too, in case the direct way is blocked.
    fn relay_through_others(&mut self, path: &ReturnPath, response: &[u8]) {
        let wanted = usize::from(path.relay_factor);
        if wanted == 0 || self.members.len() < wanted + 1 {
            return;
        }
        let relay = SerfMessage::Relay(Relay {
            dest: WireAddr {
                octets: path.addr.octets.clone(),
                port: path.addr.port,
            },
            dest_name: path.source_node.clone(),
            body: response.to_vec(),
        })
        .encode();
        if relay.len() > RESPONSE_BYTES_MAX {
            // The direct one fits, and goes. Serf says so to the handler, which can't help it.
            self.refuse("too_large");
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
