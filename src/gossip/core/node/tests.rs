//! One member, spoken to in messages; whole clusters are in `tests/sim`.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};

use super::*;
use crate::gossip::core::member::Status;
use crate::gossip::core::timing::Profile;
use crate::gossip::core::wire::message::{
    Accusation, Ack, Alive, IndirectPing, Message, Nack, Ping, Source, WireAddr,
};
use crate::gossip::core::wire::packet;
use crate::gossip::core::wire::serf::{
    JoinIntent, LeaveIntent, Query, Relay, SerfMessage, SerfState, UserEvent,
};
use crate::gossip::core::wire::stream::{self, Decoder, PushNode, PushPull, StreamMessage};

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
    fn new() -> Self {
        let config = Config {
            name: "us".to_owned(),
            advertise: at(US),
            tags: Tags::new(),
            timing: Timing::of(Profile::Lan),
            compress: false,
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
        nodes,
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
fn accusations_are_refuted_with_a_higher_incarnation() {
    for message in [
        Message::Suspect(accusation("us", 7, "peer")),
        Message::Dead(accusation("us", 7, "peer")),
        Message::Dead(accusation("us", 7, "us")),
    ] {
        let mut bench = Bench::with_peer();
        bench.hear(message.clone());

        assert_eq!(bench.incarnation("us"), 8, "{message:?}");
        assert_eq!(own_alive(&bench.spread()), Some(8));
        assert_eq!(bench.node.stats().refutations, 1);
        assert_eq!(bench.node.stats().health_score, 1);
        bench.hear(message);
        assert_eq!(bench.node.stats().refutations, 1, "an old one is no news");
    }
}

#[test]
fn an_accusation_that_nobody_could_outbid_is_dropped() {
    let mut bench = Bench::with_peer();
    bench.hear(Message::Dead(accusation("us", u32::MAX, "peer")));
    bench.hear(Message::Suspect(accusation("peer", u32::MAX, "x")));

    assert_eq!(bench.incarnation("us"), 1);
    assert_eq!(bench.dropped("incarnation"), 2);
    assert_eq!(bench.status("peer"), Some(Status::Alive));
}

#[test]
fn a_word_about_us_is_refuted_if_it_differs_and_ignored_if_it_is_old_or_the_same() {
    let mut bench = Bench::with_peer();
    let mut same = alive("us", US, 1);
    bench.hear(Message::Alive(same.clone()));
    assert_eq!(bench.incarnation("us"), 1);

    same.meta = b"\xff\x81\xa1a\xa1b".to_vec();
    bench.hear(Message::Alive(same.clone()));
    assert_eq!(
        bench.incarnation("us"),
        2,
        "the same incarnation, other tags"
    );
    bench.hear(Message::Alive(same));
    assert_eq!(bench.incarnation("us"), 2, "now it is old");
    bench.events();
    bench.hear(Message::Alive(alive("us", THIRD, 1)));
    assert!(bench.events().is_empty(), "old, so no conflict either");
    bench.hear(Message::Alive(alive("us", THIRD, 9)));
    assert_eq!(
        bench.events(),
        [Event::Conflict {
            name: "us".to_owned(),
            known: at(US),
            claimed: at(THIRD)
        }]
    );
    assert_eq!(bench.incarnation("us"), 2);
}

#[test]
fn our_own_address_in_its_other_form_is_refuted_and_is_no_conflict() {
    let mut bench = Bench::with_peer();
    let mut mapped = alive("us", US, 4);
    mapped.addr.octets = [&[0; 10][..], &[0xff, 0xff, 10, 0, 0, 1]].concat();
    bench.hear(Message::Alive(mapped));

    assert_eq!(bench.incarnation("us"), 5);
    assert!(bench.events().is_empty());
}

#[test]
fn a_name_in_use_keeps_its_address_and_a_left_one_may_move() {
    let mut bench = Bench::with_peer();
    bench.hear(Message::Alive(alive("peer", THIRD, 50)));
    bench.hear(Message::Alive(alive("peer", THIRD, 51)));
    let conflicts = bench.events();
    assert_eq!(conflicts.len(), 1, "told once: {conflicts:?}");
    assert_eq!(bench.incarnation("peer"), 2);

    bench.hear_serf(&SerfMessage::Leave(LeaveIntent {
        ltime: 5,
        node: "peer".to_owned(),
        prune: false,
    }));
    assert_eq!(bench.status("peer"), Some(Status::Leaving));
    bench.hear(Message::Dead(accusation("peer", 2, "peer")));
    assert_eq!(bench.status("peer"), Some(Status::Left));
    bench.hear(Message::Alive(alive("peer", THIRD, 1)));
    assert_eq!(bench.status("peer"), Some(Status::Alive));
    assert_eq!(bench.node.members().by_name["peer"].address, at(THIRD));
}

#[test]
fn a_self_signed_dead_without_an_intent_is_a_failure() {
    let mut bench = Bench::with_peer();
    bench.hear(Message::Dead(accusation("peer", 2, "peer")));

    assert_eq!(bench.status("peer"), Some(Status::Failed));
    assert!(matches!(&bench.events()[..], [Event::Failed(member)] if member.name == "peer"));
}

#[test]
fn impossible_nodes_are_counted_and_not_taken() {
    let mut bench = Bench::new();
    let mut bad = Vec::new();
    for vsn in [[0, 5, 2, 2, 5, 5], [1, 0, 2, 2, 5, 5], [5, 1, 2, 2, 5, 5]] {
        bad.push((
            "version",
            Alive {
                vsn,
                ..alive("x", PEER, 1)
            },
        ));
    }
    let meta = vec![0xff; 513];
    bad.push((
        "meta_too_long",
        Alive {
            meta,
            ..alive("x", PEER, 1)
        },
    ));
    bad.push(("name", alive("", PEER, 1)));
    bad.push(("name", alive(&"n".repeat(256), PEER, 1)));
    bad.push(("incarnation", alive("x", PEER, 0)));
    bad.push(("address", alive("x", "224.0.0.1:1", 1)));
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for (reason, alive) in bad {
        *expected.entry(reason).or_default() += 1;
        bench.hear(Message::Alive(alive));
    }

    assert_eq!(bench.node.stats().dropped, expected);
    assert_eq!(bench.node.members().by_name.len(), 1);
}

#[test]
fn a_ping_is_answered_to_its_source_and_only_under_our_name() {
    let mut bench = Bench::new();
    let ping = |node: &str, source| Ping {
        seq_no: 9,
        node: node.to_owned(),
        source,
    };
    let third = Source {
        addr: WireAddr::of(at(THIRD)),
        node: "third".to_owned(),
    };
    bench.hear(Message::Ping(ping("other", None)));
    assert!(bench.sent().is_empty());
    assert_eq!(bench.dropped("ping_for_other"), 1);

    for (node, source, to) in [("us", None, PEER), ("", Some(third), THIRD)] {
        bench.hear(Message::Ping(ping(node, source)));
        let sent = bench.sent();
        let Some((address, Message::Ack(ack))) = sent.first() else {
            panic!("no ack: {sent:?}");
        };
        assert_eq!(*address, at(to));
        assert_eq!(ack.seq_no, 9);
        assert_eq!(ack.payload.as_ref().map(Vec::len), Some(130));
    }
}

#[test]
fn an_indirect_ping_ends_in_the_ack_or_in_a_nack() {
    for answered in [true, false] {
        let mut bench = Bench::new();
        bench.hear(Message::IndirectPing(IndirectPing {
            seq_no: 77,
            target: WireAddr::of(at(THIRD)),
            node: "third".to_owned(),
            nack: true,
            source: None,
        }));
        let sent = bench.sent();
        let Some((to, Message::Ping(ping))) = sent.first() else {
            panic!("no ping: {sent:?}");
        };
        assert_eq!((*to, ping.node.as_str()), (at(THIRD), "third"));
        assert_ne!(ping.seq_no, 77);
        if answered {
            bench.hear(Message::Ack(Ack {
                seq_no: ping.seq_no,
                payload: Some(vec![1]),
            }));
        }
        bench.now += Duration::from_millis(501);
        bench.node.handle_timeout(bench.now);
        let told: Vec<Message> = bench
            .sent()
            .into_iter()
            .filter(|(to, _)| *to == at(PEER))
            .map(|(_, message)| message)
            .filter(|message| matches!(message, Message::Ack(_) | Message::Nack(_)))
            .collect();
        let expected = if answered {
            Message::Ack(Ack {
                seq_no: 77,
                payload: None,
            })
        } else {
            Message::Nack(Nack { seq_no: 77 })
        };
        assert_eq!(told, [expected]);
    }
}

#[test]
fn others_octets_are_passed_on_as_they_came() {
    let mut bench = Bench::with_peer();
    let mut mapped = alive("third", THIRD, 3);
    mapped.addr.octets = [&[0; 10][..], &[0xff, 0xff, 10, 0, 0, 3]].concat();
    bench.hear(Message::Alive(mapped.clone()));

    assert_eq!(bench.node.members().by_name["third"].address, at(THIRD));
    assert!(bench.spread().contains(&Message::Alive(mapped)));
}

#[test]
fn user_events_are_delivered_once_and_passed_on_verbatim() {
    let mut bench = Bench::with_peer();
    let event = SerfMessage::UserEvent(UserEvent {
        ltime: 4,
        name: "deploy".to_owned(),
        payload: b"v2".to_vec(),
        coalesce: true,
    });
    bench.hear_serf(&event);
    bench.hear_serf(&event);

    assert_eq!(
        bench.events(),
        [Event::User {
            ltime: 4,
            name: "deploy".to_owned(),
            payload: b"v2".to_vec(),
            coalesce: true
        }]
    );
    assert!(bench.spread().contains(&Message::User(event.encode())));
}

#[test]
fn a_query_is_acknowledged_when_asked_and_when_we_are_meant() {
    let ours = b"\x00\x91\xa2us".to_vec();
    let others = b"\x00\x91\xa1x".to_vec();
    let tag = b"\x01\x82\xa4Expr\xa1.\xa3Tag\xa4role".to_vec();
    for (number, (flags, filters, acked, spread)) in [
        (1, vec![], true, true),
        (0, vec![], false, true),
        (3, vec![], true, false),
        (1, vec![ours.clone()], true, true),
        (1, vec![ours, others], false, true),
        (1, vec![tag], false, true),
        (1, vec![vec![]], false, true),
        (1, vec![vec![9]], false, true),
    ]
    .into_iter()
    .enumerate()
    {
        let mut bench = Bench::with_peer();
        let query = Query {
            filters,
            ..query(number as u32, flags)
        };
        let message = SerfMessage::Query(query);
        bench.hear_serf(&message);
        bench.hear_serf(&message);
        let answers: Vec<_> = bench
            .sent()
            .into_iter()
            .filter(|(to, _)| *to == at(THIRD))
            .collect();

        assert_eq!(answers.len(), usize::from(acked), "case {number}");
        if let Some((_, Message::User(bytes))) = answers.first() {
            let Ok(SerfMessage::QueryResponse(ack)) = SerfMessage::decode(bytes) else {
                panic!("no response");
            };
            assert_eq!((ack.from.as_str(), ack.flags), ("us", 1));
            assert_eq!((ack.ltime, ack.id), (7, number as u32));
        }
        let passed_on = bench.spread().contains(&Message::User(message.encode()));
        assert_eq!(passed_on, spread, "case {number}");
    }
}

#[test]
fn a_relay_forwards_its_body_to_the_address_in_it() {
    let mut bench = Bench::new();
    let body = SerfMessage::Join(JoinIntent {
        ltime: 1,
        node: "x".to_owned(),
    })
    .encode();
    bench.hear_serf(&SerfMessage::Relay(Relay {
        dest: WireAddr::of(at(THIRD)),
        dest_name: "third".to_owned(),
        body: body.clone(),
    }));

    assert_eq!(bench.sent(), [(at(THIRD), Message::User(body))]);
}

#[test]
fn an_intent_for_an_unknown_name_is_passed_on_once_and_used_when_it_joins() {
    let mut bench = Bench::with_peer();
    let leave = SerfMessage::Leave(LeaveIntent {
        ltime: 9,
        node: "third".to_owned(),
        prune: false,
    });
    bench.hear_serf(&leave);
    assert!(bench.spread().contains(&Message::User(leave.encode())));
    bench.hear(Message::Alive(alive("third", THIRD, 1)));

    assert_eq!(bench.status("third"), Some(Status::Leaving));
    bench.hear_serf(&SerfMessage::Join(JoinIntent {
        ltime: 10,
        node: "third".to_owned(),
    }));
    assert_eq!(bench.status("third"), Some(Status::Alive));
}

#[test]
fn a_leave_in_our_name_is_answered_with_a_later_join() {
    let mut bench = Bench::with_peer();
    bench.hear_serf(&SerfMessage::Leave(LeaveIntent {
        ltime: 41,
        node: "us".to_owned(),
        prune: false,
    }));

    assert_eq!(bench.status("us"), Some(Status::Alive));
    let join = SerfMessage::Join(JoinIntent {
        ltime: 42,
        node: "us".to_owned(),
    });
    assert!(bench.spread().contains(&Message::User(join.encode())));
}

#[test]
fn a_state_that_knows_a_later_time_of_ours_is_outbid() {
    let mut bench = Bench::with_peer();
    let state = SerfState {
        ltime: 31,
        status_ltimes: BTreeMap::from([("us".to_owned(), 30)]),
        ..SerfState::default()
    };
    bench.ask(&push_pull(vec![push_node("peer", PEER, 2, 0)], Some(state)));

    let join = SerfMessage::Join(JoinIntent {
        ltime: 31,
        node: "us".to_owned(),
    });
    assert!(bench.spread().contains(&Message::User(join.encode())));
}

#[test]
fn a_list_of_left_members_does_not_concern_the_living() {
    let mut bench = Bench::with_peer();
    let state = SerfState {
        ltime: 50,
        status_ltimes: BTreeMap::from([("peer".to_owned(), 20)]),
        left_members: vec!["peer".to_owned()],
        ..SerfState::default()
    };
    bench.ask(&push_pull(Vec::new(), Some(state.clone())));
    assert_eq!(bench.status("peer"), Some(Status::Alive));

    bench.hear(Message::Dead(accusation("peer", 2, "third")));
    assert_eq!(bench.status("peer"), Some(Status::Failed));
    bench.ask(&push_pull(Vec::new(), Some(state)));
    assert_eq!(bench.status("peer"), Some(Status::Left));
}

#[test]
fn a_push_pull_is_answered_before_it_is_merged() {
    let mut bench = Bench::new();
    let nodes = vec![
        push_node("peer", PEER, 3, 0),
        push_node("us", US, 5, 2),
        push_node("third", THIRD, 1, 0),
        push_node("third", THIRD, 1, 3),
        push_node("gone", "10.0.0.9:7946", 1, 2),
    ];
    let (answer, closed) = bench.ask(&push_pull(nodes, None));

    let Some(StreamMessage::PushPull(answer)) = answer else {
        panic!("no state: {answer:?}");
    };
    assert!(closed);
    assert_eq!(answer.nodes.len(), 1, "ours alone");
    assert!(!answer.user_state.is_empty());
    assert_eq!(bench.status("peer"), Some(Status::Alive));
    assert_eq!(bench.incarnation("us"), 6, "refuted");
    assert_eq!(bench.status("third"), Some(Status::Failed));
    assert_eq!(bench.status("gone"), None);
}

#[test]
fn a_peers_dead_is_only_a_suspect_here() {
    let mut bench = Bench::with_peer();
    bench.ask(&push_pull(vec![push_node("peer", PEER, 2, 2)], None));

    assert_eq!(bench.status("peer"), Some(Status::Alive));
    assert!(bench.node.members().by_name["peer"].suspect);
    bench.hear(Message::Alive(alive("peer", PEER, 3)));
    assert!(!bench.node.members().by_name["peer"].suspect);
}

#[test]
fn states_of_clusters_that_cannot_speak_with_us_are_refused_whole() {
    let mut bench = Bench::new();
    let mut future = push_node("peer", PEER, 1, 0);
    future.vsn = Some([4, 5, 4, 2, 5, 5]);
    let nodes = vec![push_node("third", THIRD, 1, 0), future];
    let (answer, _) = bench.ask(&push_pull(nodes, None));

    assert!(answer.is_some(), "the answer goes out first");
    assert_eq!(bench.node.members().by_name.len(), 1);
    assert_eq!(bench.dropped("incompatible"), 1);
}

#[test]
fn a_stream_ping_is_acknowledged_under_our_name_only() {
    let mut bench = Bench::new();
    for (node, answered) in [("us", true), ("", true), ("other", false)] {
        let ping = StreamMessage::Ping(Ping {
            seq_no: 3,
            node: node.to_owned(),
            source: None,
        });
        let (answer, closed) = bench.ask(&stream::encode(&ping, true));
        let ack = Some(StreamMessage::Ack(Ack {
            seq_no: 3,
            payload: None,
        }));
        assert_eq!(answer, ack.filter(|_| answered), "{node:?}");
        assert!(closed);
    }
}

#[test]
fn an_encrypted_stream_is_told_that_we_have_no_key_and_nonsense_is_told_nothing() {
    let mut bench = Bench::new();
    let (answer, closed) = bench.ask(&[10, 0, 0, 0, 40, 1, 2, 3]);
    assert_eq!(
        answer,
        Some(StreamMessage::Err(stream::NOT_ENCRYPTING.to_owned()))
    );
    assert!(closed);
    let (answer, closed) = bench.ask(&[99, 1, 2]);
    assert_eq!(answer, None);
    assert!(closed);
    assert_eq!(bench.node.stats().streams, 0);
}

#[test]
fn streams_that_say_nothing_are_bounded_and_end_at_their_deadline() {
    let mut bench = Bench::new();
    let accepted = (0..200)
        .filter_map(|_| bench.node.handle_stream_accepted(bench.now, at(PEER)))
        .count();
    assert_eq!(accepted, 128);
    assert_eq!(bench.dropped("too_many_streams"), 72);

    bench.wait(Duration::from_secs(11));
    assert_eq!(bench.node.stats().streams, 0);
    let closed = |action: &StreamAction| matches!(action, StreamAction::Close { .. });
    assert_eq!(
        bench
            .actions()
            .iter()
            .filter(|action| closed(action))
            .count(),
        128
    );
}

#[test]
fn a_flood_of_names_fills_the_table_and_no_more() {
    let mut bench = Bench::new();
    let nodes: Vec<PushNode> = (0..10_500_u32)
        .map(|number| PushNode {
            addr: WireAddr {
                octets: (0x0a01_0000 + number).to_be_bytes().to_vec(),
                port: 7946,
            },
            ..push_node(&format!("n{number}"), PEER, 1, 0)
        })
        .collect();
    let (first, second) = nodes.split_at(6_000);
    bench.ask(&push_pull(first.to_vec(), None));
    bench.ask(&push_pull(second.to_vec(), None));

    assert_eq!(bench.node.members().by_name.len(), 10_000);
    assert_eq!(bench.dropped("nodes_full"), 501);
    assert!(bench.node.stats().queued_broadcasts <= 10_000);
}

#[test]
fn random_bytes_never_panic_and_are_counted() {
    let seed = crate::clock::random().next_u64();
    println!("seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut bench = Bench::with_peer();
    let samples = [
        Message::Alive(alive("x", THIRD, 3)).encode(),
        Message::Dead(accusation("peer", 1, "x")).encode(),
        Message::User(SerfMessage::Query(query(1, 1)).encode()).encode(),
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
fn a_leaver_says_so_first_and_then_signs_its_own_death() {
    let mut bench = Bench::with_peer();
    bench.spread();
    bench.node.leave(bench.now);
    let mut order = Vec::new();
    for _ in 0..40 {
        for message in bench.spread() {
            match message {
                Message::User(bytes) => match SerfMessage::decode(&bytes) {
                    Ok(SerfMessage::Leave(leave)) if leave.node == "us" => order.push("intent"),
                    _ => {}
                },
                Message::Dead(dead) if dead.node == "us" && dead.from == "us" => order.push("dead"),
                _ => {}
            }
        }
        order.dedup();
    }

    assert_eq!(order, ["intent", "dead"]);
    assert_eq!(bench.status("us"), Some(Status::Left));
    assert!(bench.events().contains(&Event::LeaveFinished));
    bench.hear(Message::Alive(alive("us", US, 9)));
    bench.hear(Message::Suspect(accusation("us", 9, "peer")));
    assert_eq!(bench.node.stats().refutations, 0, "we do not come back");
    assert_eq!(
        bench.node.set_tags(bench.now, Tags::new()),
        Err(Refused::Leaving)
    );
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
