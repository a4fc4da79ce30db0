//! An end without TLS's own word for it: whoever is cut off must not look finished.

use std::io::Write;
use std::net::Shutdown;

use crate::authority::Authority;
use crate::backend::{Backend, Stream};
use crate::backends::secured;
use crate::client::{Client, config};
use crate::front::Front;
use crate::toy::{Then, Toy};
use crate::{settings, tls, until};

const ASK: &str =
    "GET /chat HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const AGREED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A backend that agrees to a tunnel, and tells how that ended: in order, and after which bytes.
fn listening(ends: std::sync::mpsc::Sender<(bool, Vec<u8>)>) -> Toy {
    let ends = std::sync::Mutex::new(ends);
    Toy::raw(move |mut peer, _| {
        peer.try_head().expect("a request");
        peer.send(AGREED);
        let (bytes, in_order) = peer.rest_and_end();
        ends.lock()
            .unwrap()
            .send((in_order, bytes))
            .expect("somebody waits");
    })
}

#[test]
fn a_tunnel_ends_in_order_only_if_its_client_said_so() {
    let authority = Authority::new();
    let (sender, ends) = std::sync::mpsc::channel();
    let toy = listening(sender);
    let front = Front::with(
        settings(tls(vec![authority.issue("a", &["a.example"])])),
        &[&toy],
    );
    for in_order in [true, false] {
        let mut client = Client::connect(front.address, &config(&authority), "a.example");
        client.send(ASK);
        until("it is agreed", || {
            client.ahead().ends_with(b"\r\n\r\n") || client.more().is_err()
        });
        client.send("hello");
        if in_order {
            client.say_end();
        }
        client.socket().shutdown(Shutdown::Write).expect("shut");

        let (ended_in_order, bytes) = ends.recv_timeout(crate::DEADLINE).expect("an end");

        assert_eq!(ended_in_order, in_order);
        if in_order {
            assert_eq!(bytes, b"hello");
        }
    }
}

#[test]
fn a_tunnel_that_its_backend_broke_does_not_end_in_order() {
    let authority = Authority::new();
    let toy = Toy::raw(|mut peer, number| {
        peer.try_head().expect("a request");
        peer.send(AGREED);
        peer.send("hello");
        match number {
            0 => drop(peer),
            _ => peer.reset(),
        }
    });
    let front = Front::with(
        settings(tls(vec![authority.issue("a", &["a.example"])])),
        &[&toy],
    );
    for in_order in [true, false] {
        let mut client = Client::connect(front.address, &config(&authority), "a.example");
        client.send(ASK);

        let end = loop {
            match client.more() {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };

        assert_eq!(end.is_ok(), in_order, "{end:?}");
    }
}

#[test]
fn an_answer_to_the_end_of_the_connection_says_whether_it_is_whole() {
    let authority = Authority::new();
    let (go, going) = std::sync::mpsc::channel::<()>();
    let going = std::sync::Mutex::new(going);
    let toy = Toy::scripted(move |request, _, peer| {
        // An old client gets neither a length nor chunks.
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        going.lock().unwrap().recv().expect("the client has it");
        if request.start().contains("/whole") {
            peer.send("0\r\n\r\n");
        }
        Then::Close
    });
    let front = Front::with(
        settings(tls(vec![authority.issue("a", &["a.example"])])),
        &[&toy],
    );
    for (path, whole) in [("/whole", true), ("/cut", false)] {
        let mut client = Client::connect(front.address, &config(&authority), "a.example");
        client.send(format!("GET {path} HTTP/1.0\r\nHost: t\r\n\r\n"));
        while !client.ahead().ends_with(b"hello") {
            assert!(client.more().expect("an answer") > 0);
        }
        go.send(()).expect("the backend waits");

        let answer = client.answer();

        assert_eq!(answer.is_ok(), whole, "{path}: {answer:?}");
        if let Ok(answer) = answer {
            assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        }
    }
}

#[test]
fn a_backend_that_closes_without_a_word_cut_its_answer() {
    let authority = Authority::new();
    let files = authority.issue("b", &["127.0.0.1"]);
    let backend = Backend::new(&files, None, |head, stream: &mut Stream| {
        let sent = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello");
        sent.and_then(|()| stream.flush()).expect("sent");
        if head.starts_with("GET /whole") {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        let _ = stream.sock.shutdown(Shutdown::Write);
        // Until the other side has seen it.
        let _ = std::io::copy(&mut stream.sock, &mut std::io::sink());
        false
    });
    let front = secured(&authority, &[backend.address]);

    let mut client = front.client();
    let whole = client.get("/whole");
    assert!(whole.complete, "{whole:?}");
    assert_eq!(whole.text(), "hello");
    let mut client = front.client();
    client.send("GET /cut HTTP/1.1\r\nHost: test\r\n\r\n");
    let cut = client.try_response("GET");
    // Noticed before anything was passed on, or after: never as if it were whole.
    let whole = cut.is_some_and(|cut| cut.status() == 200 && cut.complete);
    assert!(!whole);
}

#[test]
fn a_request_body_that_is_cut_is_never_whole() {
    let authority = Authority::new();
    let toy = Toy::scripted(|_, _, _| Then::Keep);
    let front = Front::with(
        settings(tls(vec![authority.issue("a", &["a.example"])])),
        &[&toy],
    );
    let mut client = Client::connect(front.address, &config(&authority), "a.example");

    client.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    client.socket().shutdown(Shutdown::Write).expect("shut");
    let _ = client.answer();

    until("it is over", || front.stats().requests_in_flight == 0);
    assert!(toy.requests().iter().all(|request| !request.complete));
}
