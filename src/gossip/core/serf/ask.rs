//! What an operator says to, and asks of, the whole cluster.
//!
//! ```text
//! user_event ─▶ short enough? ─▶ stamped, delivered to ourselves, gossiped
//! query, keys ─▶ Layer::ask ─▶ poll_answer        respond ─▶ Layer::respond
//! ```

use std::time::Instant;

use super::Serf;
use super::coordinate::Coordinate;
use super::events::OWN_BYTES_MAX;
use super::keys::{KeyRequest, Order};
use super::leave::Life;
use super::queries::{INTERNAL, PING};
use super::tables::answerable::ReturnPath;
use super::tables::asking::Asker;
use crate::gossip::core::io::{Answer, QueryId, Question, Refused};
use crate::gossip::core::keyring::Keyring;
use crate::gossip::core::wire::serf::{SerfMessage, UserEvent};

impl Serf {
    pub(crate) fn user_event(
        &mut self,
        now: Instant,
        name: &str,
        payload: Vec<u8>,
        coalesce: bool,
    ) -> Result<u64, Refused> {
        if self.life != Life::Alive {
            return Err(Refused::Leaving);
        }
        // Before encoding, so that the numbers are those which the caller knows.
        event_fits(name.len() + payload.len(), false)?;
        let event = UserEvent {
            ltime: self.layer.event_clock.time(),
            name: name.to_owned(),
            payload,
            coalesce,
        };
        let message = SerfMessage::UserEvent(event.clone()).encode();
        event_fits(message.len(), true)?;
        // It moves the clock on, too.
        self.layer.on_user_event(&event);
        self.layer.spread_event(message);
        self.settle(now);
        Ok(event.ltime)
    }

    pub(crate) fn query(&mut self, now: Instant, question: Question) -> Result<QueryId, Refused> {
        let ping = question.name == PING && question.payload.is_empty();
        if question.name.starts_with(INTERNAL) && !ping {
            return Err(Refused::InternalQuery);
        }
        self.ask(now, &question)
    }

    pub(crate) fn keys(&mut self, now: Instant, request: &KeyRequest) -> Result<QueryId, Refused> {
        self.ask(now, &request.question(self.layer.members.len()))
    }

    fn ask(&mut self, now: Instant, question: &Question) -> Result<QueryId, Refused> {
        if self.life != Life::Alive {
            return Err(Refused::Leaving);
        }
        let id = self.layer.ask(now, question, Asker::Operator)?;
        self.settle(now);
        Ok(id)
    }

    pub(crate) fn respond(
        &mut self,
        now: Instant,
        query: QueryId,
        payload: Vec<u8>,
    ) -> Result<(), Refused> {
        self.layer.respond(now, query, payload)?;
        self.settle(now);
        Ok(())
    }

    /// A member asked something of our keyring.
    pub(super) fn obey_key_order(&mut self, now: Instant, path: &ReturnPath, order: &Order) {
        let before = self.memberlist.keyring().cloned();
        let answer = order.apply(self.memberlist.keyring_mut());
        self.keys_changed |= before.as_ref() != self.memberlist.keyring();
        let layer = &mut self.layer;
        let payload = answer.fitting(|payload| layer.response_fits(path, payload));
        layer.answer_internally(now, path, payload);
    }

    pub(crate) fn coordinate(&self, node: &str) -> Option<Coordinate> {
        self.layer.coordinate(node)
    }

    pub(crate) fn poll_answer(&mut self) -> Option<(QueryId, Answer)> {
        self.layer.answers.pop_front()
    }

    pub(crate) fn poll_keyring(&mut self) -> Option<Keyring> {
        if !std::mem::take(&mut self.keys_changed) {
            return None;
        }
        self.memberlist.keyring().cloned()
    }
}

fn event_fits(bytes: usize, encoded: bool) -> Result<(), Refused> {
    if bytes > OWN_BYTES_MAX {
        return Err(Refused::EventTooLong {
            bytes,
            max: OWN_BYTES_MAX,
            encoded,
        });
    }
    Ok(())
}
