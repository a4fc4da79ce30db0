//! Every wait has a limit that fires.

use std::time::Duration;

use lb::proxy::Settings;

use crate::client::Client;
use crate::frames::{self, End};
use crate::front::{Front, settings};
use crate::hpack;
use crate::toy::{Then, Toy, answer};
use crate::{CANCEL, ENHANCE_YOUR_CALM, SETTINGS_TIMEOUT};

const SHORT: Duration = Duration::from_millis(300);

fn with(set: impl Fn(&mut Settings)) -> Settings {
    let mut settings = settings();
    set(&mut settings);
    settings
}

#[test]
fn an_idle_connection_is_told_and_closed() {
    let toy = Toy::named("a");
    let front = Front::with(
        with(|settings| settings.timeouts.client_idle = SHORT),
        &[&toy],
    );
    let mut client = Client::connect(front.address);
    assert_eq!(client.get("/").status(), 200);

    assert_eq!(client.farewell(), Some(0));
    crate::until("it is gone", || front.stats().connections_open == 0);
}

#[test]
fn a_connection_with_a_request_under_way_is_not_idle() {
    let toy = Toy::scripted(|request, _, peer| {
        std::thread::sleep(SHORT * 5);
        answer(peer, request, "late");
        Then::Keep
    });
    let front = Front::with(
        with(|settings| settings.timeouts.client_idle = SHORT),
        &[&toy],
    );
    assert_eq!(Client::connect(front.address).get("/").text(), "late");
}

#[test]
fn a_greeting_has_a_limit() {
    let toy = Toy::named("a");
    let front = Front::with(
        with(|settings| settings.timeouts.request_head = SHORT),
        &[&toy],
    );
    for beginning in [&frames::PREFACE[..18], frames::PREFACE] {
        let mut client = Client::silent(front.address);
        client.send(beginning);
        client.farewell();
        assert!(client.has_ended());
    }
    crate::until("they are gone", || front.stats().connections_open == 0);
}

#[test]
fn settings_have_to_be_acknowledged() {
    let toy = Toy::named("a");
    let front = Front::with(
        with(|settings| settings.timeouts.request_head = SHORT),
        &[&toy],
    );
    let mut client = Client::silent(front.address);
    client.send([frames::PREFACE, &frames::settings(&[])].concat());
    // Read past the client, which would acknowledge them.
    let mut said = Vec::new();
    let _ = std::io::Read::read_to_end(&mut client.socket().try_clone().unwrap(), &mut said);

    let mut at = 0;
    let mut told = None;
    while let Some((frame, length)) = frames::first(&said[at..]) {
        at += length;
        if frame.kind == frames::GOAWAY {
            told = Some(frame.number(4));
        }
    }
    assert_eq!(told, Some(SETTINGS_TIMEOUT));
}

#[test]
fn a_head_has_a_limit() {
    let toy = Toy::named("a");
    let front = Front::with(
        with(|settings| settings.timeouts.request_head = SHORT),
        &[&toy],
    );
    let head = frames::frame(
        frames::HEADERS,
        0,
        1,
        &hpack::block(&[(b":method", b"GET")]),
    );
    for beginning in [&head[..], &head[..7]] {
        let mut client = Client::connect(front.address);
        client.until("settings are known", |client| {
            client.frames.iter().any(|frame| frame.has(frames::ACK))
        });
        client.send(beginning);
        assert_eq!(client.farewell(), Some(ENHANCE_YOUR_CALM));
    }
}

#[test]
fn a_body_that_stands_still_has_a_limit() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_head();
        peer.rest();
    });
    let front = Front::with(
        with(|settings| settings.timeouts.body_progress = SHORT),
        &[&toy],
    );
    let mut client = Client::connect(front.address);
    let stream = client.open("POST", "/", &[("content-length", "10")]);
    client.send(frames::data(stream, "begin", false));

    let answer = client.answer(stream);
    assert_eq!(answer.status(), 408);
    crate::until("the backend is let go", || toy.open() == 0);
}

#[test]
fn a_client_that_opens_no_window_loses_its_stream_and_no_other() {
    let toy = Toy::scripted(|request, _, peer| {
        answer(peer, request, "hello");
        Then::Keep
    });
    let front = Front::with(
        with(|settings| settings.timeouts.body_progress = SHORT),
        &[&toy],
    );
    let mut client = Client::with(front.address, &[(4, 2)]);
    client.generous = false;
    let stream = client.ask("GET", "/", &[]);

    let answer = client.answer(stream);

    assert_eq!(
        (answer.text().as_str(), answer.end),
        ("he", End::Reset(CANCEL))
    );
    let next = client.ask("HEAD", "/", &[]);
    assert_eq!(client.answer(next).end, End::Whole);
}

#[test]
fn a_client_that_reads_nothing_at_all_is_given_up() {
    let toy = Toy::scripted(|request, _, peer| {
        answer(peer, request, &"x".repeat(32 << 20));
        Then::Keep
    });
    let front = Front::with(
        with(|settings| settings.timeouts.body_progress = SHORT),
        &[&toy],
    );
    let large = (1 << 31) - 1;
    let mut client = Client::with(front.address, &[(4, large)]);
    client.send(frames::window_update(0, large - 65_535));
    client.ask("GET", "/", &[]);

    crate::until("it is gone", || front.stats().connections_open == 0);
    crate::until("the backend is let go", || toy.open() == 0);
}

#[test]
fn a_silent_backend_is_a_504() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_head();
        peer.rest();
    });
    let front = Front::with(
        with(|settings| settings.timeouts.first_byte = SHORT),
        &[&toy],
    );
    let mut client = Client::connect(front.address);
    let stream = client.open("POST", "/", &[]);
    client.send(frames::data(stream, "body", true));
    assert_eq!(client.answer(stream).status(), 504);
}
