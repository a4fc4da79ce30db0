//! The machine that a driver or a simulation turns: four verbs, no waiting.
//!
//! ```text
//! handle_*(now, input) ─▶ Node ─▶ poll_transmit, poll_stream, poll_event until None
//!                          └────▶ poll_timeout: call handle_timeout then, at the latest
//! ```

use std::net::SocketAddr;
use std::time::Instant;

use rand_chacha::ChaCha8Rng;

use super::member::{Member, Members};
use super::timing::Timing;
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
    /// Another node answers, or is announced, under a name in use.
    Conflict {
        /// The name.
        name: String,
        /// Address we hold.
        known: SocketAddr,
        /// Address that claims the name as well.
        claimed: SocketAddr,
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
    /// Dropped input, by reason (`truncated`, `crc`, `msgpack`, `too_deep`, `too_large`, `unknown_type`, `encrypted`, …).
    pub dropped: std::collections::BTreeMap<&'static str, u64>,
    /// Probes sent.
    pub probes: u64,
    /// Probes without any answer.
    pub probes_failed: u64,
    /// Times we had to refute.
    pub refutations: u64,
    /// Lifeguard's score, 0 is healthy.
    pub health_score: u32,
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
pub struct Node {}

#[expect(unused_variables, missing_docs, reason = "skeleton")]
impl Node {
    /// A member alone in its cluster.
    ///
    /// # Errors
    /// [`Refused::TagsTooLong`].
    pub fn new(config: Config, now: Instant, random: ChaCha8Rng) -> Result<Self, Refused> {
        unimplemented!()
    }
    pub fn handle_packet(&mut self, now: Instant, from: SocketAddr, packet: &[u8]) {
        unimplemented!()
    }
    /// A peer connected to us; `None`: too many, close it.
    pub fn handle_stream_accepted(&mut self, now: Instant, from: SocketAddr) -> Option<StreamId> {
        unimplemented!()
    }
    pub fn handle_stream_connected(&mut self, now: Instant, id: StreamId) {
        unimplemented!()
    }
    pub fn handle_stream_bytes(&mut self, now: Instant, id: StreamId, bytes: &[u8]) {
        unimplemented!()
    }
    /// The peer closed, or connecting or reading failed with `error`.
    pub fn handle_stream_closed(&mut self, now: Instant, id: StreamId, error: Option<String>) {
        unimplemented!()
    }
    pub fn handle_timeout(&mut self, now: Instant) {
        unimplemented!()
    }
    pub fn join(&mut self, now: Instant, addresses: &[SocketAddr]) -> JoinId {
        unimplemented!()
    }
    /// Graceful leave; `Event::LeaveFinished` says when it is done.
    pub fn leave(&mut self, now: Instant) {
        unimplemented!()
    }
    pub fn set_tags(&mut self, now: Instant, tags: Tags) -> Result<(), Refused> {
        unimplemented!()
    }
    pub fn force_leave(&mut self, now: Instant, name: &str, prune: bool) -> Result<(), Refused> {
        unimplemented!()
    }
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        unimplemented!()
    }
    pub fn poll_stream(&mut self) -> Option<StreamAction> {
        unimplemented!()
    }
    pub fn poll_event(&mut self) -> Option<Event> {
        unimplemented!()
    }
    pub fn poll_timeout(&self) -> Option<Instant> {
        unimplemented!()
    }
    /// Grows whenever `members` would differ.
    pub fn generation(&self) -> u64 {
        unimplemented!()
    }
    /// Everyone known; cheap when nothing changed since the last call.
    pub fn members(&self) -> Members {
        unimplemented!()
    }
    pub fn stats(&self) -> Stats {
        unimplemented!()
    }
}
