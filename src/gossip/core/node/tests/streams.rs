//! Push/pulls and whatever else comes by stream.

use super::*;

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
    let (answer, _) = bench.ask(&push_pull(vec![future], None));

    assert!(answer.is_some(), "the answer goes out first");
    assert_eq!(bench.node.members().by_name.len(), 1);
    assert_eq!(bench.dropped("incompatible"), 1);
}

#[test]
fn one_forged_version_does_not_stop_every_later_join() {
    let mut bench = Bench::new();
    let mut odd = alive("odd", PEER, 1);
    odd.vsn = [1, 5, 2, 2, 5, 8];
    bench.hear(Message::Alive(odd));
    let mut listed = push_node("odd", PEER, 1, 0);
    listed.vsn = Some([1, 5, 2, 2, 5, 8]);
    let nodes = vec![push_node("third", THIRD, 1, 0), listed];

    let (answer, _) = bench.ask(&push_pull(nodes, None));

    assert!(answer.is_some());
    assert_eq!(bench.status("third"), Some(Status::Alive));
    assert_eq!(bench.status("odd"), None);
    assert_eq!(bench.dropped("version"), 2);
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
fn what_is_known_already_changes_nothing_in_whatever_form_it_is_told_again() {
    let mut bench = Bench::new();
    bench.ask(&push_pull(vec![push_node("peer", PEER, 3, 0)], None));
    let told = bench.node.members();
    let mut mapped = push_node("peer", PEER, 3, 0);
    mapped.addr.octets = [&[0; 10][..], &[0xff, 0xff], &mapped.addr.octets].concat();
    let again = vec![
        push_node("peer", PEER, 3, 0),
        push_node("peer", PEER, 2, 0),
        mapped,
    ];

    bench.ask(&push_pull(again, None));

    assert_eq!(bench.node.members().generation, told.generation);
    assert_eq!(bench.incarnation("peer"), 3);
    assert_eq!(bench.dropped("conflict"), 0);
}
