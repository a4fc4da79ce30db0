//! What alive, suspect and dead messages do to the node table. Push/pull entries follow the same rules.
//!
//! ```text
//!             alive (higher incarnation)
//!        ┌────────────────┬───────────────┐
//!        ▼                │               │
//!   ┌─ Alive ─suspect─▶ Suspect ─timer─▶ Dead        dead from itself: Left
//!   └──────────────── dead ───────────────▲
//!
//!   about ourselves: refute with a higher incarnation, unless we are leaving
//! ```
//!
//! Source: memberlist `state.go`, `aliveNode`, `suspectNode`, `deadNode`, `refute`.

use std::time::{Duration, Instant};

use super::broadcast::BroadcastId;
use super::node::{NodeState, State, is_mapped, place_of};
use super::suspicion::{self, Suspicion};
use super::{
    Change, Delegate, META_BYTES_MAX, Memberlist, NAME_BYTES_MAX, NODES_MAX, Timer, VERSIONS,
};
use crate::gossip::core::wire::message::{Accusation, Alive, Message};

/// A conflict about one name is reported at most this often; the messages that show it come in swarms.
const CONFLICT_PAUSE: Duration = Duration::from_secs(1);

/// Whether a node of these versions and we understand one another, in both halves.
///
/// Go takes in whoever has a range at all. One forged alive, even of a node long dead, then makes every
/// later join fail the check of versions; so such a node is refused by itself.
pub(super) fn speaks_with_us(vsn: &[u8; 6]) -> bool {
    [0, 3].into_iter().all(|half| {
        let (min, max, current) = (vsn[half], vsn[half + 1], vsn[half + 2]);
        let (our_min, our_max, ours) = (VERSIONS[half], VERSIONS[half + 1], VERSIONS[half + 2]);
        min > 0
            && (min..=max).contains(&current)
            && (min..=max).contains(&ours)
            && (our_min..=our_max).contains(&current)
    })
}

impl Memberlist {
    pub(super) fn on_alive(&mut self, now: Instant, mut alive: Alive, delegate: &mut dyn Delegate) {
        alive.addr.port = self.port_or_own(alive.addr.port);
        let bad = if !speaks_with_us(&alive.vsn) {
            Some("version")
        } else if alive.meta.len() > META_BYTES_MAX {
            Some("meta_too_long")
        } else if alive.node.is_empty() || alive.node.len() > NAME_BYTES_MAX {
            Some("name")
        } else {
            None
        };
        if let Some(reason) = bad {
            self.refuse(reason);
            return;
        }
        if alive.node == self.name {
            self.on_alive_about_us(now, &alive, delegate);
        } else {
            self.on_alive_about_another(now, alive, delegate);
        }
    }

    fn on_alive_about_us(&mut self, now: Instant, alive: &Alive, delegate: &mut dyn Delegate) {
        // Go compares addresses first, so that a stale word of an earlier life at another address
        // starts a vote about our name. What is older than we are is no news: first of all.
        if self.leaving || alive.incarnation < self.incarnation {
            return;
        }
        if self.conflicts(now, alive, delegate) {
            return;
        }
        let Some(own) = self.nodes.get(&self.name) else {
            return;
        };
        let same = alive.incarnation == own.incarnation
            && alive.addr == own.addr()
            && *alive.meta == *own.meta
            && alive.vsn == own.vsn;
        if !same {
            self.refute(now, alive.incarnation, delegate);
        }
    }

    fn on_alive_about_another(&mut self, now: Instant, alive: Alive, delegate: &mut dyn Delegate) {
        let Some(place) = place_of(&alive.addr) else {
            self.refuse("address");
            return;
        };
        if self.nodes.get(&alive.node).is_none() && !self.admit(now, &alive, place) {
            return;
        }
        if self.conflicts(now, &alive, delegate) {
            return;
        }
        let Some(node) = self.nodes.get(&alive.node) else {
            return;
        };
        // Only one who left may come back at another address, with whatever incarnation.
        let moved = node.place != place;
        if alive.incarnation <= node.incarnation && !moved {
            return;
        }
        let change = if node.is_gone() {
            Change::Joined
        } else if *node.meta != *alive.meta || node.addr() != alive.addr || node.vsn != alive.vsn {
            Change::Updated
        } else {
            Change::Refreshed
        };
        let meta = self.nodes.share_meta(&alive.meta);
        let Some(node) = self.nodes.get_mut(&alive.node) else {
            return;
        };
        node.suspicion = None;
        node.incarnation = alive.incarnation;
        node.meta = meta;
        node.place = place;
        node.mapped = is_mapped(&alive.addr);
        node.vsn = alive.vsn;
        if node.state != State::Alive {
            node.state = State::Alive;
            node.changed = now;
        }
        delegate.node_changed(now, node, change);
        self.timers.cancel(&Timer::Suspicion(alive.node.clone()));
        let name = node.name.clone();
        self.broadcasts
            .push(Message::Alive(alive).encode(), Some(name));
    }

    /// Makes room for an unknown node, dead and with incarnation 0 until its message is applied.
    fn admit(&mut self, now: Instant, alive: &Alive, place: std::net::SocketAddr) -> bool {
        if alive.incarnation == 0 {
            self.refuse("incarnation");
            return false;
        }
        if self.nodes.len() >= NODES_MAX {
            self.refuse("nodes_full");
            return false;
        }
        let node = NodeState {
            name: alive.node.as_str().into(),
            place,
            mapped: is_mapped(&alive.addr),
            meta: self.nodes.share_meta(&alive.meta),
            vsn: alive.vsn,
            incarnation: 0,
            state: State::Dead,
            changed: now,
            suspicion: None,
            conflict: None,
        };
        self.nodes.insert(node, &mut self.random);
        true
    }

    /// True if `alive` claims a name that another address holds. A left node may move; a dead one may not,
    /// since Serf leaves memberlist's reclaim off: it is forgotten after a while instead.
    ///
    /// Unlike Go this compares places, not octets: the two forms of one IPv4 address are no conflict.
    fn conflicts(&mut self, now: Instant, alive: &Alive, delegate: &mut dyn Delegate) -> bool {
        let Some(claimed) = place_of(&alive.addr) else {
            self.refuse("address");
            return true;
        };
        let Some(node) = self.nodes.get_mut(&alive.node) else {
            return false;
        };
        if node.place == claimed || node.state == State::Left {
            return false;
        }
        let told = node
            .conflict
            .is_some_and(|at| now.saturating_duration_since(at) < CONFLICT_PAUSE);
        if !told {
            node.conflict = Some(now);
            tracing::debug!(node = alive.node, known = %node.place, %claimed, "conflicting address");
            delegate.conflict(node, alive);
        }
        self.refuse("conflict");
        true
    }

    pub(super) fn on_suspect(
        &mut self,
        now: Instant,
        accusation: Accusation,
        delegate: &mut dyn Delegate,
    ) {
        if !self.is_news(&accusation) {
            return;
        }
        let about_us = accusation.node == self.name;
        let known = self.nodes.len();
        let Some(node) = self.nodes.get_mut(&accusation.node) else {
            return;
        };
        if let Some(suspicion) = &mut node.suspicion {
            if suspicion.confirm(&accusation.from) {
                self.timers.set(
                    Timer::Suspicion(accusation.node.clone()),
                    suspicion.deadline(),
                );
                self.broadcast_accusation(accusation, Message::Suspect);
            }
            return;
        }
        if node.state != State::Alive {
            return;
        }
        if about_us {
            self.refute(now, accusation.incarnation, delegate);
            return;
        }
        let mult = self.timing.suspicion_mult;
        let min = suspicion::shortest(mult, known, self.timing.probe_interval);
        let max = min * self.timing.suspicion_max_timeout_mult;
        let wanted = suspicion::wanted(mult, known);
        let suspicion = Suspicion::new(now, &accusation.from, wanted, min, max);
        tracing::debug!(node = accusation.node, from = accusation.from, "suspect");
        node.incarnation = accusation.incarnation;
        node.state = State::Suspect;
        node.changed = now;
        self.timers.set(
            Timer::Suspicion(accusation.node.clone()),
            suspicion.deadline(),
        );
        node.suspicion = Some(Box::new(suspicion));
        delegate.node_changed(now, node, Change::Suspected);
        self.broadcast_accusation(accusation, Message::Suspect);
    }

    pub(super) fn suspicion_ran_out(
        &mut self,
        now: Instant,
        name: &str,
        delegate: &mut dyn Delegate,
    ) {
        let Some(node) = self.nodes.get(name) else {
            return;
        };
        let Some(suspicion) = &node.suspicion else {
            return;
        };
        tracing::debug!(
            node = name,
            confirmations = suspicion.confirmations(),
            "suspicion ran out"
        );
        let accusation = Accusation {
            incarnation: node.incarnation,
            node: name.to_owned(),
            from: self.name.clone(),
        };
        self.on_dead(now, accusation, delegate);
    }

    pub(super) fn on_dead(
        &mut self,
        now: Instant,
        accusation: Accusation,
        delegate: &mut dyn Delegate,
    ) {
        if !self.is_news(&accusation) {
            return;
        }
        if accusation.node == self.name {
            if !self.leaving {
                self.refute(now, accusation.incarnation, delegate);
            }
            return;
        }
        self.bury(now, accusation, delegate);
    }

    /// Marks ourselves as left and tells everyone; `None` if done before.
    pub(super) fn depart(
        &mut self,
        now: Instant,
        delegate: &mut dyn Delegate,
    ) -> Option<BroadcastId> {
        let accusation = Accusation {
            incarnation: self.incarnation,
            node: self.name.clone(),
            from: self.name.clone(),
        };
        self.bury(now, accusation, delegate)
    }

    fn bury(
        &mut self,
        now: Instant,
        accusation: Accusation,
        delegate: &mut dyn Delegate,
    ) -> Option<BroadcastId> {
        let node = self.nodes.get_mut(&accusation.node)?;
        node.suspicion = None;
        self.timers
            .cancel(&Timer::Suspicion(accusation.node.clone()));
        if node.is_gone() {
            return None;
        }
        node.incarnation = accusation.incarnation;
        node.state = if accusation.node == accusation.from {
            State::Left
        } else {
            State::Dead
        };
        node.changed = now;
        delegate.node_changed(now, node, Change::Gone);
        Some(self.broadcast_accusation(accusation, Message::Dead))
    }

    /// False for accusations of unknown nodes and old incarnations, and for one that nobody could outbid.
    fn is_news(&mut self, accusation: &Accusation) -> bool {
        if accusation.incarnation == u32::MAX {
            self.refuse("incarnation");
            return false;
        }
        self.nodes
            .get(&accusation.node)
            .is_some_and(|node| accusation.incarnation >= node.incarnation)
    }

    fn broadcast_accusation(
        &mut self,
        accusation: Accusation,
        kind: fn(Accusation) -> Message,
    ) -> BroadcastId {
        let known = self.nodes.get(&accusation.node);
        let name = known.map_or_else(|| accusation.node.as_str().into(), |node| node.name.clone());
        self.broadcasts.push(kind(accusation).encode(), Some(name))
    }

    /// Contradicts what is said about us, with an incarnation above `accused` and our own.
    fn refute(&mut self, now: Instant, accused: u32, delegate: &mut dyn Delegate) {
        self.incarnation = self.incarnation.max(accused).saturating_add(1);
        self.awareness.apply(1);
        self.stats.refutations += 1;
        tracing::debug!(incarnation = self.incarnation, "refuting");
        if let Some(own) = self.nodes.get_mut(&self.name) {
            own.incarnation = self.incarnation;
            delegate.node_changed(now, own, Change::Refreshed);
        }
        self.broadcast_own_alive();
    }
}
