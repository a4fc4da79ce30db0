//! Joining: a push/pull with each address, then one word that we are here.
//!
//! ```text
//! join(addresses) ─▶ waiting ──≤16 at once──▶ push/pull ──first answer──▶ join intent
//!                                                 └── all over ──▶ Event::JoinFinished
//! ```
//!
//! The intent must follow the first merge: its Lamport time has to be above what the cluster knows of us.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use super::Serf;
use super::layer::Ended;
use super::leave::Life;
use crate::gossip::core::memberlist::Cause;
use crate::gossip::core::node::{Event, JoinId};

/// Exchanges of one join at one time; a DNS name may have many addresses.
const AT_ONCE: usize = 16;

/// One call of join.
#[derive(Debug, Default)]
pub(crate) struct Join {
    waiting: VecDeque<SocketAddr>,
    under_way: usize,
    reached: usize,
    failures: Vec<(SocketAddr, String)>,
}

impl Serf {
    pub(crate) fn join(&mut self, now: Instant, addresses: &[SocketAddr]) -> JoinId {
        self.last_join += 1;
        let id = JoinId(self.last_join);
        let mut join = Join::default();
        for &address in addresses {
            if self.life != Life::Alive {
                join.failures
                    .push((address, "this member is leaving".to_owned()));
            } else if self.memberlist.is_own_address(address) {
                join.failures
                    .push((address, "that is this node itself".to_owned()));
            } else if !join.waiting.contains(&address) {
                join.waiting.push_back(address);
            }
        }
        self.joins.insert(id, join);
        self.go_on_joining(now, id);
        self.settle(now);
        id
    }

    /// An exchange that we began is over.
    pub(super) fn exchange_ended(&mut self, now: Instant, ended: Ended) {
        let Cause::Join(id) = ended.cause else {
            if let Err(cause) = ended.outcome {
                tracing::debug!(peer = %ended.peer, cause, "push/pull failed");
            }
            return;
        };
        let Some(join) = self.joins.get_mut(&id) else {
            return;
        };
        join.under_way -= 1;
        match ended.outcome {
            Ok(()) => {
                join.reached += 1;
                self.layer.tray.speak_up |= join.reached == 1;
            }
            Err(cause) => join.failures.push((ended.peer, cause)),
        }
        self.go_on_joining(now, id);
    }

    fn go_on_joining(&mut self, now: Instant, id: JoinId) {
        let Some(join) = self.joins.get_mut(&id) else {
            return;
        };
        while join.under_way < AT_ONCE {
            let Some(peer) = join.waiting.pop_front() else {
                break;
            };
            join.under_way += 1;
            self.memberlist.push_pull(now, peer, Cause::Join(id));
        }
        if join.under_way == 0
            && let Some(join) = self.joins.remove(&id)
        {
            self.layer.out.push_back(Event::JoinFinished {
                id,
                reached: join.reached,
                failures: join.failures,
            });
        }
    }
}
