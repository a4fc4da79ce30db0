//! Sending: packets filled with queued broadcasts, and the gossip tick.
//!
//! ```text
//! gossip tick ─▶ 3 random nodes ─▶ fill(budget) ─▶ seal ─▶ poll_transmit
//! ping · ack · nack ─▶ message + fill(rest) ───────▲
//! ```

use std::net::SocketAddr;
use std::time::Instant;

use super::broadcast::retransmit_limit;
use super::node::State;
use super::{COMPOUND_HEADER, COMPOUND_PART, Delegate, Memberlist, USER_HEADER};
use crate::gossip::core::io::Transmit;
use crate::gossip::core::wire::message::Message;
use crate::gossip::core::wire::{crypto, packet};

/// First memberlist protocol that understands a CRC header.
const CRC_PROTOCOL: u8 = 5;

impl Memberlist {
    /// One gossip tick: a packet of queued broadcasts for each of a few random nodes, the freshly dead included
    /// (they may only be cut off, and can refute).
    ///
    /// Source: memberlist `state.go`, `gossip`.
    pub(super) fn gossip(&mut self, now: Instant, delegate: &mut dyn Delegate) {
        if self.silent {
            return;
        }
        let keep = self.timing.gossip_to_the_dead;
        let chosen = self
            .nodes
            .pick(self.timing.gossip_nodes, &mut self.random, |node| {
                node.name != self.name
                    && match node.state {
                        State::Alive | State::Suspect => true,
                        State::Dead => now.saturating_duration_since(node.changed) <= keep,
                        State::Left => false,
                    }
            });
        for name in chosen {
            let parts = self.fill(
                self.packet_bytes().saturating_sub(COMPOUND_HEADER),
                delegate,
            );
            if parts.is_empty() {
                return;
            }
            if let Some(node) = self.nodes.get(&name) {
                let (to, crc) = (node.place, node.protocol_max() >= CRC_PROTOCOL);
                self.send(to, &parts, crc);
            }
        }
    }

    /// What a packet may hold: less when it is to be sealed.
    fn packet_bytes(&self) -> usize {
        let overhead = self.sealer.as_ref().map_or(0, |_| crypto::OVERHEAD_BYTES);
        self.timing.packet_bytes - overhead
    }

    /// Queued messages for one packet: ours first, then those of the layer above.
    fn fill(&mut self, budget: usize, delegate: &mut dyn Delegate) -> Vec<Vec<u8>> {
        if self.silent {
            return Vec::new();
        }
        let limit = retransmit_limit(self.timing.retransmit_mult, self.nodes.len());
        let mut parts = self.broadcasts.take(COMPOUND_PART, budget, limit);
        let used: usize = parts.iter().map(|part| part.len() + COMPOUND_PART).sum();
        let overhead = COMPOUND_PART + USER_HEADER;
        let rest = budget.saturating_sub(used);
        if rest > overhead {
            parts.extend(
                delegate
                    .broadcasts(overhead, rest)
                    .into_iter()
                    .map(|message| Message::User(message).encode()),
            );
        }
        parts
    }

    /// Sends `message` to an address, with whatever else fits.
    pub(super) fn send_with_piggyback(
        &mut self,
        to: SocketAddr,
        message: &Message,
        delegate: &mut dyn Delegate,
    ) {
        let message = message.encode();
        let budget = self
            .packet_bytes()
            .saturating_sub(message.len() + COMPOUND_HEADER + COMPOUND_PART);
        let mut parts = vec![message];
        parts.extend(self.fill(budget, delegate));
        self.send(to, &parts, false);
    }

    /// Sends `message` to an address, with nothing else.
    pub(super) fn send_alone(&mut self, to: SocketAddr, message: &Message) {
        self.send(to, &[message.encode()], false);
    }

    /// Sends a message of the layer above to one address, alone.
    pub(crate) fn send_user(&mut self, to: SocketAddr, message: Vec<u8>) {
        self.send(to, &[Message::User(message).encode()], false);
    }

    /// Sends to an address, with nothing else.
    pub(super) fn send_plain(&mut self, to: SocketAddr, parts: &[Vec<u8>]) {
        self.send(to, parts, false);
    }

    /// Sends to a node that we know, with nothing else, and with a CRC if it reads one.
    pub(super) fn send_to_node(&mut self, name: &str, parts: &[Vec<u8>]) {
        if let Some(node) = self.nodes.get(name) {
            let (to, crc) = (node.place, node.protocol_max() >= CRC_PROTOCOL);
            self.send(to, parts, crc);
        }
    }

    fn send(&mut self, to: SocketAddr, parts: &[Vec<u8>], crc: bool) {
        let mut packet = packet::seal(parts, self.compress, crc);
        if let Some(sealer) = &mut self.sealer {
            packet = sealer.seal_packet(packet);
        }
        self.stats.packets_sent += 1;
        self.stats.packet_bytes_sent += packet.len() as u64;
        self.transmits.push_back(Transmit { to, packet });
    }
}
