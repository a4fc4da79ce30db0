//! Backends that speak HTTP/2: many requests on few connections.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use lb::announce::Proto;
use lb::pool::spec::Spec;
use lb::proxy::Settings;
use lb::proxy::stats::Reason;

use crate::frames::{
    CANCEL, DATA, END_STREAM, HEADERS, INTERNAL_ERROR, OK, PING, REFUSED_STREAM, RST_STREAM,
    WINDOW_UPDATE, Wire, field, named, scripted,
};
use crate::front::{Front, settings, spec};
use crate::peer::Peer;
use crate::toy::{Then, Toy};
use crate::until;

fn h2c(toy: &Toy) -> Spec {
    Spec {
        proto: Some(Proto::H2c),
        ..spec(toy.address, 1, false)
    }
}

fn with(settings: Settings, toys: &[&Toy]) -> Front {
    let mut front = Front::unproven(settings, toys.iter().map(|toy| h2c(toy)).collect());
    front.all_up();
    front
}

fn front(toys: &[&Toy]) -> Front {
    with(settings(), toys)
}

/// A first byte may take for ever, so that no timer can be what wakes a request.
fn without_timers() -> Settings {
    let mut settings = settings();
    let never = Duration::from_secs(60);
    settings.timeouts.slow_first_byte = never;
    settings.timeouts.second_connect = never;
    settings.timeouts.connect = never;
    settings
}

#[test]
fn many_requests_share_one_connection() {
    let (toy, calls) = named("good");
    let front = front(&[&toy]);
    let mut clients: Vec<Peer> = (0..10).map(|_| front.client()).collect();

    for client in &mut clients {
        client.send("GET /a HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response("GET").text(), "good");
        let answer = client.request("POST", "/b", b"body");
        assert_eq!((answer.status(), answer.text()), (200, "good"));
    }

    assert_eq!(toy.connections(), 1);
    let posted = calls
        .all()
        .iter()
        .filter(|call| call.body == b"body")
        .count();
    assert_eq!((calls.count(), posted), (20, 10));
    assert_eq!(front.in_flight(&toy), 0);
}

#[test]
fn no_connection_gets_more_than_its_backend_takes_at_once() {
    let held: Arc<Mutex<Vec<usize>>> = Arc::default();
    let per_connection = held.clone();
    let all_in = Arc::new(Barrier::new(7));
    let inside = all_in.clone();
    let (toy, _) = scripted(Some(2), move |call, _, wire| {
        let both = {
            let mut held = per_connection.lock().unwrap();
            held.push(call.conn);
            held.iter().filter(|conn| **conn == call.conn).count() == 2
        };
        // The second of each connection: both are answered once everybody is in.
        if both {
            inside.wait();
            for id in [call.id - 2, call.id] {
                wire.answer(id, "good");
            }
        }
        Then::Keep
    });
    let front = with(without_timers(), &[&toy]);
    let mut clients: Vec<Peer> = (0..12).map(|_| front.client()).collect();

    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    all_in.wait();

    for client in &mut clients {
        assert_eq!(client.response("GET").text(), "good");
    }
    assert_eq!(toy.connections(), 6);
}

#[test]
fn beyond_the_last_connection_requests_wait_for_one_another() {
    let mut settings = without_timers();
    settings.limits.idle_per_backend = 1;
    let (toy, calls) = scripted(Some(1), |call, _, wire| {
        wire.answer(call.id, "good");
        Then::Keep
    });
    let front = with(settings, &[&toy]);
    let mut clients: Vec<Peer> = (0..20).map(|_| front.client()).collect();

    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }

    for client in &mut clients {
        assert_eq!(client.response("GET").text(), "good");
    }
    assert_eq!((toy.connections(), calls.count()), (1, 20));
}

#[test]
fn who_comes_later_waits_behind_those_who_wait() {
    let mut settings = without_timers();
    settings.limits.idle_per_backend = 1;
    let barrier = Arc::new(Barrier::new(2));
    let inside = barrier.clone();
    let (toy, calls) = scripted(Some(1), move |call, number, wire| {
        if number == 0 {
            inside.wait();
        }
        wire.answer(call.id, "good");
        Then::Keep
    });
    let front = with(settings, &[&toy]);
    let post = |body| format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n{body}");
    let (mut one, mut other) = (front.client(), front.client());

    // Its second follows at once.
    one.send(post("a") + &post("c"));
    until("the first is there", || calls.count() == 1);
    other.send(post("b"));
    until("the other waits", || front.in_flight(&toy) == 2);
    barrier.wait();

    for client in [&mut one, &mut other] {
        assert_eq!(client.response("POST").text(), "good");
    }
    assert_eq!(one.response("POST").text(), "good");
    let order: Vec<_> = calls.all().into_iter().map(|call| call.body).collect();
    assert_eq!(order, [b"a", b"b", b"c"]);
}

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
    let front = front(&[&lossy, &good]);

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

#[test]
fn an_answer_that_breaks_off_is_seen_as_broken_off() {
    // What was sent before is on its way when the end comes, so it can't be taken back.
    let sent = Arc::new(Barrier::new(2));
    for how in ["reset", "close", "short", "long"] {
        let go = sent.clone();
        let (toy, _) = scripted(None, move |call, _, wire| {
            let length = field("content-length", "10");
            let block: Vec<u8> = match how {
                "short" | "long" => [OK, &length].concat(),
                _ => OK.to_vec(),
            };
            wire.head(call.id, &block, false);
            wire.send(DATA, 0, call.id, b"half");
            go.wait();
            match how {
                "reset" => drop(wire.reset(call.id, INTERNAL_ERROR)),
                "short" => drop(wire.send(DATA, END_STREAM, call.id, b"")),
                "long" => drop(wire.send(DATA, END_STREAM, call.id, b"more than ten")),
                _ => return Then::Close,
            }
            Then::Keep
        });
        let front = front(&[&toy]);
        let mut client = front.client();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let head = client.try_head().expect("a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{how}: {head}");
        sent.wait();

        let chunked = head.contains("chunked");

        let rest = String::from_utf8(client.bytes(1000)).unwrap();
        assert!(rest.contains("half"), "{how}: {rest:?}");
        match chunked {
            true => assert!(!rest.contains("\r\n0\r\n"), "{how}: {rest:?}"),
            false => assert!(rest.len() < 10, "{how}: {rest:?}"),
        }
    }
}

#[test]
fn trailers_reach_a_client_that_takes_them_and_no_other() {
    let (toy, _) = scripted(None, |call, _, wire| {
        wire.head(call.id, &[OK, &field("trailer", "x-sum")].concat(), false);
        wire.send(DATA, 0, call.id, b"body");
        let lines = [field("x-sum", "42"), field("content-length", "7")].concat();
        wire.head(call.id, &lines, true);
        Then::Keep
    });
    let front = front(&[&toy]);
    let ask = |te: &str| {
        let mut client = front.client();
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: test\r\n{te}Connection: close\r\n\r\n"
        ));
        let head = client.try_head().expect("a head");
        assert!(!head.contains("trailer:"), "{head}");
        String::from_utf8(client.bytes(1000)).unwrap()
    };

    let taken = ask("TE: gzip, trailers\r\n");
    let dropped = ask("");

    assert_eq!(taken, "4\r\nbody\r\n0\r\nx-sum: 42\r\n\r\n");
    assert_eq!(dropped, "4\r\nbody\r\n0\r\n\r\n");
}

#[test]
fn an_answer_of_nothing_says_so() {
    let (toy, _) = scripted(None, |call, _, wire| {
        wire.head(call.id, OK, true);
        Then::Keep
    });
    let front = front(&[&toy]);
    let mut client = front.client();

    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!(answer.field("content-length"), Some("0"));
        let head = {
            client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
            client.response("HEAD")
        };
        assert_eq!(head.status(), 200);
    }
}

#[test]
fn both_directions_flow_at_once() {
    let toy = Toy::raw(|peer, _| {
        let Some(mut wire) = Wire::open(peer, None) else {
            return;
        };
        while let Some(frame) = wire.read() {
            match frame.kind {
                HEADERS => drop(wire.head(frame.id, OK, false)),
                DATA => {
                    let flags = frame.flags & END_STREAM;
                    wire.send(DATA, flags, frame.id, &frame.payload);
                    if !frame.payload.is_empty() {
                        wire.widen(frame.id, frame.payload.len() as u32);
                    }
                }
                _ => {}
            }
        }
    });
    let front = front(&[&toy]);
    let mut client = front.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let head = client
        .try_head()
        .expect("the answer begins before the request ends");
    assert!(head.starts_with("HTTP/1.1 200"));

    for word in ["one", "two", "three"] {
        client.send(format!("{:x}\r\n{word}\r\n", word.len()));
        let echo = format!("{:x}\r\n{word}\r\n", word.len());
        assert_eq!(client.bytes(echo.len()), echo.as_bytes());
    }
    client.send("0\r\n\r\n");

    assert_eq!(client.bytes(5), b"0\r\n\r\n");
}

#[test]
fn an_upload_waits_for_its_backend() {
    const MORE: usize = 64 << 20;
    let received = Arc::new(AtomicUsize::new(0));
    let open = Arc::new(AtomicBool::new(false));
    let (counted, opened) = (received.clone(), open.clone());
    let toy = Toy::raw(move |peer, _| {
        let Some(mut wire) = Wire::open(peer, None) else {
            return;
        };
        while let Some(frame) = wire.read() {
            if frame.kind != DATA {
                continue;
            }
            let bytes = counted.fetch_add(frame.payload.len(), Ordering::SeqCst);
            if bytes + frame.payload.len() == 65_535 {
                until("it may go on", || opened.load(Ordering::SeqCst));
                wire.widen(frame.id, 1 << 30);
            }
            if frame.ends() {
                return wire.answer(frame.id, "thanks");
            }
        }
    });
    let front = front(&[&toy]);
    let mut client = front.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {MORE}\r\n\r\n"
    ));

    // As much as goes: what its window leaves over waits at the client.
    let piece = vec![b'x'; 64 * 1024];
    client
        .stream()
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut written = 0;
    while written < MORE {
        match client.stream().write(&piece) {
            Ok(bytes) => written += bytes,
            Err(_) => break,
        }
    }
    assert!(written < MORE / 2, "{written} bytes were taken");
    assert_eq!(received.load(Ordering::SeqCst), 65_535);
    open.store(true, Ordering::SeqCst);
    client
        .stream()
        .set_write_timeout(Some(crate::DEADLINE))
        .unwrap();
    while written < MORE {
        let bytes = piece.len().min(MORE - written);
        client.send(&piece[..bytes]);
        written += bytes;
    }

    assert_eq!(client.response("POST").text(), "thanks");
    assert_eq!(received.load(Ordering::SeqCst), MORE);
}

#[test]
fn an_answer_waits_for_its_client_and_others_pass_it() {
    const MORE: usize = 64 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let toy = Toy::raw(move |peer, _| {
        let Some(mut wire) = Wire::open(peer, None) else {
            return;
        };
        let piece = vec![b'x'; 16 * 1024];
        let (mut first, mut room, mut whole) = (0, 128 * 1024_usize, 0);
        while let Some(frame) = wire.read() {
            match frame.kind {
                HEADERS if first == 0 => {
                    first = frame.id;
                    let length = field("content-length", &MORE.to_string());
                    wire.head(first, &[OK, &length].concat(), false);
                }
                HEADERS => wire.answer(frame.id, "quick"),
                WINDOW_UPDATE if first != 0 && frame.id == first => {
                    room += frame.number() as usize;
                }
                _ => {}
            }
            while first != 0 && room >= piece.len() && whole < MORE {
                wire.send(DATA, 0, first, &piece);
                (room, whole) = (room - piece.len(), whole + piece.len());
                counted.store(whole, Ordering::SeqCst);
                if whole == MORE {
                    wire.send(DATA, END_STREAM, first, b"");
                }
            }
        }
    });
    let front = front(&[&toy]);
    let mut slow = front.client();
    slow.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    until("it has begun", || sent.load(Ordering::SeqCst) > 0);

    // While others are served, it stands still at what sockets hold.
    for _ in 0..20 {
        assert_eq!(front.client().get("/").text(), "quick");
    }
    let before = sent.load(Ordering::SeqCst);
    assert!(before < MORE / 2, "{before} bytes were taken");

    let answer = slow.response("GET");
    assert!(answer.complete);
    assert_eq!(answer.body.len(), MORE);
}

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
    let mut front = front(&[&old, &good]);

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
    let mut front = front(&[&toy, &other]);
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
