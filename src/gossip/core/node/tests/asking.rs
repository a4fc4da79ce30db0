//! Queries: asked, acknowledged, answered, once each and until their deadline.

use super::*;
use crate::gossip::core::io::{Answer, NoAnswer, QueryId, Question};
use crate::gossip::core::keyring::{Key, Keyring};
use crate::gossip::core::serf::keys::{KeyRequest, KeyTally};
use crate::gossip::core::wire::serf::QueryResponse;

fn question(name: &str) -> Question {
    Question {
        name: name.to_owned(),
        ..Question::default()
    }
}

fn ack(from: &str) -> Answer {
    Answer::Ack {
        from: from.to_owned(),
    }
}

fn response(from: &str, payload: &str) -> Answer {
    Answer::Response {
        from: from.to_owned(),
        payload: payload.into(),
    }
}

impl Bench {
    fn asks(&mut self, question: Question) -> QueryId {
        self.node.query(self.now, question).expect("it may ask")
    }

    fn answers(&mut self) -> Vec<Answer> {
        std::iter::from_fn(|| self.node.poll_answer())
            .map(|(_, answer)| answer)
            .collect()
    }

    fn hear_response(&mut self, id: QueryId, from: &str, flags: u32, payload: &str) {
        self.hear_serf(&SerfMessage::QueryResponse(QueryResponse {
            ltime: id.ltime,
            id: id.id,
            from: from.to_owned(),
            flags,
            payload: (flags == 0).then(|| payload.into()),
        }));
    }

    /// The first query that is gossiped.
    fn spread_query(&mut self) -> Query {
        let query = |message: &Message| match message {
            Message::User(bytes) => match SerfMessage::decode(bytes) {
                Ok(SerfMessage::Query(query)) => Some(query),
                _ => None,
            },
            _ => None,
        };
        let spread = self.spread();
        spread.iter().find_map(query).expect("a query")
    }

    /// Serf messages sent since last asked, with where to.
    fn sent_serf(&mut self) -> Vec<(SocketAddr, SerfMessage)> {
        let serf = |(to, message)| match message {
            Message::User(bytes) => Some((to, SerfMessage::decode(&bytes).ok()?)),
            _ => None,
        };
        self.sent().into_iter().filter_map(serf).collect()
    }
}

#[test]
fn a_query_says_all_that_was_asked() {
    let mut bench = Bench::with_peer();
    let id = bench.asks(Question {
        payload: b"now".to_vec(),
        nodes: vec!["peer".to_owned()],
        tags: BTreeMap::from([("role".to_owned(), "web".to_owned())]),
        wants_ack: true,
        relay_factor: 3,
        ..question("uptime")
    });

    let query = bench.spread_query();
    assert_eq!((query.ltime, query.id), (id.ltime, id.id));
    assert_eq!((&*query.name, &*query.payload), ("uptime", &b"now"[..]));
    assert_eq!(query.filters.len(), 2);
    assert_eq!((query.flags, query.relay_factor), (1, 3));
    assert_eq!(query.addr, WireAddr::of(at(US)));
    assert_eq!(query.source_node, "us");
    // Two members: 16 × 200 ms × 1.
    assert_eq!(query.timeout_ns, 3_200_000_000);
    assert!(query.id <= i32::MAX as u32, "Go's are 31 bits");
    assert!(bench.events().is_empty(), "we are not meant");
    assert_eq!(bench.node.stats().query_time, id.ltime + 1);
}

#[test]
fn the_others_hear_at_once() {
    let mut bench = Bench::with_peer();
    bench.sent();
    bench.asks(question("uptime"));
    bench
        .node
        .user_event(bench.now, "deploy", Vec::new(), false)
        .expect("it is short");

    let sent = bench.sent_serf();
    let [
        (to, SerfMessage::Query(_)),
        (also, SerfMessage::UserEvent(_)),
    ] = &sent[..]
    else {
        panic!("{sent:?}");
    };
    assert_eq!((*to, *also), (at(PEER), at(PEER)));
}

#[test]
fn we_answer_ourselves_like_any_other() {
    let mut bench = Bench::with_peer();
    let id = bench.asks(Question {
        payload: b"now".to_vec(),
        wants_ack: true,
        ..question("uptime")
    });

    assert_eq!(bench.answers(), [ack("us")]);
    let Some(Event::Query {
        id: heard,
        name,
        from,
        payload,
        ..
    }) = bench.events().pop()
    else {
        panic!("we do not hear ourselves");
    };
    assert_eq!(
        (heard, &*name, &*from, &*payload),
        (id, "uptime", "us", &b"now"[..])
    );
    assert_eq!(bench.node.respond(bench.now, id, b"1 day".to_vec()), Ok(()));
    assert_eq!(bench.answers(), [response("us", "1 day")]);
    let sent = bench.sent_serf();
    let answered =
        |(_, message): &(_, SerfMessage)| matches!(message, SerfMessage::QueryResponse(_));
    assert!(!sent.iter().any(answered), "our answers go by no packet");
}

#[test]
fn each_ack_and_response_counts_once_and_until_the_deadline() {
    let mut bench = Bench::with_peer();
    let id = bench.asks(Question {
        wants_ack: true,
        nodes: vec!["peer".to_owned(), "third".to_owned()],
        timeout: Some(Duration::from_secs(5)),
        ..question("uptime")
    });
    for _ in 0..2 {
        bench.hear_response(id, "peer", 1, "");
        bench.hear_response(id, "peer", 0, "1 day");
        bench.hear_response(id, "peer", 0, "2 days");
    }
    assert_eq!(bench.answers(), [ack("peer"), response("peer", "1 day")]);
    let other = QueryId {
        id: id.id ^ 1,
        ..id
    };
    bench.hear_response(other, "third", 0, "not asked");
    assert!(bench.answers().is_empty());

    bench.wait(Duration::from_millis(4999));
    assert!(bench.answers().is_empty());
    bench.hear_response(id, "third", 0, "just in time");
    assert_eq!(bench.answers(), [response("third", "just in time")]);
    bench.wait(Duration::from_millis(1));
    bench.hear_response(id, "fourth", 0, "late");
    assert_eq!(bench.answers(), [Answer::Done]);
    bench.wait(Duration::from_secs(60));
    assert!(bench.answers().is_empty());
    assert_eq!(bench.dropped("no_query"), 2);
}

#[test]
fn no_ack_is_taken_that_was_not_wanted() {
    let mut bench = Bench::with_peer();
    let id = bench.asks(question("uptime"));
    bench.hear_response(id, "peer", 1, "");

    assert!(bench.answers().is_empty());
}

#[test]
fn a_query_that_is_too_long_is_refused_with_its_size() {
    let mut bench = Bench::with_peer();
    let mut ask = |payload| {
        let question = Question {
            payload: vec![0; payload],
            ..question("uptime")
        };
        bench.node.query(bench.now, question)
    };

    let Err(Refused::QueryTooLong { bytes, max: 1024 }) = ask(1000) else {
        panic!("it is too long");
    };
    assert!(ask(1000 - (bytes - 1024)).is_ok());
    assert!(ask(1000 - (bytes - 1024) + 1).is_err());
}

#[test]
fn internal_queries_are_not_for_operators() {
    let mut bench = Bench::with_peer();
    for name in ["_serf_conflict", "_serf_list-keys", "_serf_other"] {
        let asked = bench.node.query(bench.now, question(name));
        assert_eq!(asked, Err(Refused::InternalQuery), "{name}");
    }
    let ping = Question {
        wants_ack: true,
        ..question("_serf_ping")
    };
    bench.asks(ping.clone());
    assert_eq!(bench.answers(), [ack("us")]);
    assert!(bench.events().is_empty(), "nobody above hears of it");
    let payload = Question {
        payload: vec![1],
        ..ping
    };
    let asked = bench.node.query(bench.now, payload);
    assert_eq!(asked, Err(Refused::InternalQuery));
}

#[test]
fn so_many_queries_are_open_and_no_more() {
    let mut bench = Bench::with_peer();
    for _ in 0..256 {
        bench.asks(question("uptime"));
    }

    let asked = bench.node.query(bench.now, question("uptime"));
    assert_eq!(asked, Err(Refused::TooManyQueries { open: 256 }));
    bench.wait(Duration::from_secs(4));
    assert_eq!(bench.answers().len(), 256);
    bench.asks(question("uptime"));
}

#[test]
fn who_leaves_asks_no_more() {
    let mut bench = Bench::with_peer();
    bench.node.leave(bench.now);

    let asked = bench.node.query(bench.now, question("uptime"));
    assert_eq!(asked, Err(Refused::Leaving));
}

/// Hears a query for us, and gives its id.
fn heard(bench: &mut Bench, relay_factor: u8) -> QueryId {
    bench.hear_serf(&SerfMessage::Query(Query {
        name: "uptime".to_owned(),
        relay_factor,
        ..query(3, 0)
    }));
    let Some(Event::Query { id, deadline, .. }) = bench.events().pop() else {
        panic!("no query");
    };
    assert_eq!(deadline, bench.now + Duration::from_secs(1));
    id
}

#[test]
fn a_query_is_answered_once_and_until_its_deadline() {
    let mut bench = Bench::with_peer();
    let id = heard(&mut bench, 0);
    assert_eq!(bench.node.respond(bench.now, id, b"1 day".to_vec()), Ok(()));

    let sent = bench.sent_serf();
    let [(to, SerfMessage::QueryResponse(response))] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!((*to, &*response.from, response.flags), (at(THIRD), "us", 0));
    assert_eq!((response.ltime, response.id), (id.ltime, id.id));
    assert_eq!(response.payload.as_deref(), Some(&b"1 day"[..]));
    let refused = |bench: &mut Bench, id, why| {
        let answered = bench.node.respond(bench.now, id, Vec::new());
        assert_eq!(answered, Err(Refused::NoAnswer(why)));
    };
    refused(&mut bench, id, NoAnswer::Sent);
    let unknown = QueryId { id: 9, ..id };
    refused(&mut bench, unknown, NoAnswer::Unknown);

    let mut late = Bench::with_peer();
    let id = heard(&mut late, 0);
    late.wait(Duration::from_secs(1));
    refused(&mut late, id, NoAnswer::Late);
    late.wait(Duration::from_secs(16));
    refused(&mut late, id, NoAnswer::Unknown);
}

#[test]
fn a_response_that_is_too_long_is_refused_and_another_may_be_sent() {
    let mut bench = Bench::with_peer();
    let id = heard(&mut bench, 0);

    let Err(Refused::ResponseTooLong { bytes, max: 1024 }) =
        bench.node.respond(bench.now, id, vec![0; 1024])
    else {
        panic!("it is too long");
    };
    assert!(bench.sent_serf().is_empty());
    let fits = 1024 - (bytes - 1024);
    assert_eq!(bench.node.respond(bench.now, id, vec![0; fits]), Ok(()));
    assert_eq!(bench.sent_serf().len(), 1);
}

#[test]
fn a_response_goes_through_others_as_often_as_asked() {
    let mut bench = Bench::with_peer();
    bench.hear(Message::Alive(alive("fourth", "10.0.0.4:7946", 1)));
    bench.events();
    let id = heard(&mut bench, 2);
    bench.sent();
    bench
        .node
        .respond(bench.now, id, b"1 day".to_vec())
        .expect("open");

    let sent = bench.sent_serf();
    let relays: Vec<_> = sent
        .iter()
        .filter_map(|(to, message)| match message {
            SerfMessage::Relay(relay) => Some((*to, relay)),
            _ => None,
        })
        .collect();
    assert_eq!((sent.len(), relays.len()), (3, 2));
    assert_ne!(relays[0].0, relays[1].0);
    for (_, relay) in relays {
        assert_eq!(
            (&relay.dest, &*relay.dest_name),
            (&WireAddr::of(at(THIRD)), "third")
        );
        let direct = sent
            .iter()
            .find(|(to, _)| *to == at(THIRD))
            .expect("direct");
        assert_eq!(relay.body, direct.1.encode());
    }
}

fn key(byte: u8) -> Key {
    Key::new(&[byte; 16]).expect("a key")
}

#[test]
fn keys_are_changed_here_as_everywhere() {
    let mut bench = Bench::with_keys(false, Some(Keyring::new(key(1))));
    let mut turn = |request: KeyRequest, ring: Option<&[u8]>, errors: usize| {
        bench.node.keys(bench.now, &request).expect("it may ask");
        let mut tally = KeyTally::new(1);
        let answers = bench.answers();
        assert!(
            answers.iter().any(|answer| tally.add(answer)),
            "{answers:?}"
        );
        let report = tally.report();
        assert_eq!(report.errors, errors, "{request:?}: {report:?}");
        let changed = bench.node.poll_keyring();
        let wanted = ring.map(|ring| ring.iter().copied().map(key).collect::<Vec<_>>());
        assert_eq!(
            changed.map(|ring| ring.keys().to_vec()),
            wanted,
            "{request:?}"
        );
        report
    };

    turn(KeyRequest::Use(key(2)), None, 1);
    turn(KeyRequest::Install(key(2)), Some(&[1, 2]), 0);
    turn(KeyRequest::Install(key(2)), None, 0);
    turn(KeyRequest::Use(key(2)), Some(&[2, 1]), 0);
    let report = turn(KeyRequest::List, None, 0);
    assert_eq!(report.keys.len(), 2);
    assert_eq!(
        report.primary_keys,
        BTreeMap::from([(key(2).to_base64(), 1)])
    );
    let report = turn(KeyRequest::Remove(key(2)), None, 1);
    assert_eq!(
        report.messages["us"],
        "Removing the primary key is not allowed"
    );
    turn(KeyRequest::Remove(key(1)), Some(&[2]), 0);
}

#[test]
fn without_encryption_there_are_no_keys_to_turn() {
    let mut bench = Bench::new();
    bench
        .node
        .keys(bench.now, &KeyRequest::Install(key(2)))
        .expect("it may ask");

    let mut tally = KeyTally::new(1);
    assert!(bench.answers().iter().any(|answer| tally.add(answer)));
    let report = tally.report();
    assert_eq!(
        report.messages["us"],
        "No keyring to modify (encryption not enabled)"
    );
    assert_eq!(bench.node.poll_keyring(), None);
    assert!(!bench.node.stats().encrypted);
}

#[test]
fn who_answered_a_ping_is_somewhere() {
    let mut bench = Bench::new();
    let own = bench.node.coordinate("us").expect("we are somewhere");
    bench.hear(Message::Alive(alive("peer", PEER, 1)));
    assert_eq!(bench.node.coordinate("peer"), None);
    // Until it is pinged; 20 ms later it answers with our own payload.
    let seq_no = loop {
        bench.now = bench.node.poll_timeout().expect("a timer").max(bench.now);
        bench.node.handle_timeout(bench.now);
        let pinged = bench
            .sent()
            .into_iter()
            .find_map(|(_, message)| match message {
                Message::Ping(ping) => Some(ping.seq_no),
                _ => None,
            });
        if let Some(seq_no) = pinged {
            break seq_no;
        }
    };
    bench.hear(Message::Ping(Ping {
        seq_no: 1,
        node: "us".to_owned(),
        source: None,
    }));
    let payload = bench
        .sent()
        .into_iter()
        .find_map(|(_, message)| match message {
            Message::Ack(ack) => ack.payload,
            _ => None,
        });
    bench.now += Duration::from_millis(20);
    bench.hear(Message::Ack(Ack { seq_no, payload }));

    let peer = bench.node.coordinate("peer").expect("it is somewhere");
    let moved = bench.node.coordinate("us").expect("we are somewhere");
    let error = |one: f64, other: f64| (one - other).abs() < 1e-6;
    assert!(peer.vec == own.vec && error(peer.height, own.height));
    assert_ne!(moved, own);
    assert!(moved.distance_to(&peer) > 0.0);
    assert_eq!(bench.node.coordinate("nobody"), None);
}
