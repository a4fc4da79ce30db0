//! The wait between suspect and dead: long at first, shorter with every independent confirmation.
//!
//! ```text
//! suspect ──▶ start at max ──confirm──▶ shorter ──confirm──▶ … min ──▶ dead
//!                    └── alive with a higher incarnation ──▶ dropped by the caller
//! ```
//!
//! Source: Lifeguard (arXiv:1707.00788); memberlist `suspicion.go`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A running suspicion of one node.
#[derive(Clone, Debug)]
pub(crate) struct Suspicion {
    start: Instant,
    min: Duration,
    max: Duration,
    wanted: u32,
    /// The accuser and everyone who confirmed: nobody counts twice.
    voices: BTreeSet<String>,
}

impl Suspicion {
    /// Begins at the longest timeout, or at `min` if no confirmation is wanted.
    pub(crate) fn new(
        now: Instant,
        accuser: &str,
        wanted: u32,
        min: Duration,
        max: Duration,
    ) -> Self {
        Self {
            start: now,
            min,
            max,
            wanted,
            voices: BTreeSet::from([accuser.to_owned()]),
        }
    }

    pub(crate) fn confirmations(&self) -> u32 {
        self.voices.len() as u32 - 1
    }

    /// Counts `from` unless it spoke before or enough have; true if it was news.
    pub(crate) fn confirm(&mut self, from: &str) -> bool {
        if self.confirmations() >= self.wanted || self.voices.contains(from) {
            return false;
        }
        self.voices.insert(from.to_owned());
        true
    }

    /// We slept for `pause`: the accused could not be heard meanwhile.
    pub(crate) fn extend(&mut self, pause: Duration) {
        self.start += pause;
    }

    /// When the node is to be declared dead; may have passed already.
    pub(crate) fn deadline(&self) -> Instant {
        self.start + timeout(self.confirmations(), self.wanted, self.min, self.max)
    }
}

/// Time before a suspect node is declared dead, given `confirmations` of `wanted`.
///
/// Between `min` and `max`, falling with the logarithm of confirmations:
/// `max - (max - min) * ln(c + 1) / ln(k + 1)`, rounded down to 1 ms.
/// `wanted == 0` gives `min`. Never negative; time already spent is the caller's to subtract.
///
/// Source: memberlist `suspicion.go`, `remainingSuspicionTime`.
pub(crate) fn timeout(confirmations: u32, wanted: u32, min: Duration, max: Duration) -> Duration {
    if wanted == 0 {
        return min;
    }
    let share = libm::log1p(f64::from(confirmations)) / libm::log1p(f64::from(wanted));
    let raw = max.as_secs_f64() - share * (max.as_secs_f64() - min.as_secs_f64());
    // A cast rounds towards zero, and saturates.
    let millis = (raw * 1000.0) as u64;
    Duration::from_millis(millis).max(min)
}

/// The shortest suspicion in a table of `nodes`: `mult × max(1, log10(nodes)) × interval`.
///
/// The logarithm is cut after its third decimal. Source: memberlist `util.go`, `suspicionTimeout`.
pub(crate) fn shortest(mult: u32, nodes: usize, interval: Duration) -> Duration {
    let scale = libm::log10(nodes.max(1) as f64).max(1.0);
    interval * mult * (scale * 1000.0) as u32 / 1000
}

/// How many confirmations are worth waiting for: `mult - 2`, or none when too few could speak.
pub(crate) fn wanted(mult: u32, nodes: usize) -> u32 {
    let wanted = mult.saturating_sub(2);
    if nodes.saturating_sub(2) < wanted as usize {
        0
    } else {
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_formula_gives_the_figures_seen_on_real_agents() {
        // 9 to 13 members, LAN: min 4 s, max 24 s, two confirmations wanted.
        let cases = [(0, 24_000), (1, 11_381), (2, 4_000)];
        for (confirmations, millis) in cases {
            assert_eq!(
                timeout(confirmations, 2, 4 * SECOND, 24 * SECOND),
                Duration::from_millis(millis),
                "{confirmations} confirmations"
            );
        }
    }

    #[test]
    fn small_clusters_do_not_wait_for_voices_that_cannot_come() {
        assert_eq!(wanted(4, 3), 0);
        assert_eq!(wanted(4, 4), 2);
        assert_eq!(wanted(3, 2), 0);
        assert_eq!(wanted(0, 100), 0);
    }

    #[test]
    fn the_shortest_suspicion_grows_with_the_logarithm_of_the_cluster() {
        assert_eq!(shortest(4, 1, SECOND), 4 * SECOND);
        assert_eq!(shortest(4, 10, SECOND), 4 * SECOND);
        assert_eq!(shortest(4, 100, SECOND), 8 * SECOND);
        assert_eq!(shortest(4, 30, SECOND), Duration::from_millis(4 * 1477));
    }

    #[test]
    fn nobody_confirms_twice_and_the_accuser_does_not_confirm() {
        let now = crate::clock::now();
        let mut suspicion = Suspicion::new(now, "a", 2, 4 * SECOND, 24 * SECOND);

        assert_eq!(suspicion.deadline(), now + 24 * SECOND);
        assert!(!suspicion.confirm("a"));
        assert!(suspicion.confirm("b"));
        assert!(!suspicion.confirm("b"));
        assert!(suspicion.confirm("c"));
        assert!(!suspicion.confirm("d"), "enough have spoken");
        assert_eq!(suspicion.confirmations(), 2);
        assert_eq!(suspicion.deadline(), now + 4 * SECOND);
    }
}
