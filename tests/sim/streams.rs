//! Connections: refused, swallowed or open; bytes in order, late, in chunks of any size.

use std::time::Instant;

use lb::gossip::core::io::{StreamAction, StreamId};
use rand::RngExt;

use crate::host::Down;
use crate::network::HostId;
use crate::world::{Delivery, World};

/// One end of a connection: which process's, and what it calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    pub(crate) host: HostId,
    pub(crate) life: u64,
    pub(crate) id: StreamId,
}

/// An open connection, seen from one end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) end: End,
    /// Nothing sent to it may arrive before this.
    pub(crate) not_before: Instant,
}

impl World {
    pub(crate) fn act(&mut self, host: HostId, action: StreamAction) {
        let life = self.hosts[host].life;
        let end = |id| End { host, life, id };
        match action {
            StreamAction::Connect { id, to } => {
                let Some(&target) = self.by_address.get(&to) else {
                    return;
                };
                if self.network.reaches(host, target) {
                    let at = self.now + self.network.latency(&mut self.random);
                    let from = end(id);
                    self.schedule(at, Delivery::Connect { from, target });
                }
            }
            StreamAction::Send { id, bytes } => self.send_bytes(end(id), bytes),
            StreamAction::Close { id } => {
                let end = end(id);
                if let Some(peer) = self.peers.remove(&end) {
                    let at = self.after(&peer);
                    self.schedule(
                        at,
                        Delivery::Closed {
                            to: peer.end,
                            error: None,
                        },
                    );
                }
            }
        }
    }

    /// When something sent now arrives at `peer`, behind all that was sent before.
    fn after(&mut self, peer: &Peer) -> Instant {
        (self.now + self.network.latency(&mut self.random)).max(peer.not_before)
    }

    fn send_bytes(&mut self, from: End, mut bytes: Vec<u8>) {
        let Some(mut peer) = self.peers.get(&from).copied() else {
            return;
        };
        if !self.network.reaches(from.host, peer.end.host) {
            // Lost for ever: the cut is long, compared with any deadline.
            self.peers.remove(&from);
            return;
        }
        while !bytes.is_empty() {
            let cut = self.random.random_range(1..=bytes.len().min(1500));
            let rest = bytes.split_off(cut);
            let at = self.after(&peer);
            peer.not_before = at;
            self.schedule(
                at,
                Delivery::Bytes {
                    to: peer.end,
                    bytes,
                },
            );
            bytes = rest;
        }
        self.peers.insert(from, peer);
    }

    /// A connection request arrives.
    pub(crate) fn accept(&mut self, from: End, target: HostId) {
        if !self.runs(from) || !self.network.reaches(from.host, target) {
            return;
        }
        let (now, life) = (self.now, self.hosts[target].life);
        let mut client = self.hosts[from.host].address;
        client.set_port(self.random.random_range(32_768..61_000));
        let back = now + self.network.latency(&mut self.random);
        let Some(node) = &mut self.hosts[target].node else {
            if self.hosts[target].down == Down::Refuses {
                let error = Some("connection refused".to_owned());
                self.schedule(back, Delivery::Closed { to: from, error });
            }
            return;
        };
        let Some(id) = node.handle_stream_accepted(now, client) else {
            let error = Some("connection reset".to_owned());
            self.schedule(back, Delivery::Closed { to: from, error });
            return;
        };
        let to = End {
            host: target,
            life,
            id,
        };
        let peer = |end| Peer {
            end,
            not_before: back,
        };
        self.peers.insert(from, peer(to));
        self.peers.insert(to, peer(from));
        self.schedule(back, Delivery::Connected { to: from });
        self.touched(target);
    }

    /// Ends all connections of a process that died.
    pub(crate) fn reset_streams(&mut self, host: HostId) {
        let broken: Vec<End> = self
            .peers
            .iter()
            .filter(|(end, peer)| end.host == host || peer.end.host == host)
            .map(|(end, _)| *end)
            .collect();
        for end in broken {
            self.peers.remove(&end);
            let told = end.host != host && self.hosts[host].down == Down::Refuses;
            if told && self.network.reaches(host, end.host) {
                let at = self.now + self.network.latency(&mut self.random);
                let error = Some("connection reset".to_owned());
                self.schedule(at, Delivery::Closed { to: end, error });
            }
        }
    }

    /// Whether the process of this end still runs.
    pub(crate) fn runs(&self, end: End) -> bool {
        let host = &self.hosts[end.host];
        host.life == end.life && host.is_running()
    }
}
