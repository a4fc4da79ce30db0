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
use super::{Cause, Delegate, META_BYTES_MAX, Memberlist, NODES_MAX, Pulled, VERSIONS};
use crate::gossip::core::wire::message::{Accusation, Alive};
use crate::gossip::core::wire::stream::{self, PushNodeRef, PushNodes, PushPull};

/// Up to this many nodes the period of push/pulls is not stretched.
const SCALE_FROM: usize = 32;

/// Nodes exchanged in an interval, at most: from about 900 on the period grows with the table, so that its bytes a
/// second stay as they are. Serf's logarithm lets them grow without end, 2.4 kB/s each way among 3,000.
const NODES_PER_INTERVAL: usize = 150;

/// The period in a table of `nodes`: the interval itself up to 32, twice for 33, three times for 65.
pub(super) fn period(interval: Duration, nodes: usize) -> Duration {
    if nodes <= SCALE_FROM {
        return interval;
    }
    let doublings = libm::ceil(libm::log2(nodes as f64) - libm::log2(SCALE_FROM as f64));
    let flat = interval.mul_f64(nodes as f64 / NODES_PER_INTERVAL as f64);
    flat.max(interval * (doublings as u32 + 1))
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
        let count = self.nodes.len();
        stream::encode_state(join, count, nodes, &delegate.local_state(), self.compress)
    }

    /// Applies a peer's state.
    ///
    /// # Errors
    /// A text for people: the peer is ourselves, or holds nodes that our cluster cannot speak with;
    /// nothing was applied then.
    pub(super) fn merge(
        &mut self,
        now: Instant,
        remote: &PushPull,
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
            let elsewhere = |node: &PushNodeRef<'_>| {
                node.name == self.name && node.state != State::Left as u8 && self.is_elsewhere(node)
            };
            if let Some(entry) = remote.nodes.iter().filter(elsewhere).last()
                && let Some(own) = self.nodes.get(&self.name)
            {
                delegate.own_name_elsewhere(own, entry.to_node());
            }
        }
        for node in remote.nodes.iter() {
            self.merge_node(now, &node, delegate);
        }
        if !remote.user_state.is_empty() {
            delegate.merge_remote_state(now, &remote.user_state, cause);
        }
        Ok(())
    }

    /// A peer that knows of nobody but us, exactly as we are, is our own listener under another address.
    fn is_our_mirror(&self, remote: &PushNodes) -> bool {
        let is_us = |only: PushNodeRef<'_>| {
            only.name == self.name
                && !self.is_elsewhere(&only)
                && only.incarnation == self.incarnation
        };
        self.nodes.len() == 1 && remote.len() == 1 && remote.iter().all(is_us)
    }

    /// Go compares octets: the other form of our own address is another place to a stock peer.
    pub(crate) fn is_elsewhere(&self, own: &PushNodeRef<'_>) -> bool {
        *own.octets != *self.own_addr.octets || own.port != self.own_addr.port
    }

    /// What a peer's table says of our name, and whom it believes to be there.
    pub(super) fn look_through(&self, nodes: &PushNodes) -> Pulled {
        let there =
            |node: &PushNodeRef<'_>| node.state <= State::Suspect as u8 && node.name != self.name;
        let live = nodes
            .iter()
            .filter(there)
            .take(NODES_MAX)
            .filter_map(|node| place_of(&node.addr()))
            .collect();
        let own = nodes.iter().filter(|node| node.name == self.name).last();
        Pulled {
            own: own.map(|own| own.to_node()),
            live,
        }
    }

    fn merge_node(&mut self, now: Instant, node: &PushNodeRef<'_>, delegate: &mut dyn Delegate) {
        let accusation = |from: &str| Accusation {
            incarnation: node.incarnation,
            node: node.name.to_owned(),
            from: from.to_owned(),
        };
        match node.state {
            0 if self.is_no_news(node) => {}
            0 => {
                let Some(vsn) = node.vsn else {
                    self.refuse("version");
                    return;
                };
                let alive = Alive {
                    incarnation: node.incarnation,
                    node: node.name.to_owned(),
                    addr: node.addr(),
                    meta: node.meta.to_vec(),
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
                let left = accusation(node.name);
                self.on_dead(now, left, delegate);
            }
            _ => self.refuse("field"),
        }
    }

    /// Whether `rules` would pass over this alive without a trace: nearly all of a push/pull is known already, and
    /// need not become a message.
    fn is_no_news(&self, alive: &PushNodeRef<'_>) -> bool {
        alive.name != self.name
            && alive.meta.len() <= META_BYTES_MAX
            && alive.vsn.is_some_and(|vsn| speaks_with_us(&vsn))
            && self.nodes.get(alive.name).is_some_and(|known| {
                alive.incarnation <= known.incarnation && known.came_as(&alive.octets, alive.port)
            })
    }

    /// A cluster of which no live node understands us is not ours to join.
    ///
    /// Go refuses the whole exchange for one odd node, dead ones included, and so lets one forged message stop
    /// every join. Here such a node is left out by itself, see `rules`.
    fn verify_versions(&self, remote: &PushNodes) -> Result<(), String> {
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
        for (nodes, periods) in [
            (1, 1),
            (32, 1),
            (33, 2),
            (64, 2),
            (65, 3),
            (128, 3),
            (900, 6),
            (3000, 20),
        ] {
            assert_eq!(period(second, nodes), periods * second, "{nodes} nodes");
        }
    }
}
