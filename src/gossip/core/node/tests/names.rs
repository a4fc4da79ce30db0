//! One name at two addresses, step by step; whole clusters are in `tests/sim`.

use super::*;

const OLD: &str = "10.0.0.9:7946";
pub(super) const SECOND: Duration = Duration::from_secs(1);

impl Bench {
    /// Does what is due within `time`, and answers nothing.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(next) = self.node.poll_timeout().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.node.handle_timeout(self.now);
        }
        self.now = until;
    }

    /// Stream opened to `to`, among what is asked for now.
    fn opened(&mut self, to: &str) -> StreamId {
        let actions = self.actions();
        actions
            .iter()
            .find_map(|action| match action {
                StreamAction::Connect { id, to: peer } if *peer == at(to) => Some(*id),
                _ => None,
            })
            .unwrap_or_else(|| panic!("no stream to {to} in {actions:?}"))
    }

    /// What a stream of ours says once it stands.
    fn connected(&mut self, id: StreamId) -> StreamMessage {
        self.node.handle_stream_connected(self.now, id);
        let mut decoder = Decoder::new();
        self.actions()
            .iter()
            .find_map(|action| match action {
                StreamAction::Send { id: on, bytes } if *on == id => {
                    decoder.feed(bytes).expect("we send what can be read")
                }
                _ => None,
            })
            .expect("it says something")
    }

    /// One that joins through a peer which holds our name as `state` at OLD with incarnation 7; the stream of
    /// its check.
    fn claimant(state: u8, own: &str) -> (Self, StreamId) {
        let mut bench = Self::claiming(true);
        bench.node.join(bench.now, &[at(PEER)]);
        let pull = bench.opened(PEER);
        let asked = bench.connected(pull);
        assert_eq!(
            asked,
            StreamMessage::PushPull(PushPull {
                join: false,
                nodes: PushNodes::default(),
                user_state: Vec::new()
            }),
            "the look tells nothing"
        );
        let table = push_pull(
            vec![
                push_node("us", own, 7, state),
                push_node("peer", PEER, 3, 0),
                push_node("third", THIRD, 1, 1),
                push_node("gone", "10.0.0.4:7946", 1, 2),
            ],
            None,
        );
        bench.node.handle_stream_bytes(bench.now, pull, &table);
        let check = bench.opened(own);
        (bench, check)
    }

    /// The lists given to visited peers.
    pub(super) fn visits(&mut self) -> Vec<(SocketAddr, Vec<PushNode>)> {
        let actions = self.actions();
        let stands = |id| !actions.contains(&StreamAction::Close { id });
        let opened: Vec<(StreamId, SocketAddr)> = actions
            .iter()
            .filter_map(|action| match action {
                StreamAction::Connect { id, to } if stands(*id) => Some((*id, *to)),
                _ => None,
            })
            .collect();
        opened
            .into_iter()
            .map(|(id, to)| match self.connected(id) {
                StreamMessage::PushPull(list) => {
                    (to, list.nodes.iter().map(|node| node.to_node()).collect())
                }
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn pings_to(&mut self, to: &str) -> Vec<Ping> {
        let sent = self.sent().into_iter();
        sent.filter_map(|(place, message)| match message {
            Message::Ping(ping) if place == at(to) => Some(ping),
            _ => None,
        })
        .collect()
    }

    fn ack(&mut self, seq_no: u32) {
        self.hear(Message::Ack(Ack {
            seq_no,
            payload: None,
        }));
    }
}

#[test]
fn an_ack_by_packet_and_another_two_seconds_later_prove_a_name_taken() {
    let (mut bench, _) = Bench::claimant(0, OLD);
    let pings = bench.pings_to(OLD);
    assert_eq!(pings[0].node, "us");
    bench.ack(pings[0].seq_no);
    assert!(bench.events().is_empty(), "once is not enough");
    bench.pass(2 * SECOND - Duration::from_millis(1));
    assert!(bench.pings_to(OLD).is_empty());
    bench.pass(SECOND);
    let again = bench.pings_to(OLD);
    bench.ack(again[0].seq_no);

    let events = bench.events();
    assert_eq!(
        events[0],
        Event::NameTaken {
            name: "us".to_owned(),
            holder: at(OLD),
            at_start: true
        }
    );
    assert!(
        matches!(&events[1], Event::JoinFinished { reached: 0, failures, .. }
        if failures == &[(at(PEER), format!("our name is in use at {OLD}"))])
    );
    assert!(bench.visits().is_empty());
    assert_eq!(bench.node.stats().repairs, 0);
}

#[test]
fn an_ack_by_stream_is_an_answer_too() {
    let (mut bench, check) = Bench::claimant(2, OLD);
    let StreamMessage::Ping(ping) = bench.connected(check) else {
        panic!("a ping");
    };
    let ack = StreamMessage::Ack(Ack {
        seq_no: ping.seq_no,
        payload: None,
    });
    bench
        .node
        .handle_stream_bytes(bench.now, check, &stream::encode(&ack, false));
    bench.sent();
    bench.pass(Duration::from_millis(1900));

    assert!(bench.pings_to(OLD).is_empty(), "the check is over");
    assert!(bench.visits().is_empty());
}

#[test]
fn peers_are_asked_to_ping_as_well() {
    let (mut bench, _) = Bench::claimant(0, OLD);
    let asked: Vec<SocketAddr> = bench
        .sent()
        .into_iter()
        .filter_map(|(to, message)| match message {
            Message::IndirectPing(request) if request.target.socket() == Some(at(OLD)) => {
                assert_eq!(request.node, "us");
                Some(to)
            }
            _ => None,
        })
        .collect();

    assert!(
        asked.contains(&at(PEER)) && asked.contains(&at(THIRD)),
        "{asked:?}"
    );
}

#[test]
fn a_silent_second_gives_the_name_to_us_and_everyone_live_is_told() {
    let (mut bench, _) = Bench::claimant(2, OLD);
    bench.pass(SECOND - Duration::from_millis(1));
    assert!(bench.visits().is_empty(), "not before");
    bench.pass(Duration::from_millis(1));

    assert_eq!(bench.incarnation("us"), 18);
    let visits = bench.visits();
    let places: Vec<SocketAddr> = visits.iter().map(|(to, _)| *to).collect();
    assert_eq!(
        places,
        [at(PEER), at(THIRD)],
        "alive and suspect, not the dead"
    );
    let steps: Vec<_> = visits[0]
        .1
        .iter()
        .map(|node| (node.addr.socket(), node.state, node.incarnation))
        .collect();
    assert_eq!(
        steps,
        [
            (Some(at(OLD)), 0, 17),
            (Some(at(OLD)), 3, 17),
            (Some(at(US)), 0, 18)
        ]
    );
    bench.pass(Duration::from_millis(300));
    assert!(matches!(&bench.events()[..], [Event::Repaired { .. }]));
    bench.opened(PEER);
}

#[test]
fn a_refused_stream_shortens_the_wait_and_a_packet_still_counts() {
    for answered in [false, true] {
        let (mut bench, check) = Bench::claimant(1, OLD);
        let refused = Some("connection refused".to_owned());
        bench.node.handle_stream_closed(bench.now, check, refused);
        bench.pass(Duration::from_millis(250));
        assert!(bench.visits().is_empty());
        let pings = bench.pings_to(OLD);
        assert_eq!(pings.len(), 3, "three chances");
        if answered {
            bench.ack(pings[0].seq_no);
        }
        bench.pass(Duration::from_millis(100));

        assert_eq!(bench.visits().is_empty(), answered);
    }
}

#[test]
fn a_stream_that_stands_in_silence_is_given_time() {
    let (mut bench, check) = Bench::claimant(1, OLD);
    bench.connected(check);
    bench.pass(5 * SECOND - Duration::from_millis(1));
    assert!(bench.visits().is_empty(), "a process holds the port");
    bench.pass(Duration::from_millis(1));

    assert!(!bench.visits().is_empty());
}

#[test]
fn our_own_listener_at_the_old_address_is_not_another() {
    let (mut bench, check) = Bench::claimant(0, OLD);
    let StreamMessage::Ping(by_stream) = bench.connected(check) else {
        panic!("a ping");
    };
    // Both come back to ourselves, since the machine has both addresses.
    let ping = bench.pings_to(OLD).remove(0);
    bench.hear(Message::Ping(ping));
    assert!(bench.sent().is_empty(), "we don't answer ourselves");
    let bytes = stream::encode(&StreamMessage::Ping(by_stream), false);
    assert_eq!(bench.ask(&bytes), (None, true));
    bench.node.handle_stream_closed(bench.now, check, None);
    bench.pass(Duration::from_millis(300));

    assert!(!bench.visits().is_empty());
}

#[test]
fn the_other_form_of_our_own_address_needs_no_check() {
    let mut bench = Bench::claiming(true);
    bench.node.join(bench.now, &[at(PEER)]);
    let pull = bench.opened(PEER);
    bench.connected(pull);
    let mut own = push_node("us", US, 7, 2);
    own.addr.octets = [&[0; 10][..], &[0xff, 0xff, 10, 0, 0, 1]].concat();
    let table = push_pull(vec![own, push_node("peer", PEER, 3, 0)], None);
    bench.node.handle_stream_bytes(bench.now, pull, &table);

    let visits = bench.visits();
    assert_eq!(visits[0].0, at(PEER));
    assert_eq!(visits[0].1[0].addr.octets.len(), 16, "as they hold it");
    assert_eq!(visits[0].1[2].addr.octets.len(), 4);
}

#[test]
fn nobody_hears_of_us_while_the_name_may_be_anothers() {
    let (mut bench, _) = Bench::claimant(0, OLD);
    // News that rides on an ack makes others known to us.
    bench.hear(Message::Alive(alive("third", THIRD, 1)));
    bench.sent();
    for _ in 0..9 {
        bench.pass(Duration::from_millis(100));
        for (to, message) in bench.sent() {
            assert!(
                matches!(message, Message::Ping(_)) && to == at(OLD),
                "{message:?} to {to}"
            );
        }
    }
    let (answer, _) = bench.ask(&push_pull(vec![push_node("third", THIRD, 1, 0)], None));
    assert_eq!(answer, None);
}

#[test]
fn a_joiner_whose_name_is_unknown_or_its_own_goes_on_at_once() {
    for own in [None, Some(push_node("us", US, 4, 2))] {
        let mut bench = Bench::claiming(true);
        bench.node.join(bench.now, &[at(PEER)]);
        let pull = bench.opened(PEER);
        bench.connected(pull);
        let nodes = own.into_iter().chain([push_node("peer", PEER, 3, 0)]);
        let table = push_pull(nodes.collect(), None);
        bench.node.handle_stream_bytes(bench.now, pull, &table);

        let join = bench.opened(PEER);
        assert!(matches!(bench.connected(join), StreamMessage::PushPull(ours) if ours.join));
    }
}

#[test]
fn one_who_left_comes_back_anywhere_above_its_former_incarnation() {
    let mut bench = Bench::claiming(true);
    bench.node.join(bench.now, &[at(PEER)]);
    let pull = bench.opened(PEER);
    bench.connected(pull);
    let table = push_pull(
        vec![push_node("us", OLD, 30, 3), push_node("peer", PEER, 3, 0)],
        None,
    );
    bench.node.handle_stream_bytes(bench.now, pull, &table);

    assert_eq!(bench.incarnation("us"), 41);
    let join = bench.opened(PEER);
    assert!(matches!(bench.connected(join), StreamMessage::PushPull(ours) if ours.join));
}

#[test]
fn where_a_member_is_is_told_to_who_asks_but_not_of_ourselves() {
    let mut bench = Bench::with_peer();
    let answers = |bench: &mut Bench, id, name: &str| -> Vec<Vec<u8>> {
        bench.hear_serf(&SerfMessage::Query(Query {
            name: "_serf_conflict".to_owned(),
            payload: name.into(),
            ..query(id, 0)
        }));
        let sent = bench.sent().into_iter().filter(|(to, _)| *to == at(THIRD));
        sent.filter_map(|(_, message)| match message {
            Message::User(bytes) => match SerfMessage::decode(&bytes) {
                Ok(SerfMessage::QueryResponse(response)) => response.payload,
                _ => None,
            },
            _ => None,
        })
        .collect()
    };

    let peer = answers(&mut bench, 1, "peer");
    assert_eq!(peer.len(), 1);
    assert!(peer[0].starts_with(b"\x06\x8b\xa4Addr\xa4\x0a\x00\x00\x02"));
    assert_eq!(answers(&mut bench, 2, "nobody"), [b"\x06\xc0"]);
    assert!(answers(&mut bench, 3, "us").is_empty());
}
