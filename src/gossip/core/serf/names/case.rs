//! One name at two places.

use std::net::SocketAddr;

use crate::gossip::core::memberlist::check::CheckId;
use crate::gossip::core::wire::stream::PushNode;

/// How far above all that is known a moved name begins, so that no tale on its way is newer.
pub(in crate::gossip::core::serf) const HEADROOM: u32 = 10;

/// One name under examination.
#[derive(Debug)]
pub(super) struct Case {
    /// Where it is to be gone from.
    pub(super) old: PushNode,
    /// Where it is to be.
    pub(super) new: PushNode,
    /// Whom to tell of a move; empty: everyone we know.
    pub(super) live: Vec<SocketAddr>,
    pub(super) stage: Stage,
    /// How often the old place has answered.
    pub(super) answers: u8,
    /// A peer's table showed it, not a message alone.
    pub(super) in_table: bool,
    /// It is our own name, and nobody knows us by it yet.
    pub(super) joining: bool,
}

/// What a case waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Our turn among the members.
    Delay,
    /// The old place's silence and, for another's name, the new one's answer.
    Checking {
        old: Option<CheckId>,
        new: Option<CheckId>,
    },
    /// The time for a second look.
    Pause,
    /// The members' answers to whose our name is.
    Voting,
    /// We are outvoted: the time for the other to give up, lest both do.
    Yielding,
    /// The visits, or our patience.
    Visiting(u64),
}
