//! One member, spoken to in messages; whole clusters are in `tests/sim`.

mod asking;
mod claims;
mod dispute;
mod events;
mod heritage;
mod names;
mod probing;
mod serf;
mod streams;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};

use super::*;
use crate::gossip::core::member::Status;
use crate::gossip::core::timing::{Profile, Timing};
use crate::gossip::core::wire::message::{
    Accusation, Ack, Alive, IndirectPing, Message, Nack, Ping, Source, WireAddr,
};
use crate::gossip::core::wire::packet;
use crate::gossip::core::wire::serf::{
    JoinIntent, LeaveIntent, Query, Relay, SerfMessage, SerfState, UserEvent,
};
use crate::gossip::core::wire::stream::{
    self, Decoder, PushNode, PushNodes, PushPull, StreamMessage,
};

const US: &str = "10.0.0.1:7946";
const PEER: &str = "10.0.0.2:7946";
const THIRD: &str = "10.0.0.3:7946";
const VSN: [u8; 6] = [1, 5, 2, 2, 5, 5];

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

/// A member and a clock.
struct Bench {
    node: Node,
    now: Instant,
}

impl Bench {
    /// Lives through `span`, every timer in time: one that comes late is taken for a pause of ours.
    fn live(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.node.poll_timeout().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.node.handle_timeout(self.now);
        }
        self.now = end;
    }

    fn new() -> Self {
        Self::claiming(false)
    }

    /// One that looks into names at two addresses, as all of ours do.
    fn claiming(claim: bool) -> Self {
        Self::with_keys(claim, None)
    }

    fn with_keys(claim: bool, keyring: Option<Keyring>) -> Self {
        let config = Config {
            keyring,
            name: "us".to_owned(),
            advertise: at(US),
            tags: Tags::new(),
            timing: Timing::of(Profile::Lan),
            compress: false,
            claim,
        };
        let now = crate::clock::now();
        let node = Node::new(config, now, ChaCha8Rng::seed_from_u64(1)).expect("short tags");
        let mut bench = Self { node, now };
        bench.events();
        bench
    }

    /// With one live peer, whose alive message is no longer queued.
    fn with_peer() -> Self {
        let mut bench = Self::new();
        bench.hear(Message::Alive(alive("peer", PEER, 1)));
        bench.wait(Duration::from_secs(10));
        bench.hear(Message::Alive(alive("peer", PEER, 2)));
        bench.events();
        bench
    }

    fn hear(&mut self, message: Message) {
        self.hear_packet(&packet::seal(&[message.encode()], false, false));
    }

    fn hear_packet(&mut self, packet: &[u8]) {
        self.node.handle_packet(self.now, at(PEER), packet);
    }

    fn hear_serf(&mut self, message: &SerfMessage) {
        self.hear(Message::User(message.encode()));
    }

    /// Lets time pass; pings are answered, so that nobody is suspected.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(next) = self.node.poll_timeout().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.node.handle_timeout(self.now);
            for (_, message) in self.sent() {
                if let Message::Ping(ping) = message {
                    self.hear(Message::Ack(Ack {
                        seq_no: ping.seq_no,
                        payload: None,
                    }));
                }
            }
        }
        self.now = until;
    }

    /// Everything sent since last asked, with where to.
    fn sent(&mut self) -> Vec<(SocketAddr, Message)> {
        let mut all = Vec::new();
        while let Some(transmit) = self.node.poll_transmit() {
            for message in packet::open(&transmit.packet) {
                all.push((transmit.to, message.expect("we send what can be read")));
            }
        }
        all
    }

    /// What the next gossip ticks spread.
    fn spread(&mut self) -> Vec<Message> {
        let mut all: Vec<Message> = Vec::new();
        for _ in 0..5 {
            let next = self.now + Duration::from_millis(200);
            while self.node.poll_timeout().is_some_and(|due| due <= next) {
                self.now = self.node.poll_timeout().expect("due").max(self.now);
                self.node.handle_timeout(self.now);
            }
            self.now = next;
            for (_, message) in self.sent() {
                if !all.contains(&message) {
                    all.push(message);
                }
            }
        }
        all
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.node.poll_event()).collect()
    }

    fn actions(&mut self) -> Vec<StreamAction> {
        std::iter::from_fn(|| self.node.poll_stream()).collect()
    }

    fn status(&self, name: &str) -> Option<Status> {
        self.node
            .members()
            .by_name
            .get(name)
            .map(|member| member.status)
    }

    fn incarnation(&self, name: &str) -> u32 {
        self.node.members().by_name[name].incarnation
    }

    fn dropped(&self, reason: &str) -> u64 {
        self.node
            .stats()
            .dropped
            .get(reason)
            .copied()
            .unwrap_or_default()
    }

    /// Sends a request on a stream of its own; what came back, and whether it was closed.
    fn ask(&mut self, bytes: &[u8]) -> (Option<StreamMessage>, bool) {
        let id = self
            .node
            .handle_stream_accepted(self.now, at("10.0.0.2:40000"))
            .expect("there is room");
        self.node.handle_stream_bytes(self.now, id, bytes);
        let (mut answer, mut closed) = (None, false);
        let mut decoder = Decoder::new();
        for action in self.actions() {
            match action {
                StreamAction::Send { id: on, bytes } if on == id => {
                    answer = decoder.feed(&bytes).expect("we send what can be read");
                }
                StreamAction::Close { id: on } => closed |= on == id,
                _ => {}
            }
        }
        (answer, closed)
    }
}

fn alive(name: &str, address: &str, incarnation: u32) -> Alive {
    Alive {
        incarnation,
        node: name.to_owned(),
        addr: WireAddr::of(at(address)),
        meta: vec![0xff, 0x80],
        vsn: VSN,
    }
}

fn accusation(name: &str, incarnation: u32, from: &str) -> Accusation {
    Accusation {
        incarnation,
        node: name.to_owned(),
        from: from.to_owned(),
    }
}

fn push_node(name: &str, address: &str, incarnation: u32, state: u8) -> PushNode {
    PushNode {
        name: name.to_owned(),
        addr: WireAddr::of(at(address)),
        meta: vec![0xff, 0x80],
        incarnation,
        state,
        vsn: Some(VSN),
    }
}

fn push_pull(nodes: Vec<PushNode>, state: Option<SerfState>) -> Vec<u8> {
    let user_state = state.map_or_else(Vec::new, |state| SerfMessage::PushPull(state).encode());
    let message = StreamMessage::PushPull(PushPull {
        join: false,
        nodes: nodes.into_iter().collect(),
        user_state,
    });
    stream::encode(&message, false)
}

fn query(id: u32, flags: u32) -> Query {
    Query {
        ltime: 7,
        id,
        addr: WireAddr::of(at(THIRD)),
        source_node: "third".to_owned(),
        filters: Vec::new(),
        flags,
        relay_factor: 0,
        timeout_ns: 1_000_000_000,
        name: "_serf_ping".to_owned(),
        payload: Vec::new(),
    }
}

fn own_alive(messages: &[Message]) -> Option<u32> {
    messages.iter().find_map(|message| match message {
        Message::Alive(alive) if alive.node == "us" => Some(alive.incarnation),
        _ => None,
    })
}

#[test]
fn a_new_member_is_alone_and_alive_with_incarnation_one() {
    let bench = Bench::new();
    let members = bench.node.members();

    assert_eq!(members.by_name.len(), 1);
    assert_eq!(bench.status("us"), Some(Status::Alive));
    assert_eq!(bench.incarnation("us"), 1);
    assert_eq!(members.generation, bench.node.generation());
}

#[test]
fn tags_that_do_not_fit_are_refused_with_their_size() {
    let mut bench = Bench::new();
    let tags = Tags::from([("k".to_owned(), "v".repeat(600))]);

    assert_eq!(
        bench.node.set_tags(bench.now, tags),
        Err(Refused::TagsTooLong { bytes: 607 })
    );
    assert_eq!(bench.incarnation("us"), 1);
}

#[test]
fn random_bytes_never_panic_and_are_counted() {
    let seed = crate::clock::random().next_u64();
    println!("seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut bench = Bench::with_peer();
    let filtered = Query {
        filters: vec![b"\x01\x82\xa4Expr\xabw(e|b){1,3}b*\xa3Tag\xa4role".to_vec()],
        ..query(2, 1)
    };
    let keyed = Query {
        name: "_serf_install-key".to_owned(),
        payload: b"\x07\x81\xa3Key\xb00123456789abcdef".to_vec(),
        ..query(3, 1)
    };
    let samples = [
        Message::Alive(alive("x", THIRD, 3)).encode(),
        Message::Dead(accusation("peer", 1, "x")).encode(),
        Message::User(SerfMessage::Query(query(1, 1)).encode()).encode(),
        Message::User(SerfMessage::Query(filtered).encode()).encode(),
        Message::User(SerfMessage::Query(keyed).encode()).encode(),
        push_pull(
            vec![push_node("y", THIRD, 1, 0)],
            Some(SerfState::default()),
        ),
    ];
    for _ in 0..3_000 {
        let mut bytes = samples[random.random_range(0..samples.len())].clone();
        for _ in 0..random.random_range(0..6) {
            let place = random.random_range(0..bytes.len());
            bytes[place] = random.random();
        }
        bytes.truncate(random.random_range(0..=bytes.len()));
        if random.random_bool(0.1) {
            bytes = (0..random.random_range(0..300))
                .map(|_| random.random())
                .collect();
        }
        bench.hear_packet(&bytes);
        let id = bench.node.handle_stream_accepted(bench.now, at(PEER));
        if let Some(id) = id {
            bench.node.handle_stream_bytes(bench.now, id, &bytes);
            bench.node.handle_stream_closed(bench.now, id, None);
        }
        bench.wait(Duration::from_millis(random.random_range(0..50)));
        bench.actions();
        bench.events();
    }

    assert!(bench.dropped("msgpack") + bench.dropped("truncated") > 0);
    assert_eq!(bench.status("us"), Some(Status::Alive));
    assert!(bench.node.members().by_name.len() < 1_000);
}

#[test]
fn what_did_not_change_is_shared_between_two_lists() {
    let mut bench = Bench::with_peer();
    let before = bench.node.members();
    bench.hear(Message::Alive(alive("third", THIRD, 1)));
    let after = bench.node.members();

    assert!(after.generation > before.generation);
    assert!(std::sync::Arc::ptr_eq(
        &before.by_name["peer"],
        &after.by_name["peer"]
    ));
    assert!(after.by_name["third"].joined > after.by_name["peer"].joined);
}
