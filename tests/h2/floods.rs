//! What costs a client nothing and us something: bounded, and answered with ENHANCE_YOUR_CALM.

use std::time::Duration;

use lb::pool::queue;

use crate::client::Client;
use crate::frames::{self, End};
use crate::front::Front;
use crate::hpack;
use crate::toy::{Then, Toy, answer};
use crate::{CANCEL, ENHANCE_YOUR_CALM};

/// More than any client has a reason for.
const MANY: usize = 50_000;

/// Sends pieces until it is told to stop; the code it is told.
fn flood(client: &mut Client, mut piece: impl FnMut(usize) -> Vec<u8>) -> Option<u32> {
    let mut sent = 0;
    while sent < MANY {
        let pieces: Vec<u8> = (sent..sent + 50).flat_map(&mut piece).collect();
        if !client.try_send(pieces) {
            break;
        }
        client.glance();
        if !client.goaways.is_empty() || client.has_ended() {
            break;
        }
        sent += 50;
    }
    assert!(sent < MANY, "all of it was borne");
    client.farewell()
}

fn assert_still_serves(front: &Front) {
    assert_eq!(Client::connect(front.address).get("/").status(), 200);
    crate::until("nothing is left of it", || {
        let stats = front.stats();
        stats.requests_in_flight == 0 && stats.connections_open <= 1
    });
}

#[test]
fn frames_of_no_use_are_bounded() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    for (what, piece) in [
        ("PING", frames::frame(frames::PING, 0, 0, &[1; 8])),
        ("SETTINGS", frames::settings(&[(4, 65_535)])),
        ("empty SETTINGS", frames::settings(&[])),
        (
            "PRIORITY",
            frames::frame(frames::PRIORITY, 0, 1, &[0, 0, 0, 3, 9]),
        ),
        ("WINDOW_UPDATE", frames::window_update(0, 1)),
        ("unknown frames", frames::frame(0x42, 0, 0, b"x")),
    ] {
        let mut client = Client::connect(front.address);
        let told = flood(&mut client, |_| piece.clone());
        assert_eq!(told, Some(ENHANCE_YOUR_CALM), "{what}");
    }
    assert_still_serves(&front);
}

#[test]
fn rapid_resets_are_bounded() {
    let toy = Toy::raw(|mut peer, _| while peer.try_head().is_some() {});
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);

    let told = flood(&mut client, |at| {
        let stream = 2 * at as u32 + 1;
        let head = frames::headers(stream, &frames::pseudo("GET", "/"), true);
        [head, frames::reset(stream, CANCEL)].concat()
    });

    assert_eq!(told, Some(ENHANCE_YOUR_CALM));
    let asked = toy.connections();
    assert!(asked < 500, "{asked} requests reached a backend");
    crate::until("nothing is left of it", || {
        let stats = front.stats();
        stats.requests_in_flight == 0 && stats.connections_open == 0 && toy.open() == 0
    });
}

#[test]
fn requests_beyond_the_limit_are_refused_and_a_flood_of_them_is_bounded() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_head();
        peer.rest();
    });
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);
    for _ in 0..100 {
        client.ask("GET", "/", &[]);
    }
    crate::until("as many as may", || toy.open() == 100);
    let one_more = client.ask("GET", "/", &[]);
    assert_eq!(client.answer(one_more).end, End::Reset(7));

    let told = flood(&mut client, |at| {
        let stream = one_more + 2 + 2 * at as u32;
        frames::headers(stream, &frames::pseudo("GET", "/"), true)
    });

    assert_eq!(told, Some(ENHANCE_YOUR_CALM));
    crate::until("all are let go", || toy.open() == 0);
}

#[test]
fn empty_data_is_bounded() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_head();
        peer.rest();
    });
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);
    let stream = client.open("POST", "/", &[]);

    let told = flood(&mut client, |_| frames::data(stream, [], false));

    assert_eq!(told, Some(ENHANCE_YOUR_CALM));
}

#[test]
fn continuations_without_end_are_bounded() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    for payload in [&b""[..], &hpack::block(&[(b"x", b"y")])] {
        let mut client = Client::connect(front.address);
        let head: Vec<_> = frames::pseudo("GET", "/");
        let head: Vec<(&[u8], &[u8])> = head
            .iter()
            .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
            .collect();
        client.send(frames::frame(
            frames::HEADERS,
            frames::END_STREAM,
            1,
            &hpack::block(&head),
        ));

        let told = flood(&mut client, |_| {
            frames::frame(frames::CONTINUATION, 0, 1, payload)
        });

        assert_eq!(told, Some(ENHANCE_YOUR_CALM));
    }
    assert_still_serves(&front);
}

#[test]
fn a_header_bomb_is_not_unpacked() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);
    // One large field into the table, and then its index thousands of times: 64 MB of fields in a frame.
    let mut block = hpack::block(&[
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"t"),
    ]);
    block.push(0x40);
    hpack::integer(&mut block, 7, 0, 4);
    block.extend_from_slice(b"bomb");
    hpack::integer(&mut block, 7, 0, 4000);
    block.extend(vec![b'x'; 4000]);
    block.extend(vec![0x80 | 62; 12_000]);
    let flags = frames::END_HEADERS | frames::END_STREAM;
    client.send(frames::frame(frames::HEADERS, flags, 1, &block));

    assert_eq!(client.farewell(), Some(ENHANCE_YOUR_CALM));
    assert_still_serves(&front);
}

#[test]
fn tiny_windows_are_bounded() {
    let toy = Toy::scripted(|request, _, peer| {
        answer(peer, request, &"x".repeat(1 << 20));
        Then::Keep
    });
    let front = Front::of(&[&toy]);
    let mut client = Client::with(front.address, &[(4, 0)]);
    client.generous = false;
    let stream = client.ask("GET", "/", &[]);

    let told = flood(&mut client, |_| frames::window_update(stream, 1));

    assert_eq!(told, Some(ENHANCE_YOUR_CALM));
}

#[test]
fn a_client_that_does_much_for_many_answers_is_not_a_flood() {
    let toy = Toy::scripted(|request, _, peer| {
        answer(peer, request, &"x".repeat(3000));
        Then::Keep
    });
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);
    // Three window updates, a priority and a ping for each request.
    for _ in 0..2000 {
        let stream = client.next();
        let head = frames::headers(stream, &frames::pseudo("GET", "/"), true);
        let priority = frames::frame(frames::PRIORITY, 0, stream, &[0, 0, 0, 0, 9]);
        let ping = frames::frame(frames::PING, 0, 0, &[1; 8]);
        client.send([priority, head, frames::window_update(stream, 1), ping].concat());
        assert_eq!(
            client.answer(stream).end,
            End::Whole,
            "{:?}",
            client.goaways
        );
    }
    assert!(client.goaways.is_empty());
}

#[test]
fn a_page_that_is_left_at_once_is_not_a_flood() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);
    let streams: Vec<u32> = (0..100).map(|_| client.next()).collect();
    let heads = streams
        .iter()
        .flat_map(|s| frames::headers(*s, &frames::pseudo("GET", "/"), true));
    let resets = streams.iter().flat_map(|s| frames::reset(*s, CANCEL));
    client.send(heads.chain(resets).collect::<Vec<u8>>());

    assert_eq!(client.get("/").status(), 200, "{:?}", client.goaways);
}

/// A tenth of them would be too many for what h2 stores for each.
#[test]
fn a_body_of_tiny_frames_that_waits_is_not_a_flood() {
    const TINY: usize = 249_000;
    let toy = Toy::named("a");
    let one_by_one = queue::Settings {
        max_in_flight: 1,
        queue: 1,
        queue_timeout: Duration::from_secs(20),
    };
    let front = Front::limited(one_by_one, &[&toy]);
    let mut client = Client::connect(front.address);
    let first = client.open("POST", "/first", &[]);
    client.upload(first, b"x", false);
    crate::until("it is asked", || toy.open() == 1);
    let second = client.open("POST", "/second", &[]);
    let body: Vec<u8> = (0..TINY).map(|at| at as u8).collect();

    // With what is padded, as much as its window lets.
    for thousand in body.chunks(1000) {
        let (one, others) = thousand.split_first().expect("some");
        let padded = [&[50, *one][..], &[0; 50]].concat();
        let mut frames = frames::frame(frames::DATA, frames::PADDED, second, &padded);
        frames.extend(
            others
                .iter()
                .flat_map(|b| frames::data(second, [*b], false)),
        );
        client.send(frames);
        client.upload(first, &[b'x'; 16_000], false);
    }
    client.send(frames::data(first, [], true));
    client.send(frames::data(second, [], true));

    assert_eq!(client.answer(first).status(), 200, "{:?}", client.goaways);
    assert_eq!(client.answer(second).status(), 200, "{:?}", client.goaways);
    let asked = toy.requests();
    assert_eq!(asked[0].body.len(), 1 + TINY / 1000 * 16_000);
    assert!(asked[1].body == body, "not what was sent");
}
