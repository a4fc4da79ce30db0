//! Streams: one request and at most one answer per connection.

use super::WireError;
use super::message::{Ack, Ping, WireAddr};

/// A node as listed in a push/pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushNode {
    /// Name.
    pub name: String,
    /// Where.
    pub addr: WireAddr,
    /// Encoded tags.
    pub meta: Vec<u8>,
    /// Incarnation.
    pub incarnation: u32,
    /// 0 alive, 1 suspect, 2 dead, 3 left.
    pub state: u8,
    /// Versions; `None` when not six bytes.
    pub vsn: Option<[u8; 6]>,
}

/// A full state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushPull {
    /// This is a join.
    pub join: bool,
    /// In list order.
    pub nodes: Vec<PushNode>,
    /// Serf's part, type byte first; empty for none.
    pub user_state: Vec<u8>,
}

/// What a stream carries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the payload says it")]
pub enum StreamMessage {
    PushPull(PushPull),
    Ping(Ping),
    Ack(Ack),
    /// A Serf message, type byte first.
    User(Vec<u8>),
    /// The peer could not read what we sent.
    Err(String),
}

/// Takes bytes as they come and gives the message once whole.
#[derive(Debug, Default)]
pub struct Decoder {}

impl Decoder {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes. `Ok(None)`: need more.
    ///
    /// # Errors
    /// Any [`WireError`]; the stream is then of no more use.
    pub fn feed(&mut self, _bytes: &[u8]) -> Result<Option<StreamMessage>, WireError> {
        unimplemented!()
    }
}

/// Bytes of a message, compressed if wished (streams: always then, even when longer).
pub fn encode(_message: &StreamMessage, _compress: bool) -> Vec<u8> {
    unimplemented!()
}
