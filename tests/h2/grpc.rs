//! What gRPC clients are told when there is no answer of a backend: trailers alone.

use std::time::Duration;

use lb::announce::Proto;
use lb::pool::spec::Spec;

use crate::client::Client;
use crate::frames::{self, Answer, End};
use crate::front::{Front, settings, spec};
use crate::toy::Toy;

fn call(front: &Front, fields: &[(&str, &str)]) -> Answer {
    let mut client = Client::connect(front.address);
    let all = [
        &[
            ("content-type", "application/grpc+proto"),
            ("te", "trailers"),
        ],
        fields,
    ]
    .concat();
    let stream = client.open("POST", "/package.Service/Method", &all);
    client.send(frames::data(stream, b"\0\0\0\0\0", true));
    client.answer(stream)
}

fn assert_told(answer: &Answer, code: &str, message: &str) {
    assert_eq!(
        (answer.status(), answer.end, answer.pieces),
        (200, End::Whole, 0)
    );
    assert_eq!(answer.field("content-type"), Some("application/grpc"));
    assert_eq!(answer.field("grpc-status"), Some(code));
    let told = answer.field("grpc-message").unwrap_or_default();
    assert!(told.contains(message), "{told}");
}

#[test]
fn nobody_to_ask_is_unavailable() {
    let front = Front::of(&[]);
    assert_told(
        &call(&front, &[]),
        "14",
        "no backend of pool web is in rotation",
    );
    let refusing = Toy::refusing();
    let front = Front::of(&[&refusing]);
    assert_told(&call(&front, &[]), "14", "could not be reached");
}

#[test]
fn too_slow_is_a_deadline() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_head();
        peer.rest();
    });
    let mut settings = settings();
    settings.timeouts.first_byte = Duration::from_millis(100);
    let front = Front::with(settings, &[&toy]);
    assert_told(&call(&front, &[]), "4", "in time");
}

/// A backend that speaks HTTP/2, and never answers.
fn mute() -> Toy {
    Toy::raw(|mut peer, _| {
        peer.try_send(frames::settings(&[]));
        peer.rest();
    })
}

fn to_mute(toy: &Toy) -> Front {
    let mut settings = settings();
    settings.timeouts.body_progress = Duration::from_millis(300);
    let spec = Spec {
        proto: Some(Proto::H2c),
        ..spec(toy.address, 1, false)
    };
    let mut front = Front::unproven(settings, vec![spec]);
    front.all_up();
    front
}

#[test]
fn a_call_that_never_says_anything_ends() {
    let toy = mute();
    let front = to_mute(&toy);
    let kind = ("content-type", "application/grpc");
    // Longer than there has been time, as far as clocks can count.
    for timeout in [&[][..], &[("grpc-timeout", "99999999H")]] {
        let mut client = Client::connect(front.address);
        let all = [&[kind], timeout].concat();
        let stream = client.open("POST", "/package.Service/Method", &all);
        let answer = client.answer(stream);
        assert_told(&answer, "4", "too slowly");
    }
    crate::until("its room is free", || front.in_flight(&toy) == 0);
}

#[test]
fn a_call_that_has_said_something_may_be_silent_until_its_deadline() {
    let toy = mute();
    let front = to_mute(&toy);
    let mut client = Client::connect(front.address);
    let all = [
        &frames::pseudo("POST", "/package.Service/Method")[..],
        &[
            ("content-type", "application/grpc"),
            ("grpc-timeout", "1500m"),
        ],
    ]
    .concat();
    let stream = client.next();
    // At once, so that nobody waits for the message.
    let head = frames::headers(stream, &all, false);
    let message = frames::data(stream, b"\0\0\0\0\0", false);
    client.send([head, message].concat());
    assert_told(&client.answer(stream), "4", "deadline");
}

#[test]
fn too_large_is_a_resource_and_malformed_is_internal() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    assert_told(&call(&front, &[("host", "other")]), "13", "Host differs");
    let many: Vec<(String, String)> = (0..100)
        .map(|at| (format!("x-{at}"), String::new()))
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_told(&call(&front, &many), "8", "too many fields");
}

#[test]
fn others_get_a_page() {
    let front = Front::of(&[]);
    let mut client = Client::connect(front.address);
    let stream = client.ask("GET", "/", &[("content-type", "application/grpc-web")]);
    let answer = client.answer(stream);
    assert_eq!(
        (answer.status(), answer.field("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(answer.text(), "no backend of pool web is in rotation\n");
    let stream = client.ask("HEAD", "/", &[]);
    let answer = client.answer(stream);
    assert_eq!(
        (answer.status(), answer.end, answer.pieces),
        (503, End::Whole, 0)
    );
}
