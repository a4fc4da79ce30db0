//! What the network does to packets, and who reaches whom.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Names a host of the world.
pub(crate) type HostId = usize;

/// Rules of the network; may be changed while it runs.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// One way. A range reorders: each packet draws its own.
    pub(crate) delay: Range<Duration>,
    /// Share of packets that vanish.
    pub(crate) loss: f64,
    /// Share of packets that come twice.
    pub(crate) duplicates: f64,
    /// Hosts whose packets all vanish, both ways; their streams work.
    pub(crate) no_packets: Vec<HostId>,
    /// Hosts in different groups do not reach each other; those not listed are in group 0.
    groups: BTreeMap<HostId, u32>,
    /// Two that do not reach each other.
    apart: Vec<(HostId, HostId)>,
    /// From whom to whom nothing comes through, though the other way it does.
    one_way: BTreeSet<(HostId, HostId)>,
    /// Some hosts were cut off at some time. Islands may live on for long and tell old tales when they meet.
    pub(crate) ever_cut: bool,
    /// Packets that vanished by chance or by a cut, and all of them.
    pub(crate) lost: u64,
    /// Packets sent to each.
    pub(crate) sent_to: BTreeMap<HostId, u64>,
    /// All packets sent.
    pub(crate) sent: u64,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            delay: Duration::from_micros(100)..Duration::from_millis(2),
            loss: 0.0,
            duplicates: 0.0,
            no_packets: Vec::new(),
            groups: BTreeMap::new(),
            apart: Vec::new(),
            one_way: BTreeSet::new(),
            ever_cut: false,
            lost: 0,
            sent: 0,
            sent_to: BTreeMap::new(),
        }
    }
}

impl Network {
    /// Cuts `hosts` off from everyone else; among themselves they still talk.
    pub(crate) fn cut_off(&mut self, hosts: &[HostId], group: u32) {
        self.ever_cut = true;
        for host in hosts {
            self.groups.insert(*host, group);
        }
    }

    /// Cuts the way between two; each still reaches everyone else.
    pub(crate) fn separate(&mut self, one: HostId, other: HostId) {
        self.ever_cut = true;
        self.apart.push((one, other));
    }

    /// Nothing comes through from `from` to `to` any more.
    pub(crate) fn cut_one_way(&mut self, from: HostId, to: HostId) {
        self.ever_cut = true;
        self.one_way.insert((from, to));
    }

    /// Ends loss, duplicates and cuts.
    pub(crate) fn heal(&mut self) {
        self.groups.clear();
        self.apart.clear();
        self.one_way.clear();
        self.no_packets.clear();
        self.loss = 0.0;
        self.duplicates = 0.0;
    }

    /// Whether nothing is wrong, so that nobody has an excuse.
    pub(crate) fn is_calm(&self) -> bool {
        self.groups.is_empty()
            && self.one_way.is_empty()
            && self.no_packets.is_empty()
            && self.loss == 0.0
            && self.delay.end < Duration::from_millis(100)
    }

    /// Whether a stream could go between the two: it needs both ways.
    pub(crate) fn reaches(&self, from: HostId, to: HostId) -> bool {
        self.passes(from, to) && self.passes(to, from)
    }

    fn passes(&self, from: HostId, to: HostId) -> bool {
        let group = |host| self.groups.get(&host).copied().unwrap_or_default();
        let apart = self.apart.contains(&(from, to)) || self.apart.contains(&(to, from));
        group(from) == group(to) && !apart && !self.one_way.contains(&(from, to))
    }

    pub(crate) fn latency(&self, random: &mut ChaCha8Rng) -> Duration {
        random.random_range(self.delay.clone())
    }

    /// When each copy of a packet arrives: none, one or two.
    pub(crate) fn fate(
        &mut self,
        from: HostId,
        to: Option<HostId>,
        random: &mut ChaCha8Rng,
    ) -> Vec<Duration> {
        self.sent += 1;
        if let Some(to) = to {
            *self.sent_to.entry(to).or_default() += 1;
        }
        let cut = to.is_none_or(|to| {
            !self.passes(from, to)
                || self.no_packets.contains(&from)
                || self.no_packets.contains(&to)
        });
        if cut || random.random_bool(self.loss) {
            self.lost += 1;
            return Vec::new();
        }
        let copies = 1 + usize::from(random.random_bool(self.duplicates));
        (0..copies).map(|_| self.latency(random)).collect()
    }
}
