//! Who is out there: one entry per name, and the order in which they are probed.
//!
//! ```text
//! by_name: name ─▶ place        order: shuffled nodes, walked by the probe, drawn from by chance
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::seq::{IteratorRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::suspicion::Suspicion;
use crate::gossip::core::name::Name;
use crate::gossip::core::wire::message::WireAddr;

/// Metas kept before any that nobody has are looked for.
const METAS_MIN: usize = 16;

/// Draws for each node wanted, before all are looked at.
const DRAWS_EACH: usize = 8;

/// What memberlist believes of a node. Numbers are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Alive = 0,
    Suspect = 1,
    Dead = 2,
    Left = 3,
}

/// One node as we know it.
#[derive(Clone, Debug)]
pub(crate) struct NodeState {
    pub(crate) name: Name,
    /// Where, normalised: an IPv4-mapped address is IPv4.
    pub(crate) place: SocketAddr,
    /// It came as an IPv4-mapped address, and is told so: Go compares octets.
    pub(crate) mapped: bool,
    pub(crate) meta: Arc<[u8]>,
    pub(crate) vsn: [u8; 6],
    pub(crate) incarnation: u32,
    pub(crate) state: State,
    /// When `state` last changed.
    pub(crate) changed: Instant,
    pub(crate) suspicion: Option<Box<Suspicion>>,
    /// When a conflict about the name was last reported.
    pub(crate) conflict: Option<Instant>,
}

impl NodeState {
    /// Exactly as received.
    pub(crate) fn addr(&self) -> WireAddr {
        match self.place.ip() {
            IpAddr::V4(ip) if self.mapped => WireAddr {
                octets: ip.to_ipv6_mapped().octets().to_vec(),
                port: self.place.port(),
            },
            _ => WireAddr::of(self.place),
        }
    }

    /// Whether these octets and this port are how it was received.
    pub(crate) fn came_as(&self, octets: &[u8], port: u16) -> bool {
        let same = match self.place.ip() {
            IpAddr::V4(ip) if self.mapped => *octets == ip.to_ipv6_mapped().octets(),
            IpAddr::V4(ip) => *octets == ip.octets(),
            IpAddr::V6(ip) => *octets == ip.octets(),
        };
        same && port == self.place.port()
    }

    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.state, State::Dead | State::Left)
    }

    /// Highest memberlist protocol it speaks.
    pub(crate) fn protocol_max(&self) -> u8 {
        self.vsn[1]
    }
}

/// All nodes, our own among them.
///
/// The nodes themselves lie in the order of the probe: to draw one by chance, as each gossip tick does, is to index.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    #[expect(
        clippy::vec_box,
        reason = "a growing table copies pointers, and keeps room for more of no more than these"
    )]
    order: Vec<Box<NodeState>>,
    /// Where each is in `order`.
    by_name: BTreeMap<Name, u32>,
    /// Where the probe stands in `order`.
    next: usize,
    metas: Metas,
}

/// Each `Meta` once: most nodes of a cluster have the same tags as many others.
#[derive(Debug, Default)]
struct Metas {
    known: BTreeSet<Arc<[u8]>>,
    /// Those that no node has any more are dropped when there are so many.
    full: usize,
}

impl Metas {
    fn share(&mut self, meta: &[u8]) -> Arc<[u8]> {
        if let Some(known) = self.known.get(meta) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.full {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.full = 2 * self.known.len() + METAS_MIN;
        }
        let new: Arc<[u8]> = meta.into();
        self.known.insert(Arc::clone(&new));
        new
    }
}

impl Nodes {
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&NodeState> {
        self.order
            .get(*self.by_name.get(name)? as usize)
            .map(|node| &**node)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut NodeState> {
        self.order
            .get_mut(*self.by_name.get(name)? as usize)
            .map(|node| &mut **node)
    }

    /// In the order of the probe, which is shuffled: what Go sends in a push/pull.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &NodeState> {
        self.order.iter().map(|node| &**node)
    }

    /// `meta`, in one piece of memory for all nodes that have the same.
    pub(crate) fn share_meta(&mut self, meta: &[u8]) -> Arc<[u8]> {
        self.metas.share(meta)
    }

    /// Adds a node, or replaces the one of its name, at a random place of the probe order: were it always the end, a
    /// wave of joins would be probed last by everyone.
    pub(crate) fn insert(&mut self, node: NodeState, random: &mut ChaCha8Rng) {
        if let Some(known) = self.get_mut(&node.name) {
            *known = node;
            return;
        }
        let last = self.order.len();
        self.by_name.insert(node.name.clone(), last as u32);
        self.order.push(Box::new(node));
        self.swap(random.random_range(0..=last), last);
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.order.swap(one, other);
        for at in [one, other] {
            if let Some(index) = self.by_name.get_mut(&self.order[at].name) {
                *index = at as u32;
            }
        }
    }

    /// Those already probed in this round stay in front of `next`, the others behind it.
    pub(crate) fn remove(&mut self, name: &str) {
        let Some(at) = self.by_name.remove(name) else {
            return;
        };
        let mut at = at as usize;
        if at < self.next {
            self.next -= 1;
            self.swap(at, self.next);
            at = self.next;
        }
        self.order.swap_remove(at);
        if let Some(moved) = self.order.get(at)
            && let Some(index) = self.by_name.get_mut(&moved.name)
        {
            *index = at as u32;
        }
    }

    /// The next node to probe: alive or suspect, never `own`. At the wrap-around the long dead go
    /// (not those who left: Serf forgets them at its tombstone timeout) and the order is shuffled.
    pub(crate) fn next_target(
        &mut self,
        own: &str,
        now: Instant,
        keep_dead: Duration,
        random: &mut ChaCha8Rng,
    ) -> Option<&NodeState> {
        // Twice the table is enough to see everyone once, from any starting point.
        let mut wraps = 0;
        let at = loop {
            let Some(node) = self.order.get(self.next) else {
                wraps += 1;
                if wraps > 2 {
                    return None;
                }
                self.wrap_around(now, keep_dead, random);
                continue;
            };
            self.next += 1;
            if node.name != own && !node.is_gone() {
                break self.next - 1;
            }
        };
        self.order.get(at).map(|node| &**node)
    }

    fn wrap_around(&mut self, now: Instant, keep_dead: Duration, random: &mut ChaCha8Rng) {
        let by_name = &mut self.by_name;
        self.order.retain(|node| {
            let forgotten = node.state == State::Dead
                && now.saturating_duration_since(node.changed) > keep_dead;
            if forgotten {
                by_name.remove(&node.name);
            }
            !forgotten
        });
        self.order.shuffle(random);
        for (at, node) in self.order.iter().enumerate() {
            if let Some(index) = by_name.get_mut(&node.name) {
                *index = at as u32;
            }
        }
        self.next = 0;
    }

    /// Names of up to `count` different random nodes that `wanted` accepts.
    ///
    /// Drawn by chance, so that the cost does not grow with the table; only where a few draws do not yield enough
    /// (small tables, or hardly anyone fits) all are looked at.
    pub(crate) fn pick(
        &self,
        count: usize,
        random: &mut ChaCha8Rng,
        wanted: impl Fn(&NodeState) -> bool,
    ) -> Vec<Name> {
        let mut drawn: Vec<usize> = Vec::with_capacity(count);
        for _ in 0..DRAWS_EACH * count {
            if drawn.len() == count || self.order.is_empty() {
                break;
            }
            let at = random.random_range(0..self.order.len());
            if !drawn.contains(&at) && wanted(&self.order[at]) {
                drawn.push(at);
            }
        }
        if drawn.len() < count {
            let fit = (0..self.order.len()).filter(|at| wanted(&self.order[*at]));
            drawn = fit.sample(random, count);
            drawn.shuffle(random);
        }
        let names = drawn.into_iter().map(|at| self.order[at].name.clone());
        names.collect()
    }
}

/// Where to send for `addr`; `None` unless it is a unicast address.
pub(crate) fn place_of(addr: &WireAddr) -> Option<SocketAddr> {
    let place = addr.socket()?;
    let ip = place.ip();
    let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    if ip.is_unspecified() || ip.is_multicast() || broadcast {
        return None;
    }
    Some(place)
}

/// Whether an IPv4 address came in 16 octets.
pub(crate) fn is_mapped(addr: &WireAddr) -> bool {
    addr.octets.len() == 16 && addr.socket().is_some_and(|place| place.is_ipv4())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    fn node(name: &str, state: State, changed: Instant) -> NodeState {
        let place: SocketAddr = "10.0.0.1:7946".parse().expect("an address");
        NodeState {
            name: name.into(),
            place,
            mapped: false,
            meta: Arc::default(),
            vsn: [1, 5, 2, 2, 5, 5],
            incarnation: 1,
            state,
            changed,
            suspicion: None,
            conflict: None,
        }
    }

    fn table(entries: &[(&str, State)], now: Instant) -> (Nodes, ChaCha8Rng) {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut nodes = Nodes::default();
        for (name, state) in entries {
            nodes.insert(node(name, *state, now), &mut random);
        }
        (nodes, random)
    }

    #[test]
    fn every_live_node_is_probed_once_per_round_and_nobody_else() {
        let now = crate::clock::now();
        let (mut nodes, mut random) = table(
            &[
                ("us", State::Alive),
                ("a", State::Alive),
                ("b", State::Suspect),
                ("c", State::Alive),
                ("d", State::Dead),
                ("l", State::Left),
            ],
            now,
        );

        for _ in 0..50 {
            let round: BTreeSet<Name> = (0..3)
                .filter_map(|_| {
                    nodes
                        .next_target("us", now, Duration::from_secs(30), &mut random)
                        .map(|node| node.name.clone())
                })
                .collect();
            assert_eq!(round, ["a", "b", "c"].map(Name::from).into());
        }
    }

    #[test]
    fn each_round_has_its_own_order() {
        let now = crate::clock::now();
        let names = ["a", "b", "c", "d", "e", "f"].map(|name| (name, State::Alive));
        let (mut nodes, mut random) = table(&names, now);
        let mut round = || -> Vec<Name> {
            (0..6)
                .filter_map(|_| {
                    nodes
                        .next_target("us", now, Duration::from_secs(30), &mut random)
                        .map(|node| node.name.clone())
                })
                .collect()
        };
        let rounds: BTreeSet<Vec<Name>> = (0..10).map(|_| round()).collect();

        assert!(rounds.len() > 5, "{rounds:?}");
    }

    #[test]
    fn nobody_to_probe_ends_the_search() {
        let now = crate::clock::now();
        let (mut nodes, mut random) = table(&[("us", State::Alive), ("d", State::Dead)], now);

        assert!(
            nodes
                .next_target("us", now, Duration::from_secs(30), &mut random)
                .is_none()
        );
    }

    #[test]
    fn the_long_dead_go_at_the_wrap_around_and_the_left_stay() {
        let start = crate::clock::now();
        let (mut nodes, mut random) = table(
            &[("us", State::Alive), ("d", State::Dead), ("l", State::Left)],
            start,
        );
        let keep = Duration::from_secs(30);

        nodes.next_target("us", start + keep, keep, &mut random);
        assert!(nodes.get("d").is_some());
        nodes.next_target(
            "us",
            start + keep + Duration::from_millis(1),
            keep,
            &mut random,
        );
        assert!(nodes.get("d").is_none());
        assert!(nodes.get("l").is_some());
        assert_eq!(nodes.len(), 2);
    }

    #[test]
    fn a_removal_neither_skips_nor_repeats_a_probe() {
        let now = crate::clock::now();
        let names: Vec<Name> = (0..9).map(|number: u8| number.to_string().into()).collect();
        for seed in 0..50 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut nodes = Nodes::default();
            for name in &names {
                nodes.insert(node(name, State::Alive, now), &mut random);
            }
            let mut probe = |nodes: &mut Nodes| {
                let keep = Duration::from_secs(30);
                let target = nodes.next_target("us", now, keep, &mut random);
                target.expect("somebody").name.clone()
            };
            let mut probed: Vec<Name> = (0..4).map(|_| probe(&mut nodes)).collect();
            let gone = [probed[1].clone(), (seed % 9).to_string().into()];
            for name in &gone {
                nodes.remove(name);
                assert!(nodes.get(name).is_none());
            }
            let rest = names.iter().filter(|name| !gone.contains(name)).count();
            let before = probed.iter().filter(|name| !gone.contains(name)).count();
            probed.extend((before..rest).map(|_| probe(&mut nodes)));

            let different: BTreeSet<&Name> = probed.iter().collect();
            assert_eq!(different.len(), probed.len(), "seed {seed}: {probed:?}");
            for name in names.iter().filter(|name| !gone.contains(name)) {
                assert_eq!(&nodes.get(name).expect("kept").name, name);
            }
        }
    }

    #[test]
    fn picks_are_different_nodes_and_as_many_as_there_are() {
        let now = crate::clock::now();
        let (nodes, mut random) = table(
            &[
                ("us", State::Alive),
                ("a", State::Alive),
                ("b", State::Alive),
            ],
            now,
        );

        for _ in 0..20 {
            let picked = nodes.pick(3, &mut random, |node| node.name != "us");
            let different: BTreeSet<&Name> = picked.iter().collect();
            assert_eq!(picked.len(), 2);
            assert_eq!(different.len(), 2);
        }
    }

    #[test]
    fn both_forms_of_an_ipv4_address_are_one_place() {
        let short = WireAddr {
            octets: vec![10, 0, 0, 9],
            port: 1,
        };
        let mut octets = vec![0; 10];
        octets.extend([0xff, 0xff, 10, 0, 0, 9]);
        let long = WireAddr { octets, port: 1 };

        assert_eq!(place_of(&short), place_of(&long));
        assert_eq!(WireAddr::of(place_of(&long).expect("a place")), short);
    }

    #[test]
    fn addresses_that_cannot_be_a_node_are_no_place() {
        for octets in [
            vec![],
            vec![1, 2, 3],
            vec![0; 4],
            vec![0; 16],
            vec![255; 4],
            vec![224, 0, 0, 1],
        ] {
            assert_eq!(
                place_of(&WireAddr {
                    octets: octets.clone(),
                    port: 7946
                }),
                None,
                "{octets:?}"
            );
        }
    }
}
