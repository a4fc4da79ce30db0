//! Joining: a look at each address, a push/pull, then one word that we are here.
//!
//! ```text
//! join(addresses) ─▶ waiting ──≤16 at once──▶ pull ──▶ push/pull ──first answer──▶ join intent
//!                       ▲                       │           └── all over ──▶ Event::JoinFinished
//!                       └─name is ours─ parked ◀┘ our name is elsewhere: see `names`
//! ```
//!
//! The look tells the peer nothing. Were our name another's, our own state would start a vote about it, which
//! the other may lose. The intent must follow the first merge: its Lamport time has to be above what the
//! cluster knows of us.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use super::Serf;
use super::layer::{Ended, PulledFrom};
use super::leave::Life;
use super::names::case::HEADROOM;
use crate::gossip::core::io::{Event, JoinId, Past};
use crate::gossip::core::memberlist::Cause;
use crate::gossip::core::memberlist::node::State;

/// Exchanges of one join at one time; a DNS name may have many addresses.
const AT_ONCE: usize = 16;

/// Looks at one address that may find our name elsewhere; then something is wrong that we cannot repair.
const LOOKS_MAX: u32 = 4;

/// One call of join.
#[derive(Debug, Default)]
pub(crate) struct Join {
    waiting: VecDeque<SocketAddr>,
    under_way: usize,
    /// They hold our name elsewhere, and wait until it is clear whose it is.
    parked: Vec<SocketAddr>,
    /// How often addresses were taken back from `parked`.
    looks: u32,
    reached: usize,
    failures: Vec<(SocketAddr, String)>,
}

impl Serf {
    pub(crate) fn join(&mut self, now: Instant, addresses: &[SocketAddr], past: Past) -> JoinId {
        self.last_join += 1;
        let id = JoinId(self.last_join);
        if past != Past::Skip {
            self.layer.pasts.insert(id, past);
        }
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
                self.names.settle(now);
                self.layer.tray.speak_up |= join.reached == 1;
            }
            Err(cause) => join.failures.push((ended.peer, cause)),
        }
        self.go_on_joining(now, id);
    }

    /// A peer's state is here, and it has not seen ours yet.
    pub(super) fn pulled(&mut self, now: Instant, pulled: PulledFrom) {
        let PulledFrom {
            join: id,
            peer,
            outcome,
        } = pulled;
        let Some(join) = self.joins.get_mut(&id) else {
            return;
        };
        let found = match outcome {
            Ok(found) if self.life == Life::Alive => found,
            Ok(_) => {
                join.under_way -= 1;
                join.failures
                    .push((peer, "this member is leaving".to_owned()));
                return self.go_on_joining(now, id);
            }
            Err(cause) => {
                join.under_way -= 1;
                join.failures.push((peer, cause));
                return self.go_on_joining(now, id);
            }
        };
        match found
            .own
            .filter(|own| self.memberlist.is_elsewhere(&own.lend()))
        {
            Some(own) if own.state != State::Left as u8 => {
                join.under_way -= 1;
                join.parked.push(peer);
                let live = found.live.into_iter().chain([peer]).collect();
                self.claim_own(now, own, live);
                self.go_on_joining(now, id);
            }
            // Where our name is unknown it waits too: one address has it elsewhere, and may be right.
            _ if self.names.is_open(&self.layer.name) => {
                join.under_way -= 1;
                join.parked.push(peer);
                self.go_on_joining(now, id);
            }
            elsewhere => {
                if let Some(own) = elsewhere {
                    // One who left may come back anywhere, above what is known of it.
                    let above = own.incarnation.saturating_add(HEADROOM + 1);
                    self.memberlist.outbid(now, above, &mut self.layer);
                }
                self.memberlist.silent = false;
                self.memberlist.push_pull(now, peer, Cause::Join(id));
            }
        }
    }

    /// Our name is ours again, or another's who answers there.
    pub(super) fn resume_joins(&mut self, now: Instant, outcome: Result<(), SocketAddr>) {
        match outcome {
            Err(holder) => self.give_up_parked(now, &format!("our name is in use at {holder}")),
            Ok(()) => {
                let ids: Vec<JoinId> = self.joins.keys().copied().collect();
                for id in ids {
                    let Some(join) = self.joins.get_mut(&id) else {
                        continue;
                    };
                    let parked = std::mem::take(&mut join.parked);
                    if parked.is_empty() {
                        continue;
                    }
                    join.looks += 1;
                    if join.looks < LOOKS_MAX {
                        join.waiting.extend(parked);
                    } else {
                        let cause = "holds our name at another address".to_owned();
                        let failures = parked.into_iter().map(|peer| (peer, cause.clone()));
                        join.failures.extend(failures);
                    }
                    self.go_on_joining(now, id);
                }
            }
        }
    }

    pub(super) fn give_up_parked(&mut self, now: Instant, cause: &str) {
        let ids: Vec<JoinId> = self.joins.keys().copied().collect();
        for id in ids {
            if let Some(join) = self.joins.get_mut(&id) {
                let parked = std::mem::take(&mut join.parked);
                let failures = parked.into_iter().map(|peer| (peer, cause.to_owned()));
                join.failures.extend(failures);
                self.go_on_joining(now, id);
            }
        }
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
            if self.names.is_enabled() {
                self.memberlist.pull(now, peer, id);
            } else {
                self.memberlist.push_pull(now, peer, Cause::Join(id));
            }
        }
        if join.under_way == 0
            && join.parked.is_empty()
            && let Some(join) = self.joins.remove(&id)
        {
            self.layer.pasts.remove(&id);
            self.layer.out.push_back(Event::JoinFinished {
                id,
                reached: join.reached,
                failures: join.failures,
            });
        }
    }
}
