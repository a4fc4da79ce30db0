//! The keyring of the whole cluster: asked for and changed by internal queries.
//!
//! ```text
//! KeyRequest ─▶ query _serf_install-key … ─▶ Order, at everyone ─▶ its ring ─▶ KeyAnswer ─▶ KeyTally ─▶ KeyReport
//! ```
//!
//! A rotation is three steps: install everywhere, use everywhere, remove everywhere. At each of them everyone reads
//! what is sealed with either key, so none is lost if the steps reach the members one by one.
//!
//! Source: serf `keymanager.go`, `internal_query.go`; memberlist `keyring.go`. Texts are theirs.

use std::collections::BTreeMap;

use crate::gossip::core::io::{Answer, Question};
use crate::gossip::core::keyring::{Key, Keyring, RingError};
use crate::gossip::core::wire::WireError;
use crate::gossip::core::wire::msgpack::{Reader, Writer};

/// Serf's type bytes of the question's and the answer's payload.
const REQUEST: u8 = 7;
const RESPONSE: u8 = 8;

const INSTALL: &str = "_serf_install-key";
const USE: &str = "_serf_use-key";
const REMOVE: &str = "_serf_remove-key";
const LIST: &str = "_serf_list-keys";

/// Ways by which an answer comes beside the direct one. Serf's come by that alone: of six members who lose a quarter of
/// their packets all five answers arrive once in four times, and a rotation in doubt is asked for again and again.
const RELAYS_MAX: u8 = 3;

/// What to do with the keyrings of all members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRequest {
    /// Add a key that opens.
    Install(Key),
    /// Seal with this one, which must be installed.
    Use(Key),
    /// Remove one, which must not be the one in use.
    Remove(Key),
    /// Tell which there are.
    List,
}

impl KeyRequest {
    /// As a query to everyone in a cluster of `members`.
    pub(super) fn question(&self, members: usize) -> Question {
        let (name, key) = match self {
            Self::Install(key) => (INSTALL, key.bytes()),
            Self::Use(key) => (USE, key.bytes()),
            Self::Remove(key) => (REMOVE, key.bytes()),
            Self::List => (LIST, &[][..]),
        };
        let mut w = Writer::message(REQUEST);
        w.map(1);
        w.key("Key");
        w.raw(key);
        Question {
            name: name.to_owned(),
            payload: w.finish(),
            // Nobody relays where there are fewer others than that.
            relay_factor: RELAYS_MAX
                .min(u8::try_from(members.saturating_sub(1)).unwrap_or(u8::MAX)),
            ..Question::default()
        }
    }
}

/// A [`KeyRequest`] as a member got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Install(Vec<u8>),
    Use(Vec<u8>),
    Remove(Vec<u8>),
    List,
    /// The key can't be read.
    Unreadable,
}

impl Order {
    /// What a query means, if it is about keys.
    pub(super) fn of(name: &str, payload: &[u8]) -> Option<Self> {
        let order: fn(Vec<u8>) -> Self = match name {
            INSTALL => Self::Install,
            USE => Self::Use,
            REMOVE => Self::Remove,
            LIST => return Some(Self::List),
            _ => return None,
        };
        Some(read_key(payload).map_or(Self::Unreadable, order))
    }

    pub(super) fn apply(&self, keyring: Option<&mut Keyring>) -> KeyAnswer {
        let done = match (self, keyring) {
            (Self::List, None) => Err("Keyring is empty (encryption not enabled)"),
            (Self::Unreadable, _) => Err(""),
            (_, None) => Err("No keyring to modify (encryption not enabled)"),
            (Self::List, Some(keyring)) => return KeyAnswer::list(keyring),
            (Self::Install(key), Some(keyring)) => Key::new(key)
                .map(|key| keyring.install(key))
                .map_err(|_| "key size must be 16, 24 or 32 bytes"),
            (Self::Use(key), Some(keyring)) => Key::new(key)
                .map_err(|_| RingError::Unknown)
                .and_then(|key| keyring.use_key(&key))
                .map_err(|_| "Requested key is not in the keyring"),
            (Self::Remove(key), Some(keyring)) => {
                match Key::new(key).map(|key| keyring.remove(&key)) {
                    Ok(Err(RingError::Primary)) => Err("Removing the primary key is not allowed"),
                    // What is not there needs no removing.
                    _ => Ok(()),
                }
            }
        };
        KeyAnswer {
            result: done.is_ok(),
            message: done.err().unwrap_or_default().to_owned(),
            ..KeyAnswer::default()
        }
    }
}

fn read_key(payload: &[u8]) -> Option<Vec<u8>> {
    let (&REQUEST, request) = payload.split_first()? else {
        return None;
    };
    let mut key = None;
    Reader::new(request)
        .fields(&["Key"], |r, field| {
            match field {
                "Key" => key = Some(r.bytes()?),
                _ => r.skip()?,
            }
            Ok(())
        })
        .ok()?;
    key
}

/// What one member says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyAnswer {
    result: bool,
    message: String,
    /// Base64, of a list.
    keys: Vec<String>,
    primary_key: String,
}

impl KeyAnswer {
    fn list(keyring: &Keyring) -> Self {
        Self {
            result: true,
            message: String::new(),
            keys: keyring.keys().iter().map(Key::to_base64).collect(),
            primary_key: keyring.primary().to_base64(),
        }
    }

    /// The payload, of as many keys as `fits` lets through.
    pub(super) fn fitting(mut self, fits: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let all = self.keys.len();
        loop {
            let payload = self.encode();
            if fits(&payload) || self.keys.pop().is_none() {
                return payload;
            }
            let shown = self.keys.len();
            self.message =
                format!("truncated key list response, showing first {shown} of {all} keys");
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::message(RESPONSE);
        w.map(4);
        w.key("Keys");
        if self.keys.is_empty() {
            w.nil();
        } else {
            w.array(self.keys.len());
            self.keys.iter().for_each(|key| w.raw(key.as_bytes()));
        }
        w.key("Message");
        w.raw(self.message.as_bytes());
        w.key("PrimaryKey");
        w.raw(self.primary_key.as_bytes());
        w.key("Result");
        w.bool(self.result);
        w.finish()
    }

    fn decode(body: &[u8]) -> Result<Self, WireError> {
        let mut answer = Self::default();
        let declared = ["Result", "Message", "Keys", "PrimaryKey"];
        Reader::new(body).fields(&declared, |r, field| {
            match field {
                "Result" => answer.result = r.bool()?,
                "Message" => answer.message = r.string("Message")?,
                "PrimaryKey" => answer.primary_key = r.string("PrimaryKey")?,
                "Keys" => {
                    for _ in 0..r.array()?.unwrap_or_default() {
                        answer.keys.push(r.string("Keys")?);
                    }
                }
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(answer)
    }
}

/// What the members answered. It is a success if `errors` is 0 and `responses` is `nodes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyReport {
    /// What members had to say, by their name: mostly why it failed there.
    pub messages: BTreeMap<String, String>,
    /// How many members have each key (base64); of [`KeyRequest::List`] only.
    pub keys: BTreeMap<String, u32>,
    /// How many members seal with each key (base64); of [`KeyRequest::List`] only.
    pub primary_keys: BTreeMap<String, u32>,
    /// Members asked: those alive, we included.
    pub nodes: usize,
    /// Of those that answered, how many failed.
    pub errors: usize,
    /// How many answered.
    pub responses: usize,
}

/// Adds up the answers to one [`KeyRequest`].
#[derive(Clone, Debug)]
pub struct KeyTally(KeyReport);

impl KeyTally {
    /// Before any answer; `nodes` members were asked.
    pub fn new(nodes: usize) -> Self {
        Self(KeyReport {
            nodes,
            ..KeyReport::default()
        })
    }

    /// Takes what came back; true once nothing more is to be expected.
    pub fn add(&mut self, answer: &Answer) -> bool {
        let report = &mut self.0;
        let (from, payload) = match answer {
            Answer::Response { from, payload } => (from, payload),
            Answer::Ack { .. } => return false,
            Answer::Done => return true,
        };
        report.responses += 1;
        let read = match payload.split_first() {
            Some((&RESPONSE, body)) => KeyAnswer::decode(body).map_err(|error| error.to_string()),
            _ => Err("it is none about keys".to_owned()),
        };
        match read {
            Ok(said) => {
                if !said.result {
                    report.errors += 1;
                }
                if !said.result || !said.message.is_empty() {
                    report.messages.insert(from.clone(), said.message);
                }
                for key in said.keys {
                    *report.keys.entry(key).or_default() += 1;
                }
                if !said.primary_key.is_empty() {
                    *report.primary_keys.entry(said.primary_key).or_default() += 1;
                }
            }
            Err(why) => {
                report.errors += 1;
                let message = format!("its answer can't be read: {why}");
                report.messages.insert(from.clone(), message);
            }
        }
        report.responses == report.nodes
    }

    /// The sum so far.
    pub fn report(self) -> KeyReport {
        self.0
    }
}

#[cfg(test)]
mod tests;
