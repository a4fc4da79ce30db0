//! User events: each is delivered once and passed on once.
//!
//! ```text
//! event ─▶ too old? seen at its Lamport time? ─▶ ring slot (ltime mod 512) ─▶ Event::User, re-gossip
//! ```
//!
//! Source: serf `handleUserEvent`.

use super::layer::Layer;
use crate::gossip::core::io::{Event, Past};
use crate::gossip::core::memberlist::Cause;
use crate::gossip::core::wire::serf::UserEvent;

/// Largest event of our own: name and payload, and the encoded message as well. Source: serf `DefaultConfig`.
pub(super) const OWN_BYTES_MAX: usize = 512;

impl Layer {
    /// Whether the events in a state that was merged because of `cause` are not for us: they happened before we came.
    ///
    /// So it is at a join that an operator asked for, unless it is to replay them. Beyond Serf, so it is with the first
    /// state of all, whoever began: a seed that restarts is found by the others before it finds them, and must not do
    /// again what it did in its last life.
    pub(super) fn skips_old_events(&mut self, cause: Option<Cause>) -> bool {
        let first = !std::mem::replace(&mut self.met, true);
        let past = match cause {
            Some(Cause::Join(id)) => self.pasts.get(&id).copied().unwrap_or_default(),
            Some(Cause::AntiEntropy | Cause::Reconnect) | None => Past::Missed,
        };
        match past {
            Past::Skip => true,
            Past::Missed => first,
            Past::Replay => false,
        }
    }

    /// True if it is to be passed on.
    pub(super) fn on_user_event(&mut self, event: &UserEvent) -> bool {
        self.event_clock.witness(event.ltime);
        match self.events.record(self.event_clock.time(), event) {
            Ok(()) => {}
            Err(reason) => {
                if let Some(reason) = reason {
                    self.refuse(reason);
                }
                return false;
            }
        }
        self.out.push_back(Event::User {
            ltime: event.ltime,
            name: event.name.clone(),
            payload: event.payload.clone(),
            coalesce: event.coalesce,
        });
        true
    }
}
