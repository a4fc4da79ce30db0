//! Peers with another encryption: a line a minute for each, not one for each packet.
//!
//! ```text
//! Mismatch ─▶ by address: first ─▶ a line ── within a minute: counted ── then ─▶ a line with the count
//!              └── too many addresses ─▶ one line for all others
//! ```
//!
//! A line has our fingerprint and not the peer's: nothing on the wire says which key sealed it, and what cannot be
//! opened cannot be told from damage. The peer shows its own fingerprint in its banner and in its line about us.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::gossip::core::io::Mismatch;
use crate::gossip::core::wire::WireError;

/// Between two lines about one address.
const PAUSE: Duration = Duration::from_secs(60);

/// Addresses told apart. Sources of packets can be forged, so their number must not make a storm.
const PEERS_MAX: usize = 32;

/// Who was told of, and when.
#[derive(Debug)]
pub(super) struct Mismatches {
    /// Of our primary key.
    fingerprint: Option<String>,
    peers: BTreeMap<IpAddr, Peer>,
    others: Option<Peer>,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    told: Instant,
    /// Not told yet.
    waiting: u64,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    /// `None`: many.
    peer: Option<IpAddr>,
    /// How many packets and streams since the last line, this one included.
    count: u64,
}

impl Mismatches {
    /// `fingerprint` of our primary key; `None`: we have no keys.
    pub(super) fn new(fingerprint: Option<String>) -> Self {
        Self {
            fingerprint,
            peers: BTreeMap::new(),
            others: None,
        }
    }

    /// Our primary key is another one now.
    pub(super) fn set_key(&mut self, fingerprint: String) {
        self.fingerprint = Some(fingerprint);
    }

    /// Counts it, and says so when a line is due.
    pub(super) fn tell(&mut self, now: Instant, mismatch: &Mismatch) {
        let Some(due) = self.due(now, mismatch.from.ip()) else {
            return;
        };
        let peer = due
            .peer
            .map_or_else(|| "many addresses".to_owned(), |peer| peer.to_string());
        warn!(
            %peer,
            count = due.count,
            key = %self.fingerprint.as_deref().unwrap_or("none"),
            "{}",
            sentence(&mismatch.why)
        );
    }

    fn due(&mut self, now: Instant, from: IpAddr) -> Option<Due> {
        if !self.peers.contains_key(&from) && self.peers.len() >= PEERS_MAX {
            // What they still had to tell is in the counter of `Stats::dropped`.
            self.peers
                .retain(|_, peer| now.saturating_duration_since(peer.told) < PAUSE);
        }
        if let Some(known) = self.peers.get_mut(&from) {
            let count = known.count(now)?;
            return Some(Due {
                peer: Some(from),
                count,
            });
        }
        let new = Peer {
            told: now,
            waiting: 0,
        };
        if self.peers.len() < PEERS_MAX {
            self.peers.insert(from, new);
            return Some(Due {
                peer: Some(from),
                count: 1,
            });
        }
        let count = match &mut self.others {
            Some(others) => others.count(now)?,
            None => {
                self.others = Some(new);
                1
            }
        };
        Some(Due { peer: None, count })
    }
}

impl Peer {
    /// One more; how many are to be told now.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.waiting += 1;
        if now.saturating_duration_since(self.told) < PAUSE {
            return None;
        }
        self.told = now;
        Some(std::mem::take(&mut self.waiting))
    }
}

fn sentence(why: &WireError) -> &'static str {
    match why {
        WireError::Plaintext => {
            "gossip in clear from a peer, and ours is encrypted; give it the key, or take its --join out"
        }
        WireError::Encrypted => {
            "encrypted gossip from a peer, and we have no key; give us its --encrypt-key-file"
        }
        _ => {
            "gossip from a peer that no key of ours opens; it has another key, or a packet was damaged on its way"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        crate::clock::now()
    }

    fn peer(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0x0a00_0000 + number).into()
    }

    fn one(number: u32, count: u64) -> Option<Due> {
        Some(Due {
            peer: Some(peer(number)),
            count,
        })
    }

    #[test]
    fn a_peer_is_told_at_once_and_then_once_a_minute_with_a_count() {
        let start = start();
        let mut mismatches = Mismatches::new(None);
        let mut lines = Vec::new();

        for tick in 0..=1500_u32 {
            let now = start + tick * Duration::from_millis(100);
            lines.extend(mismatches.due(now, peer(1)));
        }

        assert_eq!(
            lines,
            [one(1, 1), one(1, 600), one(1, 600)].map(Option::unwrap)
        );
    }

    #[test]
    fn peers_have_lines_of_their_own() {
        let start = start();
        let mut mismatches = Mismatches::new(None);

        assert_eq!(mismatches.due(start, peer(1)), one(1, 1));
        assert_eq!(mismatches.due(start, peer(2)), one(2, 1));
        assert_eq!(mismatches.due(start, peer(1)), None);
        assert_eq!(mismatches.due(start + PAUSE, peer(2)), one(2, 1));
        assert_eq!(mismatches.due(start + PAUSE, peer(1)), one(1, 2));
    }

    #[test]
    fn forged_sources_make_neither_a_storm_nor_a_growing_table() {
        let start = start();
        let mut mismatches = Mismatches::new(None);
        let mut lines = 0;
        for number in 0..100_000 {
            let now = start + number * Duration::from_millis(1);
            lines += usize::from(mismatches.due(now, peer(number)).is_some());
            assert!(mismatches.peers.len() <= PEERS_MAX);
        }

        // 100 s: the first of two minutes, and the second; a line for all others in each.
        assert!(lines <= 2 * (PEERS_MAX + 1), "{lines} lines");
        assert!(mismatches.others.is_some());
    }
}
