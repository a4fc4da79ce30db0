//! memberlist's messages: one struct each, fields as on the wire.
//!
//! ```text
//! [type: u8][msgpack map, keys sorted]      user: [8][serf message]
//! ```
//!
//! Compound, compress and CRC are envelopes, not messages: see `packet`. Push/pull and err
//! travel on streams only: see `stream`.

use std::net::{IpAddr, SocketAddr};

use super::WireError;
use super::msgpack::{Reader, Writer};

pub(super) const PING: u8 = 0;
const INDIRECT_PING: u8 = 1;
pub(super) const ACK: u8 = 2;
const SUSPECT: u8 = 3;
const ALIVE: u8 = 4;
const DEAD: u8 = 5;
pub(super) const USER: u8 = 8;
const NACK: u8 = 11;

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

impl WireAddr {
    /// For a socket call or for display: IPv4-mapped octets as IPv4. `None` when they are no address.
    pub fn socket(&self) -> Option<SocketAddr> {
        let ip = if let Ok(four) = <[u8; 4]>::try_from(&self.octets[..]) {
            IpAddr::from(four)
        } else {
            IpAddr::from(<[u8; 16]>::try_from(&self.octets[..]).ok()?).to_canonical()
        };
        Some(SocketAddr::new(ip, self.port))
    }

    /// Four octets for IPv4, mapped or not, as a Go agent with an explicit address sends; 16 for IPv6.
    pub fn of(address: SocketAddr) -> Self {
        Self {
            octets: match address.ip().to_canonical() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            },
            port: address.port(),
        }
    }
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
        match self {
            Self::Ping(ping) => ping.encode(),
            Self::IndirectPing(ping) => ping.encode(),
            Self::Ack(ack) => ack.encode(),
            Self::Nack(nack) => {
                let mut w = Writer::message(NACK);
                w.map(1);
                w.key("SeqNo");
                w.uint(nack.seq_no.into());
                w.finish()
            }
            Self::Suspect(accusation) => accusation.encode(SUSPECT),
            Self::Alive(alive) => alive.encode(),
            Self::Dead(accusation) => accusation.encode(DEAD),
            Self::User(serf) => {
                let mut w = Writer::message(USER);
                w.append(serf);
                w.finish()
            }
        }
    }

    /// One message with its type byte; nothing may follow but what Go ignores.
    ///
    /// # Errors
    /// Any [`WireError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (&kind, body) = bytes.split_first().ok_or(WireError::Truncated)?;
        let r = &mut Reader::new(body);
        Ok(match kind {
            PING => Self::Ping(Ping::read(r)?),
            INDIRECT_PING => Self::IndirectPing(IndirectPing::read(r)?),
            ACK => Self::Ack(Ack::read(r)?),
            NACK => Self::Nack(Nack::read(r)?),
            SUSPECT => Self::Suspect(Accusation::read(r)?),
            ALIVE => Self::Alive(Alive::read(r)?),
            DEAD => Self::Dead(Accusation::read(r)?),
            USER => Self::User(body.to_vec()),
            other => return Err(WireError::UnknownType(other)),
        })
    }
}

/// The three `Source*` fields as they come, each of which may be missing.
#[derive(Default)]
struct SourceFields {
    octets: Vec<u8>,
    port: u16,
    node: String,
}

impl SourceFields {
    const NAMES: [&'static str; 3] = ["SourceAddr", "SourcePort", "SourceNode"];

    fn read(&mut self, r: &mut Reader<'_>, field: &str) -> Result<(), WireError> {
        match field {
            "SourceAddr" => self.octets = r.bytes()?,
            "SourcePort" => self.port = r.uint_as("SourcePort")?,
            "SourceNode" => self.node = r.string("SourceNode")?,
            _ => r.skip()?,
        }
        Ok(())
    }

    /// Go answers to the source only when both address and port are given.
    fn whole(self) -> Option<Source> {
        let addr = WireAddr {
            octets: self.octets,
            port: self.port,
        };
        (addr.port != 0 && addr.socket().is_some()).then_some(Source {
            addr,
            node: self.node,
        })
    }
}

impl Source {
    /// Number of fields that are written.
    fn fields(source: Option<&Self>) -> usize {
        source.map_or(0, |source| 2 + usize::from(!source.node.is_empty()))
    }

    fn write(source: Option<&Self>, w: &mut Writer) {
        let Some(source) = source else { return };
        w.key("SourceAddr");
        w.raw(&source.addr.octets);
        if !source.node.is_empty() {
            w.key("SourceNode");
            w.raw(source.node.as_bytes());
        }
        w.key("SourcePort");
        w.uint(source.addr.port.into());
    }
}

impl Ping {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::message(PING);
        w.map(2 + Source::fields(self.source.as_ref()));
        w.key("Node");
        w.raw(self.node.as_bytes());
        w.key("SeqNo");
        w.uint(self.seq_no.into());
        Source::write(self.source.as_ref(), &mut w);
        w.finish()
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let [addr, port, source_node] = SourceFields::NAMES;
        let (mut seq_no, mut node, mut source) = (0, String::new(), SourceFields::default());
        r.fields(&["SeqNo", "Node", addr, port, source_node], |r, field| {
            match field {
                "SeqNo" => seq_no = r.uint_as("SeqNo")?,
                "Node" => node = r.string("Node")?,
                other => source.read(r, other)?,
            }
            Ok(())
        })?;
        Ok(Self {
            seq_no,
            node,
            source: source.whole(),
        })
    }
}

impl IndirectPing {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::message(INDIRECT_PING);
        w.map(5 + Source::fields(self.source.as_ref()));
        w.key("Nack");
        w.bool(self.nack);
        w.key("Node");
        w.raw(self.node.as_bytes());
        w.key("Port");
        w.uint(self.target.port.into());
        w.key("SeqNo");
        w.uint(self.seq_no.into());
        Source::write(self.source.as_ref(), &mut w);
        w.key("Target");
        w.raw(&self.target.octets);
        w.finish()
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let [addr, port, source_node] = SourceFields::NAMES;
        let declared = [
            "SeqNo",
            "Target",
            "Port",
            "Node",
            "Nack",
            addr,
            port,
            source_node,
        ];
        let (mut seq_no, mut octets, mut target_port) = (0, Vec::new(), 0);
        let (mut node, mut nack, mut source) = (String::new(), false, SourceFields::default());
        r.fields(&declared, |r, field| {
            match field {
                "SeqNo" => seq_no = r.uint_as("SeqNo")?,
                "Target" => octets = r.bytes()?,
                "Port" => target_port = r.uint_as("Port")?,
                "Node" => node = r.string("Node")?,
                "Nack" => nack = r.bool()?,
                other => source.read(r, other)?,
            }
            Ok(())
        })?;
        let target = WireAddr {
            octets,
            port: target_port,
        };
        if target.socket().is_none() {
            return Err(WireError::Field("Target"));
        }
        Ok(Self {
            seq_no,
            target,
            node,
            nack,
            source: source.whole(),
        })
    }
}

impl Ack {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::message(ACK);
        w.map(2);
        w.key("Payload");
        w.raw_or_nil(self.payload.as_deref());
        w.key("SeqNo");
        w.uint(self.seq_no.into());
        w.finish()
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (mut seq_no, mut payload) = (0, None);
        r.fields(&["SeqNo", "Payload"], |r, field| {
            match field {
                "SeqNo" => seq_no = r.uint_as("SeqNo")?,
                "Payload" => payload = r.raw()?.map(<[u8]>::to_vec),
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(Self { seq_no, payload })
    }
}

impl Nack {
    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut seq_no = 0;
        r.fields(&["SeqNo"], |r, field| {
            match field {
                "SeqNo" => seq_no = r.uint_as("SeqNo")?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(Self { seq_no })
    }
}

impl Accusation {
    fn encode(&self, kind: u8) -> Vec<u8> {
        let mut w = Writer::message(kind);
        w.map(3);
        w.key("From");
        w.raw(self.from.as_bytes());
        w.key("Incarnation");
        w.uint(self.incarnation.into());
        w.key("Node");
        w.raw(self.node.as_bytes());
        w.finish()
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (mut incarnation, mut node, mut from) = (0, String::new(), String::new());
        r.fields(&["Incarnation", "Node", "From"], |r, field| {
            match field {
                "Incarnation" => incarnation = r.uint_as("Incarnation")?,
                "Node" => node = r.string("Node")?,
                "From" => from = r.string("From")?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(Self {
            incarnation,
            node,
            from,
        })
    }
}

impl Alive {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::message(ALIVE);
        w.map(6);
        w.key("Addr");
        w.raw(&self.addr.octets);
        w.key("Incarnation");
        w.uint(self.incarnation.into());
        w.key("Meta");
        w.raw(&self.meta);
        w.key("Node");
        w.raw(self.node.as_bytes());
        w.key("Port");
        w.uint(self.addr.port.into());
        w.key("Vsn");
        w.raw(&self.vsn);
        w.finish()
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let declared = ["Incarnation", "Node", "Addr", "Port", "Meta", "Vsn"];
        let (mut incarnation, mut node, mut octets, mut port) = (0, String::new(), Vec::new(), 0);
        let (mut meta, mut vsn) = (Vec::new(), None);
        r.fields(&declared, |r, field| {
            match field {
                "Incarnation" => incarnation = r.uint_as("Incarnation")?,
                "Node" => node = r.string("Node")?,
                "Addr" => octets = r.bytes()?,
                "Port" => port = r.uint_as("Port")?,
                "Meta" => meta = r.bytes()?,
                "Vsn" => vsn = versions(r)?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        let addr = WireAddr { octets, port };
        if addr.socket().is_none() {
            return Err(WireError::Field("Addr"));
        }
        Ok(Self {
            incarnation,
            node,
            addr,
            meta,
            vsn: vsn.ok_or(WireError::Field("Vsn"))?,
        })
    }
}

/// The six version bytes, or `None` when they are not six.
pub(super) fn versions(r: &mut Reader<'_>) -> Result<Option<[u8; 6]>, WireError> {
    Ok(r.raw()?.and_then(|bytes| bytes.try_into().ok()))
}
