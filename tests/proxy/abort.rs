//! One side leaves in the middle.

use std::io::Write;
use std::sync::{Mutex, mpsc};

use lb::proxy::stats::{CLASSES, Reason};

use crate::front::Front;
use crate::toy::{Then, Toy};

#[test]
fn a_client_that_leaves_while_it_waits_frees_the_backend() {
    let (came, coming) = mpsc::sync_channel(1);
    let (gone, going) = mpsc::sync_channel(1);
    let toy = Toy::raw(move |mut peer, _| {
        peer.try_request();
        came.send(()).unwrap();
        // Ends when the front closes.
        peer.rest();
        gone.send(()).unwrap();
    });
    let front = Front::of(&[&toy]);
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    coming.recv().unwrap();
    assert_eq!(front.in_flight(&toy), 1);
    assert_eq!(front.stats().requests_in_flight, 1);

    drop(client);

    going.recv().unwrap();
    crate::until("nothing is counted any more", || {
        let stats = front.stats();
        front.in_flight(&toy) == 0
            && stats.requests_in_flight == 0
            && stats.connections_open == 0
            && stats.backends.iter().any(|one| one.classes[5] == 1)
    });
}

#[test]
fn a_client_that_leaves_during_the_body_frees_the_backend() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_request();
        peer.try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while peer.try_send("4\r\nabcd\r\n") {
            std::thread::yield_now();
        }
    });
    let front = Front::of(&[&toy]);
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(client.try_head().is_some());

    drop(client);

    crate::until("the backend is let go", || {
        toy.open() == 0 && front.in_flight(&toy) == 0
    });
}

#[test]
fn a_client_that_leaves_during_its_own_body_frees_the_backend() {
    let toy = Toy::scripted(|request, _, _| {
        assert!(
            !request.complete,
            "the front must not finish a body that the client broke off"
        );
        Then::Close
    });
    let front = Front::of(&[&toy]);
    let mut client = front.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    crate::until("it has begun", || toy.open() == 1);

    drop(client);

    crate::until("the backend is let go", || {
        toy.open() == 0 && front.in_flight(&toy) == 0
    });
    assert_eq!(toy.requests()[0].body, b"abc");
}

#[test]
fn a_body_cut_by_the_backend_is_seen_as_cut() {
    for (head, body, passed_on) in [
        ("Content-Length: 100", "only this", "only this"),
        (
            "Transfer-Encoding: chunked",
            "9\r\nonly this\r\n",
            "9\r\nonly this\r\n",
        ),
        (
            "Transfer-Encoding: chunked",
            "ff\r\nonly this",
            "9\r\nonly this\r\n",
        ),
    ] {
        for reset in [false, true] {
            let (read, reading) = mpsc::sync_channel(0);
            let reading = Mutex::new(reading);
            let toy = Toy::scripted(move |_, _, peer| {
                peer.try_send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}"));
                // A reset would throw away what the front has not read yet.
                reading.lock().unwrap().recv().unwrap();
                match reset {
                    false => Then::Close,
                    true => Then::Reset,
                }
            });
            let front = Front::of(&[&toy]);
            let mut client = front.client();
            client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
            assert!(client.try_head().is_some());
            assert_eq!(client.bytes(passed_on.len()), passed_on.as_bytes());

            read.send(()).unwrap();

            // No last chunk, nothing: the connection just ends.
            client.assert_closed();
            crate::until("it is counted out", || front.in_flight(&toy) == 0);
        }
    }
}

#[test]
fn a_body_that_ends_with_the_connection_is_whole() {
    let toy = Toy::scripted(|_, _, peer| {
        peer.try_send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
        Then::Close
    });
    let front = Front::of(&[&toy]);
    let mut client = front.client();

    let response = client.get("/");

    assert!(response.complete);
    assert_eq!(response.text(), "until the end");
    assert_eq!(response.field("transfer-encoding"), Some("chunked"));
}

#[test]
fn half_a_head_and_gone_is_no_request() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    let client = front.client();
    client.stream().write_all(b"GET / HT").unwrap();

    drop(client);

    crate::until("it is gone", || {
        let stats = front.stats();
        stats.connections_total == 1 && stats.connections_open == 0
    });
    assert_eq!(toy.count(), 0);
}

#[test]
fn a_client_that_leaves_is_counted_at_the_backend_it_waited_at() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_request();
        peer.rest();
    });
    let front = Front::of(&[&toy]);
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    crate::until("it waits there", || {
        toy.open() == 1 && front.in_flight(&toy) == 1
    });

    drop(client);

    crate::until("it is counted", || {
        let stats = front.stats();
        stats.backends.iter().any(|one| one.classes[5] == 1)
    });
    let stats = front.stats();
    let counted = stats.backends.iter().find(|one| one.classes[5] == 1);
    let (_, address) = counted.unwrap().backend.clone().expect("a backend");
    assert_eq!(address, toy.address);
}

#[test]
fn an_http_1_0_answer_cut_by_the_backend_ends_in_a_reset() {
    let (read, reading) = mpsc::sync_channel(0);
    let reading = Mutex::new(reading);
    let toy = Toy::scripted(move |_, _, peer| {
        peer.try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        reading.lock().unwrap().recv().unwrap();
        Then::Close
    });
    let front = Front::of(&[&toy]);
    let mut client = front.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert!(client.try_head().is_some());
    assert_eq!(client.bytes(4), b"half");

    read.send(()).unwrap();

    // The end of the connection would be the end of the body.
    client.assert_reset();
}

/// Sends all of it together with the end of the connection, so that the front sees both at once.
fn answering_at_once(answer: &'static str) -> Toy {
    Toy::scripted(move |_, _, peer| {
        peer.cork();
        peer.try_send(answer);
        Then::Close
    })
}

#[test]
fn an_answer_that_breaks_off_at_once_is_a_502() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let toy = answering_at_once(answer);
        let front = Front::of(&[&toy]);

        let response = front.client().request("POST", "/", b"x");

        assert_eq!(response.status(), 502, "{answer:?}");
        assert!(response.complete, "{answer:?}");
        assert_eq!(toy.count(), 1);
    }
}

#[test]
fn a_get_whose_answer_breaks_off_at_once_is_asked_elsewhere() {
    let broken = answering_at_once("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
    let good = Toy::named("good");
    let front = Front::of(&[&broken, &good]);

    let mut client = front.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "good");
    }

    assert_eq!(broken.count(), 2);
    assert_eq!(front.retries(Reason::Reset), 2);
}

#[test]
fn an_answer_that_breaks_off_is_seen_with_its_head_and_counted_as_broken() {
    // More than is read before anything is passed on.
    let part = "a".repeat(1 << 20);
    let toy = answering_at_once(
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n{part}\r\n").leak(),
    );
    let front = Front::of(&[&toy]);

    let response = front.client().get("/");

    assert_eq!(response.status(), 200);
    assert_eq!(response.text(), part);
    assert!(!response.complete);
    let broken = CLASSES.iter().position(|class| *class == "broken");
    crate::until("it is counted", || {
        let stats = front.stats();
        stats
            .backends
            .iter()
            .any(|one| one.classes[broken.unwrap()] == 1)
    });
    let stats = front.stats();
    assert!(stats.backends.iter().all(|one| one.classes[1] == 0));
}
