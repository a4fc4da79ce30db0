//! Captured requests: whole, cut off at every byte, and damaged.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::rpc::requests;

/// Every captured piece that a client sent.
fn captured() -> Vec<(String, Vec<u8>)> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/serf/rpc.json");
    let text = std::fs::read_to_string(file).expect("captured sessions");
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    let sent = all.iter().filter(|part| part["direction"] == "c2s");
    sent.map(|part| {
        let text = |key: &str| part[key].as_str().expect("text").to_owned();
        let hex = text("hex");
        let pairs = hex.as_bytes().chunks(2);
        let bytes = pairs.map(|pair| {
            let pair = std::str::from_utf8(pair).expect("hex");
            u8::from_str_radix(pair, 16).expect("hex")
        });
        (text("name"), bytes.collect())
    })
    .collect()
}

/// Commands that nobody knows were captured too.
fn is_known(name: &str) -> bool {
    !name.contains("nosuch") && !name.contains("unsupported")
}

#[test]
fn every_captured_request_is_read_to_its_end() {
    for (name, bytes) in captured().iter().filter(|(name, _)| is_known(name)) {
        let (count, length, behind) = requests(bytes);

        assert!(count >= 1, "{name}");
        assert_eq!(
            (length, behind),
            (bytes.len(), WireError::Truncated),
            "{name}"
        );
    }
}

#[test]
fn what_is_cut_off_wants_more_and_nothing_else() {
    for (name, bytes) in captured().iter().filter(|(name, _)| is_known(name)) {
        for end in 0..bytes.len() {
            let (_, length, behind) = requests(&bytes[..end]);

            assert!(length <= end);
            assert_eq!(behind, WireError::Truncated, "{name} at {end}");
        }
    }
}

#[test]
fn what_is_damaged_is_refused_or_read_and_never_past_its_end() {
    let seed = 7;
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let captured = captured();
    for round in 0..20_000 {
        let (name, bytes) = &captured[dice.random_range(0..captured.len())];
        let mut bytes = bytes.clone();
        for _ in 0..dice.random_range(1..4) {
            let at = dice.random_range(0..bytes.len());
            bytes[at] = dice.random();
        }

        let (count, length, _) = requests(&bytes);

        let again = requests(&bytes[..length]);
        assert_eq!(
            again,
            (count, length, WireError::Truncated),
            "{name}, round {round} of seed {seed}"
        );
    }
}

#[test]
fn an_array_in_the_order_of_declaration_is_read_as_well() {
    let bytes = b"\x92\xa5event\x05\x93\xa1x\xc4\x01y\xc3";

    let (header, length) = Header::read(bytes).expect("a header");
    let (request, _) = Request::read(&header.command, &bytes[length..])
        .expect("a body")
        .expect("known");

    assert_eq!(header.seq, 5);
    assert_eq!(
        request,
        Request::Event {
            name: "x".to_owned(),
            payload: b"y".to_vec(),
            coalesce: true,
        }
    );
}
