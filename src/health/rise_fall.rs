//! What a row of answers means, and when to ask again. Pure: time and dice are arguments.
//!
//! ```text
//! undecided ──rise passes──▶ up ──fall failures──▶ down ──rise passes──▶ up
//!     └───────fall failures─────────────────────────▲
//! ```

use std::time::{Duration, Instant};

use super::Settings;

/// The standing of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RiseFall {
    up: Option<bool>,
    /// When it last went down.
    down_at: Option<Instant>,
    last_passed: bool,
    /// Results in a row like the last one.
    row: u32,
}

impl RiseFall {
    /// Counts a check that ended at `now`; the standing after it, `None` while undecided.
    ///
    /// A `rise` or `fall` of 0 counts as 1.
    pub fn record(&mut self, now: Instant, passed: bool, settings: &Settings) -> Option<bool> {
        self.row = match passed == self.last_passed {
            true => self.row.saturating_add(1),
            false => 1,
        };
        self.last_passed = passed;
        let wanted = if passed { settings.rise } else { settings.fall };
        if self.up != Some(passed) && self.row >= wanted {
            self.up = Some(passed);
            self.down_at = (!passed).then_some(now);
        }
        self.up
    }

    /// The standing; `None` while undecided.
    pub fn up(&self) -> Option<bool> {
        self.up
    }

    /// Whether it is up, and one more failure takes it down.
    pub fn totters(&self, settings: &Settings) -> bool {
        let failures = if self.last_passed { 0 } else { self.row };
        self.up == Some(true) && failures.saturating_add(1) >= settings.fall
    }

    /// From the start of one check to the start of the next. `dice` in 0.0–1.0 spreads `interval` by ± 10 %,
    /// so that many fronts do not ask in step.
    pub fn pause(&self, now: Instant, settings: &Settings, dice: f64) -> Duration {
        let down_for = |at| now.saturating_duration_since(at);
        match (self.up, self.down_at) {
            (None, _) => settings.unproven_interval,
            (Some(false), Some(at)) if down_for(at) < settings.down_fast_for => {
                settings.down_interval
            }
            _ => settings
                .interval
                .mul_f64(SPREAD.mul_add(dice.clamp(0.0, 1.0).mul_add(2.0, -1.0), 1.0)),
        }
    }
}

/// Share of the interval by which it may be longer or shorter.
const SPREAD: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    fn after(results: &str, settings: &Settings) -> (RiseFall, Option<bool>) {
        let now = crate::clock::now();
        let mut standing = RiseFall::default();
        let mut up = None;
        for result in results.chars() {
            up = standing.record(now, result == '+', settings);
        }
        (standing, up)
    }

    #[test]
    fn a_row_of_results_decides() {
        let default = Settings::default();
        let slow = Settings {
            rise: 3,
            fall: 3,
            ..Settings::default()
        };
        let none = Settings {
            rise: 0,
            fall: 0,
            ..Settings::default()
        };
        for (results, settings, expected) in [
            ("", &default, None),
            ("+", &default, Some(true)),
            ("-", &default, None),
            ("--", &default, Some(false)),
            ("-+", &default, Some(true)),
            ("+-", &default, Some(true)),
            ("+--", &default, Some(false)),
            ("+-+-", &default, Some(true)),
            ("--+", &default, Some(true)),
            ("++", &slow, None),
            ("++-++", &slow, None),
            ("+++", &slow, Some(true)),
            ("+++--", &slow, Some(true)),
            ("+++--+--", &slow, Some(true)),
            ("+++---", &slow, Some(false)),
            ("+++---++", &slow, Some(false)),
            ("--", &slow, None),
            ("-", &none, Some(false)),
            ("-+", &none, Some(true)),
        ] {
            assert_eq!(after(results, settings).1, expected, "{results:?}");
        }
    }

    #[test]
    fn who_is_up_totters_one_failure_before_it_falls() {
        let default = Settings::default();
        let once = Settings {
            fall: 1,
            ..Settings::default()
        };
        for (results, settings, expected) in [
            ("", &default, false),
            ("-", &default, false),
            ("+", &default, false),
            ("+-", &default, true),
            ("+-+", &default, false),
            ("+--", &default, false),
            ("+--+", &default, false),
            ("+", &once, true),
            ("+-", &once, false),
        ] {
            assert_eq!(
                after(results, settings).0.totters(settings),
                expected,
                "{results:?}"
            );
        }
    }

    #[test]
    fn it_asks_often_until_decided_and_for_a_while_when_down() {
        let settings = Settings::default();
        let now = crate::clock::now();
        let millis = |results, age, dice| {
            let later = now + Duration::from_secs(age);
            let mut standing = RiseFall::default();
            for result in str::chars(results) {
                standing.record(now, result == '+', &settings);
            }
            standing.pause(later, &settings, dice).as_millis()
        };

        assert_eq!(millis("", 0, 0.5), 100);
        assert_eq!(millis("-", 0, 0.5), 100);
        assert_eq!(millis("+", 0, 0.0), 900);
        assert_eq!(millis("+", 0, 0.5), 1000);
        assert_eq!(millis("+-", 0, 1.0), 1100);
        assert_eq!(millis("--", 59, 0.5), 200);
        assert_eq!(millis("--", 60, 0.5), 1000);
        assert_eq!(millis("--+", 0, 0.5), 1000);
    }
}
