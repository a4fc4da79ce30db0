//! Every wait has a limit that really fires.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use lb::proxy::stats::Reason;
use lb::proxy::{Feedback, Settings};

use crate::front::{Front, settings, spec};
use crate::hanging::Hanging;
use crate::peer::Peer;
use crate::toy::{Then, Toy, answer};

const SHORT: Duration = Duration::from_millis(60);

fn with(change: impl Fn(&mut Settings)) -> Settings {
    let mut settings = settings();
    // No other limit may be what wakes a request.
    let far = Duration::from_secs(600);
    settings.timeouts.connect = far;
    settings.timeouts.second_connect = far;
    settings.timeouts.slow_first_byte = far;
    change(&mut settings);
    settings
}

/// Takes requests and never says a word.
fn silent() -> Toy {
    Toy::scripted(|_, _, peer| {
        peer.try_head();
        Then::Close
    })
}

#[test]
fn a_slow_head_is_a_408_and_a_close() {
    let toy = Toy::named("a");
    let front = Front::with(with(|it| it.timeouts.request_head = SHORT), &[&toy]);
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHo");

    let response = client.response("GET");

    assert_eq!(response.status(), 408);
    assert_eq!(response.text(), "the request head came too slowly\n");
    client.assert_closed();
}

#[test]
fn a_head_that_dribbles_does_not_extend_its_limit() {
    let toy = Toy::named("a");
    let front = Front::with(with(|it| it.timeouts.request_head = SHORT), &[&toy]);
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");

    let mut sent = 0;
    crate::until("it is cut off", || {
        sent += 1;
        !client.try_send("X: y\r\n")
            || client.stream().peek(&mut [0]).is_ok_and(|bytes| bytes > 0)
            || sent > 1000
    });

    assert_eq!(client.response("GET").status(), 408);
}

#[test]
fn an_idle_client_is_closed_without_a_word() {
    let toy = Toy::named("a");
    let front = Front::with(with(|it| it.timeouts.client_idle = SHORT * 10), &[&toy]);
    let mut fresh = front.client();
    let mut used = front.client();
    assert_eq!(used.get("/").text(), "a");

    fresh.assert_closed();
    used.assert_closed();
}

#[test]
fn a_request_may_take_longer_than_a_client_may_idle() {
    let toy = Toy::scripted(|request, _, peer| {
        std::thread::sleep(SHORT * 30);
        answer(peer, request, "late");
        Then::Keep
    });
    let front = Front::with(
        with(|it| {
            it.timeouts.client_idle = SHORT * 10;
            it.timeouts.request_head = SHORT * 10;
        }),
        &[&toy],
    );

    assert_eq!(front.client().get("/").text(), "late");
}

#[test]
fn a_slow_backend_is_a_504() {
    let toy = silent();
    let front = Front::with(with(|it| it.timeouts.first_byte = SHORT), &[&toy]);
    let mut client = front.client();

    let response = client.get("/");

    assert_eq!(response.status(), 504);
    assert_eq!(response.text(), "the backend did not answer in time\n");
    crate::until("the connection is not kept", || toy.open() == 0);
    assert_eq!(front.in_flight(&toy), 0);
}

#[test]
fn a_slow_get_is_tried_elsewhere_and_a_slow_post_is_not() {
    let (silent, good) = (silent(), Toy::named("good"));
    // The other one has to answer in that time too, on a busy machine.
    let first_byte = Duration::from_secs(1);
    let front = Front::with(
        with(|it| it.timeouts.first_byte = first_byte),
        &[&silent, &good],
    );

    for _ in 0..2 {
        assert_eq!(front.client().get("/").text(), "good");
    }
    let statuses = [0, 1].map(|_| front.client().request("POST", "/", b"x").status());

    assert_eq!(front.retries(Reason::FirstByte), 1);
    assert!(
        statuses == [504, 200] || statuses == [200, 504],
        "{statuses:?}"
    );
}

#[test]
fn a_client_that_stops_sending_its_body_is_a_408() {
    let toy = Toy::raw(|mut peer, _| {
        peer.rest();
    });
    let front = Front::with(with(|it| it.timeouts.body_progress = SHORT), &[&toy]);
    let mut client = front.client();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc");

    let response = client.response("POST");

    assert_eq!(response.status(), 408);
    client.assert_closed();
}

#[test]
fn a_backend_that_stops_reading_is_a_504() {
    let barrier = Arc::new(Barrier::new(2));
    let inside = barrier.clone();
    let toy = Toy::raw_and_narrow(move |mut peer, _| {
        peer.try_head();
        inside.wait();
    });
    // Long enough for this client, which must not be the slow one, on a busy machine too.
    let front = Front::with(with(|it| it.timeouts.body_progress = SHORT * 50), &[&toy]);
    let mut client = front.client();
    let length = 100_000_000;
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n"
    ));
    client.stream().set_nonblocking(true).unwrap();
    let chunk = vec![1; 64 * 1024];
    crate::until("an answer comes", || {
        while std::io::Write::write(&mut client.stream(), &chunk).is_ok_and(|taken| taken > 0) {}
        client.stream().peek(&mut [0]).is_ok()
    });
    client.stream().set_nonblocking(false).unwrap();

    assert_eq!(client.response("POST").status(), 504);
    barrier.wait();
}

#[test]
fn a_response_body_without_progress_is_cut() {
    let toy = Toy::scripted(|_, _, peer| {
        peer.try_send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        peer.try_head();
        Then::Close
    });
    let front = Front::with(with(|it| it.timeouts.body_progress = SHORT), &[&toy]);
    let mut client = front.client();

    let response = client.get("/");

    assert_eq!(response.text(), "abc");
    assert!(!response.complete);
    crate::until("the backend is let go", || toy.open() == 0);
}

#[test]
fn a_body_that_makes_progress_may_take_longer_than_its_limit() {
    let toy = Toy::scripted(|_, _, peer| {
        peer.try_send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        for _ in 0..10 {
            std::thread::sleep(SHORT * 7);
            peer.try_send("x");
        }
        Then::Keep
    });
    // Less than the time in all, and so much more than a gap that a busy machine does not reach it.
    let front = Front::with(with(|it| it.timeouts.body_progress = SHORT * 50), &[&toy]);

    assert_eq!(front.client().get("/").text(), "xxxxxxxxxx");
}

#[test]
fn a_client_that_does_not_read_is_cut() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_request();
        peer.try_send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
        let chunk = vec![1; 64 * 1024];
        while peer.try_send(&chunk) {}
    });
    let front = Front::with(with(|it| it.timeouts.body_progress = SHORT), &[&toy]);
    let mut client = front.client();

    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");

    crate::until("both are let go", || {
        toy.connections() == 1 && toy.open() == 0 && front.stats().connections_open == 0
    });
    drop(client);
}

#[test]
fn a_connect_without_an_answer_gives_up() {
    let hanging = Hanging::new();
    let specs = vec![spec(hanging.address, 1, false)];
    let mut front = Front::unproven(with(|it| it.timeouts.connect = SHORT), specs);
    front.all_up();

    let response = front.client().get("/");

    assert_eq!(response.status(), 502);
    assert_eq!(
        response.text(),
        "the backend could not be reached: connect timed out\n"
    );
    let reports = front.feedback().iter();
    let failed = reports.filter(|one| matches!(one, Feedback::ConnectFailed { .. }));
    assert_eq!(failed.count(), 1);
}

#[test]
fn a_slow_connect_asks_for_a_check() {
    let hanging = Hanging::new();
    let specs = vec![spec(hanging.address, 1, false)];
    let mut front = Front::unproven(with(|it| it.timeouts.second_connect = SHORT), specs);
    front.all_up();
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");

    crate::until("it is reported", || !front.feedback().is_empty());

    let Feedback::Slow { key } = &front.feedback()[0] else {
        panic!("{:?}", front.feedback());
    };
    assert_eq!(key.address, hanging.address);
}

/// Answers without a length, and goes on for longer than anybody reads.
fn endless() -> Toy {
    Toy::raw(|mut peer, _| {
        peer.try_request();
        peer.try_send("HTTP/1.1 200 OK\r\n\r\n");
        let chunk = vec![1; 64 * 1024];
        while peer.try_send(&chunk) {}
    })
}

#[test]
fn an_answer_that_ends_with_its_connection_is_seen_as_cut_by_who_did_not_read() {
    let toy = endless();
    let front = Front::with(with(|it| it.timeouts.body_progress = SHORT), &[&toy]);
    let mut client = Peer::connect_narrow(front.address);
    client.send("GET / HTTP/1.0\r\nHost: t\r\n\r\n");

    crate::until("it is given up", || {
        toy.connections() == 1 && toy.open() == 0 && front.stats().connections_open == 0
    });

    client.try_head().expect("a head");
    let (_, in_order) = client.rest_and_end();
    assert!(!in_order, "it looks like a whole answer");
}

#[test]
fn a_client_that_leaves_within_its_body_is_noticed_when_its_answer_has_begun() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_head();
        peer.try_send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        peer.rest();
    });
    let front = Front::of(&[&toy]);
    let mut client = front.client();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc");
    client.try_head().expect("a head");

    drop(client);

    crate::until("the backend is let go", || {
        toy.open() == 0 && front.in_flight(&toy) == 0
    });
}
