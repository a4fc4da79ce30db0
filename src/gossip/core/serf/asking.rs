//! Queries of ours, and what comes back.
//!
//! ```text
//! question ─▶ query: handled here first, then gossiped ─▶ acks and responses, once from each ─▶ Answer
//!               └─ deadline (Timer::Query) ─▶ Answer::Done; what comes later is ignored
//! ```
//!
//! Not only an operator asks: see [`Asker`].
//!
//! Source: serf `Query`, `handleQueryResponse`; `query.go`, `DefaultQueryTimeout`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::filters;
use super::layer::{Layer, Timer};
use super::tables::answerable::IS_ACK;
use super::tables::asking::{Asker, Open};
use super::tables::queries::WANTS_ACK;
use crate::gossip::core::io::{Answer, QueryId, Question, Refused};
use crate::gossip::core::member::Status;
use crate::gossip::core::wire::message::WireAddr;
use crate::gossip::core::wire::serf::{Query, QueryResponse, SerfMessage};

/// Longest query. Source: serf `QuerySizeLimit`.
const QUERY_BYTES_MAX: usize = 1024;

/// Gossip intervals that a query stays open, times the magnitude of the cluster. Source: serf `QueryTimeoutMult`.
const TIMEOUT_MULT: u32 = 16;

/// Longest time that any query stays open; an operator who waits a day has forgotten it.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Queries of ours at one time.
const OPEN_MAX: usize = 256;

/// Members whose acks are taken, and whose responses: more than any cluster has.
const SENDERS_MAX: usize = 10_000;

impl Layer {
    /// Asks. Internal queries pass here: who may not ask them is for the caller to say.
    ///
    /// # Errors
    /// [`Refused::QueryTooLong`], [`Refused::TooManyQueries`], [`Refused::Leaving`].
    pub(super) fn ask(
        &mut self,
        now: Instant,
        question: &Question,
        asker: Asker,
    ) -> Result<QueryId, Refused> {
        let own = self.members.get(&*self.name);
        let Some(own) = own.filter(|_| !self.leaving) else {
            return Err(Refused::Leaving);
        };
        if self.asking.0.len() >= OPEN_MAX {
            return Err(Refused::TooManyQueries {
                open: self.asking.0.len(),
            });
        }
        let timeout = question.timeout.filter(|timeout| !timeout.is_zero());
        let timeout = timeout.unwrap_or_else(|| self.query_timeout());
        let timeout = timeout.min(TIMEOUT_MAX);
        let query = Query {
            ltime: self.query_clock.time(),
            // Go draws 31 bits.
            id: self.random.random::<u32>() >> 1,
            addr: WireAddr::of(own.shown.address),
            source_node: self.name.clone(),
            filters: filters::encode(&question.nodes, &question.tags),
            flags: if question.wants_ack { WANTS_ACK } else { 0 },
            relay_factor: question.relay_factor,
            timeout_ns: i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX),
            name: question.name.clone(),
            payload: question.payload.clone(),
        };
        let id = QueryId {
            ltime: query.ltime,
            id: query.id,
        };
        let message = SerfMessage::Query(query.clone()).encode();
        if message.len() > QUERY_BYTES_MAX {
            return Err(Refused::QueryTooLong {
                bytes: message.len(),
                max: QUERY_BYTES_MAX,
            });
        }
        let open = Open {
            asker,
            deadline: now + timeout,
            wants_ack: question.wants_ack,
            acks: BTreeSet::new(),
            responses: BTreeSet::new(),
        };
        self.timers.set(Timer::Query(id), open.deadline);
        self.asking.0.insert(id, open);
        // It moves the clock on, too.
        self.on_query(now, &query);
        self.spread_query(message);
        Ok(id)
    }

    /// How long a query stays open by default: gossip interval × 16 × ⌈log₁₀(n + 1)⌉, of `n` members that are there.
    ///
    /// Source: serf `DefaultQueryTimeout`.
    fn query_timeout(&self) -> Duration {
        let there = |status| matches!(status, Status::Alive | Status::Leaving);
        let members = self.members.values();
        let count = members.filter(|member| there(member.shown.status)).count();
        self.timing.gossip_interval * TIMEOUT_MULT * magnitude(count)
    }

    /// An ack or a response came.
    pub(super) fn on_response(&mut self, now: Instant, response: &QueryResponse) {
        let id = QueryId {
            ltime: response.ltime,
            id: response.id,
        };
        let open = self.asking.0.get_mut(&id);
        let Some(open) = open.filter(|open| now < open.deadline) else {
            // Late, or never asked for.
            self.refuse("no_query");
            return;
        };
        let is_ack = response.flags & IS_ACK != 0;
        let senders = match is_ack {
            true if !open.wants_ack => return self.refuse("no_query"),
            true => &mut open.acks,
            false => &mut open.responses,
        };
        // Relays bring the same again, which is what they are for.
        if senders.len() >= SENDERS_MAX || !senders.insert(response.from.as_str().into()) {
            return;
        }
        let from = response.from.clone();
        let answer = match is_ack {
            true => Answer::Ack { from },
            false => Answer::Response {
                from,
                payload: response.payload.clone().unwrap_or_default(),
            },
        };
        let asker = open.asker.clone();
        self.deliver(id, &asker, answer);
    }

    /// Its deadline is over.
    pub(super) fn query_ended(&mut self, id: QueryId) {
        if let Some(open) = self.asking.0.remove(&id) {
            self.deliver(id, &open.asker, Answer::Done);
        }
    }

    fn deliver(&mut self, id: QueryId, asker: &Asker, answer: Answer) {
        match asker {
            Asker::Operator => self.answers.push_back((id, answer)),
            Asker::Names => self.tray.answers.push((id, answer)),
        }
    }
}

/// ⌈log₁₀(n + 1)⌉: how many decimal digits `n` has.
fn magnitude(n: usize) -> u32 {
    n.checked_ilog10().map_or(0, |log| log + 1)
}

/// A timeout from the wire; a negative one is over at once.
pub(super) fn timeout_of(nanoseconds: i64) -> Duration {
    let nanoseconds = u64::try_from(nanoseconds).unwrap_or_default();
    Duration::from_nanos(nanoseconds).min(TIMEOUT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_magnitude_is_that_of_go() {
        for (n, wanted) in [
            (0, 0),
            (1, 1),
            (9, 1),
            (10, 2),
            (99, 2),
            (100, 3),
            (999, 3),
            (1000, 4),
        ] {
            assert_eq!(magnitude(n), wanted, "{n}");
            assert_eq!(f64::from(wanted), ((n + 1) as f64).log10().ceil(), "{n}");
        }
    }

    #[test]
    fn no_timeout_from_the_wire_is_beyond_bounds() {
        assert_eq!(timeout_of(-1), Duration::ZERO);
        assert_eq!(timeout_of(3_200_000_000), Duration::from_millis(3200));
        assert_eq!(timeout_of(i64::MAX), TIMEOUT_MAX);
    }
}
