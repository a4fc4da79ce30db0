//! Queries of ours that are open, and who asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::gossip::core::io::QueryId;

/// Who wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// Somebody above: answers are polled.
    Operator,
    /// The vote on a name: answers lie in the tray until `Serf::settle`.
    Names,
}

/// One query of ours.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) asker: Asker,
    pub(crate) deadline: Instant,
    pub(crate) wants_ack: bool,
    pub(crate) acks: BTreeSet<Box<str>>,
    pub(crate) responses: BTreeSet<Box<str>>,
}

/// Those that are open.
#[derive(Debug, Default)]
pub(crate) struct Asking(pub(crate) BTreeMap<QueryId, Open>);

impl Asking {
    pub(crate) fn is_open(&self, id: QueryId) -> bool {
        self.0.contains_key(&id)
    }
}
