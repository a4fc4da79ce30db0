//! A member that goes on in another process, under the same name at the same address.
//!
//! ```text
//! old Node ─▶ heritage(): incarnation, three clocks ─▶ inherit(): new Node
//! ```
//!
//! The others never hear of it: an alive message with the next incarnation changes nothing but the tags that changed.
//! Who else is a member is not inherited; a push/pull tells it, as after any start.

use std::time::Instant;

use super::Serf;
use crate::gossip::core::io::Heritage;

impl Serf {
    pub(crate) fn heritage(&self) -> Heritage {
        Heritage {
            incarnation: self.memberlist.incarnation(),
            ltime: self.layer.clock.time(),
            event_ltime: self.layer.event_clock.time(),
            query_ltime: self.layer.query_clock.time(),
        }
    }

    pub(crate) fn inherit(&mut self, now: Instant, heritage: Heritage) {
        let layer = &mut self.layer;
        // Nothing was sent yet with the time that a clock shows.
        layer.clock.witness(heritage.ltime.saturating_sub(1));
        layer
            .event_clock
            .witness(heritage.event_ltime.saturating_sub(1));
        layer
            .query_clock
            .witness(heritage.query_ltime.saturating_sub(1));
        // What was told once is still on its way from member to member; scripts shall not hear of it twice.
        layer.events.ignore_before(heritage.event_ltime);
        layer.queries.ignore_before(heritage.query_ltime);
        // Equal would be taken for the old word, and other tags with it for a lie.
        let above = heritage.incarnation.saturating_add(1);
        self.memberlist.outbid(now, above, layer);
        // We were not asleep until now, we were not born.
        self.awake_since = Some(now);
        self.settle(now);
    }
}
