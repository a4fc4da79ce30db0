//! What happened, with its cause: a bounded ring of typed events for operators.
//!
//! ```text
//! registry, gossip, operators ──push──▶ ring (newest kept) ──▶ log line, /api/v1/timeline
//! ```

use std::collections::VecDeque;
use std::time::SystemTime;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Wall-clock time, for display.
    pub at: SystemTime,
    /// Pool concerned; empty for the cluster as a whole.
    pub pool: String,
    /// Node concerned; empty for the pool as a whole.
    pub node: String,
    /// What happened, one word: `joined`, `up`, `down`, `removed`, …
    pub what: &'static str,
    /// Why, for a person.
    pub reason: String,
}

/// The newest entries, oldest first.
#[derive(Debug)]
pub struct Timeline {
    ring: VecDeque<Entry>,
    entries_max: usize,
}

impl Timeline {
    /// Keeps at most `entries_max`.
    pub fn new(entries_max: usize) -> Self {
        Self {
            ring: VecDeque::new(),
            entries_max,
        }
    }

    /// Adds an entry, dropping the oldest beyond the limit.
    pub fn push(&mut self, entry: Entry) {
        if self.ring.len() == self.entries_max {
            self.ring.pop_front();
        }
        self.ring.push_back(entry);
    }

    /// Oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.ring.iter()
    }
}
