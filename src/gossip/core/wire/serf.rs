//! Serf's messages, inside memberlist's `user`.

use std::collections::BTreeMap;

use super::WireError;
use super::message::WireAddr;

/// "X leaves."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveIntent {
    /// Member Lamport time.
    pub ltime: u64,
    /// Who.
    pub node: String,
    /// Forget it altogether.
    pub prune: bool,
}

/// "X joins."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinIntent {
    /// Member Lamport time.
    pub ltime: u64,
    /// Who.
    pub node: String,
}

/// Events recorded at one Lamport time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvents {
    /// Event Lamport time.
    pub ltime: u64,
    /// Name and payload.
    pub events: Vec<(String, Vec<u8>)>,
}

/// Serf's half of a push/pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SerfState {
    /// Member clock.
    pub ltime: u64,
    /// Newest intent time by member.
    pub status_ltimes: BTreeMap<String, u64>,
    /// Members with status left.
    pub left_members: Vec<String>,
    /// Event clock.
    pub event_ltime: u64,
    /// The event ring; nil slots as `None`.
    pub events: Vec<Option<RecordedEvents>>,
    /// Query clock.
    pub query_ltime: u64,
}

/// A user event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEvent {
    /// Event Lamport time.
    pub ltime: u64,
    /// Name.
    pub name: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// May be coalesced.
    pub coalesce: bool,
}

/// A query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Query Lamport time.
    pub ltime: u64,
    /// Random.
    pub id: u32,
    /// Answers go there.
    pub addr: WireAddr,
    /// Who asks.
    pub source_node: String,
    /// Encoded filters, each with its type byte.
    pub filters: Vec<Vec<u8>>,
    /// 1 ack wanted, 2 do not re-broadcast.
    pub flags: u32,
    /// How many relays for each answer.
    pub relay_factor: u8,
    /// Nanoseconds.
    pub timeout_ns: i64,
    /// Name.
    pub name: String,
    /// Payload.
    pub payload: Vec<u8>,
}

/// An answer to a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryResponse {
    /// Of the query.
    pub ltime: u64,
    /// Of the query.
    pub id: u32,
    /// Who answers.
    pub from: String,
    /// 1: this is an ack.
    pub flags: u32,
    /// Payload; `None` is nil on the wire.
    pub payload: Option<Vec<u8>>,
}

/// "Pass this on to X."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// To whom.
    pub dest: WireAddr,
    /// Its name.
    pub dest_name: String,
    /// A Serf message, type byte first.
    pub body: Vec<u8>,
}

/// Any Serf message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the payload says it")]
pub enum SerfMessage {
    Leave(LeaveIntent),
    Join(JoinIntent),
    PushPull(SerfState),
    UserEvent(UserEvent),
    Query(Query),
    QueryResponse(QueryResponse),
    Relay(Relay),
}

impl SerfMessage {
    /// Canonical bytes, Serf's type byte first.
    pub fn encode(&self) -> Vec<u8> {
        unimplemented!()
    }

    /// From Serf's type byte on.
    ///
    /// # Errors
    /// Any [`WireError`].
    pub fn decode(_bytes: &[u8]) -> Result<Self, WireError> {
        unimplemented!()
    }
}
