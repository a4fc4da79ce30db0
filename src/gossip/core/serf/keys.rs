//! The keyring of the whole cluster: asked for and changed by internal queries.
//!
//! ```text
//! KeyRequest ─▶ query _serf_install-key … ─▶ everyone's ring ─▶ key response ─▶ KeyReport
//! ```
//!
//! Source: serf `keymanager.go`, `internal_query.go`.

use std::collections::BTreeMap;

use crate::gossip::core::io::Answer;
use crate::gossip::core::keyring::Key;

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
        match answer {
            Answer::Done => true,
            _ => false,
        }
    }

    /// The sum so far.
    pub fn report(self) -> KeyReport {
        self.0
    }
}
