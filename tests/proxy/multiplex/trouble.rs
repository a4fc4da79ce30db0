//! Backends that fall, lie or say nothing, and clients that leave.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use lb::proxy::stats::Reason;

use super::{front, with, without_timers};
use crate::frames::{
    CANCEL, DATA, END_STREAM, HEADERS, OK, PING, RST_STREAM, Wire, field, named, scripted,
};
use crate::peer::Peer;
use crate::toy::{Then, Toy};
use crate::until;

#[test]
fn those_that_wait_at_a_backend_that_goes_down_are_rescued_together() {
    const MANY: usize = 50;
    let resets = Arc::new(AtomicUsize::new(0));
    let counted = resets.clone();
    let arrived = Arc::new(AtomicUsize::new(0));
    let inside = arrived.clone();
    let stuck = Toy::raw(move |peer, _| {
        let Some(mut wire) = Wire::open(peer, None) else {
            return;
        };
        while let Some(frame) = wire.read() {
            match frame.kind {
                HEADERS => drop(inside.fetch_add(1, Ordering::SeqCst)),
                RST_STREAM => {
                    assert_eq!(frame.number(), CANCEL);
                    counted.fetch_add(1, Ordering::SeqCst);
                }
                _ => {}
            }
        }
    });
    let (good, calls) = named("good");
    let mut front = with(without_timers(), &[&stuck, &good]);
    let mut clients: Vec<Peer> = (0..2 * MANY).map(|_| front.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    until("half of them wait", || {
        arrived.load(Ordering::SeqCst) == MANY
    });

    front.down(&stuck);

    for client in &mut clients {
        assert_eq!(client.response("GET").text(), "good");
    }
    assert_eq!(calls.count(), 2 * MANY);
    assert_eq!(front.retries(Reason::Rescue), MANY as u64);
    until("its streams are given up", || {
        resets.load(Ordering::SeqCst) == MANY
    });
    assert_eq!(front.in_flight(&stuck), 0);
}

#[test]
fn a_backend_that_dies_under_many_streams_costs_no_get() {
    const MANY: usize = 40;
    let (dying, waiting) = scripted(None, |_, number, _| match number + 1 {
        MANY => Then::Reset,
        _ => Then::Keep,
    });
    let (good, calls) = named("good");
    let front = with(without_timers(), &[&dying, &good]);
    let mut clients: Vec<Peer> = (0..2 * MANY).map(|_| front.client()).collect();

    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }

    for client in &mut clients {
        assert_eq!(client.response("GET").text(), "good");
    }
    assert!(waiting.count() >= MANY);
    assert_eq!(calls.count(), 2 * MANY);
}

#[test]
fn an_invalid_answer_costs_those_beside_it_nothing() {
    let (bad, waiting) = scripted(None, |call, number, wire| {
        if number >= 2 {
            wire.head(call.id, &[OK, &field("a", "b\0c")].concat(), true);
        }
        Then::Keep
    });
    let (good, calls) = named("good");
    let front = with(without_timers(), &[&bad, &good]);
    let mut clients: Vec<Peer> = (0..6).map(|_| front.client()).collect();

    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }

    for client in &mut clients {
        assert_eq!(client.response("GET").text(), "good");
    }
    assert!(waiting.count() >= 3);
    assert_eq!(calls.count(), 6);
}

#[test]
fn empty_frames_of_a_backend_cost_no_request() {
    let (toy, calls) = scripted(None, |call, _, wire| {
        wire.head(call.id, OK, false);
        wire.send(DATA, 0, call.id, b"");
        wire.send(DATA, END_STREAM, call.id, b"good");
        Then::Keep
    });
    let front = front(&[&toy]);
    let mut client = front.client();

    for _ in 0..300 {
        assert_eq!(client.request("POST", "/", b"x").text(), "good");
    }

    assert_eq!(calls.count(), 300);
    assert_eq!(toy.connections(), 4, "one takes eighty");
    until("those that take no more are closed", || toy.open() == 1);
}

#[test]
fn a_client_that_leaves_ends_its_stream() {
    let (cancelled, arrived) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (told, came) = (cancelled.clone(), arrived.clone());
    let toy = Toy::raw(move |peer, _| {
        let Some(mut wire) = Wire::open(peer, None) else {
            return;
        };
        while let Some(frame) = wire.read() {
            match frame.kind {
                HEADERS => {
                    wire.head(frame.id, OK, false);
                    came.store(true, Ordering::SeqCst);
                }
                RST_STREAM => told.store(frame.number() == CANCEL, Ordering::SeqCst),
                _ => {}
            }
        }
    });
    let front = front(&[&toy]);
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    client.try_head().expect("a head");
    assert_eq!(front.in_flight(&toy), 1);

    drop(client);

    until("the stream is given up", || {
        cancelled.load(Ordering::SeqCst)
    });
    until("its room is free", || front.in_flight(&toy) == 0);
    assert_eq!(toy.open(), 1, "the connection stays");
}

#[test]
fn what_speaks_no_http2_is_a_failed_connect_and_harms_no_post() {
    let old = Toy::raw(|mut peer, _| {
        peer.bytes(24);
        peer.try_send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let (good, calls) = named("good");
    let mut front = with(without_timers(), &[&old, &good]);

    for _ in 0..2 {
        let answer = front.client().request("POST", "/", b"x");
        assert_eq!(answer.text(), "good");
    }

    assert_eq!(calls.count(), 2);
    assert_eq!(front.retries(Reason::Connect), 1);
    let told = format!("{:?}", front.feedback());
    assert!(told.contains("no HTTP/2 there"), "{told}");
}

#[test]
fn a_change_of_protocol_is_refused_in_words() {
    let (toy, calls) = named("good");
    let front = front(&[&toy]);
    let mut client = front.client();

    client
        .send("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    let answer = client.response("GET");

    assert_eq!(answer.status(), 501);
    assert!(answer.text().contains("HTTP/2"), "{}", answer.text());
    assert_eq!(calls.count(), 0);
}

#[test]
fn a_drained_backend_ends_its_requests_and_then_its_connections() {
    let barrier = Arc::new(Barrier::new(2));
    let inside = barrier.clone();
    let (toy, calls) = scripted(None, move |call, number, wire| {
        if number == 0 {
            inside.wait();
            inside.wait();
        }
        wire.answer(call.id, "good");
        Then::Keep
    });
    let (other, _) = named("other");
    let mut front = with(without_timers(), &[&toy, &other]);
    let mut client = front.client();
    let mut beside = front.client();
    for client in [&mut client, &mut beside] {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    barrier.wait();

    front.drain(&toy);
    for _ in 0..4 {
        assert_eq!(front.client().get("/").text(), "other");
    }
    assert_eq!(toy.open(), 1);
    barrier.wait();

    let mut answers =
        [client.response("GET"), beside.response("GET")].map(|it| it.text().to_owned());
    answers.sort();
    assert_eq!(answers, ["good", "other"]);
    assert_eq!(calls.count(), 1);
    until("its connection is closed", || toy.open() == 0);
}

#[test]
fn a_backend_that_went_dark_is_noticed_in_the_middle_of_an_answer() {
    let dark = Arc::new(AtomicBool::new(false));
    let pinged = Arc::new(AtomicBool::new(false));
    let (off, told) = (dark.clone(), pinged.clone());
    let toy = Toy::raw(move |peer, _| {
        let Some(mut wire) = Wire::open(peer, None) else {
            return;
        };
        loop {
            let Some(frame) = wire.read() else { return };
            if frame.kind != HEADERS {
                continue;
            }
            wire.head(frame.id, OK, false);
            wire.send(DATA, 0, frame.id, b"half");
            until("it goes dark", || off.load(Ordering::SeqCst));
            // Reads on, so that nothing is refused, and says nothing any more.
            loop {
                let head = wire.peer.bytes(9);
                if head.len() < 9 {
                    return;
                }
                told.fetch_or(head[3] == PING, Ordering::SeqCst);
                let length = usize::from(head[1]) << 8 | usize::from(head[2]);
                wire.peer.bytes(length);
            }
        }
    });
    let mut front = front(&[&toy]);
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    client.try_head().expect("a head");
    assert_eq!(client.bytes(9), b"4\r\nhalf\r\n");

    dark.store(true, Ordering::SeqCst);
    front.down(&toy);

    // Its stream was given up: the end comes, and it is no good one.
    assert_eq!(client.bytes(1), b"");
    assert!(pinged.load(Ordering::SeqCst));
    assert_eq!(front.in_flight(&toy), 0);
}
