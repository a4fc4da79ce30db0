//! What goes into a [`super::node::Node`] and what comes out of it: plain values, known to every layer of the core.
//!
//! ```text
//! Config · Question ─▶ Node ─▶ Transmit · StreamAction · Event · Answer · Mismatch · Stats
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keyring::Keyring;
use super::member::Member;
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

/// What a member goes on with that takes another's place: the same name at the same address, in another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heritage {
    /// The last one that the others heard of.
    pub incarnation: u32,
    /// Lamport time of members' intents.
    pub ltime: u64,
    /// Lamport time of user events.
    pub event_ltime: u64,
    /// Lamport time of queries.
    pub query_ltime: u64,
}

/// Names one stream between the driver and the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Names one call of [`Node::join`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JoinId(pub u64);

/// What a join makes of user events that happened before it, and that the others still know of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Past {
    /// They are not for us, as with `serf join`.
    #[default]
    Skip,
    /// They are for us if we were in touch with the cluster before, and missed them.
    Missed,
    /// They are for us, as with `serf join -replay`.
    Replay,
}

/// Names one query, ours or another's, in the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId {
    /// Query Lamport time.
    pub ltime: u64,
    /// Chosen at random by who asks.
    pub id: u32,
}

/// What to ask, and whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Name of the query. Those that begin with `_serf_` are Serf's own: only `_serf_ping` without payload may be asked.
    pub name: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// Only these answer; none given: everyone.
    pub nodes: Vec<String>,
    /// Only those whose tag matches the regular expression (anywhere in its value) answer; all must match.
    pub tags: BTreeMap<String, String>,
    /// Whoever it is for says at once that it came.
    pub wants_ack: bool,
    /// Through how many others each answer comes as well.
    pub relay_factor: u8,
    /// How long answers are taken; `None`: as long as the size of the cluster asks for (3.2 s for up to 9 members).
    pub timeout: Option<Duration>,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The query reached one whom it is for; at most one from each.
    Ack {
        /// Who.
        from: String,
    },
    /// An answer; at most one from each.
    Response {
        /// Who.
        from: String,
        /// What.
        payload: Vec<u8>,
    },
    /// The deadline is over, and nothing else comes.
    Done,
}

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
    Joined(Arc<Member>),
    /// Tags, address or versions changed.
    Updated(Arc<Member>),
    /// Somebody left on purpose.
    Left(Arc<Member>),
    /// Somebody stopped answering.
    Failed(Arc<Member>),
    /// A member was forgotten after its timeout.
    Reaped(Arc<Member>),
    /// A name in use is claimed at a second address, and the first one answers; at most once a minute for each.
    Conflict {
        /// The name.
        name: String,
        /// Address we hold.
        known: SocketAddr,
        /// Address that claims the name as well.
        claimed: SocketAddr,
    },
    /// Our own name is held by another node that answers, and we are not in yet, or the members hold to the other.
    /// [`Node::rename`](super::node::Node::rename) is what to do about it.
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
    /// A query arrived that is for us (also our own); never one of Serf's internal ones.
    Query {
        /// For the answer.
        id: QueryId,
        /// Query Lamport time.
        ltime: u64,
        /// Name.
        name: String,
        /// Payload.
        payload: Vec<u8>,
        /// Who asks.
        from: String,
        /// An answer is taken until then.
        deadline: Instant,
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
    pub dropped: BTreeMap<&'static str, u64>,
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
    /// Times that we took another name.
    pub renames: u64,
    /// Broadcasts waiting.
    pub queued_broadcasts: usize,
    /// Join and leave intents among them.
    pub queued_intents: usize,
    /// User events among them.
    pub queued_events: usize,
    /// Queries among them.
    pub queued_queries: usize,
    /// Member Lamport time.
    pub member_time: u64,
    /// Event Lamport time.
    pub event_time: u64,
    /// Query Lamport time.
    pub query_time: u64,
    /// Times that our network coordinate became nonsense and began anew.
    pub coordinate_resets: u64,
    /// We have keys.
    pub encrypted: bool,
    /// Streams open.
    pub streams: usize,
}

/// Why something could not be done.
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
    /// Another member has the name already.
    #[error("{name:?} is the name of a member")]
    NameKnown {
        /// The name asked for.
        name: String,
    },
    /// A user event is too long to be gossiped.
    #[error("the event takes {bytes} bytes {}, at most {max} fit in gossip", if *.encoded { "encoded" } else { "(name and payload)" })]
    EventTooLong {
        /// Size.
        bytes: usize,
        /// Limit.
        max: usize,
        /// It is the encoded message that is too long; else name and payload are already.
        encoded: bool,
    },
    /// A query is too long to be gossiped.
    #[error("the query takes {bytes} bytes encoded, at most {max} fit in gossip")]
    QueryTooLong {
        /// Encoded size, filters included.
        bytes: usize,
        /// Limit.
        max: usize,
    },
    /// An answer is too long for one packet.
    #[error("the response takes {bytes} bytes encoded, at most {max} fit in a packet")]
    ResponseTooLong {
        /// Encoded size.
        bytes: usize,
        /// Limit.
        max: usize,
    },
    /// Queries with the prefix `_serf_` are internal.
    #[error("queries cannot contain the '_serf_' prefix")]
    InternalQuery,
    /// Too many queries of ours are open.
    #[error("{open} queries are open, which is as many as may be")]
    TooManyQueries {
        /// How many.
        open: usize,
    },
    /// No such query, it was answered already, or its deadline is over.
    #[error("{0}")]
    NoAnswer(NoAnswer),
    /// We are leaving.
    #[error("this member is leaving the cluster")]
    Leaving,
}

/// Why a query can't be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Never heard of, or its deadline is long over.
    #[error("no query with this id is open")]
    Unknown,
    /// Once is enough.
    #[error("response already sent")]
    Sent,
    /// Nobody waits for it any more.
    #[error("response is past the deadline")]
    Late,
}
