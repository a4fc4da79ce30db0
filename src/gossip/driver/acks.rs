//! Who answered a ping of ours, and when last.
//!
//! ```text
//! Node ──poll_ack──▶ owner ─▶ Acks (shared) ─▶ a check that timed out asks: was it there meanwhile?
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::gossip::core::member::Members;

/// The newest ack of each member; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Acks(Arc<Heard>);

#[derive(Debug, Default)]
struct Heard {
    /// Somebody will ask: an agent never does, and keeps nothing.
    wanted: AtomicBool,
    by_node: Mutex<BTreeMap<String, Instant>>,
}

impl Acks {
    /// For somebody who asks: acks are kept from now on.
    pub(super) fn wanted(&self) -> Self {
        self.0.wanted.store(true, Ordering::Relaxed);
        self.clone()
    }

    /// When `node` last answered us directly.
    pub fn last(&self, node: &str) -> Option<Instant> {
        let acks = self
            .0
            .by_node
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        acks.get(node).copied()
    }

    pub(super) fn heard(&self, node: String, at: Instant) {
        if !self.0.wanted.load(Ordering::Relaxed) {
            return;
        }
        let mut acks = self
            .0
            .by_node
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        acks.insert(node, at);
    }

    /// Drops those who are no members any more.
    pub(super) fn keep(&self, members: &Members) {
        let mut acks = self
            .0
            .by_node
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        acks.retain(|node, _| members.by_name.contains_key(node));
    }
}
