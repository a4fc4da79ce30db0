//! Queries that may be answered, and where to.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::gossip::core::io::{NoAnswer, QueryId};
use crate::gossip::core::wire::message::WireAddr;
use crate::gossip::core::wire::serf::Query;

/// Queries that may be answered at one time; more within their few seconds is a flood.
const OPEN_MAX: usize = 1024;

/// Flag of a response: it is an ack.
pub(crate) const IS_ACK: u32 = 1;

/// Where the answer to a query goes.
#[derive(Clone, Debug)]
pub(crate) struct ReturnPath {
    pub(crate) id: QueryId,
    pub(crate) addr: WireAddr,
    pub(crate) source_node: String,
    pub(crate) relay_factor: u8,
}

impl ReturnPath {
    pub(crate) fn of(query: &Query) -> Self {
        Self {
            id: QueryId {
                ltime: query.ltime,
                id: query.id,
            },
            // The octets of an address in a Go structure; the way they came is fine.
            addr: WireAddr {
                octets: query.addr.octets.clone(),
                port: query.addr.port,
            },
            source_node: query.source_node.clone(),
            relay_factor: query.relay_factor,
        }
    }
}

/// One that those above may answer.
#[derive(Debug)]
struct Open {
    path: ReturnPath,
    deadline: Instant,
    answered: bool,
}

/// Queries handed up, until their deadlines. Those that are over go when another comes, or with the reaper.
#[derive(Debug, Default)]
pub(crate) struct Answerable(BTreeMap<QueryId, Open>);

impl Answerable {
    pub(crate) fn open(&mut self, now: Instant, path: ReturnPath, deadline: Instant) {
        self.expire(now);
        if self.0.len() < OPEN_MAX {
            let open = Open {
                path,
                deadline,
                answered: false,
            };
            self.0.insert(open.path.id, open);
        }
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.0.retain(|_, open| open.deadline > now);
    }

    pub(crate) fn path(&self, now: Instant, id: QueryId) -> Result<ReturnPath, NoAnswer> {
        let open = self.0.get(&id).ok_or(NoAnswer::Unknown)?;
        if open.answered {
            return Err(NoAnswer::Sent);
        }
        if open.deadline <= now {
            return Err(NoAnswer::Late);
        }
        Ok(open.path.clone())
    }

    /// It was answered.
    pub(crate) fn close(&mut self, id: QueryId) {
        if let Some(open) = self.0.get_mut(&id) {
            open.answered = true;
        }
    }
}
