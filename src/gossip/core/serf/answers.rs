//! What we answer to queries, and answers of others that come through us.
//!
//! ```text
//! ack, response ─▶ straight to who asked (or into our own hands, when that is us)
//!              └─▶ as a relay to a few others ─▶ its body, to the address in its header
//! ```
//!
//! Source: serf `event.go`, `Respond`; `query.go`, `relayResponse`.

use std::net::SocketAddr;
use std::time::Instant;

use rand::RngExt;

use super::layer::Layer;
use super::tables::answerable::{IS_ACK, ReturnPath};
use crate::gossip::core::io::{QueryId, Refused};
use crate::gossip::core::member::Status;
use crate::gossip::core::memberlist::node::place_of;
use crate::gossip::core::wire::message::WireAddr;
use crate::gossip::core::wire::serf::{QueryResponse, Relay, SerfMessage};

/// Longest response, relayed or not. Source: serf `QueryResponseSizeLimit`.
const RESPONSE_BYTES_MAX: usize = 1024;

/// First protocol whose members relay.
const RELAY_PROTOCOL: u8 = 5;

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
        self.answerable.close(id);
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
