//! memberlist's messages: one struct each, fields as on the wire.

use super::WireError;

/// Raw octets and port of a node, exactly as received (4 or 16 octets).
///
/// Go compares octets, so another node's must be re-sent as they came; normalise only for sockets and display.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireAddr {
    /// 4 or 16 octets.
    pub octets: Vec<u8>,
    /// Port.
    pub port: u16,
}

/// Who asked: answers go there (`SourceAddr`, `SourcePort`, `SourceNode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Address and port.
    pub addr: WireAddr,
    /// Name.
    pub node: String,
}

/// "Are you there?"
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Echoed in the ack.
    pub seq_no: u32,
    /// Who is meant; empty: anyone.
    pub node: String,
    /// Who asks.
    pub source: Option<Source>,
}

/// "Ask them for me."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndirectPing {
    /// Echoed in the ack or nack.
    pub seq_no: u32,
    /// Whom to ping.
    pub target: WireAddr,
    /// Its name.
    pub node: String,
    /// Whether a nack is wanted.
    pub nack: bool,
    /// Who asks.
    pub source: Option<Source>,
}

/// "I am."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Of the ping.
    pub seq_no: u32,
    /// Coordinate, or none.
    pub payload: Option<Vec<u8>>,
}

/// "It does not answer me either."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nack {
    /// Of the indirect ping.
    pub seq_no: u32,
}

/// An accusation: suspect or dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accusation {
    /// The incarnation accused.
    pub incarnation: u32,
    /// Whom.
    pub node: String,
    /// By whom; of a dead message, `from == node` means "left".
    pub from: String,
}

/// "This node is here."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alive {
    /// Its own version number.
    pub incarnation: u32,
    /// Name.
    pub node: String,
    /// Where.
    pub addr: WireAddr,
    /// Encoded tags.
    pub meta: Vec<u8>,
    /// Protocol min, max, current; delegate min, max, current.
    pub vsn: [u8; 6],
}

/// Any message that may come in a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the payload says it")]
pub enum Message {
    Ping(Ping),
    IndirectPing(IndirectPing),
    Ack(Ack),
    Nack(Nack),
    Suspect(Accusation),
    Alive(Alive),
    Dead(Accusation),
    /// A Serf message, type byte first, kept verbatim for relaying.
    User(Vec<u8>),
}

impl Message {
    /// Canonical bytes, type byte first: the dialect that Go sends (sorted keys, raw strings, shortest integers).
    pub fn encode(&self) -> Vec<u8> {
        unimplemented!()
    }

    /// One message with its type byte; nothing may follow but what Go ignores.
    ///
    /// # Errors
    /// Any [`WireError`].
    pub fn decode(_bytes: &[u8]) -> Result<Self, WireError> {
        unimplemented!()
    }
}
