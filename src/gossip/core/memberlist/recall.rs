//! A word to one that we hold for dead: are you there after all?
//!
//! ```text
//! recall ─▶ [suspect, ping] ──ack──▶ push/pull, at most one per pause
//!               └─▶ it refutes; the ack, or the next one, carries its new incarnation
//! ```
//!
//! Whom to ask, and when, is the layer above's to say. Any memberlist node answers a ping to its name at any time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Cause, Memberlist};
use crate::gossip::core::wire::message::{Accusation, Message, Ping};

/// Full exchanges begun by such acks: at most one in this time. When many come back at once the acks alone bring
/// the news of each; the exchange is for what those who come back do not know.
const EXCHANGE_PAUSE: Duration = Duration::from_secs(2);

/// An ack later than this is none.
const ACK_MAX: Duration = Duration::from_secs(5);

/// Pings to the dead that no ack came for yet.
#[derive(Debug, Default)]
pub(crate) struct Recalls {
    waiting: BTreeMap<u32, (Instant, SocketAddr)>,
    /// When the last exchange was begun.
    exchanged: Option<Instant>,
}

impl Memberlist {
    /// Asks `name` at `to` whether it lives, and lets it know what we hold of it.
    pub(crate) fn recall(&mut self, now: Instant, name: &str, incarnation: u32, to: SocketAddr) {
        self.recalls
            .waiting
            .retain(|_, (asked, _)| now.saturating_duration_since(*asked) < ACK_MAX);
        let seq_no = self.next_seq_no();
        self.recalls.waiting.insert(seq_no, (now, to));
        let accusation = Message::Suspect(Accusation {
            incarnation,
            node: name.to_owned(),
            from: self.name.clone(),
        });
        let ping = Message::Ping(Ping {
            seq_no,
            node: name.to_owned(),
            source: self.own_source(),
        });
        // The accusation goes first, so that the ack may carry the answer to it already.
        self.send_plain(to, &[accusation.encode(), ping.encode()]);
    }

    /// True if the ack was for a recall.
    pub(super) fn recalled(&mut self, now: Instant, seq_no: u32) -> bool {
        let Some((_, peer)) = self.recalls.waiting.remove(&seq_no) else {
            return false;
        };
        let paused = self
            .recalls
            .exchanged
            .is_some_and(|at| now.saturating_duration_since(at) < EXCHANGE_PAUSE);
        if !paused && !self.leaving {
            self.recalls.exchanged = Some(now);
            self.push_pull(now, peer, Cause::Reconnect);
        }
        true
    }
}
