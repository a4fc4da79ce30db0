//! What a node does to know that its own service works.
//!
//! ```text
//! http tcp ── health::check ─┐
//! exec ────── script::run ───┼─▶ RiseFall ─▶ Opinion (watch: changes of mind only)
//! ttl ─────── ttl::Deadline ─┴─────────────▶
//! ```
//!
//! A task of its own for each: however slow a check is, nobody waits for it but its own next run.

mod exec;
pub mod ttl;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::sync::watch;
use tokio::time::sleep;

use super::check::{Seen, check as ask};
use super::rise_fall::RiseFall;
use super::supervisor::LATE_MAX;
use super::{Settings, supervisor};
use crate::announce::CheckSpec;
use crate::clock;
use crate::script::Leftover;

/// How.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnCheck {
    /// As a front would.
    Network(CheckSpec),
    /// A command, for `/bin/sh -c`: exit code 0 passes, 1 is a warning, anything else fails; the first line that
    /// it prints is the reason. As in Consul and Nagios.
    Exec(String),
    /// The service itself says that it works, again within this time each time.
    Ttl(Duration),
}

/// What it says about the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// Nothing yet; what is known so far.
    Unproven(String),
    /// It works.
    Passes(String),
    /// It does not.
    Fails(String),
}

impl Opinion {
    /// Whether another word is a change of mind, rather than another reason for the same.
    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// Timing of a node's own check, where nothing else is said.
///
/// Fronts look once a second from outside; a command may cost more than a connect, and shall not be felt.
pub fn defaults() -> Settings {
    Settings {
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(3),
        ..Settings::default()
    }
    .paced()
}

impl Settings {
    /// With the pauses of a check that is never repeated faster than once a second, or than its interval.
    #[must_use]
    pub fn paced(self) -> Self {
        let often = self.interval.min(Duration::from_secs(1));
        Self {
            unproven_interval: often,
            down_interval: often,
            ..self
        }
    }
}

/// What one run of a check came to.
struct Run {
    seen: Seen,
    /// The run itself has still to end.
    leftover: Option<Leftover>,
}

/// Checks for ever, or until nobody wants the opinion any more. [`OwnCheck::Ttl`] is [`ttl`]'s.
pub async fn watch(
    check: OwnCheck,
    address: SocketAddr,
    settings: Settings,
    opinion: watch::Sender<Opinion>,
) {
    let mut standing = RiseFall::default();
    let mut random = clock::random();
    let mut slept = 0;
    while !opinion.is_closed() {
        let started = clock::now();
        let run = match &check {
            OwnCheck::Network(spec) => Run {
                seen: ask(address, spec, None, &settings, None).await,
                leftover: None,
            },
            OwnCheck::Exec(command) => exec::run(command, &settings).await,
            OwnCheck::Ttl(_) => return,
        };
        let ended = clock::now();
        // Who does not even die of a kill has no excuse.
        let void = run.leftover.is_none() && is_void(&run.seen, started, ended, &settings);
        if void && slept < supervisor::SLEPT_MAX {
            slept += 1;
            continue;
        }
        slept = 0;
        let up = standing.record(ended, run.seen.result.is_ok(), &settings);
        think(&opinion, up, run.seen.result);
        if let Some(leftover) = run.leftover {
            // A second one would hang where the first one does.
            leftover.gone().await;
        }
        let due = started + standing.pause(clock::now(), &settings, random.random());
        sleep(due.saturating_duration_since(clock::now())).await;
    }
}

/// It timed out while we ourselves were not running.
fn is_void(seen: &Seen, started: Instant, ended: Instant, settings: &Settings) -> bool {
    let late = ended.saturating_duration_since(started + settings.timeout);
    seen.timed_out && late > LATE_MAX
}

fn think(opinion: &watch::Sender<Opinion>, up: Option<bool>, seen: Result<String, String>) {
    let fresh = match (up, seen) {
        (Some(true), Ok(seen)) => Opinion::Passes(seen),
        (Some(false), Err(reason)) => Opinion::Fails(reason),
        (None, Ok(seen)) => Opinion::Unproven(seen),
        (None, Err(reason)) => Opinion::Unproven(reason),
        // One failure or one pass more is needed: no change of mind.
        (Some(true), Err(_)) | (Some(false), Ok(_)) => return,
    };
    change(opinion, fresh);
}

fn change(opinion: &watch::Sender<Opinion>, fresh: Opinion) {
    opinion.send_if_modified(|known| {
        let differs = !known.is_like(&fresh);
        if differs {
            *known = fresh;
        }
        differs
    });
}

#[cfg(test)]
mod tests;
