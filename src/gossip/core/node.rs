//! The machine that a driver or a simulation turns: four verbs, no waiting.
//!
//! ```text
//! handle_*(now, input) ─▶ Node ─▶ poll_transmit, poll_stream, poll_event until None
//!                          └────▶ poll_timeout: call handle_timeout then, at the latest
//! ```

use std::net::SocketAddr;
use std::time::Instant;

use rand_chacha::ChaCha8Rng;

use super::keyring::Keyring;
use super::member::{Member, Members};
use super::serf::Serf;
use super::timing::Timing;
use super::wire::WireError;
use crate::announce::Tags;

/// What a member is told at its birth.
#[derive(Clone, Debug)]
pub struct Config {
    /// Unique name.
    pub name: String,
    /// Address and port that others use to reach us.
    pub advertise: SocketAddr,
    /// Our tags.
    pub tags: Tags,
    /// Intervals.
    pub timing: Timing,
    /// LZW on packets and streams we send, as `serf agent` does by default.
    pub compress: bool,
    /// Keys of the cluster. With them all we send is sealed and nothing else is read; `None`: all in clear.
    pub keyring: Option<Keyring>,
    /// Look into a name seen at two addresses: move it when the old one is silent (see `serf::names`).
    /// A stock agent does not.
    pub claim: bool,
}

/// Names one stream between the driver and the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Names one call of [`Node::join`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JoinId(pub u64);

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub packet: Vec<u8>,
}

/// What the driver shall do with a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamAction {
    /// Open a TCP connection; answer with `handle_stream_connected` or `handle_stream_closed`.
    Connect {
        /// Chosen by the core.
        id: StreamId,
        /// Peer.
        to: SocketAddr,
    },
    /// Write all of it, in order.
    Send {
        /// Stream.
        id: StreamId,
        /// Bytes.
        bytes: Vec<u8>,
    },
    /// Flush, then close. The core has forgotten the id; no `handle_stream_closed` is needed.
    Close {
        /// Stream.
        id: StreamId,
    },
}

/// What happened, for those above.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Somebody turned alive.
    Joined(Member),
    /// Tags, address or versions changed.
    Updated(Member),
    /// Somebody left on purpose.
    Left(Member),
    /// Somebody stopped answering.
    Failed(Member),
    /// A member was forgotten after its timeout.
    Reaped(Member),
    /// A name in use is claimed at a second address, and the first one answers; at most once a minute for each.
    Conflict {
        /// The name.
        name: String,
        /// Address we hold.
        known: SocketAddr,
        /// Address that claims the name as well.
        claimed: SocketAddr,
    },
    /// Our own name is held by another node that answers: we cannot be in the cluster under it.
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        holder: SocketAddr,
        /// Found within seconds of our start, before anybody relied on us.
        at_start: bool,
    },
    /// A name was moved from a silent address, everywhere: ours, or another's on its behalf.
    Repaired {
        /// The name.
        name: String,
        /// Where it was.
        from: SocketAddr,
        /// Where it is.
        to: SocketAddr,
    },
    /// A user event arrived (also our own, later).
    User {
        /// Event Lamport time.
        ltime: u64,
        /// Name.
        name: String,
        /// Payload.
        payload: Vec<u8>,
        /// May be coalesced.
        coalesce: bool,
    },
    /// A join ended.
    JoinFinished {
        /// Which call.
        id: JoinId,
        /// How many of the addresses answered with their state.
        reached: usize,
        /// Address and cause of each that did not.
        failures: Vec<(SocketAddr, String)>,
    },
    /// `leave` is complete: close the sockets.
    LeaveFinished,
}

/// A peer whose encryption does not fit ours sent something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Who.
    pub from: SocketAddr,
    /// [`WireError::Decrypt`], [`WireError::Plaintext`] or [`WireError::Encrypted`].
    pub why: WireError,
}

/// Plain counters, copied out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets handled.
    pub packets_received: u64,
    /// Packets emitted.
    pub packets_sent: u64,
    /// Bytes handled in packets.
    pub packet_bytes_received: u64,
    /// Bytes emitted in packets.
    pub packet_bytes_sent: u64,
    /// Dropped input, by reason (`truncated`, `crc`, `msgpack`, `too_deep`, `too_large`, `unknown_type`,
    /// `decrypt`: no key of ours opens it; `plaintext`: in clear, and we have keys; `encrypted`: a sealed stream, and we have none; …).
    pub dropped: std::collections::BTreeMap<&'static str, u64>,
    /// Probes sent.
    pub probes: u64,
    /// Probes without any answer.
    pub probes_failed: u64,
    /// Times we found that we had slept.
    pub pauses: u64,
    /// Times we had to refute.
    pub refutations: u64,
    /// Lifeguard's score, 0 is healthy.
    pub health_score: u32,
    /// Times that a name was claimed while its holder answered.
    pub conflicts: u64,
    /// Names moved away from silent addresses.
    pub repairs: u64,
    /// Broadcasts waiting.
    pub queued_broadcasts: usize,
    /// Streams open.
    pub streams: usize,
}

/// Why tags could not be set, or a name is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Encoded tags exceed 512 bytes.
    #[error("tags take {bytes} bytes encoded, at most 512 fit in gossip")]
    TagsTooLong {
        /// Encoded size.
        bytes: usize,
    },
    /// No such member.
    #[error("no member is named {name:?}")]
    UnknownMember {
        /// The name asked for.
        name: String,
    },
    /// We are leaving.
    #[error("this member is leaving the cluster")]
    Leaving,
}

/// A Serf member.
#[derive(Debug)]
pub struct Node {
    serf: Serf,
}

impl Node {
    /// A member alone in its cluster, alive with incarnation 1.
    ///
    /// With a keyring, nonces are drawn from `random` too: outside of a simulation it must be seeded from the system
    /// and for this node alone, since two nodes that draw the same would give their key away.
    ///
    /// # Errors
    /// [`Refused::TagsTooLong`].
    pub fn new(config: Config, now: Instant, random: ChaCha8Rng) -> Result<Self, Refused> {
        let serf = Serf::new(&config, now, random)?;
        Ok(Self { serf })
    }

    /// A datagram came.
    pub fn handle_packet(&mut self, now: Instant, from: SocketAddr, packet: &[u8]) {
        self.serf.handle_packet(now, from, packet);
    }

    /// A peer connected to us; `None`: too many, close it.
    pub fn handle_stream_accepted(&mut self, now: Instant, from: SocketAddr) -> Option<StreamId> {
        self.serf.handle_stream_accepted(now, from)
    }

    /// The connection asked for by [`StreamAction::Connect`] stands.
    pub fn handle_stream_connected(&mut self, now: Instant, id: StreamId) {
        self.serf.handle_stream_connected(now, id);
    }

    /// Bytes came, in any portions. Those of a forgotten stream are ignored.
    pub fn handle_stream_bytes(&mut self, now: Instant, id: StreamId, bytes: &[u8]) {
        self.serf.handle_stream_bytes(now, id, bytes);
    }

    /// The peer closed, or connecting or reading failed with `error`.
    pub fn handle_stream_closed(&mut self, now: Instant, id: StreamId, error: Option<String>) {
        self.serf.handle_stream_closed(now, id, error);
    }

    /// Does what is due; to be called at [`Self::poll_timeout`], at the latest.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.serf.handle_timeout(now);
    }

    /// Exchanges states with each address; [`Event::JoinFinished`] tells how it went.
    pub fn join(&mut self, now: Instant, addresses: &[SocketAddr]) -> JoinId {
        self.serf.join(now, addresses)
    }

    /// Graceful leave; `Event::LeaveFinished` says when it is done.
    pub fn leave(&mut self, now: Instant) {
        self.serf.leave(now);
    }

    /// Announces other tags.
    ///
    /// # Errors
    /// [`Refused::TagsTooLong`], [`Refused::Leaving`].
    pub fn set_tags(&mut self, now: Instant, tags: Tags) -> Result<(), Refused> {
        self.serf.set_tags(now, &tags)
    }

    /// Turns a failed member into a left one everywhere; `prune` forgets it as well. One that lives refutes.
    ///
    /// # Errors
    /// [`Refused::UnknownMember`], [`Refused::Leaving`].
    pub fn force_leave(&mut self, now: Instant, name: &str, prune: bool) -> Result<(), Refused> {
        self.serf.force_leave(now, name, prune)
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.serf.poll_transmit()
    }

    /// The next thing to do with a stream.
    pub fn poll_stream(&mut self) -> Option<StreamAction> {
        self.serf.poll_stream()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.serf.poll_event()
    }

    /// A member that answered a ping of ours, directly, and when.
    pub fn poll_ack(&mut self) -> Option<(String, Instant)> {
        self.serf.poll_ack()
    }

    /// The next that came from a peer with another encryption. Of a flood between two calls only the first are kept;
    /// [`Stats::dropped`] counts all.
    pub fn poll_mismatch(&mut self) -> Option<Mismatch> {
        self.serf.poll_mismatch()
    }

    /// When [`Self::handle_timeout`] is to be called; may have passed already.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.serf.poll_timeout()
    }

    /// Grows whenever `members` would differ.
    pub fn generation(&self) -> u64 {
        self.serf.generation()
    }

    /// Everyone known: a map of shared members, of which only changed ones were made anew.
    pub fn members(&self) -> Members {
        self.serf.members()
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.serf.stats()
    }
}

#[cfg(test)]
mod tests;
