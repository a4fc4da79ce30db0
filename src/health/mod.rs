//! Active checks: probes of services, with rise and fall. Yields outcomes; knows no pools.
//!
//! ```text
//! targets ──set()──▶ Supervisor ── one task per target ──▶ Report (mpsc)
//!                                  at once, every 100 ms until decided,
//!                                  then interval ± 10 %, faster while down
//!                       check: connect, ask, judge one answer
//!                       rise_fall: what many answers mean, and when to ask again
//! ```

mod check;
pub mod rise_fall;
mod supervisor;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use supervisor::Supervisor;

use crate::announce::CheckSpec;

/// Timing and thresholds; keys of `[cluster.NAME.check]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Between two checks of a decided target, ± 10 %.
    pub interval: Duration,
    /// Of one check.
    pub timeout: Duration,
    /// Between two checks until the first verdict.
    pub unproven_interval: Duration,
    /// Between two checks while down, for `down_fast_for`.
    pub down_interval: Duration,
    /// How long a down target is checked at `down_interval`, before `interval` again.
    pub down_fast_for: Duration,
    /// Passes to come up.
    pub rise: u32,
    /// Failures to go down.
    pub fall: u32,
    /// `Host` of HTTP checks; `None`: the address.
    pub host: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            unproven_interval: Duration::from_millis(100),
            down_interval: Duration::from_millis(200),
            down_fast_for: Duration::from_secs(60),
            rise: 1,
            fall: 2,
            host: None,
        }
    }
}

/// Whom to check, and how. `K` is the caller's name for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Target<K> {
    /// The caller's key, given back in reports.
    pub key: K,
    /// The service's address.
    pub address: SocketAddr,
    /// What to do there.
    pub check: CheckSpec,
    /// Timing.
    pub settings: Settings,
    /// When this grows, one extra check is made at once.
    pub extra: u64,
}

/// One finished check.
#[derive(Clone, Debug, PartialEq)]
pub struct Report<K> {
    /// Whose.
    pub key: K,
    /// When it was begun.
    pub started: Instant,
    /// When it ended.
    pub ended: Instant,
    /// `Ok`: what was seen; `Err`: why it failed; for a person.
    pub result: Result<String, String>,
    /// Nothing came back in time.
    pub timed_out: bool,
    /// After rise and fall; `None` while undecided.
    pub up: Option<bool>,
}
