//! What a cluster costs each of its members, by its size: `cargo bench --bench scale -- 30 300 1000`.
//!
//! ```text
//! N members, virtual time ─▶ all join ─▶ a calm period (bytes, CPU) ─▶ one joins ─▶ one crashes
//!                                                              known to 99 % and to all
//! ```
//!
//! Full members on a network without loss, 0.1 to 2 ms away from each other. CPU is real time spent inside of
//! members, on one core. The table is kept in `benches/README.md`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use lb::announce::Tags;
use lb::clock;
use lb::gossip::core::io::{Config, Event, StreamAction, StreamId};
use lb::gossip::core::node::Node;
use lb::gossip::core::timing::{Profile, Timing};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Calm before it, once nobody has news to tell any more.
const SETTLE: Duration = Duration::from_secs(40);

/// Members that join in a second, at the beginning.
const JOINS_PER_SECOND: u32 = 100;

fn main() {
    let asked: Vec<usize> = std::env::args()
        .filter_map(|text| text.parse().ok())
        .collect();
    let sizes = if asked.is_empty() {
        vec![3, 30, 300]
    } else {
        asked
    };
    println!(
        "| members | UDP packets/s | UDP B/s | TCP B/s | CPU µs/s | join: 99 % | join: all | B per member | failure: 99 % | failure: all | B per member | RSS per record | run |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for size in sizes {
        row(size);
    }
}

fn row(size: usize) {
    let began = clock::now();
    let mut world = World::new(size);
    for id in 1..size {
        let via = world.random.random_range(0..id);
        world.join(id, via);
        world.run(Duration::from_secs(1) / JOINS_PER_SECOND);
    }
    world.run_until("all know all", |world| world.known >= size * size);
    let resident = resident_bytes();
    tell(size, began, "all know all");
    // Of thousands that joined, each is told many times by everyone: minutes after all have heard of all.
    world.run_until("nobody has news", |world| {
        let mut queues = world
            .nodes
            .iter()
            .map(|node| node.stats().queued_broadcasts);
        queues.all(|waiting| waiting == 0)
    });
    tell(size, began, "nobody has news");
    world.run(SETTLE);
    // A whole period of the push/pull: everyone exchanges once as the one who begins.
    let timing = Timing::of(Profile::Lan);
    let doublings = (size as f64 / 32.0).log2().ceil().max(0.0) as u32;
    let flat = timing.push_pull_interval.mul_f64(size as f64 / 150.0);
    let length = (timing.push_pull_interval * (doublings + 1))
        .max(flat)
        .max(Duration::from_secs(60));
    let calm = world.measured(|world| world.run(length));
    let each_second = |count: u64| count as f64 / length.as_secs_f64() / size as f64;
    let calm = format!(
        "{:.1} | {:.0} | {:.0} | {:.0}",
        each_second(calm.packets),
        each_second(calm.udp),
        each_second(calm.tcp),
        each_second(calm.busy.as_micros() as u64),
    );
    tell(size, began, &calm);
    world.watched = true;
    let late = world.add(size);
    world.join(late, 0);
    let join =
        world.news(|event| matches!(event, Event::Joined(member) if member.name == "n-late"));
    tell(size, began, &format!("one joined: {join:?}"));
    world.run(SETTLE);
    world.up[size / 2] = false;
    let name = format!("n{}", size / 2);
    let failure = world.news(|event| matches!(event, Event::Failed(member) if member.name == name));
    println!(
        "| {size} | {calm} | {:.2} s | {:.2} s | {:.0} | {:.1} s | {:.1} s | {:.0} | {:.0} | {:.0} s |",
        join.most.as_secs_f64(),
        join.all.as_secs_f64(),
        join.bytes / size as f64,
        failure.most.as_secs_f64(),
        failure.all.as_secs_f64(),
        failure.bytes / size as f64,
        resident as f64 / (size * size) as f64,
        began.elapsed().as_secs_f64(),
    );
}

/// A row of thousands takes half an hour: what is known of it already.
fn tell(size: usize, began: Instant, what: &str) {
    eprintln!(
        "{size}: {what} (after {:.0} s)",
        began.elapsed().as_secs_f64()
    );
}

/// What the members did in some time, all of them together.
#[derive(Clone, Copy, Default)]
struct Spent {
    packets: u64,
    udp: u64,
    tcp: u64,
    busy: Duration,
}

/// How a piece of news spread.
#[derive(Debug)]
struct News {
    /// Until 99 of 100 knew.
    most: Duration,
    all: Duration,
    bytes: f64,
}

enum What {
    Wake(usize),
    Packet {
        to: usize,
        from: SocketAddr,
        packet: Vec<u8>,
    },
    Connect {
        from: End,
        to: usize,
    },
    Connected(End),
    Bytes(End, Vec<u8>),
    Closed(End),
}

/// Host and its stream.
type End = (usize, StreamId);

struct Due {
    at: Instant,
    order: u64,
    what: What,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

struct World {
    now: Instant,
    random: ChaCha8Rng,
    nodes: Vec<Node>,
    up: Vec<bool>,
    wakes: Vec<Option<Instant>>,
    due: BinaryHeap<Reverse<Due>>,
    order: u64,
    peers: BTreeMap<End, End>,
    spent: Spent,
    /// Pairs of members of which one knows the other, itself included.
    known: usize,
    /// Whether events are kept.
    watched: bool,
    /// Events since they were last asked for, of whom and when.
    events: Vec<(Instant, usize, Event)>,
}

impl World {
    fn new(size: usize) -> Self {
        let mut world = Self {
            now: clock::now(),
            random: ChaCha8Rng::seed_from_u64(7),
            nodes: Vec::new(),
            up: Vec::new(),
            wakes: Vec::new(),
            due: BinaryHeap::new(),
            order: 0,
            peers: BTreeMap::new(),
            spent: Spent::default(),
            known: 0,
            watched: false,
            events: Vec::new(),
        };
        for number in 0..size {
            world.add_named(&format!("n{number}"));
        }
        world
    }

    fn add(&mut self, size: usize) -> usize {
        self.add_named("n-late");
        size
    }

    fn add_named(&mut self, name: &str) {
        let id = self.nodes.len();
        let tag = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let config = Config {
            name: name.to_owned(),
            advertise: address(id),
            tags: Tags::from([("role", "web"), ("port", "8080"), ("v", "1")].map(tag)),
            timing: Timing::of(Profile::Lan),
            compress: false,
            claim: false,
            keyring: None,
        };
        let random = ChaCha8Rng::seed_from_u64(self.random.random());
        self.nodes
            .push(Node::new(config, self.now, random).expect("short tags"));
        self.up.push(true);
        self.wakes.push(None);
        self.with(id, |_, _| ());
    }

    fn join(&mut self, id: usize, via: usize) {
        self.with(id, |node, now| node.join(now, &[address(via)]));
    }

    fn schedule(&mut self, at: Instant, what: What) {
        self.order += 1;
        self.due.push(Reverse(Due {
            at,
            order: self.order,
            what,
        }));
    }

    fn soon(&mut self, what: What) {
        let delay = Duration::from_micros(self.random.random_range(100..2000));
        self.schedule(self.now + delay, what);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.due.peek().is_some_and(|due| due.0.at <= end) {
            if let Some(Reverse(due)) = self.due.pop() {
                self.now = self.now.max(due.at);
                self.happen(due);
            }
        }
        self.now = end;
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let begun = self.now;
        while !done(self) {
            assert!(self.now - begun < Duration::from_secs(600), "{what}: never");
            self.run(Duration::from_millis(100));
        }
    }

    fn measured(&mut self, act: impl FnOnce(&mut Self)) -> Spent {
        let before = self.spent;
        act(self);
        Spent {
            packets: self.spent.packets - before.packets,
            udp: self.spent.udp - before.udp,
            tcp: self.spent.tcp - before.tcp,
            busy: self.spent.busy - before.busy,
        }
    }

    /// How long it takes from now on until everyone else reports an event.
    fn news(&mut self, wanted: impl Fn(&Event) -> bool) -> News {
        let begun = self.now;
        let others = self.up.iter().filter(|up| **up).count();
        let mut seen: BTreeMap<usize, Instant> = BTreeMap::new();
        let spent = self.measured(|world| {
            world.events.retain(|(at, _, _)| *at >= begun);
            while seen.len() < others {
                for (at, who, event) in std::mem::take(&mut world.events) {
                    if wanted(&event) {
                        seen.entry(who).or_insert(at);
                    }
                }
                assert!(
                    world.now - begun < Duration::from_secs(120),
                    "{} of {others} know",
                    seen.len()
                );
                world.run(Duration::from_millis(50));
            }
        });
        let mut times: Vec<Duration> = seen.values().map(|at| *at - begun).collect();
        times.sort();
        News {
            most: times[(times.len() - 1) * 99 / 100],
            all: times[times.len() - 1],
            bytes: (spent.udp + spent.tcp) as f64,
        }
    }

    fn happen(&mut self, due: Due) {
        match due.what {
            What::Wake(id) => {
                if self.wakes[id] == Some(due.at) {
                    self.wakes[id] = None;
                    self.with(id, |node, now| node.handle_timeout(now));
                }
            }
            What::Packet { to, from, packet } => {
                self.with(to, |node, now| node.handle_packet(now, from, &packet));
            }
            What::Connect { from, to } => {
                let peer = address(from.0);
                if let Some(Some(id)) =
                    self.with(to, |node, now| node.handle_stream_accepted(now, peer))
                {
                    self.peers.insert(from, (to, id));
                    self.peers.insert((to, id), from);
                    self.soon(What::Connected(from));
                }
            }
            What::Connected((host, id)) => {
                self.with(host, |node, now| node.handle_stream_connected(now, id));
            }
            What::Bytes((host, id), bytes) => {
                self.with(host, |node, now| node.handle_stream_bytes(now, id, &bytes));
            }
            What::Closed((host, id)) => {
                self.peers.remove(&(host, id));
                self.with(host, |node, now| node.handle_stream_closed(now, id, None));
            }
        }
    }

    /// Does something to a member, and then what it wants; `None` if it is down.
    fn with<T>(&mut self, id: usize, act: impl FnOnce(&mut Node, Instant) -> T) -> Option<T> {
        if !self.up[id] {
            return None;
        }
        let begun = clock::now();
        let result = act(&mut self.nodes[id], self.now);
        let mut packets = Vec::new();
        while let Some(transmit) = self.nodes[id].poll_transmit() {
            packets.push(transmit);
        }
        let mut actions = Vec::new();
        while let Some(action) = self.nodes[id].poll_stream() {
            actions.push(action);
        }
        let next = self.nodes[id].poll_timeout();
        self.spent.busy += begun.elapsed();
        while let Some(event) = self.nodes[id].poll_event() {
            self.known += usize::from(matches!(event, Event::Joined(_)));
            if self.watched {
                self.events.push((self.now, id, event));
            }
        }
        for transmit in packets {
            self.spent.packets += 1;
            self.spent.udp += transmit.packet.len() as u64;
            let to = host_of(transmit.to);
            let (from, packet) = (address(id), transmit.packet);
            self.soon(What::Packet { to, from, packet });
        }
        for action in actions {
            self.act(id, action);
        }
        if let Some(next) = next.filter(|next| self.wakes[id] != Some(*next)) {
            self.wakes[id] = Some(next);
            self.schedule(next, What::Wake(id));
        }
        Some(result)
    }

    fn act(&mut self, host: usize, action: StreamAction) {
        match action {
            StreamAction::Connect { id, to } => {
                let to = host_of(to);
                self.soon(What::Connect {
                    from: (host, id),
                    to,
                });
            }
            StreamAction::Send { id, bytes } => {
                self.spent.tcp += bytes.len() as u64;
                if let Some(&peer) = self.peers.get(&(host, id)) {
                    // In order: later than anything sent before, and earlier than the close.
                    self.schedule(
                        self.now + Duration::from_millis(2),
                        What::Bytes(peer, bytes),
                    );
                }
            }
            StreamAction::Close { id } => {
                if let Some(peer) = self.peers.remove(&(host, id)) {
                    self.schedule(self.now + Duration::from_millis(3), What::Closed(peer));
                }
            }
        }
    }
}

fn address(id: usize) -> SocketAddr {
    (Ipv4Addr::from(0x0a00_0001 + id as u32), 7946).into()
}

fn host_of(address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(v4) => (u32::from(*v4.ip()) - 0x0a00_0001) as usize,
        SocketAddr::V6(_) => unreachable!("all are IPv4"),
    }
}

/// What this process has in memory.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or_default();
    pages * 4096
}
