//! Who is out there: one entry per name, and the order in which they are probed.
//!
//! ```text
//! by_name: name ─▶ NodeState        order: shuffled names, walked by the probe
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::suspicion::Suspicion;
use crate::gossip::core::wire::message::WireAddr;

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
    pub(crate) name: String,
    /// Exactly as received: Go compares octets.
    pub(crate) addr: WireAddr,
    /// `addr`, normalised: an IPv4-mapped address is IPv4.
    pub(crate) place: SocketAddr,
    pub(crate) meta: Vec<u8>,
    pub(crate) vsn: [u8; 6],
    pub(crate) incarnation: u32,
    pub(crate) state: State,
    /// When `state` last changed.
    pub(crate) changed: Instant,
    pub(crate) suspicion: Option<Suspicion>,
    /// When a conflict about the name was last reported.
    pub(crate) conflict: Option<Instant>,
}

impl NodeState {
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.state, State::Dead | State::Left)
    }

    /// Highest memberlist protocol it speaks.
    pub(crate) fn protocol_max(&self) -> u8 {
        self.vsn[1]
    }
}

/// All nodes, our own among them.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    by_name: BTreeMap<String, NodeState>,
    order: Vec<String>,
    /// Where the probe stands in `order`.
    next: usize,
}

impl Nodes {
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&NodeState> {
        self.by_name.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut NodeState> {
        self.by_name.get_mut(name)
    }

    /// In the order of the probe, which is shuffled: what Go sends in a push/pull.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &NodeState> {
        self.order.iter().filter_map(|name| self.by_name.get(name))
    }

    /// Adds a node at a random place of the probe order: were it always the end, a wave of joins
    /// would be probed last by everyone.
    pub(crate) fn insert(&mut self, node: NodeState, random: &mut ChaCha8Rng) {
        let last = self.order.len();
        self.order.push(node.name.clone());
        let place = random.random_range(0..=last);
        self.order.swap(place, last);
        self.by_name.insert(node.name.clone(), node);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        if self.by_name.remove(name).is_some()
            && let Some(at) = self.order.iter().position(|other| other == name)
        {
            self.order.remove(at);
            if at < self.next {
                self.next -= 1;
            }
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
        let name = loop {
            let Some(name) = self.order.get(self.next) else {
                wraps += 1;
                if wraps > 2 {
                    return None;
                }
                self.wrap_around(now, keep_dead, random);
                continue;
            };
            self.next += 1;
            let probed = name != own && self.by_name.get(name).is_some_and(|node| !node.is_gone());
            if probed {
                break name.clone();
            }
        };
        self.by_name.get(&name)
    }

    fn wrap_around(&mut self, now: Instant, keep_dead: Duration, random: &mut ChaCha8Rng) {
        let by_name = &mut self.by_name;
        self.order.retain(|name| {
            let forgotten = by_name.get(name).is_none_or(|node| {
                node.state == State::Dead && now.saturating_duration_since(node.changed) > keep_dead
            });
            if forgotten {
                by_name.remove(name);
            }
            !forgotten
        });
        self.order.shuffle(random);
        self.next = 0;
    }

    /// Names of up to `count` different random nodes that `wanted` accepts.
    pub(crate) fn pick(
        &self,
        count: usize,
        random: &mut ChaCha8Rng,
        wanted: impl Fn(&NodeState) -> bool,
    ) -> Vec<String> {
        let mut fit: Vec<&NodeState> = self.iter().filter(|node| wanted(node)).collect();
        let count = count.min(fit.len());
        for at in 0..count {
            let other = random.random_range(at..fit.len());
            fit.swap(at, other);
        }
        fit.truncate(count);
        fit.into_iter().map(|node| node.name.clone()).collect()
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    fn node(name: &str, state: State, changed: Instant) -> NodeState {
        let place: SocketAddr = "10.0.0.1:7946".parse().expect("an address");
        NodeState {
            name: name.to_owned(),
            addr: WireAddr::of(place),
            place,
            meta: Vec::new(),
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
            let round: BTreeSet<String> = (0..3)
                .filter_map(|_| {
                    nodes
                        .next_target("us", now, Duration::from_secs(30), &mut random)
                        .map(|node| node.name.clone())
                })
                .collect();
            assert_eq!(round, ["a", "b", "c"].map(str::to_owned).into());
        }
    }

    #[test]
    fn each_round_has_its_own_order() {
        let now = crate::clock::now();
        let names = ["a", "b", "c", "d", "e", "f"].map(|name| (name, State::Alive));
        let (mut nodes, mut random) = table(&names, now);
        let mut round = || -> Vec<String> {
            (0..6)
                .filter_map(|_| {
                    nodes
                        .next_target("us", now, Duration::from_secs(30), &mut random)
                        .map(|node| node.name.clone())
                })
                .collect()
        };
        let rounds: BTreeSet<Vec<String>> = (0..10).map(|_| round()).collect();

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
            let different: BTreeSet<&String> = picked.iter().collect();
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
