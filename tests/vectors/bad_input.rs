//! Cut, flipped, nested and lying bytes: refused or survived, never a panic.

use lb::gossip::core::serf::tags;
use lb::gossip::core::wire::message::Message;
use lb::gossip::core::wire::serf::SerfMessage;
use lb::gossip::core::wire::stream::{Decoder, StreamMessage};
use lb::gossip::core::wire::{WireError, packet};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::samples::{Vector, feed, open, packets, streams};

/// Everything that reads bytes from a peer, on any bytes: whatever comes out, it comes out.
fn survive(bytes: &[u8]) {
    for message in packet::open(bytes).into_iter().flatten() {
        match message {
            Message::User(serf) => drop(SerfMessage::decode(&serf)),
            Message::Alive(alive) => drop(tags::decode(&alive.meta)),
            other => drop(other.encode()),
        }
    }
    if let Ok(Some(StreamMessage::PushPull(whole))) = feed(bytes) {
        drop(SerfMessage::decode(&whole.user_state));
    }
}

#[test]
fn no_proper_prefix_of_a_packet_gives_all_its_messages() {
    for vector in packets() {
        let whole = open(&vector.bytes);
        for len in 0..vector.bytes.len() {
            let part = packet::open(&vector.bytes[..len]);
            let good: Vec<&Message> = part.iter().filter_map(|part| part.as_ref().ok()).collect();

            // A Serf message is opaque here, so a cut one looks whole until Serf reads it.
            let cut_serf = matches!(good.last(), Some(Message::User(_)));
            assert!(
                cut_serf || good.len() < whole.len(),
                "{} cut at {len}",
                vector.name
            );
        }
    }
}

#[test]
fn every_proper_prefix_of_a_serf_message_is_refused() {
    for vector in packets() {
        for message in open(&vector.bytes) {
            let Message::User(serf) = message else {
                continue;
            };
            let body = match SerfMessage::decode(&serf) {
                // What follows a relay's header is opaque as well.
                Ok(SerfMessage::Relay(relay)) => serf.len() - relay.body.len() + 1,
                _ => serf.len(),
            };
            for len in 0..body {
                assert!(
                    SerfMessage::decode(&serf[..len]).is_err(),
                    "{} cut at {len}",
                    vector.name
                );
            }
        }
    }
}

#[test]
fn every_proper_prefix_of_a_stream_waits_for_more() {
    for vector in streams() {
        for len in 0..vector.bytes.len() {
            assert_eq!(
                feed(&vector.bytes[..len]),
                Ok(None),
                "{} cut at {len}",
                vector.name
            );
        }
        let mut decoder = Decoder::new();
        let outcomes: Vec<_> = vector
            .bytes
            .chunks(1)
            .map(|byte| decoder.feed(byte))
            .collect();
        let (last, before) = outcomes.split_last().expect("bytes");
        assert!(
            before.iter().all(|outcome| *outcome == Ok(None)),
            "{}",
            vector.name
        );
        assert_eq!(*last, feed(&vector.bytes), "{}", vector.name);
    }
}

#[test]
fn flipped_bytes_and_noise_are_survived() {
    let seed: u64 = std::env::var("LB_SEED")
        .ok()
        .map_or(2, |text| text.parse().expect("LB_SEED is a number"));
    println!("LB_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let samples: Vec<Vector> = packets().into_iter().chain(streams()).collect();
    for vector in &samples {
        for _ in 0..200 {
            let mut bytes = vector.bytes.clone();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
            }
            // A flipped byte behind a checksum would only test the checksum.
            survive(
                bytes
                    .strip_prefix(&bytes[..if bytes[0] == 12 { 5 } else { 0 }])
                    .expect("a prefix"),
            );
            survive(&bytes);
        }
    }
    for _ in 0..20_000 {
        let len = random.random_range(0..200);
        let noise: Vec<u8> = (0..len).map(|_| random.random()).collect();
        survive(&noise);
    }
}

#[test]
fn every_type_byte_before_every_short_body_is_survived() {
    for kind in 0..=255 {
        for body in [
            &[][..],
            &[0x80],
            &[0xdf, 0xff, 0xff, 0xff, 0xff],
            &[0xdd, 0xff, 0xff, 0xff, 0xff],
            &[0xdb, 0xff, 0xff, 0xff, 0xff],
            &[
                0x81, 0xa4, b'N', b'o', b'd', b'e', 0xc6, 0xff, 0xff, 0xff, 0xff,
            ],
            &[0x91; 1000],
            &[0x81; 1000],
            &[0xff; 1000],
        ] {
            survive(&[&[kind], body].concat());
            survive(&[&[8, kind], body].concat());
        }
    }
}

#[test]
fn lists_that_claim_more_than_they_hold_take_no_memory_for_it() {
    // `Events` of 4 G slots, then of the most that is taken, each cut short.
    for claimed in [u32::MAX, 100_000] {
        let mut bytes = b"\x02\x81\xa6Events\xdd".to_vec();
        bytes.extend(claimed.to_be_bytes());
        bytes.extend([0xc0; 10]);
        assert!(SerfMessage::decode(&bytes).is_err());
    }

    // Lists in lists must not multiply: 60,000 slots of 60,000 events each would be 3.6 G.
    let mut bytes = b"\x02\x81\xa6Events\xdd".to_vec();
    bytes.extend(60_000_u32.to_be_bytes());
    for _ in 0..4 {
        bytes.extend(b"\x81\xa6Events\xdd");
        bytes.extend(60_000_u32.to_be_bytes());
        bytes.extend(vec![0x80; 60_000]);
    }
    assert_eq!(SerfMessage::decode(&bytes), Err(WireError::TooLarge));
}
