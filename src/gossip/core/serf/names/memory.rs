//! When names were last looked into, told of and asked about, so that a flood of claims stays cheap.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::CASES_MAX;

/// A name is not looked into again for this long.
const QUIET: Duration = Duration::from_secs(5);

/// A conflict that lasts is told this often.
const TOLD: Duration = Duration::from_secs(60);

/// When a name was last looked into, and told of.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    quiet_until: Option<Instant>,
    told: Option<Instant>,
    /// When it was asked for its state because it pinged us.
    asked: Option<Instant>,
}

/// Names of the last minute; only names that are in memberlist's table come here.
#[derive(Debug, Default)]
pub(super) struct Memory {
    by_name: BTreeMap<String, Heard>,
}

impl Memory {
    pub(super) fn forget(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// Whether a name may be looked into now; from then on it is quiet for a while.
    pub(super) fn admits(&mut self, now: Instant, name: &str) -> bool {
        self.forget_old(now);
        let heard = self.by_name.entry(name.to_owned()).or_default();
        if heard.quiet_until.is_some_and(|until| until > now) {
            return false;
        }
        heard.quiet_until = Some(now + QUIET);
        true
    }

    fn forget_old(&mut self, now: Instant) {
        self.by_name.retain(|_, heard| {
            heard.quiet_until.is_some_and(|until| until > now)
                || heard.told.is_some_and(|told| now < told + TOLD)
                || heard.asked.is_some_and(|asked| now < asked + QUIET)
        });
    }

    /// Whether one that pings us from a new place may be asked for its state now.
    pub(super) fn asks(&mut self, now: Instant, name: &str) -> bool {
        self.forget_old(now);
        let recent = |heard: &&Heard| heard.asked.is_some_and(|asked| now < asked + QUIET);
        if self.by_name.values().filter(recent).count() >= CASES_MAX {
            return false;
        }
        let heard = self.by_name.entry(name.to_owned()).or_default();
        let due = heard.asked.is_none_or(|asked| now >= asked + QUIET);
        if due {
            heard.asked = Some(now);
        }
        due
    }

    /// Whether the conflict about a name is to be told of, now.
    pub(super) fn tells(&mut self, now: Instant, name: &str) -> bool {
        let heard = self.by_name.entry(name.to_owned()).or_default();
        let due = heard.told.is_none_or(|told| now >= told + TOLD);
        if due {
            heard.told = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_into_each_five_seconds_and_told_of_each_minute() {
        let start = crate::clock::now();
        let mut memory = Memory::default();

        assert!(memory.admits(start, "x"));
        assert!(memory.tells(start, "x"));
        assert!(!memory.admits(start + QUIET / 2, "x"));
        assert!(memory.admits(start + QUIET / 2, "y"));
        assert!(memory.admits(start + QUIET, "x"));
        assert!(!memory.tells(start + QUIET, "x"));
        assert!(memory.tells(start + TOLD, "x"));
    }

    #[test]
    fn few_are_asked_at_one_time_and_old_names_are_forgotten() {
        let start = crate::clock::now();
        let mut memory = Memory::default();
        let asked = (0..100).filter(|n| memory.asks(start, &n.to_string()));

        assert_eq!(asked.count(), CASES_MAX);
        assert!(!memory.asks(start, "0"));
        assert!(memory.asks(start + QUIET, "0"));
        memory.admits(start + 2 * TOLD, "x");
        assert_eq!(memory.by_name.len(), 1);
    }
}
