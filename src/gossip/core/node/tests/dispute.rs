//! A member whose name is at a second place as well: votes, and what comes of them.

use super::names::SECOND;
use super::*;
use crate::gossip::core::wire::serf::QueryResponse;

/// Where the namesake is: a lower address than ours.
const LOWER: &str = "10.0.0.0:7947";
const HIGHER: &str = "10.0.0.9:7946";

impl Bench {
    /// A member for a while, with two peers, one of whose tables shows our name at `other`; what asks the members
    /// once the other has answered twice.
    fn disputed(other: &str) -> (Self, Query) {
        let mut bench = Self::claiming(true);
        bench.hear(Message::Alive(alive("peer", PEER, 1)));
        bench.hear(Message::Alive(alive("third", THIRD, 1)));
        bench.live_answering(12 * SECOND, &[]);
        bench.events();
        let table = push_pull(vec![push_node("us", other, 3, 0)], None);
        bench.ask(&table);
        let asked = bench.live_answering(3 * SECOND, &[other]);
        let asked = asked
            .into_iter()
            .find(|query| query.name == "_serf_conflict");
        (bench, asked.expect("everyone is asked"))
    }

    /// Lives on; pings are answered but for those under our name, of which only those at `living` are. Queries sent.
    fn live_answering(&mut self, time: Duration, living: &[&str]) -> Vec<Query> {
        let until = self.now + time;
        let mut asked = Vec::new();
        loop {
            for (to, message) in self.sent() {
                match message {
                    Message::Ping(ping)
                        if ping.node != "us" || living.iter().any(|at_| to == at(at_)) =>
                    {
                        self.hear(Message::Ack(Ack {
                            seq_no: ping.seq_no,
                            payload: None,
                        }));
                    }
                    Message::User(bytes) => {
                        if let Ok(SerfMessage::Query(query)) = SerfMessage::decode(&bytes) {
                            asked.push(query);
                        }
                    }
                    _ => {}
                }
            }
            let Some(next) = self.node.poll_timeout().filter(|next| *next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            self.node.handle_timeout(self.now);
        }
        self.now = until;
        asked
    }

    /// `from` says that our name is at `place`.
    fn vote(&mut self, query: &Query, from: &str, place: &str) {
        let SocketAddr::V4(place) = at(place) else {
            panic!("IPv4 only");
        };
        let mut payload = b"\x06\x82\xa4Addr\xa4".to_vec();
        payload.extend(place.ip().octets());
        payload.extend(b"\xa4Port\xcd");
        payload.extend(place.port().to_be_bytes());
        self.hear_serf(&SerfMessage::QueryResponse(QueryResponse {
            ltime: query.ltime,
            id: query.id,
            from: from.to_owned(),
            flags: 0,
            payload: Some(payload),
        }));
    }
}

fn is_taken(events: &[Event]) -> bool {
    let taken = |event: &Event| matches!(event, Event::NameTaken { name, at_start: false, .. } if name == "us");
    events.iter().any(taken)
}

#[test]
fn one_that_is_outvoted_looks_once_more_and_its_name_is_taken() {
    let (mut bench, query) = Bench::disputed(HIGHER);
    assert_eq!(query.payload, b"us");
    assert_eq!(query.addr.socket(), Some(at(US)));
    bench.vote(&query, "peer", HIGHER);
    bench.vote(&query, "third", HIGHER);
    // The vote of 3.2 s, and thrice as long for the other to give up.
    bench.live_answering(11 * SECOND, &[HIGHER]);
    assert!(!is_taken(&bench.events()), "it yields first");
    bench.live_answering(2 * SECOND, &[HIGHER]);

    assert!(is_taken(&bench.events()));
    assert_eq!(
        bench.status("us"),
        Some(Status::Alive),
        "until it is renamed"
    );
}

#[test]
fn one_that_is_outvoted_keeps_its_name_if_the_other_falls_silent() {
    let (mut bench, query) = Bench::disputed(HIGHER);
    bench.vote(&query, "peer", HIGHER);
    bench.live_answering(10 * SECOND, &[HIGHER]);
    bench.live_answering(20 * SECOND, &[]);

    let events = bench.events();
    assert!(!is_taken(&events));
    let repaired = |event: &Event| matches!(event, Event::Repaired { name, .. } if name == "us");
    assert!(events.iter().any(repaired), "{events:?}");
}

#[test]
fn a_name_stays_where_more_hold_it_and_at_the_lower_address_among_as_many() {
    for (other, ours, theirs) in [
        (LOWER, &["peer", "third"][..], &[][..]),
        (HIGHER, &["peer"], &["third"]),
        // Nobody answers: nothing is known.
        (LOWER, &[], &[]),
    ] {
        let (mut bench, query) = Bench::disputed(other);
        for name in ours {
            bench.vote(&query, name, US);
        }
        for name in theirs {
            bench.vote(&query, name, other);
        }
        bench.live_answering(30 * SECOND, &[other]);

        let events = bench.events();
        assert!(!is_taken(&events), "{other}: {ours:?} {theirs:?}");
        let told = |event: &Event| matches!(event, Event::Conflict { claimed, .. } if *claimed == at(other));
        assert!(events.iter().any(told), "{events:?}");
    }
}

#[test]
fn among_as_many_the_higher_address_gives_its_name_up() {
    let (mut bench, query) = Bench::disputed(LOWER);
    bench.vote(&query, "peer", US);
    bench.vote(&query, "third", LOWER);
    bench.live_answering(8 * SECOND, &[LOWER]);

    assert!(is_taken(&bench.events()));
}

#[test]
fn strangers_have_no_voice_and_members_one_each() {
    let (mut bench, query) = Bench::disputed(HIGHER);
    bench.vote(&query, "peer", US);
    for name in ["x", "y", "us", "peer"] {
        bench.vote(&query, name, HIGHER);
    }
    let other = Query {
        id: query.id ^ 1,
        ..query.clone()
    };
    bench.vote(&other, "third", HIGHER);
    bench.live_answering(30 * SECOND, &[HIGHER]);

    assert!(!is_taken(&bench.events()));
}

#[test]
fn words_without_a_living_node_behind_them_start_no_vote() {
    let mut bench = Bench::claiming(true);
    bench.hear(Message::Alive(alive("peer", PEER, 1)));
    bench.live_answering(12 * SECOND, &[]);
    let mut asked = Vec::new();
    for round in 0..20 {
        bench.hear(Message::Alive(alive("us", HIGHER, 5 + round)));
        bench.ask(&push_pull(
            vec![push_node("us", HIGHER, 5 + round, 0)],
            None,
        ));
        asked.extend(bench.live_answering(6 * SECOND, &[]));
    }

    assert!(asked.is_empty(), "{asked:?}");
    assert!(!is_taken(&bench.events()));
}

#[test]
fn a_renamed_member_knows_all_that_it_knew_and_tells_who_held_it() {
    let (mut bench, query) = Bench::disputed(HIGHER);
    bench.vote(&query, "peer", US);
    bench.vote(&query, "third", HIGHER);
    bench.hear(Message::Alive(alive("fourth", "10.0.0.4:7946", 1)));
    bench.vote(&query, "fourth", HIGHER);
    bench.live_answering(14 * SECOND, &[HIGHER]);
    assert!(is_taken(&bench.events()));
    bench.actions();

    bench
        .node
        .rename(bench.now, "us-1234")
        .expect("nobody has it");

    let members = bench.node.members();
    assert_eq!(members.by_name["us"].address, at(HIGHER));
    assert_eq!(members.by_name["us-1234"].address, at(US));
    let alive = |name: &str| members.by_name[name].status == Status::Alive;
    assert!(
        ["us", "us-1234", "peer", "third", "fourth"]
            .into_iter()
            .all(alive)
    );
    let visited = bench.visits();
    let places: Vec<SocketAddr> = visited.iter().map(|(to, _)| *to).collect();
    assert_eq!(
        places,
        [at(PEER)],
        "those who hold it elsewhere need no word"
    );
    let told: Vec<_> = visited[0]
        .1
        .iter()
        .map(|node| (&*node.name, node.addr.socket(), node.state))
        .collect();
    let (us, other) = (Some(at(US)), Some(at(HIGHER)));
    assert_eq!(
        told,
        [
            ("us-1234", us, 0),
            ("us", us, 0),
            ("us", us, 3),
            ("us", other, 0)
        ]
    );
    let own = |message: &Message| matches!(message, Message::Alive(alive) if alive.node == "us-1234" && alive.incarnation == 1);
    assert!(bench.spread().iter().any(own));
    assert_eq!(bench.node.stats().renames, 1);
    let refused = bench.node.rename(bench.now, "peer");
    let name = "peer".to_owned();
    assert_eq!(refused, Err(Refused::NameKnown { name }));
}

#[test]
fn a_renamed_member_answers_to_its_new_name_alone() {
    let mut bench = Bench::with_peer();
    bench.node.rename(bench.now, "new").expect("nobody has it");
    bench.sent();
    let ping = |node: &str| {
        Message::Ping(Ping {
            seq_no: 7,
            node: node.to_owned(),
            source: None,
        })
    };

    bench.hear(ping("us"));
    assert!(bench.sent().is_empty());
    bench.hear(ping("new"));
    assert!(matches!(&bench.sent()[..], [(_, Message::Ack(_)), ..]));
    assert_eq!(bench.status("us"), None);
}
