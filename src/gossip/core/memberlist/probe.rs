//! Is it still there? One node per round is pinged, then pinged through others and over TCP.
//!
//! ```text
//!  start ──ping──▶ Direct ──probe_timeout──▶ Indirect ──deadline──▶ suspect
//!                    │                    (peers, and TCP beside)      ▲
//!                    └────────── ack of this sequence number ─▶ fine   └─ unless TCP answered
//! ```
//!
//! The other side is here too: pings answered, and pings sent on behalf of others ([`Asked`]).
//! Source: memberlist `state.go`, `probeNode`; `net.go`, `handleIndirectPing`.

use std::net::SocketAddr;
use std::time::Instant;

use super::node::{State, place_of};
use super::{Delegate, Memberlist, Timer};
use crate::gossip::core::io::StreamId;
use crate::gossip::core::wire::message::{
    Accusation, Ack, IndirectPing, Message, Nack, Ping, Source, WireAddr,
};

/// First protocols with a TCP ping, and with nacks.
const TCP_PING_PROTOCOL: u8 = 3;
const NACK_PROTOCOL: u8 = 4;

/// Indirect pings under way for others; a flood beyond is refused.
const ASKED_MAX: usize = 1024;

/// One probe under way.
#[derive(Debug)]
pub(crate) struct Probe {
    seq_no: u32,
    target: String,
    /// As known when the probe began: a later accusation names this one.
    incarnation: u32,
    /// When the direct ping went out.
    sent: Instant,
    deadline: Instant,
    stage: Stage,
}

/// What a probe waits for.
#[derive(Debug)]
enum Stage {
    /// The direct ack.
    Direct,
    /// An ack by any way, until the deadline.
    Indirect {
        nacks_expected: u32,
        nacks: u32,
        tcp: Fallback,
    },
}

/// The TCP ping beside the indirect ones.
#[derive(Debug, PartialEq, Eq)]
enum Fallback {
    NotTried,
    Waiting(StreamId),
    Answered,
    Failed,
}

/// A ping sent on behalf of another node.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The asker's sequence number.
    seq_no: u32,
    /// The asker.
    to: SocketAddr,
    nack: bool,
}

impl Memberlist {
    /// Pings the next node in turn, unless we are on our way out; as soon as the last probe ends, if one still runs.
    ///
    /// A failed probe takes a whole interval, and a little more since no timer fires on time: if the round that came due
    /// meanwhile were left out, each dead node would cost its prober two rounds. Go's ticker keeps one tick as well.
    pub(super) fn start_probe(&mut self, now: Instant, delegate: &mut dyn Delegate) {
        if self.leaving || self.silent {
            return;
        }
        self.round_due = self.probe.is_some();
        if self.round_due {
            return;
        }
        let Some(node) = self.nodes.next_target(
            &self.name,
            now,
            self.timing.gossip_to_the_dead,
            &mut self.random,
        ) else {
            return;
        };
        let (target, incarnation) = (node.name.to_string(), node.incarnation);
        let seq_no = self.next_seq_no();
        self.stats.probes += 1;
        self.ping(now, seq_no, target, incarnation, delegate);
    }

    /// The probe is over; the next one may have been waiting for that.
    fn go_on(&mut self, now: Instant, delegate: &mut dyn Delegate) {
        if std::mem::take(&mut self.round_due) {
            self.start_probe(now, delegate);
        }
    }

    /// We slept: the probe under way starts over. Its ack may lie in our socket.
    pub(super) fn restart_probe(&mut self, now: Instant, delegate: &mut dyn Delegate) {
        let Some(probe) = self.probe.take() else {
            return;
        };
        self.timers.cancel(&Timer::ProbeTimeout);
        self.timers.cancel(&Timer::ProbeDeadline);
        if let Stage::Indirect {
            tcp: Fallback::Waiting(id),
            ..
        } = probe.stage
        {
            self.close_stream(id);
        }
        // An ack of the second stage may be a relayed one, which must not count as the target's own.
        let seq_no = match probe.stage {
            Stage::Direct => probe.seq_no,
            Stage::Indirect { .. } => self.next_seq_no(),
        };
        self.ping(now, seq_no, probe.target, probe.incarnation, delegate);
    }

    /// We slept: whoever asked us to ping somebody has long drawn its own conclusions.
    pub(super) fn forget_asked(&mut self) {
        for seq_no in std::mem::take(&mut self.asked).into_keys() {
            self.timers.cancel(&Timer::Asked(seq_no));
        }
    }

    /// Begins a probe's first stage, unless its target is known no more.
    fn ping(
        &mut self,
        now: Instant,
        seq_no: u32,
        target: String,
        incarnation: u32,
        delegate: &mut dyn Delegate,
    ) {
        let Some(node) = self.nodes.get(&target) else {
            return;
        };
        let to = node.place;
        let suspect = node.state == State::Suspect;
        let interval = self.awareness.scale(self.timing.probe_interval);
        let ping = Message::Ping(Ping {
            seq_no,
            node: target.clone(),
            source: self.own_source(),
        });
        if suspect {
            // It shall hear of the accusation at once, so that it can refute in time.
            let accusation = Message::Suspect(Accusation {
                incarnation,
                node: target.clone(),
                from: self.name.clone(),
            });
            self.send_to_node(&target, &[ping.encode(), accusation.encode()]);
        } else {
            self.send_with_piggyback(to, &ping, delegate);
        }
        let deadline = now + interval;
        self.timers.set(
            Timer::ProbeTimeout,
            (now + self.timing.probe_timeout).min(deadline),
        );
        self.timers.set(Timer::ProbeDeadline, deadline);
        self.probe = Some(Probe {
            seq_no,
            target,
            incarnation,
            sent: now,
            deadline,
            stage: Stage::Direct,
        });
    }

    /// The direct ack is late: ask others, and try TCP in case only UDP is broken.
    pub(super) fn probe_indirectly(&mut self, now: Instant, delegate: &mut dyn Delegate) {
        let Some(probe) = &self.probe else { return };
        let (seq_no, deadline) = (probe.seq_no, probe.deadline);
        let Some(target) = self.nodes.get(&probe.target) else {
            return;
        };
        let (name, addr, place) = (target.name.to_string(), target.addr(), target.place);
        let speaks_tcp = target.protocol_max() >= TCP_PING_PROTOCOL;
        let peers = self
            .nodes
            .pick(self.timing.indirect_checks, &mut self.random, |node| {
                node.name != self.name && node.name != name && node.state == State::Alive
            });
        let mut nacks_expected = 0;
        for peer in peers {
            let Some(peer) = self.nodes.get(&peer) else {
                continue;
            };
            let (to, nack) = (peer.place, peer.protocol_max() >= NACK_PROTOCOL);
            nacks_expected += u32::from(nack);
            let request = Message::IndirectPing(IndirectPing {
                seq_no,
                target: addr.clone(),
                node: name.clone(),
                nack,
                source: self.own_source(),
            });
            self.send_with_piggyback(to, &request, delegate);
        }
        let tcp = if speaks_tcp && deadline > now {
            Fallback::Waiting(self.ping_by_stream(place, seq_no, &name, deadline))
        } else {
            Fallback::NotTried
        };
        if let Some(probe) = &mut self.probe {
            probe.stage = Stage::Indirect {
                nacks_expected,
                nacks: 0,
                tcp,
            };
        }
    }

    /// Time is up.
    pub(super) fn end_probe(&mut self, now: Instant, delegate: &mut dyn Delegate) {
        self.timers.cancel(&Timer::ProbeTimeout);
        if let Some(probe) = self.probe.take() {
            self.judge(now, probe, delegate);
        }
        self.go_on(now, delegate);
    }

    /// No ack came by packet: only TCP may still vouch for the node.
    fn judge(&mut self, now: Instant, probe: Probe, delegate: &mut dyn Delegate) {
        let (expected, nacks, tcp) = match probe.stage {
            Stage::Direct => (0, 0, Fallback::NotTried),
            Stage::Indirect {
                nacks_expected,
                nacks,
                tcp,
            } => (nacks_expected, nacks.min(nacks_expected), tcp),
        };
        if let Fallback::Waiting(id) = tcp {
            self.close_stream(id);
        }
        if tcp == Fallback::Answered {
            tracing::warn!(
                node = probe.target,
                "answers over TCP only; UDP may be blocked"
            );
            self.awareness.apply(-1);
            return;
        }
        // Peers that say "nor me" prove that our own network works; their silence speaks against us.
        self.awareness.apply(if expected > 0 {
            (expected - nacks) as i32
        } else {
            1
        });
        self.stats.probes_failed += 1;
        tracing::debug!(node = probe.target, "no ack");
        self.on_suspect(
            now,
            Accusation {
                incarnation: probe.incarnation,
                node: probe.target,
                from: self.name.clone(),
            },
            delegate,
        );
    }

    /// A probe's TCP ping is over.
    pub(super) fn stream_ping_ended(&mut self, id: StreamId, answered: bool) {
        if let Some(Probe {
            stage: Stage::Indirect { tcp, .. },
            ..
        }) = &mut self.probe
            && *tcp == Fallback::Waiting(id)
        {
            *tcp = if answered {
                Fallback::Answered
            } else {
                Fallback::Failed
            };
        }
    }

    pub(super) fn on_ack(&mut self, now: Instant, ack: Ack, delegate: &mut dyn Delegate) {
        if self.recalled(now, ack.seq_no) || self.check_acked(ack.seq_no, delegate) {
            return;
        }
        if let Some(asked) = self.asked.remove(&ack.seq_no) {
            self.timers.cancel(&Timer::Asked(ack.seq_no));
            let relayed = Message::Ack(Ack {
                seq_no: asked.seq_no,
                payload: None,
            });
            self.send_with_piggyback(asked.to, &relayed, delegate);
            return;
        }
        let Some(probe) = self.probe.take_if(|probe| probe.seq_no == ack.seq_no) else {
            return;
        };
        self.timers.cancel(&Timer::ProbeTimeout);
        self.timers.cancel(&Timer::ProbeDeadline);
        match probe.stage {
            // Nobody else was asked yet, so it was the target itself, and the way to it works.
            Stage::Direct => {
                let rtt = now.saturating_duration_since(probe.sent);
                if let Some(payload) = &ack.payload {
                    delegate.acked(&probe.target, payload, rtt);
                }
                self.acked = Some((probe.target, now));
            }
            Stage::Indirect {
                tcp: Fallback::Waiting(id),
                ..
            } => {
                self.close_stream(id);
            }
            Stage::Indirect { .. } => {}
        }
        self.awareness.apply(-1);
        self.go_on(now, delegate);
    }

    pub(super) fn on_nack(&mut self, nack: Nack) {
        if let Some(Probe {
            seq_no,
            stage: Stage::Indirect { nacks, .. },
            ..
        }) = &mut self.probe
            && *seq_no == nack.seq_no
        {
            *nacks = nacks.saturating_add(1);
        }
    }

    pub(super) fn on_ping(&mut self, from: SocketAddr, ping: Ping, delegate: &mut dyn Delegate) {
        if !self.is_for_us(&ping.node) {
            self.refuse("ping_for_other");
            return;
        }
        if self.is_own_check(&ping) {
            return;
        }
        self.notice_sender(from, &ping, delegate);
        let ack = Message::Ack(Ack {
            seq_no: ping.seq_no,
            payload: Some(delegate.ack_payload()),
        });
        self.send_with_piggyback(answer_to(from, ping.source.as_ref()), &ack, delegate);
    }

    /// Whom we hold dead or suspect elsewhere may be back at a new address. A stock agent that everyone refuses
    /// gossips its address a few times only; its pings come round for as long as it runs.
    fn notice_sender(&self, from: SocketAddr, ping: &Ping, delegate: &mut dyn Delegate) {
        let Some(source) = &ping.source else { return };
        let Some(place) = place_of(&source.addr).filter(|place| place.ip() == from.ip()) else {
            return;
        };
        if let Some(node) = self.nodes.get(&source.node)
            && matches!(node.state, State::Suspect | State::Dead)
            && node.place != place
        {
            delegate.seen_elsewhere(&source.node, place);
        }
    }

    /// A ping may name whom it means; an address re-used by another node must not answer for it.
    pub(super) fn is_for_us(&self, node: &str) -> bool {
        node.is_empty() || node == self.name
    }

    pub(super) fn on_indirect_ping(
        &mut self,
        now: Instant,
        from: SocketAddr,
        request: IndirectPing,
        delegate: &mut dyn Delegate,
    ) {
        let target = WireAddr {
            port: self.port_or_own(request.target.port),
            octets: request.target.octets,
        };
        let Some(to) = place_of(&target) else {
            self.refuse("address");
            return;
        };
        if self.asked.len() >= ASKED_MAX {
            self.refuse("busy");
            return;
        }
        let seq_no = self.next_seq_no();
        self.asked.insert(
            seq_no,
            Asked {
                seq_no: request.seq_no,
                to: answer_to(from, request.source.as_ref()),
                nack: request.nack,
            },
        );
        self.timers
            .set(Timer::Asked(seq_no), now + self.timing.probe_timeout);
        let ping = Message::Ping(Ping {
            seq_no,
            node: request.node,
            source: self.own_source(),
        });
        self.send_with_piggyback(to, &ping, delegate);
    }

    pub(super) fn give_up_asked(&mut self, seq_no: u32, delegate: &mut dyn Delegate) {
        if let Some(asked) = self.asked.remove(&seq_no)
            && asked.nack
        {
            let nack = Message::Nack(Nack {
                seq_no: asked.seq_no,
            });
            self.send_with_piggyback(asked.to, &nack, delegate);
        }
    }

    /// Port 0 on the wire means "your own".
    pub(super) fn port_or_own(&self, port: u16) -> u16 {
        if port == 0 { self.own_addr.port } else { port }
    }
}

/// The address a request names, else where it came from.
fn answer_to(from: SocketAddr, source: Option<&Source>) -> SocketAddr {
    source
        .and_then(|source| place_of(&source.addr))
        .filter(|place| place.port() != 0)
        .unwrap_or(from)
}
