//! When a request may be tried again: the rules, and the budget that keeps retries from piling up.
//!
//! ```text
//! a failed try ─▶ attempts left? ─▶ safe to repeat? ─▶ somebody left to ask? ─▶ budget? ─▶ next pick
//! ```
//!
//! Pure: time is an argument, nothing is sent here.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Method;

use super::stats::Reason;
use crate::pool::snapshot::{Pick, Snapshot, Unpicked};
use crate::pool::upstream::Lease;

/// Requests and retries of this span are weighed against one another (as finagle's and tower's budgets).
const WINDOW_S: usize = 10;

/// Two resets in a row end it: the request itself may be what kills backends.
const RESETS_MAX: u32 = 2;

/// Whether repeating a request with this method does no harm (RFC 9110 §9.2.2, without extensions).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

/// One request's tries.
#[derive(Debug)]
pub(super) struct Plan {
    attempts_max: u32,
    idempotent: bool,
    first: SocketAddr,
    /// Everybody asked so far; empty until there is a second one.
    tried: Vec<SocketAddr>,
    slot: usize,
    /// Slow connects that others were begun beside: nothing was sent there, so none of them is an attempt.
    overtaken: u32,
    resets: u32,
    again: bool,
}

impl Plan {
    /// The first try is `first`.
    pub(super) fn new(attempts_max: u32, idempotent: bool, first: &Pick) -> Self {
        Self {
            attempts_max,
            idempotent,
            first: first.lease.upstream.address,
            tried: Vec::new(),
            slot: first.slot,
            overtaken: 0,
            resets: 0,
            again: false,
        }
    }

    /// Whether any further try is thinkable, whatever happens now.
    pub(super) fn has_attempts_left(&self) -> bool {
        (self.tried.len().max(1) as u32 - self.overtaken) < self.attempts_max
    }

    /// Whether a request that a backend may have read may be sent again.
    pub(super) fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// The same backend is asked again because a kept connection failed; another kept one might too.
    pub(super) fn wants_new_connection(&self) -> bool {
        self.again
    }

    /// Whom to ask next after `reason`. `replayable`: the body can be sent again.
    ///
    /// `stale`: a kept connection closed without a byte of answer, and this is the place it had. The backend itself
    /// has not failed, so where nobody else can be asked it may be asked once more, on a new connection.
    ///
    /// # Errors
    /// The request must not be repeated, or there is nobody to ask; `Full` where only room is missing.
    pub(super) fn next(
        &mut self,
        reason: Reason,
        stale: Option<Lease>,
        replayable: bool,
        world: &Snapshot,
        budget: &mut dyn FnMut() -> bool,
    ) -> Result<Pick, Unpicked> {
        if reason == Reason::Reset {
            self.resets += 1;
        }
        let overtakes = reason == Reason::SlowConnect && self.attempts_max > 1;
        if !self.has_attempts_left() && !overtakes || self.resets >= RESETS_MAX || !replayable {
            return Err(Unpicked::Nobody);
        }
        let harmless = matches!(
            reason,
            Reason::Connect | Reason::SlowConnect | Reason::Unsent
        );
        if !harmless && !self.idempotent {
            return Err(Unpicked::Nobody);
        }
        if self.tried.is_empty() {
            self.tried.push(self.first);
        }
        let found = world.pick_after(self.slot, &self.tried);
        let again = found.is_err();
        let pick = found.or_else(|why| match stale {
            Some(lease) if world.has(lease.upstream.address) => Ok(Pick {
                slot: self.slot,
                lease,
            }),
            _ => Err(why),
        })?;
        if !budget() {
            return Err(Unpicked::Nobody);
        }
        self.again = again;
        self.slot = pick.slot;
        self.tried.push(pick.lease.upstream.address);
        self.overtaken += u32::from(overtakes);
        Ok(pick)
    }
}

/// A share of this worker's requests; beyond it, [`Reserve`].
#[derive(Debug)]
pub(super) struct Share {
    percent: u64,
    second: u64,
    requests: [u32; WINDOW_S],
    retries: [u32; WINDOW_S],
}

impl Share {
    /// `percent` of the requests of the last seconds.
    pub(super) fn new(percent: u32) -> Self {
        Self {
            percent: percent.into(),
            second: 0,
            requests: [0; WINDOW_S],
            retries: [0; WINDOW_S],
        }
    }

    fn slot(&mut self, second: u64) -> usize {
        let gone = second.saturating_sub(self.second).min(WINDOW_S as u64);
        for back in 0..gone {
            let at = ((second - back) % WINDOW_S as u64) as usize;
            self.requests[at] = 0;
            self.retries[at] = 0;
        }
        self.second = self.second.max(second);
        (self.second % WINDOW_S as u64) as usize
    }

    /// One request; `second` counts from any fixed point.
    pub(super) fn request(&mut self, second: u64) {
        let at = self.slot(second);
        self.requests[at] += 1;
    }

    /// Takes one retry if the share allows it.
    pub(super) fn take(&mut self, second: u64) -> bool {
        let at = self.slot(second);
        let sum = |counts: &[u32]| counts.iter().map(|count| u64::from(*count)).sum::<u64>();
        let allowed = sum(&self.requests) * self.percent / 100;
        let granted = sum(&self.retries) < allowed;
        if granted {
            self.retries[at] += 1;
        }
        granted
    }
}

/// A fixed rate on top, one for all workers: a single busy connection lives on one worker and must not
/// be left with that worker's fraction. Touched by retries only.
#[derive(Debug)]
pub(super) struct Reserve {
    start: Instant,
    gap_ns: u64,
    /// When the next token is due if all were taken evenly (generic cell rate), in ns since `start`.
    due_ns: AtomicU64,
}

impl Reserve {
    /// `per_second` on average, and as many as ten seconds' worth at once.
    pub(super) fn new(per_second: u32, start: Instant) -> Self {
        Self {
            start,
            gap_ns: match per_second {
                0 => u64::MAX,
                rate => 1_000_000_000 / u64::from(rate),
            },
            due_ns: AtomicU64::new(0),
        }
    }

    /// Takes one retry if there is one.
    pub(super) fn take(&self, now: Instant) -> bool {
        if self.gap_ns == u64::MAX {
            return false;
        }
        let now_ns = now.saturating_duration_since(self.start).as_nanos() as u64;
        let ahead_max = Duration::from_secs(WINDOW_S as u64).as_nanos() as u64;
        self.due_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
                let due = due.max(now_ns) + self.gap_ns;
                (due <= now_ns + ahead_max).then_some(due)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn post_and_patch_are_not_idempotent() {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
            assert!(is_idempotent(&method), "{method}");
        }
        for method in [Method::POST, Method::PATCH, Method::CONNECT] {
            assert!(!is_idempotent(&method), "{method}");
        }
    }

    #[test]
    fn the_share_is_a_fifth_of_the_last_ten_seconds() {
        let mut share = Share::new(20);
        for _ in 0..10 {
            share.request(100);
        }

        assert!(share.take(100));
        assert!(share.take(105));
        assert!(!share.take(105));
        assert!(!share.take(109));
        // The requests are forgotten, and so are the retries.
        assert!(!share.take(110));
        for _ in 0..5 {
            share.request(111);
        }
        assert!(!share.take(111), "the retry of second 105 still counts");
        assert!(share.take(115));
    }

    #[test]
    fn a_share_survives_a_long_silence() {
        let mut share = Share::new(20);
        for _ in 0..100 {
            share.request(3);
        }

        assert!(!share.take(1_000_000));
    }

    #[test]
    fn the_reserve_gives_its_rate_and_a_burst_of_ten_seconds() {
        let start = clock::now();
        let reserve = Reserve::new(10, start);

        let burst = (0..1000).filter(|_| reserve.take(start)).count();
        let later = start + Duration::from_secs(1);
        let after = (0..1000).filter(|_| reserve.take(later)).count();

        assert_eq!((burst, after), (100, 10));
    }

    #[test]
    fn no_reserve_gives_nothing() {
        let start = clock::now();

        assert!(!Reserve::new(0, start).take(start));
    }
}
