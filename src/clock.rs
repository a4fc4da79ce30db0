//! The only place that reads a clock or the system's randomness.
//!
//! Cores take `now` and a generator as arguments; drivers ask here. The ban on
//! `Instant::now` elsewhere is in `.clippy.toml`.

use std::time::{Duration, Instant, SystemTime};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Monotonic time, for waits and ages.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Instant {
    Instant::now()
}

/// Wall-clock time, for display only.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The wall-clock time of a monotonic instant, as well as it can be known now.
pub fn wall_of(at: Instant) -> SystemTime {
    let (now, wall) = (now(), wall());
    match now.checked_duration_since(at) {
        Some(age) => wall.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH),
        None => wall + at.saturating_duration_since(now),
    }
}

/// RFC 3339 with milliseconds, UTC: `2026-01-02T03:04:05.678Z`.
pub fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

/// A duration as people read it: `1.2s`, `3m 4s`.
pub fn readable(age: Duration) -> String {
    let rounded = if age < Duration::from_secs(10) {
        Duration::from_millis(age.as_millis() as u64)
    } else {
        Duration::from_secs(age.as_secs())
    };
    humantime::format_duration(rounded).to_string()
}

/// The same clock as [`now`] as the system counts it, in microseconds: for those who compare it with their own.
pub fn system_us() -> i128 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    i128::from(time.tv_sec) * 1_000_000 + i128::from(time.tv_nsec) / 1_000
}

/// A generator seeded from the operating system.
///
/// # Panics
/// If the operating system has no randomness to give, without which no node can run.
pub fn random() -> ChaCha8Rng {
    ChaCha8Rng::try_from_rng(&mut rand::rngs::SysRng)
        .expect("the operating system gives randomness")
}
