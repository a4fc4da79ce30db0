//! When a backend was last seen, so that the series of those long gone can end.
//!
//! ```text
//! (pool, backend) of a counter ──in the snapshot?── yes ─▶ shown
//!                                      └─ no, since … ──▶ shown for 5 minutes more
//! ```
//!
//! Counters outlive their backend on purpose: a rate over the last minutes must not lose what
//! a backend served before it left. Absence is noticed at scrapes; nobody watches in between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long the series of a backend that is gone are still shown (DESIGN §5).
pub(super) const SHOWN_FOR: Duration = Duration::from_secs(5 * 60);

/// A backend as metrics name it: pool and address.
pub(super) type Name = (String, String);

/// Since when each absent backend is absent.
#[derive(Debug, Default)]
pub(super) struct Gone {
    since: BTreeMap<Name, Instant>,
}

impl Gone {
    /// Which of `counted` to show at `now`, given those `present` in their pool.
    ///
    /// An empty backend stands for requests that reached none; it goes with its pool only, which
    /// is present under the same empty name.
    pub(super) fn shown(
        &mut self,
        now: Instant,
        counted: BTreeSet<Name>,
        present: &BTreeSet<Name>,
    ) -> BTreeSet<Name> {
        let absent: BTreeMap<Name, Instant> = counted
            .difference(present)
            .map(|name| {
                let since = self.since.get(name).copied().unwrap_or(now);
                (name.clone(), since)
            })
            .collect();
        self.since = absent;
        counted
            .into_iter()
            .filter(|name| {
                self.since
                    .get(name)
                    .is_none_or(|since| now.saturating_duration_since(*since) < SHOWN_FOR)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn names(of: &[(&str, &str)]) -> BTreeSet<Name> {
        of.iter()
            .map(|(pool, backend)| ((*pool).to_owned(), (*backend).to_owned()))
            .collect()
    }

    #[test]
    fn series_end_five_minutes_after_their_backend_was_missed() {
        let mut gone = Gone::default();
        let start = clock::now();
        let both = names(&[("web", "a"), ("web", "b")]);

        assert_eq!(gone.shown(start, both.clone(), &both), both);
        let only_a = names(&[("web", "a")]);
        assert_eq!(gone.shown(start, both.clone(), &only_a), both);
        let just_before = start + SHOWN_FOR - Duration::from_millis(1);
        assert_eq!(gone.shown(just_before, both.clone(), &only_a), both);
        assert_eq!(gone.shown(start + SHOWN_FOR, both, &only_a), only_a);
    }

    #[test]
    fn a_backend_that_returns_is_given_the_full_time_again() {
        let mut gone = Gone::default();
        let start = clock::now();
        let a = names(&[("web", "a")]);
        let nobody = BTreeSet::new();

        gone.shown(start, a.clone(), &nobody);
        gone.shown(start + SHOWN_FOR / 2, a.clone(), &a);
        let missed_again = start + SHOWN_FOR;

        assert_eq!(gone.shown(missed_again, a.clone(), &nobody), a);
        assert_eq!(gone.shown(missed_again + SHOWN_FOR, a, &nobody), nobody);
    }

    #[test]
    fn what_is_no_longer_counted_is_forgotten() {
        let mut gone = Gone::default();
        let start = clock::now();

        gone.shown(start, names(&[("web", "a")]), &BTreeSet::new());
        gone.shown(start, BTreeSet::new(), &BTreeSet::new());

        assert!(gone.since.is_empty());
    }
}
