//! Serf's half of a push/pull, both ways.
//!
//! ```text
//! peer's state ─▶ clocks ─▶ left members as leave intents ─▶ the others as join intents ─▶ events replayed
//! ```
//!
//! Source: serf `delegate.go`, `LocalState`, `MergeRemoteState`.

use std::collections::BTreeSet;
use std::time::Instant;

use super::layer::Layer;
use super::tables::intents::Source;
use crate::gossip::core::member::Status;
use crate::gossip::core::wire::serf::{JoinIntent, LeaveIntent, SerfState, UserEvent};

impl Layer {
    pub(super) fn state(&self) -> SerfState {
        let left = |status| status == Status::Left;
        SerfState {
            ltime: self.clock.time(),
            status_ltimes: self
                .members
                .iter()
                .map(|(name, member)| (name.clone(), member.status_ltime))
                .collect(),
            left_members: self
                .members
                .iter()
                .filter(|(_, member)| left(member.shown.status))
                .map(|(name, _)| name.to_string())
                .collect(),
            event_ltime: self.event_clock.time(),
            // Go sends 512 slots, most of them nil; it takes a short list as well.
            events: self.events.recorded().cloned().map(Some).collect(),
            query_ltime: self.query_clock.time(),
        }
    }

    pub(super) fn merge(&mut self, now: Instant, state: &SerfState, skip_old_events: bool) {
        // Nothing was sent yet with the time that a clock shows.
        self.clock.witness(state.ltime.saturating_sub(1));
        self.event_clock
            .witness(state.event_ltime.saturating_sub(1));
        self.query_clock
            .witness(state.query_ltime.saturating_sub(1));
        self.merge_left(now, state);
        let left: BTreeSet<&str> = state.left_members.iter().map(|name| &**name).collect();
        for (name, &ltime) in &state.status_ltimes {
            if !self.members.contains_key(name) {
                self.prune_again(name, ltime);
            }
            if !left.contains(&**name) {
                let join = JoinIntent {
                    ltime,
                    node: name.to_string(),
                };
                self.on_join_intent(now, &join, Source::State);
            }
        }
        if skip_old_events {
            self.events.ignore_before(state.event_ltime);
        }
        for recorded in state.events.iter().flatten() {
            for (name, payload) in &recorded.events {
                self.on_user_event(&UserEvent {
                    ltime: recorded.ltime,
                    name: name.clone(),
                    payload: payload.clone(),
                    coalesce: false,
                });
            }
        }
    }

    /// Who left, first. The peer does not say when, only that it was after their last status time.
    fn merge_left(&mut self, now: Instant, state: &SerfState) {
        for name in &state.left_members {
            let known = state
                .status_ltimes
                .get(&**name)
                .copied()
                .unwrap_or_default();
            let leave = LeaveIntent {
                ltime: known.saturating_add(1),
                node: name.clone(),
                prune: false,
            };
            // Only for those who are gone here too, and for us: we always answer. memberlist has just merged the
            // same peer's table; whom it holds alive or suspect came back, or may yet, with a higher incarnation
            // than the peer knows. The peer's "left" is old then, however high its status time (a join intent
            // raises that too). In Go such a member flaps between alive and leaving, or stays leaving for good.
            let concerned = name == &self.name
                || self
                    .members
                    .get(&**name)
                    .is_some_and(|member| member.shown.status != Status::Alive);
            if concerned {
                self.on_leave_intent(now, &leave, Source::State);
            } else {
                self.clock.witness(leave.ltime);
            }
        }
    }
}
