//! How a request ended, and what was tried before.

use std::sync::mpsc;
use std::time::Duration;

use lb::proxy::access::Format;
use serde_json::{Value, json};

use super::{Logged, assert_has, ms};
use crate::front::settings;
use crate::toy::{Then, Toy};

#[test]
fn tries_that_failed_are_named_with_why() {
    let refusing = Toy::refusing();
    let reset = Toy::scripted(|_, _, _| Then::Reset);
    let toy = Toy::named("a");
    let logged = Logged::of(&[&refusing, &reset, &toy]);
    let mut client = logged.front.client();
    // Wherever the rotation begins, one of three in a row meets both first.
    for _ in 0..3 {
        client.get("/");
    }

    let lines = logged.lines(3);

    let most = |line: &&Value| line["attempts"].as_u64();
    let line = lines.iter().max_by_key(most).expect("a line");
    assert_has(
        line,
        json!({
            "attempts": 3, "retries": 2, "status": 200, "ended": "done",
            "backend": toy.address.to_string(),
        }),
    );
    let failed = line["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 2, "{line:#}");
    for (bad, why) in [
        (
            &refusing,
            "the backend could not be reached: connection refused",
        ),
        (
            &reset,
            "the backend gave no response: connection reset by peer",
        ),
    ] {
        let address = bad.address.to_string();
        let each = failed.iter().find(|each| each["backend"] == *address);
        let each = each.expect("it is named");
        assert_has(each, json!({"node": address, "why": why}));
        assert!(ms(each, "ms") > 0.0);
    }
}

#[test]
fn an_answer_that_is_passed_on_for_want_of_a_better_one_is_no_failed_try() {
    let busy = Toy::scripted(|_, _, peer| {
        peer.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy");
        Then::Keep
    });
    let refusing = Toy::refusing();
    let logged = Logged::of(&[&busy, &refusing]);
    let mut client = logged.front.client();
    assert_eq!(client.get("/").text(), "busy");

    let line = logged.line();

    assert_has(
        &line,
        json!({
            "status": 503, "backend": busy.address.to_string(), "attempts": 2, "ended": "done", "sent": 4,
        }),
    );
    assert_eq!(line["failed"].as_array().unwrap().len(), 1, "{line:#}");
    assert_eq!(line["failed"][0]["backend"], refusing.address.to_string());
    assert!(ms(&line, "first_byte_ms") > 0.0, "{line:#}");
}

#[test]
fn a_backend_that_gives_no_answer_ended_it() {
    let reset = Toy::scripted(|_, _, _| Then::Reset);
    let logged = Logged::of(&[&reset]);
    assert_eq!(
        logged.front.client().request("POST", "/", b"abc").status(),
        502
    );

    let line = logged.line();

    assert_has(
        &line,
        json!({
            "status": 502, "ended": "backend", "backend": reset.address.to_string(), "attempts": 1,
            "received": 3, "first_byte_ms": null,
        }),
    );
    assert_eq!(line["reason"], line["failed"][0]["why"]);
}

#[test]
fn a_client_that_leaves_before_its_answer_ended_it() {
    let (came, coming) = mpsc::sync_channel(1);
    let toy = Toy::raw(move |mut peer, _| {
        peer.try_request();
        came.send(()).unwrap();
        peer.rest();
    });
    let logged = Logged::of(&[&toy]);
    let mut client = logged.front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    coming.recv().unwrap();

    drop(client);

    assert_has(
        &logged.line(),
        json!({
            "status": null, "ended": "client", "backend": toy.address.to_string(), "failed": [], "kept": false,
            "reason": "the client closed the connection", "sent": 0,
        }),
    );
}

#[test]
fn a_client_that_leaves_within_its_answer_ended_it() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_request();
        peer.try_send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabcd");
        peer.rest();
    });
    let logged = Logged::of(&[&toy]);
    let mut client = logged.front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert!(client.try_head().is_some());
    assert_eq!(client.bytes(4), b"abcd");

    drop(client);

    assert_has(
        &logged.line(),
        json!({"status": 200, "ended": "client", "sent": 4, "kept": false}),
    );
}

#[test]
fn a_backend_that_breaks_off_its_answer_ended_it() {
    let (told, tells) = mpsc::sync_channel::<()>(1);
    let tells = std::sync::Mutex::new(tells);
    let toy = Toy::raw(move |mut peer, _| {
        peer.try_request();
        peer.try_send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabcd");
        tells.lock().unwrap().recv().unwrap();
    });
    let logged = Logged::of(&[&toy]);
    let mut client = logged.front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert!(client.try_head().is_some());
    assert_eq!(client.bytes(4), b"abcd");

    told.send(()).unwrap();

    assert_has(
        &logged.line(),
        json!({
            "status": 200, "ended": "backend", "sent": 4, "kept": false,
            "reason": "the backend's body broke off: connection closed",
        }),
    );
}

#[test]
fn a_change_of_protocol_is_logged_at_its_end() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_request();
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi");
        assert_eq!(peer.bytes(5), b"there");
        peer.send("bye");
        peer.assert_closed();
    });
    let logged = Logged::of(&[&toy]);
    let mut client = logged.front.client();
    client.send("GET /ws HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert!(client.try_head().is_some());
    assert_eq!(client.bytes(2), b"hi");
    client.send("there");
    assert_eq!(client.bytes(3), b"bye");
    assert_eq!(logged.front.stats().requests_in_flight, 0);
    assert_eq!(logged.text(), "");

    drop(client);

    assert_has(
        &logged.line(),
        json!({"status": 101, "sent": 5, "received": 5, "ended": "done", "target": "/ws"}),
    );
}

#[test]
fn a_request_that_the_stop_cuts_is_logged() {
    let (came, coming) = mpsc::sync_channel(1);
    let toy = Toy::raw(move |mut peer, _| {
        peer.try_request();
        came.send(()).unwrap();
        peer.rest();
    });
    let mut settings = settings();
    settings.timeouts.drain = Duration::from_millis(20);
    let mut logged = Logged::with(settings, Format::Json, &[&toy]);
    let mut client = logged.front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    coming.recv().unwrap();

    logged.stop();

    assert_has(
        &logged.line(),
        json!({"status": null, "ended": "lb", "reason": "lb stopped"}),
    );
}
