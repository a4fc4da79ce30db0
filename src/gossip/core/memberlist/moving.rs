//! What it takes to move a name to another address, for `serf::names`, which decides when.
//!
//! ```text
//! visit: [X old, alive, k] [X old, left, k] [X new, alive, k+1]  ─▶ every live node
//!             └ takes dead back   └ may move     └ moves
//! ```
//!
//! A dead message from the node itself turns alive or suspect into left, whoever sends it; dead does not
//! become left, but an alive at the old address with a higher incarnation brings it back first. A left node
//! may change its address. So the list works whatever the receiver holds, stock or ours.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::node::{NodeState, State};
use super::{Change, Delegate, Memberlist};
use crate::gossip::core::wire::message::Alive;
use crate::gossip::core::wire::stream::{PushNode, PushNodeRef};

/// What makes a receiver move `new.name` from `old` to `new`; `new` must be one incarnation above `old`.
pub(crate) fn steps(old: &PushNode, new: &PushNode) -> Arc<[PushNode]> {
    let at_old = |state: State| PushNode {
        incarnation: new.incarnation.saturating_sub(1),
        state: state as u8,
        ..old.clone()
    };
    [at_old(State::Alive), at_old(State::Left), new.clone()].into()
}

/// What makes a receiver know us by our new name, at once and before the former one moves away from our place.
fn rename_steps(own: PushNode, former: &PushNode, holder: &PushNode) -> Arc<[PushNode]> {
    let moved = steps(former, holder);
    std::iter::once(own).chain(moved.iter().cloned()).collect()
}

/// A node as a push/pull lists it.
pub(crate) fn entry(node: &NodeState) -> PushNodeRef<'_> {
    PushNodeRef {
        name: &node.name,
        octets: node.addr().octets.into(),
        port: node.place.port(),
        meta: &node.meta,
        incarnation: node.incarnation,
        state: node.state as u8,
        vsn: Some(node.vsn),
    }
}

impl Memberlist {
    /// Our entry for `name`.
    pub(crate) fn held(&self, name: &str) -> Option<PushNode> {
        self.nodes.get(name).map(|node| entry(node).to_node())
    }

    /// Places of all that may be there, but for ourselves and `name`.
    pub(crate) fn live_places(&self, name: &str) -> Vec<SocketAddr> {
        self.nodes
            .iter()
            .filter(|node| !node.is_gone() && node.name != self.name && node.name != name)
            .map(|node| node.place)
            .collect()
    }

    /// Raises our own incarnation to `incarnation`, and says so.
    pub(crate) fn outbid(&mut self, now: Instant, incarnation: u32, delegate: &mut dyn Delegate) {
        self.incarnation = self.incarnation.max(incarnation);
        if let Some(own) = self.nodes.get_mut(&self.name) {
            own.incarnation = self.incarnation;
            delegate.node_changed(now, own, Change::Refreshed);
        }
        self.broadcast_own_alive();
    }

    /// Goes on as `name`, alive with incarnation 1; the former name is `holder`'s from now on, if there is one.
    ///
    /// What is to be told to those who hold the former name at our place; `None` without a holder.
    pub(crate) fn rename(
        &mut self,
        now: Instant,
        name: &str,
        holder: Option<PushNode>,
        delegate: &mut dyn Delegate,
    ) -> Option<Arc<[PushNode]>> {
        let former = self.nodes.get(&self.name)?.clone();
        self.nodes.remove(&former.name);
        self.broadcasts.give_up(&former.name);
        self.name = name.to_owned();
        self.incarnation = 1;
        self.silent = false;
        let own = NodeState {
            name: name.into(),
            incarnation: self.incarnation,
            changed: now,
            conflict: None,
            ..former.clone()
        };
        let shown = entry(&own).to_node();
        delegate.node_changed(now, &own, Change::Joined);
        self.nodes.insert(own, &mut self.random);
        self.broadcast_own_alive();

        let mut holder = holder?;
        // Above what anybody holds of us, and no lower than what is held of it.
        let above = former.incarnation.saturating_add(2);
        holder.incarnation = holder.incarnation.max(above);
        holder.state = State::Alive as u8;
        if holder.incarnation == u32::MAX {
            return None;
        }
        let steps = rename_steps(shown, &entry(&former).to_node(), &holder);
        let alive = Alive {
            incarnation: holder.incarnation,
            node: holder.name,
            addr: holder.addr,
            meta: holder.meta,
            vsn: holder.vsn?,
        };
        self.on_alive(now, alive, delegate);
        Some(steps)
    }

    /// Moves a node here as a visit does elsewhere, but for the tale of its failing in between.
    pub(crate) fn adopt(&mut self, now: Instant, new: PushNode, delegate: &mut dyn Delegate) {
        let (Some(node), Some(vsn)) = (self.nodes.get_mut(&new.name), new.vsn) else {
            return;
        };
        node.state = State::Left;
        let alive = Alive {
            incarnation: new.incarnation,
            node: new.name,
            addr: new.addr,
            meta: new.meta,
            vsn,
        };
        self.on_alive(now, alive, delegate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip::core::wire::message::WireAddr;

    #[test]
    fn the_old_place_is_left_one_incarnation_below_the_new_one() {
        let at = |octet, incarnation| PushNode {
            name: "x".to_owned(),
            addr: WireAddr {
                octets: vec![10, 0, 0, octet],
                port: 7946,
            },
            meta: vec![octet],
            incarnation,
            state: State::Dead as u8,
            vsn: Some([1, 5, 2, 2, 5, 5]),
        };
        let new = PushNode {
            state: State::Alive as u8,
            ..at(2, 18)
        };

        let steps = steps(&at(1, 7), &new);

        let told: Vec<_> = steps
            .iter()
            .map(|step| (step.addr.octets[3], step.state, step.incarnation))
            .collect();
        assert_eq!(told, [(1, 0, 17), (1, 3, 17), (2, 0, 18)]);
        assert_eq!(steps[0].meta, [1]);
        assert_eq!(steps[2].meta, [2]);
    }
}
