//! Active checks: probes of services, with rise and fall. Yields outcomes; knows no pools.
//!
//! ```text
//! targets ──set()──▶ Supervisor ── one task per target ──▶ Report (mpsc)
//!                                  at once, every 100 ms until decided,
//!                                  then interval ± 10 %, faster while down
//! ```

use std::hash::Hash;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

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

/// Runs the checks of all targets, as tasks on the current runtime.
#[derive(Debug)]
pub struct Supervisor<K> {
    _reports: mpsc::Sender<Report<K>>,
}

#[expect(unused_variables, reason = "skeleton")]
impl<K: Clone + Eq + Hash + Send + 'static> Supervisor<K> {
    /// Reports go to `reports`.
    pub fn new(reports: mpsc::Sender<Report<K>>) -> Self {
        unimplemented!()
    }
    /// The whole set: new ones are started, missing ones stopped, changed ones adapted without losing their standing
    /// (unless address or check changed).
    pub fn set(&mut self, targets: Vec<Target<K>>) {
        unimplemented!()
    }
    /// Checks made, by result, for metrics: (passed, failed).
    pub fn counts(&self) -> (u64, u64) {
        unimplemented!()
    }
}
