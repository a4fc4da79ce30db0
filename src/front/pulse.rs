//! Were we there? Whoever sleeps must not blame others for what it did not hear.
//!
//! ```text
//! control task ──beat, every 100 ms──▶ Pulse ◀──excuse?── a check that failed
//!                      late: we slept           answered meanwhile? asleep meanwhile?
//! ```
//!
//! Atomics, because a check's task may run before the control task after a pause: a beat that is overdue
//! right now tells as much as one that came late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::announce::CheckSpec;
use crate::gossip::driver::Acks;
use crate::health::{Void, Witness};
use crate::pool::upstream::Live;

/// Between two beats: ten wake-ups a second are hardly to be measured.
const BEAT: Duration = Duration::from_millis(100);

/// A check that timed out while the loop lagged by this proves nothing.
const LAG: Duration = Duration::from_millis(50);

/// From here on it is a pause, and no result of that time counts.
const PAUSE: Duration = Duration::from_millis(200);

/// What workers report for so long after a pause may still come from before it.
const AFTERMATH: Duration = Duration::from_millis(200);

/// The control thread's own pulse. Times are in ms since `epoch`.
#[derive(Debug)]
pub(super) struct Pulse {
    epoch: Instant,
    due: AtomicU64,
    /// The end of the last lag, and of the last pause; 0: never.
    lagged: AtomicU64,
    paused: AtomicU64,
    pauses: AtomicU64,
}

impl Pulse {
    pub(super) fn new(now: Instant) -> Self {
        let pulse = Self {
            epoch: now,
            due: AtomicU64::new(0),
            lagged: AtomicU64::new(0),
            paused: AtomicU64::new(0),
            pauses: AtomicU64::new(0),
        };
        pulse.expect(now);
        pulse
    }

    fn ms(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_millis() as u64
    }

    fn expect(&self, now: Instant) {
        self.due.store(self.ms(now + BEAT), Ordering::Relaxed);
    }

    /// When the next beat is due.
    pub(super) fn due(&self) -> Instant {
        self.epoch + Duration::from_millis(self.due.load(Ordering::Relaxed))
    }

    /// Beats if it is time to; how long we slept, if we did. The control task calls this before it looks at anything.
    pub(super) fn beat(&self, now: Instant) -> Option<Duration> {
        let due = self.due();
        if now < due {
            return None;
        }
        let late = now - due;
        self.expect(now);
        if late > LAG {
            self.lagged.store(self.ms(now), Ordering::Relaxed);
        }
        if late <= PAUSE {
            return None;
        }
        self.paused.store(self.ms(now), Ordering::Relaxed);
        self.pauses.fetch_add(1, Ordering::Relaxed);
        Some(late)
    }

    /// Pauses so far.
    pub(super) fn pauses(&self) -> u64 {
        self.pauses.load(Ordering::Relaxed)
    }

    /// Whether what workers report now may stem from a pause.
    pub(super) fn is_aftermath(&self, now: Instant) -> bool {
        self.hit(&self.paused, now.checked_sub(AFTERMATH).unwrap_or(now))
    }

    /// Whether a beat was late by `limit` or more at some time from `started` to `now`.
    fn missed(&self, started: Instant, now: Instant, ends: &AtomicU64, limit: Duration) -> bool {
        self.hit(ends, started) || now.saturating_duration_since(self.due()) > limit
    }

    fn hit(&self, ends: &AtomicU64, since: Instant) -> bool {
        let end = ends.load(Ordering::Relaxed);
        end > 0 && end >= self.ms(since)
    }
}

/// Speaks for one backend.
#[derive(Debug)]
pub(super) struct Bystander {
    pub(super) pulse: Arc<Pulse>,
    pub(super) live: Arc<Live>,
    /// Its node's name, and who heard from it.
    pub(super) node: Arc<str>,
    pub(super) acks: Acks,
}

impl Witness for Bystander {
    fn excuse(
        &self,
        check: &CheckSpec,
        started: Instant,
        ended: Instant,
        timed_out: bool,
    ) -> Option<Void> {
        let pulse = &self.pulse;
        if pulse.missed(started, ended, &pulse.paused, PAUSE)
            || (timed_out && pulse.missed(started, ended, &pulse.lagged, LAG))
        {
            return Some(Void::Slept);
        }
        if !timed_out {
            return None;
        }
        let later = |at: Option<Instant>| at.is_some_and(|at| at > started);
        let machine = matches!(check, CheckSpec::Tcp { .. });
        let heard =
            later(self.live.last_answer()) || (machine && later(self.acks.last(&self.node)));
        heard.then_some(Void::Answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn bystander() -> (Instant, Bystander) {
        let start = crate::clock::now();
        let bystander = Bystander {
            pulse: Arc::new(Pulse::new(start)),
            live: Arc::default(),
            node: "web1".into(),
            acks: Acks::default(),
        };
        (start, bystander)
    }

    impl Bystander {
        fn says(&self, started: Instant, ended: Instant, timed_out: bool) -> Option<Void> {
            let check = "http:/".parse().unwrap();
            self.excuse(&check, started, ended, timed_out)
        }
    }

    #[test]
    fn a_regular_pulse_excuses_nothing() {
        let (start, bystander) = bystander();
        for beat in 1..=10 {
            assert_eq!(bystander.pulse.beat(start + ms(100 * beat + beat)), None);
        }

        let now = start + ms(1050);
        assert_eq!(bystander.says(start, now, true), None);
        assert_eq!(bystander.says(start, now, false), None);
        assert!(!bystander.pulse.is_aftermath(now));
    }

    #[test]
    fn a_lag_voids_timeouts_and_a_pause_voids_all_failures_that_overlap_it() {
        let (start, bystander) = bystander();
        let now = start + ms(170);
        assert_eq!(bystander.says(start, now, true), Some(Void::Slept));
        assert_eq!(bystander.pulse.beat(now), None);
        assert_eq!(bystander.says(start, now + ms(10), true), Some(Void::Slept));
        assert_eq!(bystander.says(start, now + ms(10), false), None);
        assert_eq!(bystander.says(now + ms(1), now + ms(9), true), None);

        let woken = now + ms(10_100);
        for timed_out in [true, false] {
            assert_eq!(bystander.says(now, woken, timed_out), Some(Void::Slept));
        }
        assert_eq!(bystander.pulse.beat(woken), Some(ms(10_000)));
        assert_eq!(bystander.says(now, woken, false), Some(Void::Slept));
        assert_eq!(bystander.says(woken + ms(1), woken + ms(9), false), None);
        assert_eq!(bystander.pulse.pauses(), 1);
        assert!(bystander.pulse.is_aftermath(woken + ms(100)));
        assert!(!bystander.pulse.is_aftermath(woken + ms(300)));
    }

    #[test]
    fn a_later_answer_voids_a_timeout_and_never_a_refusal_or_a_bad_status() {
        let (start, bystander) = bystander();
        let (started, ended) = (start + ms(20), start + ms(99));
        bystander.live.succeeded(start);
        assert_eq!(bystander.says(started, ended, true), None);

        bystander.live.succeeded(start + ms(60));
        assert_eq!(bystander.says(started, ended, true), Some(Void::Answered));
        assert_eq!(bystander.says(started, ended, false), None);
    }

    #[test]
    fn a_failed_request_is_no_good_news() {
        let (start, bystander) = bystander();

        bystander.live.failed();

        assert_eq!(bystander.says(start, start + ms(99), true), None);
    }
}
