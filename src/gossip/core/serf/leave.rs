//! Leaving properly: the order makes it "left" and not "failed" at every peer.
//!
//! ```text
//! Alive ─▶ Introduced ─▶ Intent: leave intent spread ─▶ Dead: self-signed dead spread ─▶ Linger 1 s ─▶ Left
//!            (all skipped when nobody else is there; each at most the broadcast timeout)
//! ```
//!
//! Source: serf `Leave`; memberlist `Leave`. Where Go gives up at a timeout we go on.

use std::time::Instant;

use super::Serf;
use super::layer::Timer;
use super::tables::intents::Source;
use crate::gossip::core::io::Event;
use crate::gossip::core::memberlist::broadcast::BroadcastId;
use crate::gossip::core::wire::serf::{LeaveIntent, SerfMessage};

/// How far our own life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    /// Until peers that have our state answered with theirs: they know us, and we shall not go unheard.
    Introduced,
    /// Until the intent was sent often enough.
    Intent(BroadcastId),
    /// Until the dead message was sent often enough.
    Dead(BroadcastId),
    /// Until it is likely to have reached everyone; pings are still answered.
    Linger,
    Left,
}

impl Serf {
    pub(crate) fn leave(&mut self, now: Instant) {
        if self.life != Life::Alive {
            return;
        }
        self.layer.leaving = true;
        self.drop_cases();
        self.give_up_parked(now, "this member is leaving");
        if self.memberlist.is_introducing_us() {
            self.wait(now, Life::Introduced);
        } else {
            self.announce_leave(now);
        }
        self.settle(now);
    }

    fn announce_leave(&mut self, now: Instant) {
        let others = self.layer.others_alive();
        let intent = LeaveIntent {
            ltime: self.layer.clock.tick(),
            node: self.layer.name.clone(),
            prune: false,
        };
        self.layer.on_leave_intent(now, &intent, Source::Gossip);
        if others {
            let message = SerfMessage::Leave(intent).encode();
            // Serf only broadcasts. A front that hears at once drains at once; and when many leave together, those
            // who should pass the broadcast on are going as well.
            self.layer.say_directly(&message);
            let id = self.layer.spread_intent(message);
            self.wait(now, Life::Intent(id));
        } else {
            self.announce_dead(now);
        }
    }

    fn wait(&mut self, now: Instant, life: Life) {
        self.life = life;
        let delay = if life == Life::Linger {
            self.layer.timing.leave_propagate_delay
        } else {
            self.layer.timing.broadcast_timeout
        };
        self.layer.timers.set(Timer::Leave, now + delay);
    }

    fn announce_dead(&mut self, now: Instant) {
        match self.memberlist.leave(now, &mut self.layer) {
            Some(id) => self.wait(now, Life::Dead(id)),
            None => self.end(),
        }
    }

    /// Goes to the next step once the present one's message was sent often enough.
    pub(super) fn go_on_leaving(&mut self, now: Instant) {
        match self.life {
            Life::Introduced if !self.memberlist.is_introducing_us() => self.announce_leave(now),
            Life::Intent(id) if !self.layer.is_spreading(id) => self.announce_dead(now),
            Life::Dead(id) if !self.memberlist.is_waiting(id) => self.wait(now, Life::Linger),
            _ => {}
        }
    }

    pub(super) fn leave_step_timed_out(&mut self, now: Instant) {
        match self.life {
            Life::Introduced => self.announce_leave(now),
            Life::Intent(_) => self.announce_dead(now),
            Life::Dead(_) => self.wait(now, Life::Linger),
            Life::Linger => self.end(),
            Life::Alive | Life::Left => {}
        }
    }

    fn end(&mut self) {
        self.layer.timers.cancel(&Timer::Leave);
        self.life = Life::Left;
        self.layer.out.push_back(Event::LeaveFinished);
    }
}
