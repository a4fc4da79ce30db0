//! Outliers among real requests: who fails them is taken out for a while, longer each time.
//!
//! ```text
//!            a request fails             too many failed             its time is over
//! quiet ────────────────────▶ watched ────────────────────▶ ejected ─────────────────▶ probation
//!   ▲                           │  ▲                          ▲                          │    │
//!   └── a window of good ones ──┘  └────── enough good ones ──┼──────────────────────────┘    │
//!                                                             └────── one more fails ─────────┘
//! ```
//!
//! Successes are counted only while a backend is watched, so a healthy one costs its requests a load.
//! Pure: counts and time are arguments. Whether the pool can spare it is for the roster to say.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// When a backend is an outlier, and what follows; keys of `[cluster.NAME.ejection]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Failures in a row, over all workers; 0: a row never ejects. 5, as Envoy's `consecutive_5xx`.
    pub failures: u32,
    /// Share of failures within `window`, in percent; 0: a share never ejects.
    pub percent: u32,
    /// Requests that a share, and a return, are judged by.
    pub min_requests: u32,
    /// What a share is counted over.
    pub window: Duration,
    /// Of the first ejection; each further one takes twice the time.
    pub time: Duration,
    /// Of the longest. A backend that was good for so long is a first-time offender again.
    pub time_max: Duration,
    /// Most of a tier that may be ejected, in percent; 0: ejection is off. The last one never is.
    pub max_percent: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failures: 5,
            percent: 50,
            min_requests: 10,
            window: Duration::from_secs(1),
            time: Duration::from_secs(1),
            time_max: Duration::from_secs(30),
            max_percent: 50,
        }
    }
}

impl Settings {
    /// Whether one more of `tier` backends may go when `ejected` are out already and `sound` are in.
    pub fn spares_one_more(&self, tier: usize, ejected: usize, sound: usize) -> bool {
        (ejected + 1) * 100 <= self.max_percent as usize * tier && sound > 1
    }
}

/// Requests of one backend that ended, since it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answered; counted only while watched.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
    /// Failed since the last that passed.
    pub row: u32,
}

impl Tally {
    fn since(self, before: Self) -> (u64, u64) {
        (
            self.passed.saturating_sub(before.passed),
            self.failed.saturating_sub(before.failed),
        )
    }
}

/// One backend's record.
#[derive(Debug, Default)]
pub struct Record {
    /// Looks at the tally, oldest first, the first at or before the window's begin; empty while quiet.
    looks: VecDeque<(Instant, Tally)>,
    /// The tally when it was last quiet.
    quiet: Tally,
    /// How the last request failed.
    why: String,
    ejected: Option<Ejected>,
    /// Since the return from its last ejection, while on probation.
    probation: Option<Tally>,
    /// Ejections in a row.
    times: u32,
    /// When the last one ended.
    back_at: Option<Instant>,
}

#[derive(Debug)]
struct Ejected {
    until: Instant,
    reason: String,
}

impl Record {
    /// A request failed like this.
    pub fn failed(&mut self, why: &str) {
        if self.why != why {
            why.clone_into(&mut self.why);
        }
    }

    /// Looks at the tally: why it is an outlier now, if it is.
    pub fn look(&mut self, now: Instant, tally: Tally, settings: &Settings) -> Option<String> {
        if self.ejected.is_some() || settings.max_percent == 0 {
            return None;
        }
        if self.looks.is_empty() {
            if tally.failed == self.quiet.failed && self.probation.is_none() {
                return None;
            }
            self.looks.push_back((now, self.quiet));
        }
        while self.looks.len() > 1 && self.looks[1].0 + settings.window <= now {
            self.looks.pop_front();
        }
        let (_, before) = self.looks[0];
        let finding = self.finding(now, tally, before, settings);
        let (_, failed) = tally.since(before);
        if failed == 0 && self.probation.is_none() && self.looks[0].0 + settings.window <= now {
            self.calm(tally);
        } else if self
            .looks
            .back()
            .is_none_or(|(at, _)| *at + Self::LOOK_EVERY <= now)
        {
            self.looks.push_back((now, tally));
        }
        finding
    }

    fn finding(
        &mut self,
        now: Instant,
        tally: Tally,
        before: Tally,
        settings: &Settings,
    ) -> Option<String> {
        let why = &self.why;
        if let Some(back) = self.probation {
            let (passed, failed) = tally.since(back);
            let old = |at| now.saturating_duration_since(at) >= settings.time_max;
            if passed >= settings.min_requests.into() || self.back_at.is_some_and(old) {
                self.probation = None;
            } else if failed > 0 {
                return Some(format!("failed again after its return: {why}"));
            }
        }
        if settings.failures > 0 && tally.row >= settings.failures {
            return Some(format!("{} requests in a row failed: {why}", tally.row));
        }
        let (passed, failed) = tally.since(before);
        let all = passed + failed;
        let many = all >= settings.min_requests.into() && failed > 0;
        if settings.percent > 0 && many && failed * 100 >= all * u64::from(settings.percent) {
            let window = humantime::format_duration(settings.window);
            return Some(format!(
                "{failed} of {all} requests failed in {window}: {why}"
            ));
        }
        None
    }

    /// Out from now on.
    pub fn eject(&mut self, now: Instant, reason: String, settings: &Settings) {
        let long_ago = |at| now.saturating_duration_since(at) >= settings.time_max;
        if self.back_at.is_some_and(long_ago) {
            self.times = 0;
        }
        let time = settings
            .time
            .saturating_mul(1_u32.checked_shl(self.times).unwrap_or(u32::MAX))
            .min(settings.time_max);
        self.times = self.times.saturating_add(1);
        self.ejected = Some(Ejected {
            until: now + time,
            reason,
        });
        self.looks.clear();
        self.probation = None;
    }

    /// Ends an ejection whose time is over; true if it did. Its successes count from here on.
    pub fn readmit(&mut self, now: Instant, tally: Tally) -> bool {
        let over = self.ejected.as_ref().is_some_and(|it| it.until <= now);
        if over {
            self.pardon(now, tally);
        }
        over
    }

    /// Ends an ejection at once: whoever was down and came back may be another program now.
    pub fn pardon(&mut self, now: Instant, tally: Tally) {
        if self.ejected.take().is_some() {
            self.back_at = Some(now);
            self.probation = Some(tally);
            self.quiet = tally;
            self.looks.clear();
            self.looks.push_back((now, tally));
        }
    }

    /// What was counted so far means nothing: we were the sick one.
    pub fn calm(&mut self, tally: Tally) {
        self.looks.clear();
        self.quiet = tally;
        self.probation = self.probation.map(|_| tally);
    }

    /// Why it is out, while it is.
    pub fn ejected(&self) -> Option<&str> {
        self.ejected.as_ref().map(|it| it.reason.as_str())
    }

    /// Whether its successes must be counted.
    pub fn is_watching(&self) -> bool {
        !self.looks.is_empty() || self.probation.is_some()
    }

    /// When to look again, or to let it in again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match (&self.ejected, self.looks.back()) {
            (Some(ejected), _) => Some(ejected.until),
            (None, Some((at, _))) => Some(*at + Self::LOOK_EVERY),
            (None, None) => None,
        }
    }

    /// Between two looks at a watched backend; failures are looked at as they are told.
    const LOOK_EVERY: Duration = Duration::from_millis(100);
}

#[cfg(test)]
mod tests;
