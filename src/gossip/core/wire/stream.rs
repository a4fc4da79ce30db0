//! Streams: one request and at most one answer per connection.
//!
//! ```text
//! bytes ─▶ Decoder ─▶ (crypto, with keys) ─▶ [9 compress]? ─▶ one StreamMessage
//!
//! push/pull  [6][{Join, Nodes, UserStateLen}][node map] × Nodes [serf state: UserStateLen]
//! user       [8][{UserMsgLen}][serf message: UserMsgLen]
//! ping, ack, err   [0 | 2 | 13][map]
//! ```
//!
//! There is no length in front and the sender doesn't half-close: where a message ends is known by
//! parsing it only. So the decoder resumes after the last whole node.

mod nodes;

use std::sync::Arc;

pub use self::nodes::{PushNode, PushNodeRef, PushNodes};
use super::compress::{self, COMPRESS};
use super::crypto::{self, ENCRYPT};
use super::message::{ACK, Ack, PING, Ping, USER};
use super::msgpack::{Reader, Writer};
use super::{STREAM_BYTES_MAX, WireError, lzw};
use crate::gossip::core::keyring::Keyring;

const PUSH_PULL: u8 = 6;
const ERR: u8 = 13;

/// What memberlist answers, as `err`, to an encrypted stream when it has no key.
pub const NOT_ENCRYPTING: &str = "Remote state is encrypted and encryption is not configured";

/// The same to a stream in clear when it has keys.
pub const NOT_ENCRYPTED: &str = "Encryption is configured but remote state is not encrypted";

/// The same to a stream that none of its keys opens.
pub const NO_KEY_OPENS: &str = "No installed keys could decrypt the message";

/// Nodes of one push/pull. Serf is at home below 10,000.
const NODES_MAX: usize = 32_768;

/// What a node with a short name and a few tags takes.
const NODE_BYTES_USUAL: usize = 110;

/// A node, a header, a ping: all but the bulk whose length is declared. A node's tags take 512 bytes at most.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// A full state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushPull {
    /// This is a join.
    pub join: bool,
    /// In list order.
    pub nodes: PushNodes,
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
pub struct Decoder {
    buffer: Vec<u8>,
    parser: Parser,
    finished: bool,
    keys: Option<Arc<Keyring>>,
}

impl Decoder {
    /// For a stream in clear.
    pub fn new() -> Self {
        Self::default()
    }

    /// For a stream sealed with one of `keys`, if there are any.
    pub fn with_keys(keys: Option<Arc<Keyring>>) -> Self {
        Self {
            keys,
            ..Self::default()
        }
    }

    /// Adds bytes. `Ok(None)`: need more.
    ///
    /// One stream carries one message: what follows it is ignored, as Go does.
    ///
    /// # Errors
    /// Any [`WireError`]; the stream is then of no more use.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<StreamMessage>, WireError> {
        if self.finished {
            return Ok(None);
        }
        let outcome = self.advance(bytes);
        if !matches!(outcome, Ok(None)) {
            *self = Self {
                finished: true,
                ..Self::default()
            };
        }
        outcome
    }

    fn advance(&mut self, bytes: &[u8]) -> Result<Option<StreamMessage>, WireError> {
        if self.buffer.len() + bytes.len() > STREAM_BYTES_MAX {
            return Err(WireError::TooLarge);
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < self.parser.wanted {
            return Ok(None);
        }
        let outcome = match self.buffer.first() {
            None => return Ok(None),
            Some(&ENCRYPT) => return self.frame(),
            Some(_) if self.keys.is_some() => Err(WireError::Plaintext),
            Some(&COMPRESS) => match self.parser.envelope(&self.buffer) {
                Ok(plain) => {
                    self.buffer = Vec::new();
                    return Parser::whole(plain).map(Some);
                }
                Err(error) => Err(error),
            },
            Some(_) => self.parser.message(&mut self.buffer),
        };
        match outcome {
            Ok(message) => Ok(Some(message)),
            Err(WireError::Truncated) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An encrypted frame; what it holds is whole, or bad.
    fn frame(&mut self) -> Result<Option<StreamMessage>, WireError> {
        let keys = self.keys.as_ref().ok_or(WireError::Encrypted)?;
        let Some(whole) = crypto::stream_bytes(&self.buffer)? else {
            return Ok(None);
        };
        self.parser.wanted = whole;
        let Some(frame) = self.buffer.get(..whole) else {
            return Ok(None);
        };
        let mut plain = crypto::open_stream(keys, frame)?;
        self.buffer = Vec::new();
        if plain.first() == Some(&COMPRESS) {
            plain = Parser::default().envelope(&plain)?;
        }
        Parser::whole(plain).map(Some)
    }
}

/// How far into a growing buffer we are.
#[derive(Debug, Default)]
struct Parser {
    /// Bytes that are done with.
    at: usize,
    /// A shorter buffer isn't worth a look.
    wanted: usize,
    header: Option<Header>,
    /// Where the nodes begin.
    nodes_from: usize,
    /// Counts those that are left out, too.
    nodes_read: usize,
    readable: usize,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    join: bool,
    nodes: usize,
    user_state_bytes: usize,
}

impl Parser {
    /// A message that must be complete.
    fn whole(mut bytes: Vec<u8>) -> Result<StreamMessage, WireError> {
        Self::default().message(&mut bytes)
    }

    /// What a compress envelope holds.
    fn envelope(&mut self, buffer: &[u8]) -> Result<Vec<u8>, WireError> {
        let r = &mut Reader::new(&buffer[1..]);
        let packed = compress::read(r).inspect_err(|_| self.wanted = 1 + r.wanted())?;
        lzw::unpack(packed, STREAM_BYTES_MAX)
    }

    /// `Truncated`: call again with a longer buffer. A push/pull takes it.
    fn message(&mut self, buffer: &mut Vec<u8>) -> Result<StreamMessage, WireError> {
        let &kind = buffer.first().ok_or(WireError::Truncated)?;
        self.at = self.at.max(1);
        match kind {
            PUSH_PULL => self.push_pull(buffer),
            PING => self.piece(buffer, Ping::read).map(StreamMessage::Ping),
            ACK => self.piece(buffer, Ack::read).map(StreamMessage::Ack),
            ERR => self.piece(buffer, error_text).map(StreamMessage::Err),
            USER => {
                let before = self.at;
                let len = self.piece(buffer, user_bytes)?;
                let user = self.bulk(buffer, len);
                // Only a push/pull is worth being resumed: this header is read again.
                self.at = before;
                user.map(StreamMessage::User)
            }
            other => Err(WireError::UnknownType(other)),
        }
    }

    fn push_pull(&mut self, buffer: &mut Vec<u8>) -> Result<StreamMessage, WireError> {
        let header = match self.header {
            Some(header) => header,
            None => {
                let header = self.piece(buffer, Header::read)?;
                self.nodes_from = self.at;
                *self.header.insert(header)
            }
        };
        while self.nodes_read < header.nodes {
            let readable = self.piece(buffer, |r| Ok(PushNodeRef::read(r)?.is_some()))?;
            self.nodes_read += 1;
            self.readable += usize::from(readable);
        }
        let user_state = self.bulk(buffer, header.user_state_bytes)?;
        buffer.truncate(self.at);
        buffer.drain(..self.nodes_from);
        Ok(StreamMessage::PushPull(PushPull {
            join: header.join,
            nodes: PushNodes::checked(std::mem::take(buffer), self.readable),
            user_state,
        }))
    }

    /// One small object at the front of what is not done with.
    fn piece<T>(
        &mut self,
        buffer: &[u8],
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        let r = &mut Reader::new(&buffer[self.at..]);
        let outcome = read(r);
        if r.position().max(r.wanted()) > PIECE_BYTES_MAX {
            return Err(WireError::TooLarge);
        }
        match outcome {
            Ok(_) => self.at += r.position(),
            Err(_) => self.wanted = self.at + r.wanted(),
        }
        outcome
    }

    /// Bytes of a declared length.
    fn bulk(&mut self, buffer: &[u8], len: usize) -> Result<Vec<u8>, WireError> {
        let r = &mut Reader::new(&buffer[self.at..]);
        let taken = r.take(len).map(<[u8]>::to_vec);
        self.wanted = self.at + r.wanted();
        taken
    }
}

impl Header {
    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (mut nodes, mut user_state_bytes, mut join) = (0, 0, false);
        r.fields(&["Nodes", "UserStateLen", "Join"], |r, field| {
            match field {
                "Nodes" => nodes = r.uint_as("Nodes")?,
                "UserStateLen" => user_state_bytes = r.uint_as("UserStateLen")?,
                "Join" => join = r.bool()?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        if nodes > NODES_MAX || user_state_bytes > STREAM_BYTES_MAX {
            return Err(WireError::TooLarge);
        }
        Ok(Self {
            join,
            nodes,
            user_state_bytes,
        })
    }
}

fn error_text(r: &mut Reader<'_>) -> Result<String, WireError> {
    let mut text = String::new();
    r.fields(&["Error"], |r, field| {
        match field {
            "Error" => text = String::from_utf8_lossy(r.raw()?.unwrap_or_default()).into_owned(),
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(text)
}

fn user_bytes(r: &mut Reader<'_>) -> Result<usize, WireError> {
    let mut len = 0;
    r.fields(&["UserMsgLen"], |r, field| {
        match field {
            "UserMsgLen" => len = r.uint_as("UserMsgLen")?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(len)
}

/// Bytes of a message, compressed if wished (streams: always then, even when longer). To be sealed by [`crypto`], with keys.
pub fn encode(message: &StreamMessage, compress: bool) -> Vec<u8> {
    let plain = match message {
        StreamMessage::PushPull(PushPull {
            join,
            nodes,
            user_state,
        }) => return encode_state(*join, nodes.len(), nodes.iter(), user_state, compress),
        StreamMessage::Ping(ping) => ping.encode(),
        StreamMessage::Ack(ack) => ack.encode(),
        StreamMessage::User(user) => {
            let mut w = Writer::message(USER);
            w.map(1);
            w.key("UserMsgLen");
            w.uint(user.len() as u64);
            w.append(user);
            w.finish()
        }
        StreamMessage::Err(text) => {
            let mut w = Writer::message(ERR);
            w.map(1);
            w.key("Error");
            w.raw(text.as_bytes());
            w.finish()
        }
    };
    if compress {
        compress::pack(&plain)
    } else {
        plain
    }
}

/// The same of a push/pull whose `count` nodes need not all be there at once.
pub(crate) fn encode_state<'a>(
    join: bool,
    count: usize,
    nodes: impl Iterator<Item = PushNodeRef<'a>>,
    user_state: &[u8],
    compress: bool,
) -> Vec<u8> {
    let about = count * NODE_BYTES_USUAL + user_state.len();
    if compress {
        let mut packer = lzw::Packer::new(about);
        state(join, count, nodes, user_state, |bytes| packer.push(bytes));
        compress::envelope(&packer.finish())
    } else {
        let mut plain = Vec::with_capacity(about);
        state(join, count, nodes, user_state, |bytes| {
            plain.extend_from_slice(bytes);
        });
        plain
    }
}

/// Gives a push/pull piece by piece, a node each.
fn state<'a>(
    join: bool,
    count: usize,
    nodes: impl Iterator<Item = PushNodeRef<'a>>,
    user_state: &[u8],
    mut out: impl FnMut(&[u8]),
) {
    let mut w = Writer::message(PUSH_PULL);
    w.map(3);
    w.key("Join");
    w.bool(join);
    w.key("Nodes");
    w.uint(count as u64);
    w.key("UserStateLen");
    w.uint(user_state.len() as u64);
    for node in nodes {
        out(w.bytes());
        w.clear();
        node.write(&mut w);
    }
    out(w.bytes());
    out(user_state);
}

#[cfg(test)]
mod tests;
