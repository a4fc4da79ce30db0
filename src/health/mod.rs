//! Active checks: probes of services, with rise and fall. Yields outcomes; knows no pools.
//!
//! ```text
//! targets ──set()──▶ Supervisor ── one task per target ──▶ Report (mpsc)
//!                                  at once, every 100 ms until decided,
//!                                  then interval ± 10 %, faster while down
//!                                  a failure that proves nothing (Witness) is void
//!                       check: connect, ask, judge one answer
//!                       rise_fall: what many answers mean, and when to ask again
//! ```
//!
//! `own` is the other side: what a node does to know that its own service works.

mod check;
pub mod http2;
pub mod own;
mod page;
pub mod rise_fall;
pub mod secure;
mod supervisor;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use check::judge;
pub use supervisor::Supervisor;

use crate::announce::CheckSpec;
use crate::proxy_header::Version;

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
    /// Checks of the service's own port begin with a PROXY header of this version, which says that nobody is behind them.
    pub send_proxy: Option<Version>,
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
            send_proxy: None,
        }
    }
}

/// Knows what a check does not: whether its failure proves anything.
pub trait Witness: Debug + Send + Sync {
    /// Why the failure of a check that ran from `started` to `ended` says nothing about its target, if so.
    /// `timed_out`: nothing came back in time, as opposed to a refusal or a bad answer.
    fn excuse(
        &self,
        check: &CheckSpec,
        started: Instant,
        ended: Instant,
        timed_out: bool,
    ) -> Option<Void>;
}

/// Why a failed check does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Void {
    /// The target answered something else while the check waited.
    Answered,
    /// We were not there to listen; the check is made again at once.
    Slept,
    /// Timeouts are all that speaks against the target, and this one would take it out: it is asked once more, at once.
    Alone,
}

/// Whom to check, and how. `K` is the caller's name for it.
#[derive(Clone, Debug)]
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
    /// How to ask it over HTTP/2; `None`: an HTTP check asks over HTTP/1.
    pub http2: Option<http2::Means>,
    /// Who may void its failures.
    pub witness: Option<Arc<dyn Witness>>,
    /// For checks over TLS; `None`: they can't be made.
    pub secured: Option<secure::Secured>,
}

/// Witnesses aside: another one for the same target is no change.
impl<K: PartialEq> PartialEq for Target<K> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
            && self.address == other.address
            && self.check == other.check
            && self.settings == other.settings
            && self.extra == other.extra
            && self.http2 == other.http2
            && self.secured == other.secured
    }
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
    /// A packet of it was lost on the way, whatever came of it.
    pub lost: bool,
    /// It failed, and that does not count.
    pub void: Option<Void>,
    /// After rise and fall; `None` while undecided.
    pub up: Option<bool>,
}
