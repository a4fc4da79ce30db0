//! Intents of names that are no members yet, and of those that are none any more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Names remembered at one time; more come only from a broken or hostile peer.
const RECENT_MAX: usize = 4096;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Join,
    Leave,
}

/// The newest intent of each name that is not a member yet.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    by_name: BTreeMap<String, (Kind, u64, Instant)>,
}

impl Recent {
    /// Remembers an intent; true if it was newer than what we had, `None` if there is no room.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        name: &str,
        kind: Kind,
        ltime: u64,
    ) -> Option<bool> {
        if let Some(known) = self.by_name.get_mut(name) {
            let newer = ltime > known.1;
            if newer {
                *known = (kind, ltime, now);
            }
            return Some(newer);
        }
        if self.by_name.len() >= RECENT_MAX {
            return None;
        }
        self.by_name.insert(name.to_owned(), (kind, ltime, now));
        Some(true)
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<(Kind, u64)> {
        self.by_name
            .remove(name)
            .map(|(kind, ltime, _)| (kind, ltime))
    }

    pub(crate) fn expire(&mut self, now: Instant, timeout: Duration) {
        self.by_name
            .retain(|_, (_, _, at)| now.saturating_duration_since(*at) <= timeout);
    }
}

/// How an intent came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// As a message.
    Gossip,
    /// Made up from a peer's state, which tells a time but not of what.
    State,
}

/// Members that were pruned lately, and at which time: whoever missed that is told again.
#[derive(Debug, Default)]
pub(crate) struct Pruned(BTreeMap<String, (u64, Instant)>);

impl Pruned {
    pub(crate) fn note(&mut self, now: Instant, name: &str, ltime: u64) {
        if self.0.len() < RECENT_MAX {
            self.0.insert(name.to_owned(), (ltime, now));
        }
    }

    /// Whether what happened at `ltime` is covered by the prune.
    pub(crate) fn covers(&self, name: &str, ltime: u64) -> Option<u64> {
        let (pruned, _) = self.0.get(name)?;
        (ltime <= *pruned).then_some(*pruned)
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub(crate) fn expire(&mut self, now: Instant, timeout: Duration) {
        self.0
            .retain(|_, (_, at)| now.saturating_duration_since(*at) <= timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_intent_of_a_name_is_kept_and_only_for_a_while() {
        let start = crate::clock::now();
        let second = Duration::from_secs(1);
        let mut recent = Recent::default();

        assert_eq!(recent.note(start, "a", Kind::Join, 5), Some(true));
        assert_eq!(recent.note(start, "a", Kind::Leave, 5), Some(false));
        assert_eq!(recent.note(start + second, "a", Kind::Leave, 6), Some(true));
        recent.note(start, "old", Kind::Join, 1);
        recent.expire(start + 300 * second + second / 2, 300 * second);
        assert_eq!(recent.take("old"), None);
        assert_eq!(recent.take("a"), Some((Kind::Leave, 6)));
        assert_eq!(recent.take("a"), None);
    }

    #[test]
    fn a_flood_of_names_is_refused_and_known_names_still_pass() {
        let now = crate::clock::now();
        let mut recent = Recent::default();
        for number in 0..RECENT_MAX {
            recent.note(now, &number.to_string(), Kind::Join, 1);
        }

        assert_eq!(recent.note(now, "one more", Kind::Join, 1), None);
        assert_eq!(recent.note(now, "7", Kind::Join, 2), Some(true));
    }
}
