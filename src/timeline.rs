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
        self.ring.push_back(entry);
        if self.ring.len() > self.entries_max {
            self.ring.pop_front();
        }
    }

    /// Oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.ring.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(entries_max: usize) -> Vec<String> {
        let mut timeline = Timeline::new(entries_max);
        for number in 1..=5 {
            timeline.push(Entry {
                at: SystemTime::UNIX_EPOCH,
                pool: "web".to_owned(),
                node: format!("web{number}"),
                what: "up",
                reason: String::new(),
            });
        }
        timeline.entries().map(|entry| entry.node.clone()).collect()
    }

    #[test]
    fn the_newest_are_kept_oldest_first() {
        assert_eq!(kept(3), ["web3", "web4", "web5"]);
        assert_eq!(kept(9).len(), 5);
    }

    #[test]
    fn a_timeline_of_none_keeps_none() {
        assert_eq!(kept(0), [""; 0]);
    }
}
