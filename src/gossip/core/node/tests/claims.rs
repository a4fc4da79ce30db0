//! What others claim about nodes, ourselves among them.

use super::*;

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
fn others_octets_are_passed_on_as_they_came() {
    let mut bench = Bench::with_peer();
    let mut mapped = alive("third", THIRD, 3);
    mapped.addr.octets = [&[0; 10][..], &[0xff, 0xff, 10, 0, 0, 3]].concat();
    bench.hear(Message::Alive(mapped.clone()));

    assert_eq!(bench.node.members().by_name["third"].address, at(THIRD));
    assert!(bench.spread().contains(&Message::Alive(mapped)));
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
