//! The world: hosts, a network, and one queue ordered by time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use lb::announce::Tags;
use lb::gossip::core::io::{Config, Event};
use lb::gossip::core::keyring::Keyring;
use lb::gossip::core::node::Node;
use lb::gossip::core::timing::{Profile, Timing};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::host::{Down, Host};
use crate::network::{HostId, Network};
use crate::streams::{End, Peer};

/// How long after the last disturbance the network has to be calm before a false "failed" is a fault: the
/// longest suspicion of a hundred nodes, and a probe.
const AFTERMATH: Duration = Duration::from_secs(60);

/// In worlds up to this size every view is taken and checked at every step; in larger ones at every pause of the
/// story, and at least each [`SEEN_EACH`].
const SEEN_AT_EVERY_STEP: usize = 40;

/// How often it is then.
const SEEN_EACH: Duration = Duration::from_millis(250);

/// What waits for a paused process at most: a few hundred packets, as in a socket's buffer.
const SOCKET_BUFFER: usize = 512;

/// Something on its way.
#[derive(Debug)]
pub(crate) enum Delivery {
    Packet {
        to: HostId,
        from: SocketAddr,
        packet: Vec<u8>,
    },
    Connect {
        from: End,
        target: HostId,
    },
    Connected {
        to: End,
    },
    Bytes {
        to: End,
        bytes: Vec<u8>,
    },
    Closed {
        to: End,
        error: Option<String>,
    },
    /// A process that did not get in tries again.
    Retry {
        host: HostId,
        life: u64,
    },
}

impl Delivery {
    /// Whose process it is for.
    fn addressee(&self) -> HostId {
        match self {
            Self::Packet { to: host, .. }
            | Self::Connect { target: host, .. }
            | Self::Retry { host, .. } => *host,
            Self::Connected { to } | Self::Bytes { to, .. } | Self::Closed { to, .. } => to.host,
        }
    }
}

pub(crate) struct World {
    pub(crate) seed: u64,
    name: &'static str,
    pub(crate) random: ChaCha8Rng,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) hosts: Vec<Host>,
    pub(crate) by_address: BTreeMap<SocketAddr, HostId>,
    by_name: BTreeMap<String, HostId>,
    pub(crate) network: Network,
    pub(crate) peers: BTreeMap<End, Peer>,
    queue: BTreeMap<(Instant, u64), Delivery>,
    queued: u64,
    wakes: BTreeSet<(Instant, HostId)>,
    disturbed: Instant,
    trace: crc32fast::Hasher,
    pub(crate) steps: u64,
    timing: Timing,
    pub(crate) compress: bool,
    /// Bytes of the longest packet sent.
    pub(crate) longest: usize,
    /// Keys of hosts added from now on.
    pub(crate) keyring: Option<Keyring>,
    /// Some names are claimed at two addresses.
    pub(crate) names_move: bool,
    /// Whoever finds its name taken goes on under another, as our programs do.
    pub(crate) taken_is_left: bool,
    /// New hosts but those named here are as stock agents are: they look into no name.
    pub(crate) stock_but: Option<Vec<&'static str>>,
}

impl World {
    /// An empty one for the test `name`. `LB_SIM_SEED` overrides `seed`.
    pub(crate) fn new(name: &'static str, seed: u64) -> Self {
        let seed = match std::env::var("LB_SIM_SEED") {
            Ok(text) => text.parse().expect("LB_SIM_SEED is a number"),
            Err(_) => seed,
        };
        Self::with_seed(name, seed)
    }

    pub(crate) fn with_seed(name: &'static str, seed: u64) -> Self {
        let start = lb::clock::now();
        Self {
            seed,
            name,
            random: ChaCha8Rng::seed_from_u64(seed),
            start,
            now: start,
            hosts: Vec::new(),
            by_address: BTreeMap::new(),
            by_name: BTreeMap::new(),
            network: Network::default(),
            peers: BTreeMap::new(),
            queue: BTreeMap::new(),
            queued: 0,
            wakes: BTreeSet::new(),
            disturbed: start,
            trace: crc32fast::Hasher::new(),
            steps: 0,
            timing: Timing::of(Profile::Lan),
            compress: false,
            longest: 0,
            keyring: None,
            names_move: false,
            taken_is_left: false,
            stock_but: None,
        }
    }

    /// Virtual time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// A number that differs if anything happened differently.
    pub(crate) fn trace(&self) -> u32 {
        self.trace.clone().finalize()
    }

    pub(crate) fn host_named(&self, name: &str) -> Option<&Host> {
        self.by_name.get(name).map(|&id| &self.hosts[id])
    }

    pub(crate) fn live(&self) -> Vec<HostId> {
        self.ids(|host| host.is_live())
    }

    pub(crate) fn ids(&self, wanted: impl Fn(&Host) -> bool) -> Vec<HostId> {
        (0..self.hosts.len())
            .filter(|&id| wanted(&self.hosts[id]))
            .collect()
    }

    /// No disturbance now nor in the near past.
    pub(crate) fn calm_for_a_while(&self) -> bool {
        self.network.is_calm() && !self.network.ever_cut && self.now >= self.disturbed
    }

    /// To be called when the network was bad until now.
    pub(crate) fn mark_disturbed(&mut self) {
        self.disturbed = self.now + AFTERMATH;
    }

    /// Ends all trouble of the network.
    pub(crate) fn heal(&mut self) {
        if !self.network.is_calm() {
            self.mark_disturbed();
        }
        self.network.heal();
    }

    /// Adds a machine whose process is not running yet.
    pub(crate) fn add_host(&mut self, name: &str) -> HostId {
        let id = self.hosts.len();
        let ip = Ipv4Addr::from(0x0a00_0001 + id as u32);
        let address = SocketAddr::from((ip, 7946));
        self.by_address.insert(address, id);
        self.by_name.insert(name.to_owned(), id);
        self.hosts.push(Host {
            name: name.to_owned(),
            address,
            tags: Tags::from(
                [("role", "web"), ("v", "1")].map(|(k, v)| (k.to_owned(), v.to_owned())),
            ),
            node: None,
            down: Down::Refuses,
            claim: self
                .stock_but
                .as_ref()
                .is_none_or(|ours| ours.contains(&name)),
            life: 0,
            leaving: false,
            wants_in: false,
            view: lb::gossip::core::member::Members::default(),
            events: Vec::new(),
            answers: Vec::new(),
            heard: BTreeSet::new(),
            asked: BTreeSet::new(),
            clocks: [0; 3],
            answers_queries: true,
            highest: 0,
            wake: None,
            stock: false,
            paused: false,
            waiting: Vec::new(),
            stale: false,
            keyring: self.keyring.clone(),
        });
        id
    }

    /// `count` hosts named `n0`, `n1`, …, running; all but the first join through it, within `spread`.
    pub(crate) fn cluster(&mut self, count: usize, spread: Duration) -> Vec<HostId> {
        let mut ids = Vec::new();
        for number in 0..count {
            let id = self.add_host(&format!("n{number}"));
            self.boot(id);
            if number > 0 {
                self.join(id, ids[0]);
                self.run(spread / count as u32);
            }
            ids.push(id);
        }
        ids
    }

    /// Starts a new process on a machine, alone.
    pub(crate) fn boot(&mut self, id: HostId) {
        let host = &mut self.hosts[id];
        assert!(!host.is_running(), "{} runs already", host.name);
        let mut timing = self.timing.clone();
        if host.stock {
            host.tags.remove("v");
            timing.recall_interval = None;
        }
        let config = Config {
            name: host.name.clone(),
            advertise: host.address,
            tags: host.tags.clone(),
            timing,
            compress: self.compress,
            keyring: host.keyring.clone(),
            claim: host.claim,
        };
        let random = ChaCha8Rng::seed_from_u64(self.random.random());
        let node = Node::new(config, self.now, random).expect("the tags are short");
        let host = &mut self.hosts[id];
        host.node = Some(node);
        host.begin_life();
        self.touched(id);
        self.look(id..id + 1);
    }

    pub(crate) fn join(&mut self, id: HostId, via: HostId) {
        let to = self.hosts[via].address;
        self.hosts[id].wants_in = true;
        let now = self.now;
        self.with(id, |node| {
            node.join(now, &[to]);
        });
    }

    /// Kills the process.
    pub(crate) fn crash(&mut self, id: HostId, down: Down) {
        self.hosts[id].down = down;
        self.stop(id);
    }

    fn stop(&mut self, id: HostId) {
        let host = &mut self.hosts[id];
        host.node = None;
        host.paused = false;
        host.waiting.clear();
        if let Some(wake) = host.wake.take() {
            self.wakes.remove(&(wake, id));
        }
        self.reset_streams(id);
    }

    /// Begins a graceful leave; the process ends when it is done.
    pub(crate) fn leave(&mut self, id: HostId) {
        self.hosts[id].leaving = true;
        let now = self.now;
        self.with(id, |node| node.leave(now));
    }

    /// Does something to a process, and then what it wants.
    pub(crate) fn with<T>(&mut self, id: HostId, act: impl FnOnce(&mut Node) -> T) -> T {
        let node = self.hosts[id].node.as_mut().expect("the process runs");
        let result = act(node);
        self.touched(id);
        result
    }

    /// Carries out all that a process wants, and looks at what it knows.
    pub(crate) fn touched(&mut self, id: HostId) {
        let Some(mut node) = self.hosts[id].node.take() else {
            return;
        };
        let from = self.hosts[id].address;
        while let Some(transmit) = node.poll_transmit() {
            let to = self.by_address.get(&transmit.to).copied();
            self.longest = self.longest.max(transmit.packet.len());
            for delay in self.network.fate(id, to, &mut self.random) {
                if let Some(to) = to {
                    let packet = transmit.packet.clone();
                    self.schedule(self.now + delay, Delivery::Packet { to, from, packet });
                }
            }
        }
        let mut actions = Vec::new();
        while let Some(action) = node.poll_stream() {
            actions.push(action);
        }
        let mut events = Vec::new();
        while let Some(event) = node.poll_event() {
            events.push(event);
        }
        let now = self.now;
        let answers = std::iter::from_fn(|| node.poll_answer());
        self.hosts[id]
            .answers
            .extend(answers.map(|(id, answer)| (now, id, answer)));
        if let Some(keyring) = node.poll_keyring() {
            // As a state directory does.
            self.hosts[id].keyring = Some(keyring);
        }
        let next = node.poll_timeout();
        self.hosts[id].stale = node.generation() != self.hosts[id].view.generation;
        self.hosts[id].node = Some(node);
        self.set_wake(id, next);
        for action in actions {
            self.act(id, action);
        }
        if self.hosts.len() <= SEEN_AT_EVERY_STEP {
            self.look(id..id + 1);
        }
        for event in events {
            self.on_event(id, event);
        }
    }

    /// Takes and checks the views that changed, of these hosts.
    fn look(&mut self, ids: std::ops::Range<HostId>) {
        let mut looked = Vec::new();
        for host in ids {
            let stale = std::mem::take(&mut self.hosts[host].stale);
            let Some(node) = self.hosts[host].node.as_ref().filter(|_| stale) else {
                continue;
            };
            let fresh = node.members();
            let own = fresh.by_name.get(&self.hosts[host].name);
            let own = own.expect("everyone knows itself").incarnation;
            let highest = &mut self.hosts[host].highest;
            *highest = own.max(*highest);
            let before = std::mem::replace(&mut self.hosts[host].view, fresh);
            looked.push((host, before));
        }
        for (host, before) in looked {
            self.check_view(host, &before, &self.hosts[host].view);
        }
    }

    fn on_event(&mut self, id: HostId, event: Event) {
        self.check_event(id, &event);
        self.check_once(id, &event);
        match &event {
            Event::JoinFinished { reached: 0, .. } if self.hosts[id].wants_in => {
                let life = self.hosts[id].life;
                let at = self.now + Duration::from_secs(1);
                self.schedule(at, Delivery::Retry { host: id, life });
            }
            Event::LeaveFinished => self.stop(id),
            Event::Query { id: query, .. } if self.hosts[id].answers_queries => {
                let (now, query) = (self.now, *query);
                let name = self.hosts[id].name.clone().into_bytes();
                if self.hosts[id].is_running() {
                    self.with(id, |node| node.respond(now, query, name))
                        .expect("it came in time");
                }
            }
            _ => {}
        }
        let now = self.now;
        let taken = matches!(&event, Event::NameTaken { .. });
        self.hosts[id].events.push((now, event));
        if taken && self.taken_is_left {
            self.rename(id);
        }
    }

    /// The process goes on under another name.
    fn rename(&mut self, id: HostId) {
        let name = format!("{}-{id}", self.hosts[id].name);
        let former = std::mem::replace(&mut self.hosts[id].name, name.clone());
        let other = self.hosts.iter().position(|host| host.name == former);
        self.by_name.remove(&former);
        self.by_name.extend(other.map(|other| (former, other)));
        self.by_name.insert(name.clone(), id);
        let now = self.now;
        self.with(id, |node| node.rename(now, &name))
            .expect("nobody has the name");
    }

    fn set_wake(&mut self, id: HostId, next: Option<Instant>) {
        let host = &mut self.hosts[id];
        if host.wake == next {
            return;
        }
        if let Some(old) = host.wake {
            self.wakes.remove(&(old, id));
        }
        host.wake = next;
        if let Some(next) = next {
            self.wakes.insert((next, id));
        }
    }

    pub(crate) fn schedule(&mut self, at: Instant, delivery: Delivery) {
        self.queued += 1;
        self.queue.insert((at, self.queued), delivery);
    }

    /// Runs for a while.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let until = end.min(self.now + SEEN_EACH);
            while self.step(until) {}
            self.now = until;
            self.look(0..self.hosts.len());
            self.check_clocks();
        }
    }

    /// Runs until `done`, looking every 50 ms; how long it took.
    ///
    /// # Panics
    /// If it is not so within `limit`.
    pub(crate) fn run_until(
        &mut self,
        limit: Duration,
        what: &str,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Duration {
        let begun = self.now;
        while !done(self) {
            let taken = self.now - begun;
            assert!(
                taken < limit,
                "not within {limit:?}: {what} ({:?})",
                self.difference()
            );
            self.run(Duration::from_millis(50));
        }
        self.now - begun
    }

    /// Runs until all views agree.
    pub(crate) fn run_until_met(&mut self, limit: Duration) -> Duration {
        self.run_until(limit, "all views meet", |world| {
            world.difference().is_none()
        })
    }

    /// Does the next thing that is due by `until`; false if there is none.
    fn step(&mut self, until: Instant) -> bool {
        let wake = self.wakes.first().copied();
        let arrival = self.queue.first_key_value().map(|(key, _)| *key);
        let wake_first = match (wake, arrival) {
            (Some((wake, _)), Some((arrival, _))) => wake <= arrival,
            (wake, _) => wake.is_some(),
        };
        let at = if wake_first {
            wake.map(|(at, _)| at)
        } else {
            arrival.map(|(at, _)| at)
        };
        let Some(at) = at.filter(|at| *at <= until) else {
            return false;
        };
        self.now = self.now.max(at);
        self.steps += 1;
        if wake_first {
            if let Some((_, id)) = wake {
                self.note(id, 0, &[]);
                let now = self.now;
                self.with(id, |node| node.handle_timeout(now));
            }
        } else if let Some((_, delivery)) = self.queue.pop_first() {
            self.deliver(delivery);
        }
        true
    }

    /// Stops a process without its knowing; or lets it go on, with all that waited for it.
    pub(crate) fn pause(&mut self, id: HostId, paused: bool) {
        let host = &mut self.hosts[id];
        host.paused = paused;
        let waiting = std::mem::take(&mut host.waiting);
        self.mark_disturbed();
        if paused {
            self.set_wake(id, None);
            return;
        }
        for delivery in waiting {
            self.schedule(self.now, delivery);
        }
        self.touched(id);
    }

    fn deliver(&mut self, delivery: Delivery) {
        let host = &mut self.hosts[delivery.addressee()];
        if host.paused {
            // As a socket's buffer: what is too much is lost.
            if host.waiting.len() < SOCKET_BUFFER {
                host.waiting.push(delivery);
            }
            return;
        }
        let now = self.now;
        match delivery {
            Delivery::Packet { to, from, packet } => {
                self.note(to, 1, &packet);
                if let Some(node) = &mut self.hosts[to].node {
                    node.handle_packet(now, from, &packet);
                    self.touched(to);
                }
            }
            Delivery::Connect { from, target } => {
                self.note(target, 2, &[]);
                self.accept(from, target);
            }
            Delivery::Connected { to } if self.runs(to) => {
                self.note(to.host, 3, &[]);
                self.with(to.host, |node| node.handle_stream_connected(now, to.id));
            }
            Delivery::Bytes { to, bytes } if self.runs(to) => {
                self.note(to.host, 4, &bytes);
                self.with(to.host, |node| node.handle_stream_bytes(now, to.id, &bytes));
            }
            Delivery::Closed { to, error } if self.runs(to) => {
                self.note(to.host, 5, &[]);
                self.peers.remove(&to);
                self.with(to.host, |node| node.handle_stream_closed(now, to.id, error));
            }
            Delivery::Retry { host, life } => {
                let others: Vec<HostId> =
                    self.ids(|other| other.is_running() && other.name != self.hosts[host].name);
                if self.hosts[host].life == life && self.hosts[host].is_live() && !others.is_empty()
                {
                    let via = others[self.random.random_range(0..others.len())];
                    self.join(host, via);
                }
            }
            _ => {}
        }
    }

    /// Writes a step into the trace.
    fn note(&mut self, host: HostId, kind: u8, bytes: &[u8]) {
        let at = (self.now - self.start).as_nanos() as u64;
        self.trace.update(&at.to_be_bytes());
        self.trace.update(&[kind, host as u8]);
        self.trace.update(bytes);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "seed {seed}, after {elapsed:?} and {steps} steps; replay: LB_SIM_SEED={seed} cargo test --test sim {name} -- --exact",
                seed = self.seed,
                elapsed = self.elapsed(),
                steps = self.steps,
                name = self.name
            );
        }
    }
}
