//! One member.

use std::sync::Arc;
use std::time::Instant;

use super::intents::Source;
use crate::gossip::core::member::Member;
use crate::gossip::core::serf::coordinate::Measured;

/// A member, with what only Serf needs of it.
#[derive(Debug)]
pub(crate) struct MemberState {
    /// As everyone above sees it; shared with the lists handed out.
    pub(crate) shown: Arc<Member>,
    /// Lamport time of its newest intent.
    pub(crate) status_ltime: u64,
    /// That time was read in a peer's state: the intent itself, when it comes, still says what it was.
    pub(crate) guessed: bool,
    /// When it failed or left.
    pub(crate) gone_since: Option<Instant>,
    /// Where it is; once it has answered a ping of ours.
    pub(crate) measured: Option<Box<Measured>>,
}

impl MemberState {
    /// Whether an intent of this time is newer than what we know.
    pub(crate) fn is_news(&self, ltime: u64, source: Source) -> bool {
        let completes = self.guessed && source == Source::Gossip;
        ltime > self.status_ltime || (completes && ltime == self.status_ltime)
    }

    pub(crate) fn heard(&mut self, ltime: u64, source: Source) {
        self.status_ltime = ltime;
        self.guessed = source == Source::State;
    }
}
