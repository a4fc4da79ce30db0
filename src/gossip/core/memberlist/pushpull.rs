//! Full states, ours and a peer's.
//!
//! ```text
//! node table + Delegate::local_state ─▶ PushPull ═stream═▶ merge ─▶ version check ─▶ rules, in list order
//!                                                                        └▶ Delegate::merge_remote_state
//! ```
//!
//! Source: memberlist `state.go`, `pushPull`, `verifyProtocol`, `mergeState`.

use std::time::{Duration, Instant};

use super::moving::entry;
use super::node::{State, place_of};
use super::rules::speaks_with_us;
use super::{Cause, Delegate, Memberlist, NODES_MAX, Pulled, VERSIONS};
use crate::gossip::core::wire::message::{Accusation, Alive};
use crate::gossip::core::wire::stream::{self, PushNode, PushPull};

/// Up to this many nodes the period of push/pulls is not stretched.
const SCALE_FROM: usize = 32;

/// The period in a table of `nodes`: the interval itself up to 32, twice for 33, three times for 65.
pub(super) fn period(interval: Duration, nodes: usize) -> Duration {
    if nodes <= SCALE_FROM {
        return interval;
    }
    let doublings = libm::ceil(libm::log2(nodes as f64) - libm::log2(SCALE_FROM as f64));
    interval * (doublings as u32 + 1)
}

impl Memberlist {
    /// The periodic exchange with one random live node.
    pub(super) fn push_pull_with_somebody(&mut self, now: Instant) {
        if self.leaving || self.silent {
            return;
        }
        let chosen = self.nodes.pick(1, &mut self.random, |node| {
            node.name != self.name && node.state == State::Alive
        });
        if let Some(node) = chosen.first().and_then(|name| self.nodes.get(name)) {
            let peer = node.place;
            self.push_pull(now, peer, Cause::AntiEntropy);
        }
    }

    /// Our state, encoded: node after node, since all of them as messages would take more than the table does.
    pub(super) fn local_state(&mut self, join: bool, delegate: &mut dyn Delegate) -> Vec<u8> {
        let nodes = self.nodes.iter().map(entry);
        stream::encode_state(join, nodes, &delegate.local_state(), self.compress)
    }

    /// Applies a peer's state.
    ///
    /// # Errors
    /// A text for people: the peer is ourselves, or holds nodes that our cluster cannot speak with;
    /// nothing was applied then.
    pub(super) fn merge(
        &mut self,
        now: Instant,
        remote: PushPull,
        cause: Option<Cause>,
        delegate: &mut dyn Delegate,
    ) -> Result<(), String> {
        if cause.is_some() && self.is_our_mirror(&remote.nodes) {
            return Err("that is this node itself".to_owned());
        }
        if remote.nodes.len() > NODES_MAX {
            return Err(format!("more than {NODES_MAX} nodes"));
        }
        self.verify_versions(&remote.nodes)?;
        if !self.leaving {
            let elsewhere = |node: &&PushNode| {
                node.name == self.name && node.state != State::Left as u8 && self.is_elsewhere(node)
            };
            if let Some(entry) = remote.nodes.iter().rev().find(elsewhere)
                && let Some(own) = self.nodes.get(&self.name)
            {
                delegate.own_name_elsewhere(own, entry.clone());
            }
        }
        for node in remote.nodes {
            self.merge_node(now, node, delegate);
        }
        if !remote.user_state.is_empty() {
            delegate.merge_remote_state(now, &remote.user_state, cause);
        }
        Ok(())
    }

    /// A peer that knows of nobody but us, exactly as we are, is our own listener under another address.
    fn is_our_mirror(&self, remote: &[PushNode]) -> bool {
        self.nodes.len() == 1
            && matches!(remote, [only] if only.name == self.name
                && only.addr == self.own_addr
                && only.incarnation == self.incarnation)
    }

    /// Go compares octets: the other form of our own address is another place to a stock peer.
    pub(crate) fn is_elsewhere(&self, own: &PushNode) -> bool {
        own.addr != self.own_addr
    }

    /// What a peer's table says of our name, and whom it believes to be there.
    pub(super) fn look_through(&self, nodes: Vec<PushNode>) -> Pulled {
        let there = |node: &&PushNode| node.state <= State::Suspect as u8 && node.name != self.name;
        let live = nodes
            .iter()
            .filter(there)
            .take(NODES_MAX)
            .filter_map(|node| place_of(&node.addr))
            .collect();
        let own = nodes.into_iter().rev().find(|node| node.name == self.name);
        Pulled { own, live }
    }

    fn merge_node(&mut self, now: Instant, node: PushNode, delegate: &mut dyn Delegate) {
        let accusation = |from: &str| Accusation {
            incarnation: node.incarnation,
            node: node.name.clone(),
            from: from.to_owned(),
        };
        match node.state {
            0 => {
                let Some(vsn) = node.vsn else {
                    self.refuse("version");
                    return;
                };
                let alive = Alive {
                    incarnation: node.incarnation,
                    node: node.name,
                    addr: node.addr,
                    meta: node.meta,
                    vsn,
                };
                self.on_alive(now, alive, delegate);
            }
            // A peer's "dead" may be old; we only suspect, so that the node can answer for itself.
            1 | 2 => {
                let suspect = accusation(&self.name);
                self.on_suspect(now, suspect, delegate);
            }
            3 => {
                let left = accusation(&node.name);
                self.on_dead(now, left, delegate);
            }
            _ => self.refuse("field"),
        }
    }

    /// A cluster of which no live node understands us is not ours to join.
    ///
    /// Go refuses the whole exchange for one odd node, dead ones included, and so lets one forged message stop
    /// every join. Here such a node is left out by itself, see `rules`.
    fn verify_versions(&self, remote: &[PushNode]) -> Result<(), String> {
        let mut alive = remote.iter().filter(|node| node.state == 0).peekable();
        let Some(first) = alive.peek() else {
            return Ok(());
        };
        let odd = format!(
            "node {:?} speaks versions {:?}, we {VERSIONS:?}",
            first.name,
            first.vsn.unwrap_or_default()
        );
        if alive.any(|node| node.vsn.is_some_and(|vsn| speaks_with_us(&vsn))) {
            Ok(())
        } else {
            Err(odd)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_period_grows_with_the_cluster() {
        let second = Duration::from_secs(1);
        for (nodes, periods) in [(1, 1), (32, 1), (33, 2), (64, 2), (65, 3), (128, 3)] {
            assert_eq!(period(second, nodes), periods * second, "{nodes} nodes");
        }
    }
}
