//! Intents, events, queries, relays, and our own leave.

use super::*;

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
        status_ltimes: BTreeMap::from([("us".into(), 30)]),
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
        status_ltimes: BTreeMap::from([("peer".into(), 20)]),
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
fn who_said_long_ago_that_it_leaves_and_is_still_here_is_alive() {
    let mut bench = Bench::with_peer();
    bench.hear_serf(&SerfMessage::Leave(LeaveIntent {
        ltime: 9,
        node: "peer".to_owned(),
        prune: false,
    }));
    bench.wait(Duration::from_secs(59));
    assert_eq!(bench.status("peer"), Some(Status::Leaving));
    bench.wait(Duration::from_secs(17));
    assert_eq!(bench.status("peer"), Some(Status::Alive));
}

#[test]
fn at_equal_times_a_join_outweighs_a_leave_in_either_order() {
    let leave = SerfMessage::Leave(LeaveIntent {
        ltime: 9,
        node: "peer".to_owned(),
        prune: false,
    });
    let join = SerfMessage::Join(JoinIntent {
        ltime: 9,
        node: "peer".to_owned(),
    });
    for order in [[&leave, &join], [&join, &leave]] {
        let mut bench = Bench::with_peer();
        for message in order {
            bench.hear_serf(message);
        }
        assert_eq!(bench.status("peer"), Some(Status::Alive));
    }
}

#[test]
fn a_time_read_in_a_state_does_not_hide_the_intent_of_that_time() {
    let mut bench = Bench::with_peer();
    let state = SerfState {
        ltime: 10,
        status_ltimes: BTreeMap::from([("peer".into(), 9)]),
        ..SerfState::default()
    };
    bench.ask(&push_pull(Vec::new(), Some(state)));
    let leave = SerfMessage::Leave(LeaveIntent {
        ltime: 9,
        node: "peer".to_owned(),
        prune: false,
    });
    bench.hear_serf(&leave);

    assert_eq!(bench.status("peer"), Some(Status::Leaving));
    assert!(bench.spread().contains(&Message::User(leave.encode())));
}

#[test]
fn the_failed_are_reaped_after_a_day() {
    let mut bench = Bench::with_peer();
    bench.hear(Message::Dead(accusation("peer", 2, "third")));
    bench.wait(Duration::from_secs(24 * 3600));
    assert_eq!(bench.status("peer"), Some(Status::Failed));
    bench.events();
    bench.wait(Duration::from_secs(16));

    assert_eq!(bench.status("peer"), None);
    assert!(matches!(&bench.events()[..], [Event::Reaped(member)] if member.name == "peer"));
}
