//! User events: sent, delivered to ourselves, not heard again after a restart.

use super::*;
use crate::gossip::core::io::Event;
use crate::gossip::core::serf::snapshot::Clocks;
use crate::gossip::core::wire::serf::RecordedEvents;

fn user(ltime: u64, name: &str, payload: &[u8]) -> Event {
    Event::User {
        ltime,
        name: name.to_owned(),
        payload: payload.to_vec(),
        coalesce: false,
    }
}

/// A state with one event at Lamport time 9 of a clock at 10.
fn state() -> SerfState {
    SerfState {
        event_ltime: 10,
        events: vec![
            None,
            Some(RecordedEvents {
                ltime: 9,
                events: vec![("deploy".to_owned(), b"old".to_vec())],
            }),
        ],
        ..SerfState::default()
    }
}

#[test]
fn an_event_of_ours_is_ours_too_and_is_spread() {
    let mut bench = Bench::with_peer();
    let sent = |bench: &mut Bench| {
        bench
            .node
            .user_event(bench.now, "deploy", b"v2".to_vec(), false)
    };

    assert_eq!(sent(&mut bench), Ok(1));
    assert_eq!(bench.events(), [user(1, "deploy", b"v2")]);
    let message = SerfMessage::UserEvent(UserEvent {
        ltime: 1,
        name: "deploy".to_owned(),
        payload: b"v2".to_vec(),
        coalesce: false,
    });
    assert!(bench.spread().contains(&Message::User(message.encode())));
    bench.hear_serf(&message);
    assert!(bench.events().is_empty(), "it comes back, and is known");
    // The same again is another event.
    assert_eq!(sent(&mut bench), Ok(2));
    assert_eq!(bench.events(), [user(2, "deploy", b"v2")]);
}

#[test]
fn an_event_of_ours_is_later_than_all_that_we_have_heard() {
    let mut bench = Bench::with_peer();
    bench.hear_serf(&SerfMessage::UserEvent(UserEvent {
        ltime: 41,
        name: "deploy".to_owned(),
        payload: Vec::new(),
        coalesce: false,
    }));

    let sent = bench.node.user_event(bench.now, "next", Vec::new(), true);
    assert_eq!(sent, Ok(42));
    assert_eq!(bench.node.stats().event_time, 43);
}

#[test]
fn an_event_that_is_too_long_is_refused_with_the_numbers() {
    let mut bench = Bench::with_peer();
    let mut send = |payload: usize| {
        bench
            .node
            .user_event(bench.now, "deploy", vec![0; payload], false)
    };
    let too_long = |bytes, encoded| Refused::EventTooLong {
        bytes,
        max: 512,
        encoded,
    };

    // Name and payload, then the message with its 36 bytes of names, lengths and the time.
    assert_eq!(send(507), Err(too_long(513, false)));
    let Err(Refused::EventTooLong {
        bytes,
        encoded: true,
        ..
    }) = send(506)
    else {
        panic!("512 bytes do not fit with what stands around them");
    };
    let around = bytes - 512;
    assert_eq!(send(506 - around + 1), Err(too_long(513, true)));
    assert_eq!(send(506 - around), Ok(1));
    assert_eq!(bench.events().len(), 1);
    assert_eq!(
        too_long(513, false).to_string(),
        "the event takes 513 bytes (name and payload), at most 512 fit in gossip"
    );
}

#[test]
fn who_leaves_says_nothing_more() {
    let mut bench = Bench::with_peer();
    bench.node.leave(bench.now);

    let sent = bench
        .node
        .user_event(bench.now, "deploy", Vec::new(), false);
    assert_eq!(sent, Err(Refused::Leaving));
}

/// A seed that restarts is found by the others before it finds them.
#[test]
fn what_happened_before_our_first_meeting_is_not_for_us() {
    let mut bench = Bench::new();
    bench.ask(&push_pull(Vec::new(), Some(state())));

    assert!(bench.events().is_empty());
    assert_eq!(bench.node.stats().event_time, 10);
    // What was lost on its way to us afterwards is.
    let mut later = state();
    later.event_ltime = 12;
    later.events.push(Some(RecordedEvents {
        ltime: 11,
        events: vec![("deploy".to_owned(), b"new".to_vec())],
    }));
    bench.ask(&push_pull(Vec::new(), Some(later)));
    assert_eq!(bench.events(), [user(11, "deploy", b"new")]);
}

/// Joins a peer that has `state()`; what came of it.
fn joined(past: Past) -> Vec<Event> {
    let mut bench = Bench::new();
    bench.node.join_with(bench.now, &[at(PEER)], past);
    let Some(StreamAction::Connect { id, .. }) = bench.actions().pop() else {
        panic!("it does not connect");
    };
    bench.node.handle_stream_connected(bench.now, id);
    let answer = push_pull(vec![push_node("peer", PEER, 1, 0)], Some(state()));
    bench.node.handle_stream_bytes(bench.now, id, &answer);
    let user = |event: &Event| matches!(event, Event::User { .. });
    bench.events().into_iter().filter(user).collect()
}

#[test]
fn a_join_brings_the_past_only_if_asked() {
    assert!(joined(Past::Skip).is_empty());
    assert!(joined(Past::Missed).is_empty(), "nothing was missed yet");
    assert_eq!(joined(Past::Replay), [user(9, "deploy", b"old")]);
}

/// What a node that has lived before makes of `state()`, whose event has time 9, and of a query of time 8.
fn resumed(event: u64, query: u64) -> Vec<Event> {
    let mut bench = Bench::new();
    bench.node.resume(Clocks {
        member: 7,
        event,
        query,
    });
    bench.node.want_past();
    bench.ask(&push_pull(Vec::new(), Some(state())));
    bench.hear_serf(&SerfMessage::Query(Query {
        ltime: 8,
        name: "uptime".to_owned(),
        ..super::query(1, 0)
    }));
    let told = |event: &Event| matches!(event, Event::User { .. } | Event::Query { .. });
    bench.events().into_iter().filter(told).collect()
}

#[test]
fn after_a_restart_only_what_was_missed_is_for_us() {
    assert_eq!(resumed(8, 100), [user(9, "deploy", b"old")]);
    assert_eq!(resumed(9, 100), []);
    assert!(matches!(resumed(9, 7)[..], [Event::Query { ltime: 8, .. }]));
    assert_eq!(resumed(9, 8), []);
}

#[test]
fn clocks_go_on_where_they_stood() {
    let mut bench = Bench::new();
    assert_eq!(bench.node.clocks(), Clocks::default());
    let clocks = Clocks {
        member: 7,
        event: 8,
        query: 9,
    };

    bench.node.resume(clocks);

    assert_eq!(bench.node.clocks(), clocks);
    let sent = bench
        .node
        .user_event(bench.now, "deploy", Vec::new(), false);
    assert_eq!(sent, Ok(9));
}
