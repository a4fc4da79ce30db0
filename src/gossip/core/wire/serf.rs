//! Serf's messages, inside memberlist's `user` and at the end of a push/pull.
//!
//! ```text
//! [serf type: u8][msgpack map, keys sorted]      relay: [9][header map][serf message]
//! ```
//!
//! Types 6, 7 and 8 are payloads of queries and their answers, never messages, so they are not here.

mod query;

use std::collections::BTreeMap;

use super::WireError;
use super::message::WireAddr;
use super::msgpack::{Reader, Writer};
use crate::gossip::core::name::Name;

const LEAVE: u8 = 0;
const JOIN: u8 = 1;
const PUSH_PULL: u8 = 2;
const USER_EVENT: u8 = 3;
const QUERY: u8 = 4;
const QUERY_RESPONSE: u8 = 5;
const RELAY: u8 = 9;

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
    pub status_ltimes: BTreeMap<Name, u64>,
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
        match self {
            Self::Leave(leave) => leave.encode(),
            Self::Join(join) => join.encode(),
            Self::PushPull(state) => state.encode(),
            Self::UserEvent(event) => event.encode(),
            Self::Query(query) => query.encode(),
            Self::QueryResponse(response) => response.encode(),
            Self::Relay(relay) => relay.encode(),
        }
    }

    /// From Serf's type byte on.
    ///
    /// # Errors
    /// Any [`WireError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (&kind, body) = bytes.split_first().ok_or(WireError::Truncated)?;
        let r = &mut Reader::new(body);
        Ok(match kind {
            LEAVE => Self::Leave(LeaveIntent::read(r)?),
            JOIN => Self::Join(JoinIntent::read(r)?),
            PUSH_PULL => Self::PushPull(SerfState::read(r)?),
            USER_EVENT => Self::UserEvent(UserEvent::read(r)?),
            QUERY => Self::Query(Query::read(r)?),
            QUERY_RESPONSE => Self::QueryResponse(QueryResponse::read(r)?),
            RELAY => Self::Relay(Relay::read(r)?),
            other => return Err(WireError::UnknownType(other)),
        })
    }
}

impl LeaveIntent {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::message(LEAVE);
        w.map(3);
        w.key("LTime");
        w.uint(self.ltime);
        w.key("Node");
        w.raw(self.node.as_bytes());
        w.key("Prune");
        w.bool(self.prune);
        w.finish()
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (mut ltime, mut node, mut prune) = (0, String::new(), false);
        r.fields(&["LTime", "Node", "Prune"], |r, field| {
            match field {
                "LTime" => ltime = r.uint()?,
                "Node" => node = r.string("Node")?,
                "Prune" => prune = r.bool()?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(Self { ltime, node, prune })
    }
}

impl JoinIntent {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::message(JOIN);
        w.map(2);
        w.key("LTime");
        w.uint(self.ltime);
        w.key("Node");
        w.raw(self.node.as_bytes());
        w.finish()
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (mut ltime, mut node) = (0, String::new());
        r.fields(&["LTime", "Node"], |r, field| {
            match field {
                "LTime" => ltime = r.uint()?,
                "Node" => node = r.string("Node")?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(Self { ltime, node })
    }
}

impl SerfState {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::message(PUSH_PULL);
        w.map(6);
        w.key("EventLTime");
        w.uint(self.event_ltime);
        w.key("Events");
        w.array(self.events.len());
        for slot in &self.events {
            match slot {
                Some(recorded) => recorded.write(&mut w),
                None => w.nil(),
            }
        }
        w.key("LTime");
        w.uint(self.ltime);
        w.key("LeftMembers");
        w.array(self.left_members.len());
        for name in &self.left_members {
            w.raw(name.as_bytes());
        }
        w.key("QueryLTime");
        w.uint(self.query_ltime);
        w.key("StatusLTimes");
        w.map(self.status_ltimes.len());
        for (name, ltime) in &self.status_ltimes {
            w.raw(name.as_bytes());
            w.uint(*ltime);
        }
        w.finish()
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let declared = [
            "LTime",
            "StatusLTimes",
            "LeftMembers",
            "EventLTime",
            "Events",
            "QueryLTime",
        ];
        let mut state = Self::default();
        r.fields(&declared, |r, field| {
            match field {
                "LTime" => state.ltime = r.uint()?,
                "StatusLTimes" => state.status_ltimes = status_ltimes(r)?,
                "LeftMembers" => {
                    let names = list(r, |r| Ok(r.raw()?.unwrap_or_default()))?;
                    state.left_members = names.into_iter().filter_map(readable).collect();
                }
                "EventLTime" => state.event_ltime = r.uint()?,
                "Events" => state.events = list(r, RecordedEvents::read)?,
                "QueryLTime" => state.query_ltime = r.uint()?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(state)
    }
}

/// A name that is not UTF-8 is left out of a state, as its node is out of the push/pull: one odd
/// member must not keep us from hearing of the others.
fn readable(name: &[u8]) -> Option<String> {
    std::str::from_utf8(name).ok().map(str::to_owned)
}

fn status_ltimes(r: &mut Reader<'_>) -> Result<BTreeMap<Name, u64>, WireError> {
    let mut times = BTreeMap::new();
    for _ in 0..r.map()? {
        let name = r.raw()?.unwrap_or_default();
        let ltime = r.uint()?;
        if let Ok(name) = std::str::from_utf8(name) {
            times.insert(name.into(), ltime);
        }
    }
    Ok(times)
}

/// Items of an array; nil is empty.
fn list<'a, T>(
    r: &mut Reader<'a>,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let declared = r.array()?.unwrap_or_default();
    // Not `with_capacity`: the length is the peer's claim until the items have come.
    let mut items = Vec::new();
    for _ in 0..declared {
        items.push(item(r)?);
    }
    Ok(items)
}

impl RecordedEvents {
    fn write(&self, w: &mut Writer) {
        w.map(2);
        w.key("Events");
        w.array(self.events.len());
        for (name, payload) in &self.events {
            w.map(2);
            w.key("Name");
            w.raw(name.as_bytes());
            w.key("Payload");
            w.raw_or_nil(nil_if_empty(payload));
        }
        w.key("LTime");
        w.uint(self.ltime);
    }

    /// One slot of the ring; a nil slot is `None`.
    fn read(r: &mut Reader<'_>) -> Result<Option<Self>, WireError> {
        if r.nil() {
            return Ok(None);
        }
        let (mut ltime, mut events) = (0, Vec::new());
        r.fields(&["LTime", "Events"], |r, field| {
            match field {
                "LTime" => ltime = r.uint()?,
                "Events" => events = list(r, recorded_event)?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(Some(Self { ltime, events }))
    }
}

fn recorded_event(r: &mut Reader<'_>) -> Result<(String, Vec<u8>), WireError> {
    let (mut name, mut payload) = (String::new(), Vec::new());
    r.fields(&["Name", "Payload"], |r, field| {
        match field {
            "Name" => name = r.string("Name")?,
            "Payload" => payload = r.bytes()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok((name, payload))
}

impl UserEvent {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::message(USER_EVENT);
        w.map(4);
        w.key("CC");
        w.bool(self.coalesce);
        w.key("LTime");
        w.uint(self.ltime);
        w.key("Name");
        w.raw(self.name.as_bytes());
        w.key("Payload");
        w.raw_or_nil(nil_if_empty(&self.payload));
        w.finish()
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (mut ltime, mut name) = (0, String::new());
        let (mut payload, mut coalesce) = (Vec::new(), false);
        r.fields(&["LTime", "Name", "Payload", "CC"], |r, field| {
            match field {
                "LTime" => ltime = r.uint()?,
                "Name" => name = r.string("Name")?,
                "Payload" => payload = r.bytes()?,
                "CC" => coalesce = r.bool()?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(Self {
            ltime,
            name,
            payload,
            coalesce,
        })
    }
}

/// An event or a query without payload has a nil one in Go.
fn nil_if_empty(bytes: &[u8]) -> Option<&[u8]> {
    (!bytes.is_empty()).then_some(bytes)
}
