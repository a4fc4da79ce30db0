//! How connections end: a stop, and clients that have left.

use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use crate::client::Client;
use crate::frames::{self, End};
use crate::front::{Front, settings};
use crate::toy::{Then, Toy, answer};

/// Says no more than that no stream is known to be the last.
const NO_LAST: u32 = (1 << 31) - 1;

fn waiting() -> (Toy, Arc<Barrier>) {
    let barrier = Arc::new(Barrier::new(2));
    let inside = barrier.clone();
    let toy = Toy::scripted(move |request, _, peer| {
        inside.wait();
        inside.wait();
        answer(peer, request, "done");
        Then::Keep
    });
    (toy, barrier)
}

#[test]
fn a_stop_is_announced_and_what_is_under_way_ends_well() {
    let (toy, barrier) = waiting();
    let mut front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);
    let stream = client.ask("GET", "/", &[]);
    barrier.wait();

    front.stop();
    crate::until("nobody is accepted any more", || {
        TcpStream::connect(front.address).is_err()
    });
    // First that it ends, then, once that was heard, with which stream (RFC 9113 §6.8).
    client.until("two words", |client| client.goaways.len() == 2);
    assert_eq!(client.goaways, [(NO_LAST, 0), (stream, 0)]);
    barrier.wait();

    let answer = client.answer(stream);
    assert_eq!((answer.text().as_str(), answer.end), ("done", End::Whole));
    assert_eq!(client.farewell(), Some(0));
    front.drained();
}

#[test]
fn a_request_sent_before_the_last_word_is_served() {
    let toy = Toy::named("a");
    let mut front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);
    assert_eq!(client.get("/").status(), 200);

    front.stop();
    // It may have been sent before the announcement was read, or after; not after the last word.
    let stream = client.ask("GET", "/", &[]);
    let answer = client.answer(stream);

    let (last, _) = *client.goaways.last().expect("it was told");
    match last >= stream {
        true => assert_eq!(answer.status(), 200),
        false => assert_eq!(
            answer.status(),
            0,
            "beyond the last one, it may be repeated elsewhere"
        ),
    }
    client.farewell();
    front.drained();
}

#[test]
fn idle_connections_are_closed_at_once_at_a_stop() {
    let toy = Toy::named("a");
    let mut settings = settings();
    settings.timeouts.drain = Duration::from_secs(3600);
    let mut front = Front::with(settings, &[&toy]);
    let mut used = Client::connect(front.address);
    used.get("/");
    let mut unused = Client::connect(front.address);

    front.stop();

    for client in [&mut used, &mut unused] {
        assert_eq!(client.farewell(), Some(0));
    }
    front.drained();
}

#[test]
fn one_that_does_not_answer_is_closed_a_little_later() {
    let toy = Toy::named("a");
    let mut settings = settings();
    settings.timeouts.drain = Duration::from_secs(3600);
    let mut front = Front::with(settings, &[&toy]);
    let client = Client::connect(front.address);
    // It is never read again, so no PING is acknowledged.
    front.stop();
    front.drained();
    drop(client);
}

#[test]
fn a_stream_that_takes_too_long_is_cut() {
    let (toy, barrier) = waiting();
    let mut settings = settings();
    settings.timeouts.drain = Duration::from_millis(50);
    let mut front = Front::with(settings, &[&toy]);
    let mut client = Client::connect(front.address);
    let stream = client.ask("GET", "/", &[]);
    barrier.wait();

    front.stop();
    front.drained();

    assert_ne!(client.answer(stream).end, End::Whole);
    barrier.wait();
}

#[test]
fn a_client_that_only_half_closes_is_gone() {
    let (toy, barrier) = waiting();
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);
    client.ask("GET", "/", &[]);
    barrier.wait();

    client.socket().shutdown(std::net::Shutdown::Write).unwrap();

    crate::until("it is let go", || front.stats().connections_open == 0);
    barrier.wait();
}

#[test]
fn http_1_and_http_2_share_an_address_and_only_the_first_words_decide() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    assert_eq!(front.client().get("/").text(), "a");
    assert_eq!(Client::connect(front.address).get("/").text(), "a");

    // Behind a request of HTTP/1, it is a request for a version that is not spoken.
    let mut client = front.client();
    client.get("/");
    client.send(frames::PREFACE);
    assert_eq!(client.response("PRI").status(), 505);

    // And nobody changes to it (RFC 9113 dropped that way).
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n");
    assert_eq!(client.response("GET").status(), 200);
}

#[test]
fn a_greeting_may_come_byte_by_byte() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    let mut client = Client::silent(front.address);
    let head = frames::headers(1, &frames::pseudo("GET", "/"), true);
    let all = [frames::PREFACE, &frames::settings(&[]), &head].concat();
    for byte in all.chunks(1) {
        client.send(byte);
        std::thread::sleep(Duration::from_micros(200));
    }
    assert_eq!(client.answer(1).text(), "a");
}

#[test]
fn a_bad_greeting_is_closed() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..],
        &[
            frames::PREFACE,
            b"garbage that is no frame, and much too long to be one",
        ]
        .concat(),
        &[frames::PREFACE, &frames::data(1, "x", true)].concat(),
        &[
            frames::PREFACE,
            &frames::frame(frames::SETTINGS, 0, 0, b"odd"),
        ]
        .concat(),
    ] {
        let mut client = Client::silent(front.address);
        client.send(bytes);
        client.farewell();
        assert!(client.has_ended());
    }
    crate::until("all are gone", || front.stats().connections_open == 0);
    assert_eq!(Client::connect(front.address).get("/").status(), 200);
}
