//! Moving a name once nobody is at its old place: every live member is visited.
//!
//! ```text
//! take_over ─▶ the three steps of `memberlist::moving` ─▶ ≤ 32 visits at once ─▶ all over, or 300 ms
//!                                                                               └─▶ joins go on, Repaired
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::case::{Case, HEADROOM, Stage};
use crate::gossip::core::io::Event;
use crate::gossip::core::memberlist::moving;
use crate::gossip::core::memberlist::node::State;
use crate::gossip::core::serf::Serf;
use crate::gossip::core::serf::layer::Timer;
use crate::gossip::core::wire::stream::PushNode;

/// Visits of one errand at one time.
const VISITS_AT_ONCE: usize = 32;

/// Joins go on after this, though visits be under way: some of those listed as alive may be gone.
const VISIT_PATIENCE: Duration = Duration::from_millis(300);

/// Visits of one move.
#[derive(Debug)]
struct Errand {
    nodes: Arc<[PushNode]>,
    waiting: VecDeque<SocketAddr>,
    under_way: usize,
}

/// All that are under way.
#[derive(Debug, Default)]
pub(super) struct Errands {
    by_id: BTreeMap<u64, Errand>,
    last: u64,
}

impl Errands {
    pub(super) fn open(&mut self, nodes: Arc<[PushNode]>, waiting: VecDeque<SocketAddr>) -> u64 {
        self.last += 1;
        self.by_id.insert(
            self.last,
            Errand {
                nodes,
                waiting,
                under_way: 0,
            },
        );
        self.last
    }
}

impl Serf {
    /// Nobody is at the old place: everyone is told that the name moves.
    pub(super) fn take_over(&mut self, now: Instant, name: &str) {
        let ours = name == self.layer.name;
        let Some((old, new)) = self.bid(now, name) else {
            self.names.cases.remove(name);
            if ours {
                self.resume_joins(now, Ok(()));
            }
            return;
        };
        let Some(case) = self.names.cases.get_mut(name) else {
            return;
        };
        let mut places = std::mem::take(&mut case.live);
        if places.is_empty() {
            places = self.memberlist.live_places(name);
        }
        places.sort_unstable();
        places.dedup();
        let steps = moving::steps(&old, &new);
        let errand = self.names.errands.open(steps, places.into());
        case.stage = Stage::Visiting(errand);
        case.old = old;
        case.new = new.clone();
        self.names.repairs += 1;
        if !ours {
            self.memberlist.adopt(now, new, &mut self.layer);
        }
        self.layer
            .timers
            .set(Timer::Name(name.to_owned()), now + VISIT_PATIENCE);
        self.go_on_visiting(now, errand);
    }

    /// The entry as it is to be gone, and the new one, above all that is known of either. `None` if there is
    /// nothing to move any more, or nothing above.
    fn bid(&mut self, now: Instant, name: &str) -> Option<(PushNode, PushNode)> {
        let Case { old, new, .. } = self.names.cases.get(name)?;
        let (old, mut new) = (old.clone(), new.clone());
        let above = |known: u32| known.saturating_add(HEADROOM + 1);
        if name == self.layer.name {
            self.memberlist.silent = false;
            let known = old.incarnation.max(new.incarnation);
            // Nobody could ever outbid the highest one; only a broken or hostile peer makes it so.
            if above(known) == u32::MAX {
                return None;
            }
            self.memberlist.outbid(now, above(known), &mut self.layer);
            return Some((old, self.memberlist.held(name)?));
        }
        let held = self.memberlist.held(name)?;
        if held.addr != old.addr || held.state == State::Left as u8 {
            return None;
        }
        new.incarnation = above(held.incarnation.max(new.incarnation));
        new.state = State::Alive as u8;
        (new.incarnation < u32::MAX).then_some((held, new))
    }

    pub(in crate::gossip::core::serf) fn visited(&mut self, now: Instant, errand: u64) {
        if let Some(open) = self.names.errands.by_id.get_mut(&errand) {
            open.under_way -= 1;
        }
        self.go_on_visiting(now, errand);
    }

    pub(super) fn go_on_visiting(&mut self, now: Instant, id: u64) {
        let Some(errand) = self.names.errands.by_id.get_mut(&id) else {
            return;
        };
        while errand.under_way < VISITS_AT_ONCE {
            let Some(peer) = errand.waiting.pop_front() else {
                break;
            };
            errand.under_way += 1;
            self.memberlist
                .visit(now, peer, id, Arc::clone(&errand.nodes));
        }
        if errand.under_way > 0 {
            return;
        }
        self.names.errands.by_id.remove(&id);
        let waits = |case: &Case| case.stage == Stage::Visiting(id);
        let name = self
            .names
            .cases
            .iter()
            .find(|(_, case)| waits(case))
            .map(|(name, _)| name.clone());
        if let Some(name) = name {
            self.close(now, &name);
        }
    }

    /// The name has moved, as far as we wait for it.
    pub(super) fn close(&mut self, now: Instant, name: &str) {
        self.layer.timers.cancel(&Timer::Name(name.to_owned()));
        let Some(case) = self.names.cases.remove(name) else {
            return;
        };
        if let (Some(from), Some(to)) = (case.old.addr.socket(), case.new.addr.socket()) {
            self.layer.out.push_back(Event::Repaired {
                name: name.to_owned(),
                from,
                to,
            });
        }
        if name == self.layer.name {
            self.resume_joins(now, Ok(()));
        }
    }
}
