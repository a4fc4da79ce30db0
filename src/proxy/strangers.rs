//! Connections that end before they have said what they want: told in a line a minute, not in one each.
//!
//! ```text
//! no PROXY header, no handshake ─▶ counted by listener and reason ─▶ the first at once, what follows once a minute
//! ```
//!
//! Metrics count all of them, and each is a debug line. A client that is refused for a month shall still be found by
//! who reads the log as it is shipped; a flood of them shall not fill a disk.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Listener;

/// Between two lines about one listener.
const EVERY: Duration = Duration::from_secs(60);

/// Those of all workers.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<BTreeMap<u8, Few>>);

/// Those of one listener.
#[derive(Debug)]
struct Few {
    /// When the last line was written.
    told: Instant,
    /// Since then.
    counts: BTreeMap<Reason, u64>,
    last: SocketAddr,
}

/// What was wanted of it, and what was wrong, as the metric's label has it.
pub(super) type Reason = (&'static str, &'static str);

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    listener: u8,
    connections: u64,
    reasons: String,
    last: SocketAddr,
}

impl Strangers {
    /// One more.
    pub(super) fn note(
        &self,
        listeners: &[Listener],
        number: u8,
        why: Reason,
        client: SocketAddr,
        now: Instant,
    ) {
        if let Some(told) = self.add(number, why, client, now) {
            told.say(listeners);
        }
    }

    /// Tells of those whose minute is over.
    pub(super) fn tell_due(&self, listeners: &[Listener], now: Instant) {
        for told in self.due(now) {
            told.say(listeners);
        }
    }

    fn add(&self, listener: u8, why: Reason, last: SocketAddr, now: Instant) -> Option<Told> {
        let mut all = self.all();
        let first = !all.contains_key(&listener);
        let few = all.entry(listener).or_insert_with(|| Few {
            told: now,
            counts: BTreeMap::new(),
            last,
        });
        *few.counts.entry(why).or_default() += 1;
        few.last = last;
        first.then(|| few.told(listener, now))
    }

    fn due(&self, now: Instant) -> Vec<Told> {
        let mut all = self.all();
        let mut told = Vec::new();
        all.retain(|listener, few| {
            if now.saturating_duration_since(few.told) < EVERY {
                return true;
            }
            let quiet = few.counts.is_empty();
            if !quiet {
                told.push(few.told(*listener, now));
            }
            !quiet
        });
        told
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u8, Few>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Few {
    fn told(&mut self, listener: u8, now: Instant) -> Told {
        self.told = now;
        let counts = std::mem::take(&mut self.counts);
        let reasons = counts.iter();
        let reasons = reasons.map(|((what, why), count)| format!("{what} {why} {count}"));
        Told {
            listener,
            connections: counts.values().sum(),
            reasons: reasons.collect::<Vec<_>>().join(", "),
            last: self.last,
        }
    }
}

impl Told {
    fn say(&self, listeners: &[Listener]) {
        let listener = listeners.get(usize::from(self.listener));
        tracing::info!(
            listener = listener.map_or("?", |listener| listener.name.as_str()),
            connections = self.connections,
            reasons = %self.reasons,
            last = %self.last,
            "clients did not get in; told once a minute"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const CLOSED: Reason = ("TLS", "closed");
    const CLEAR: Reason = ("TLS", "plain_http");

    fn client(port: u16) -> SocketAddr {
        ([192, 0, 2, 7], port).into()
    }

    #[test]
    fn the_first_is_told_at_once_and_what_follows_once_a_minute() {
        let strangers = Strangers::default();
        let begun = clock::now();
        let told = |connections, reasons: &str, port| Told {
            listener: 1,
            connections,
            reasons: reasons.to_owned(),
            last: client(port),
        };

        assert_eq!(
            strangers.add(1, CLEAR, client(1), begun),
            Some(told(1, "TLS plain_http 1", 1))
        );
        for port in 2..=4 {
            assert_eq!(strangers.add(1, CLOSED, client(port), begun), None);
        }
        assert_eq!(strangers.add(1, CLEAR, client(5), begun), None);
        assert_eq!(strangers.due(begun + EVERY / 2), []);
        assert_eq!(
            strangers.due(begun + EVERY),
            [told(4, "TLS closed 3, TLS plain_http 1", 5)]
        );
        assert_eq!(strangers.due(begun + EVERY), []);
    }

    #[test]
    fn after_a_quiet_minute_the_next_is_a_first_one_again() {
        let strangers = Strangers::default();
        let begun = clock::now();
        strangers.add(0, CLOSED, client(1), begun);

        assert_eq!(strangers.due(begun + EVERY), []);

        assert!(strangers.add(0, CLOSED, client(2), begun + EVERY).is_some());
    }

    #[test]
    fn each_listener_has_a_line_of_its_own() {
        let strangers = Strangers::default();
        let begun = clock::now();

        assert!(strangers.add(0, CLOSED, client(1), begun).is_some());
        assert!(strangers.add(1, CLOSED, client(1), begun).is_some());
    }
}
