//! What an operator says to, and asks of, the whole cluster.

use std::time::Instant;

use super::Serf;
use super::coordinate::Coordinate;
use super::keys::KeyRequest;
use crate::gossip::core::io::{Answer, QueryId, Question, Refused};
use crate::gossip::core::keyring::Keyring;

impl Serf {
    pub(crate) fn user_event(
        &mut self,
        _now: Instant,
        _name: &str,
        _payload: Vec<u8>,
        _coalesce: bool,
    ) -> Result<u64, Refused> {
        Err(Refused::Leaving)
    }

    pub(crate) fn query(&mut self, _now: Instant, _question: Question) -> Result<QueryId, Refused> {
        Err(Refused::Leaving)
    }

    pub(crate) fn keys(
        &mut self,
        _now: Instant,
        _request: &KeyRequest,
    ) -> Result<QueryId, Refused> {
        Err(Refused::Leaving)
    }

    pub(crate) fn respond(
        &mut self,
        _now: Instant,
        _query: QueryId,
        _payload: Vec<u8>,
    ) -> Result<(), Refused> {
        Err(Refused::Leaving)
    }

    pub(crate) fn coordinate(&self, _node: &str) -> Option<Coordinate> {
        None
    }

    pub(crate) fn poll_answer(&mut self) -> Option<(QueryId, Answer)> {
        None
    }

    pub(crate) fn poll_keyring(&mut self) -> Option<Keyring> {
        None
    }
}
