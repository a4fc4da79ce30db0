//! Frames in no order and with anything in them: whatever comes of it, others are served and nothing is left.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::client::Client;
use crate::frames;
use crate::front::{Front, settings};
use crate::hpack;
use crate::toy::{Then, Toy, answer};

/// A frame that may be sound, nearly sound, or nothing of the kind.
fn frame(dice: &mut impl Rng) -> Vec<u8> {
    let stream = [0, 1, 3, 5, 7, 2, 0x7fff_ffff][dice.random_range(0..7)];
    let mut bytes = match dice.random_range(0..10) {
        0 => frames::headers(stream, &frames::pseudo("GET", "/"), true),
        1 => {
            let fields = [
                &frames::pseudo("POST", "/")[..],
                &[("content-length", "12")],
            ]
            .concat();
            frames::headers(stream, &fields, false)
        }
        2 => frames::data(stream, vec![b'x'; dice.random_range(0..40)], dice.random()),
        3 => frames::reset(stream, dice.random_range(0..15)),
        4 => frames::window_update(
            stream,
            dice.random_range(0..4) * dice.random_range(0..1 << 30),
        ),
        5 => {
            let known = dice.random_range(0..9);
            frames::settings(&[(
                known,
                dice.random_range(0..4) * dice.random_range(0..1 << 30),
            )])
        }
        6 => frames::frame(frames::PING, dice.random_range(0..2), 0, &[7; 8]),
        7 => {
            let block = hpack::block(&[(b"x", b"y")]);
            frames::frame(
                frames::CONTINUATION,
                dice.random_range(0..8),
                stream,
                &block,
            )
        }
        8 => {
            let mut block = vec![0; dice.random_range(0..60)];
            dice.fill_bytes(&mut block);
            frames::frame(frames::HEADERS, dice.random(), stream, &block)
        }
        _ => {
            let mut payload = vec![0; dice.random_range(0..40)];
            dice.fill_bytes(&mut payload);
            frames::frame(dice.random_range(0..14), dice.random(), stream, &payload)
        }
    };
    if dice.random_range(0..8) == 0 {
        let at = dice.random_range(0..bytes.len());
        bytes[at] ^= 1 << dice.random_range(0..8);
    }
    bytes
}

#[test]
fn noise_is_survived_and_leaves_nothing_behind() {
    let seed = std::env::var("LB_H2_SEED").map_or_else(
        |_| lb::clock::random().random(),
        |seed| seed.parse().expect("a number"),
    );
    println!("LB_H2_SEED={seed}");
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let toy = Toy::scripted(|request, _, peer| {
        answer(peer, request, &"x".repeat(3000));
        Then::Keep
    });
    let mut settings = settings();
    settings.timeouts.body_progress = std::time::Duration::from_secs(2);
    let front = Front::with(settings, &[&toy]);

    for number in 0..400 {
        let mut client = Client::silent(front.address);
        let mut bytes = [frames::PREFACE, &frames::settings(&[])].concat();
        for _ in 0..dice.random_range(1..30) {
            bytes.extend(frame(&mut dice));
        }
        let cut = dice.random_range(0..bytes.len());
        let end = if dice.random() { bytes.len() } else { cut };
        for piece in bytes[..end].chunks(dice.random_range(1..200)) {
            if !client.try_send(piece) {
                break;
            }
        }
        if number % 50 == 0 {
            assert_eq!(Client::connect(front.address).get("/").status(), 200);
        }
    }

    assert_eq!(Client::connect(front.address).get("/").status(), 200);
    crate::until("nothing is left of it", || {
        let stats = front.stats();
        stats.requests_in_flight == 0 && stats.connections_open == 0
    });
    // None of what reached it was cut in two or glued together.
    for request in toy.requests() {
        let start = request.start();
        assert!(start.ends_with(" / HTTP/1.1"), "{start}");
        assert_eq!(request.all("host").len(), 1);
    }
}
