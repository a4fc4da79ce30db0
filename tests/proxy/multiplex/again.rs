//! What is sent again, and where: refused streams, goodbyes, lost connections.

use std::sync::{Arc, Barrier};

use lb::proxy::stats::Reason;

use super::{front, with, without_timers};
use crate::frames::{INTERNAL_ERROR, REFUSED_STREAM, named, scripted};

use crate::peer::Peer;
use crate::toy::Then;
use crate::until;

#[test]
fn a_post_whose_stream_was_refused_goes_to_another_backend_with_all_of_its_body() {
    let (full, refused) = scripted(None, |call, _, wire| {
        wire.reset(call.id, REFUSED_STREAM);
        Then::Keep
    });
    let (good, calls) = named("good");
    let front = front(&[&full, &good]);

    for _ in 0..4 {
        let answer = front.client().request("POST", "/", b"a body");
        assert_eq!(answer.text(), "good");
    }

    assert!(refused.count() > 0);
    assert!(calls.all().iter().all(|call| call.body == b"a body"));
    assert_eq!(calls.count(), 4);
    assert_eq!(front.retries(Reason::Unsent), refused.count() as u64);
}

#[test]
fn a_post_above_a_goodbye_is_sent_again_to_the_same_backend() {
    let (toy, calls) = scripted(None, |call, number, wire| {
        match number {
            0 => drop(wire.go_away(0)),
            _ => wire.answer(call.id, "good"),
        }
        Then::Keep
    });
    let front = front(&[&toy]);

    let answer = front.client().request("POST", "/", b"a body");

    assert_eq!(answer.text(), "good");
    let calls = calls.all();
    assert_eq!(calls.len(), 2);
    assert_eq!((calls[0].conn, calls[1].conn), (0, 1));
    assert_eq!(calls[1].body, b"a body");
}

#[test]
fn a_goodbye_lets_what_is_under_way_end_and_takes_nothing_new() {
    let barrier = Arc::new(Barrier::new(2));
    let inside = barrier.clone();
    let (toy, calls) = scripted(None, move |call, number, wire| {
        if number == 0 {
            wire.go_away(call.id);
            inside.wait();
            inside.wait();
        }
        wire.answer(call.id, "good");
        Then::Keep
    });
    let front = front(&[&toy]);
    let mut first = front.client();
    first.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    barrier.wait();

    until("a request goes over a connection of its own", || {
        front.client().get("/").text() == "good" && toy.connections() == 2
    });
    barrier.wait();

    assert_eq!(first.response("GET").text(), "good");
    assert_eq!(calls.all()[0].conn, 0);
    until("the one that said goodbye is closed", || toy.open() == 1);
}

#[test]
fn a_connection_that_said_goodbye_keeps_nobody_from_another() {
    let barrier = Arc::new(Barrier::new(2));
    let inside = barrier.clone();
    let (toy, calls) = scripted(Some(1), move |call, number, wire| {
        if number == 0 {
            inside.wait();
            wire.go_away(call.id);
            inside.wait();
        }
        wire.answer(call.id, "good");
        Then::Keep
    });
    let mut settings = without_timers();
    settings.limits.idle_per_backend = 1;
    let front = with(settings, &[&toy]);
    let mut clients: Vec<Peer> = (0..4).map(|_| front.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    until("all but one wait", || front.in_flight(&toy) == 4);
    barrier.wait();

    until("the others are answered", || calls.count() == 4);
    assert_eq!(front.client().get("/").text(), "good");
    barrier.wait();

    for client in &mut clients {
        assert_eq!(client.response("GET").text(), "good");
    }
    assert_eq!(toy.connections(), 2);
}

#[test]
fn a_post_that_a_lost_connection_may_have_carried_is_not_sent_twice() {
    let (lossy, lost) = scripted(None, |_, _, _| Then::Close);
    let (good, _) = named("good");
    let front = with(without_timers(), &[&lossy, &good]);

    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(front.client().request("POST", "/", b"x").status());
    }

    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502, 502]);
    assert_eq!(lost.count(), 2);
}

#[test]
fn a_get_moves_on_when_its_connection_is_lost_or_its_stream_reset() {
    for reset in [false, true] {
        let (bad, lost) = scripted(None, move |call, _, wire| match reset {
            true => {
                wire.reset(call.id, INTERNAL_ERROR);
                Then::Keep
            }
            false => Then::Close,
        });
        let (good, _) = named("good");
        let front = front(&[&bad, &good]);

        for _ in 0..4 {
            assert_eq!(front.client().get("/").text(), "good");
        }

        assert!(lost.count() > 0);
        assert_eq!(front.retries(Reason::Reset), lost.count() as u64);
    }
}
