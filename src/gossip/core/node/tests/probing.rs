//! Pings, answered and sent.

use super::*;

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
        bench.live(Duration::from_millis(501));
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

/// A member with three live peers, all silent, up to the first ping it sends.
fn first_ping() -> (Bench, SocketAddr, Ping) {
    let mut bench = Bench::new();
    for (name, address) in [("b", PEER), ("c", THIRD), ("d", "10.0.0.4:7946")] {
        bench.hear(Message::Alive(alive(name, address, 1)));
    }
    bench.events();
    loop {
        bench.now = bench.node.poll_timeout().expect("a ticker");
        bench.node.handle_timeout(bench.now);
        for (to, message) in bench.sent() {
            if let Message::Ping(ping) = message {
                return (bench, to, ping);
            }
        }
    }
}

fn suspects(bench: &Bench) -> Vec<String> {
    bench
        .node
        .members()
        .by_name
        .values()
        .filter(|member| member.suspect)
        .map(|member| member.name.to_string())
        .collect()
}

#[test]
fn a_missed_ack_is_asked_of_all_others_and_over_tcp_and_then_suspected() {
    let (mut bench, to, ping) = first_ping();
    bench.hear(Message::Ack(Ack {
        seq_no: ping.seq_no + 1,
        payload: None,
    }));
    bench.live(Duration::from_millis(500));

    let asked: Vec<(SocketAddr, IndirectPing)> = bench
        .sent()
        .into_iter()
        .filter_map(|(to, message)| match message {
            Message::IndirectPing(request) => Some((to, request)),
            _ => None,
        })
        .collect();
    assert_eq!(asked.len(), 2, "both others");
    for (peer, request) in &asked {
        assert_ne!(*peer, to);
        assert_eq!((request.seq_no, request.nack), (ping.seq_no, true));
        assert_eq!(request.target, WireAddr::of(to));
    }
    let actions = bench.actions();
    assert!(
        matches!(actions[..], [StreamAction::Connect { to: tcp, .. }] if tcp == to),
        "{actions:?}"
    );
    for _ in &asked {
        bench.hear(Message::Nack(Nack {
            seq_no: ping.seq_no,
        }));
    }
    bench.live(Duration::from_millis(500));
    assert_eq!(suspects(&bench), std::slice::from_ref(&ping.node));
    let stats = bench.node.stats();
    assert_eq!(
        (stats.probes_failed, stats.health_score),
        (1, 0),
        "the nacks speak for us"
    );
    assert_eq!(stats.streams, 0, "the TCP ping is given up");
}

#[test]
fn silence_of_the_helpers_speaks_against_ourselves() {
    let (mut bench, _, _) = first_ping();
    bench.live(Duration::from_millis(500));
    bench.live(Duration::from_millis(500));

    assert_eq!(bench.node.stats().health_score, 2, "two nacks were due");
}

#[test]
fn an_ack_through_others_or_over_tcp_is_as_good() {
    for over_tcp in [false, true] {
        let (mut bench, _, ping) = first_ping();
        bench.live(Duration::from_millis(500));
        let Some(StreamAction::Connect { id, .. }) = bench.actions().pop() else {
            panic!("no connect");
        };
        let ack = Ack {
            seq_no: ping.seq_no,
            payload: None,
        };
        if over_tcp {
            bench.node.handle_stream_connected(bench.now, id);
            assert!(matches!(&bench.actions()[..], [StreamAction::Send { .. }]));
            let bytes = stream::encode(&StreamMessage::Ack(ack), true);
            for byte in bytes {
                bench.node.handle_stream_bytes(bench.now, id, &[byte]);
            }
        } else {
            bench.hear(Message::Ack(ack));
        }
        bench.live(Duration::from_millis(499));
        bench.live(Duration::from_millis(1));

        assert!(!suspects(&bench).contains(&ping.node));
        assert_eq!(bench.node.stats().probes_failed, 0);
        assert_eq!(bench.node.stats().health_score, 0);
    }
}

#[test]
fn a_suspect_is_pinged_together_with_the_accusation() {
    let mut bench = Bench::with_peer();
    bench.hear(Message::Suspect(accusation("peer", 2, "third")));
    let mut found = None;
    while found.is_none() {
        bench.now = bench.node.poll_timeout().expect("a ticker");
        bench.node.handle_timeout(bench.now);
        while let Some(transmit) = bench.node.poll_transmit() {
            let messages: Vec<Message> = packet::open(&transmit.packet)
                .into_iter()
                .filter_map(Result::ok)
                .collect();
            if matches!(messages[0], Message::Ping(_)) {
                assert_eq!(transmit.packet[0], 12, "a CRC, since we send to a node");
                found = Some(messages);
            }
        }
    }

    let ours = Message::Suspect(accusation("peer", 2, "us"));
    assert_eq!(found.expect("a ping").get(1), Some(&ours));
}

#[test]
fn the_dead_are_gossiped_to_for_half_a_minute_and_no_longer() {
    let mut bench = Bench::with_peer();
    bench.hear(Message::Dead(accusation("peer", 2, "third")));
    let to_peer = |bench: &mut Bench, id: u32| {
        bench.hear_serf(&SerfMessage::Query(query(id, 0)));
        bench.sent();
        // A recall's ping and accusation are no gossip.
        let news = |message: &Message| matches!(message, Message::User(_));
        bench
            .spread()
            .iter()
            .filter(|message| news(message))
            .count()
    };

    assert!(to_peer(&mut bench, 1) > 0);
    bench.wait(Duration::from_secs(25));
    assert!(to_peer(&mut bench, 2) > 0);
    bench.wait(Duration::from_secs(6));
    assert_eq!(to_peer(&mut bench, 3), 0);
}

#[test]
fn a_second_dead_peer_is_not_left_alone_for_a_round_after_the_first_one_failed() {
    let mut bench = Bench::new();
    bench.hear(Message::Alive(alive("b", PEER, 1)));
    bench.hear(Message::Alive(alive("c", THIRD, 1)));
    // As on a real machine, what is due is done a few milliseconds late.
    let mut until = |wanted: fn((u64, u64)) -> bool| {
        let end = bench.now + Duration::from_secs(60);
        loop {
            let stats = bench.node.stats();
            if wanted((stats.probes, stats.probes_failed)) {
                return bench.now;
            }
            assert!(bench.now < end, "{stats:?}");
            bench.now += Duration::from_millis(7);
            bench.node.handle_timeout(bench.now);
        }
    };

    let failed = until(|(_, failed)| failed == 1);
    let next = until(|(probes, _)| probes == 2);

    assert!(
        next - failed < Duration::from_millis(50),
        "{:?}",
        next - failed
    );
}
