//! Captured packets and streams of encrypted clusters, with their keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use lb::gossip::core::keyring::{Key, Keyring};
use lb::gossip::core::wire::message::Message;
use lb::gossip::core::wire::stream::{self, Decoder, StreamMessage};
use lb::gossip::core::wire::{WireError, crypto, packet};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::meaning::{message_json, stated_messages, stream_json};
use crate::samples::{Vector, open, packets, unhex, vectors};

fn packets_sealed() -> Vec<Vector> {
    let found = vectors("udp_encrypted.json");
    assert_eq!(found.len(), 62);
    found
}

/// The pushes and pulls, and the refusal of a stream in clear.
fn streams_sealed() -> Vec<Vector> {
    let extra = vectors("tcp_extra.json")
        .into_iter()
        .filter(|vector| vector.whole["name"] == "extra/tcp_plain_to_encrypted");
    let found: Vec<Vector> = vectors("tcp_encrypted.json")
        .into_iter()
        .chain(extra)
        .collect();
    assert_eq!(found.len(), 12 + 1);
    found
}

fn keys_of(vector: &Vector) -> Keyring {
    let text = vector.whole["key_base64"].as_str().expect("a key");
    Keyring::parse(text).expect("a good key")
}

/// The keys of all captures, those of `vector` last.
fn all_keys(vector: &Vector) -> Keyring {
    let mut keyring = Keyring::new(Key::new(&[7; 16]).expect("16 bytes"));
    for other in packets_sealed() {
        if other.whole["key_base64"] != vector.whole["key_base64"] {
            keyring.install(keys_of(&other).primary().clone());
        }
    }
    keyring.install(keys_of(vector).primary().clone());
    keyring
}

fn other_keys() -> Keyring {
    Keyring::new(Key::new(&[7; 32]).expect("32 bytes"))
}

fn opened(vector: &Vector, keys: &Keyring) -> Vec<u8> {
    crypto::open_packet(keys, &vector.bytes)
        .unwrap_or_else(|error| panic!("{}: {error}", vector.name))
}

fn read(bytes: &[u8], keys: Keyring) -> Result<Option<StreamMessage>, WireError> {
    Decoder::with_keys(Some(Arc::new(keys))).feed(bytes)
}

fn whole(vector: &Vector) -> StreamMessage {
    read(&vector.bytes, keys_of(vector))
        .unwrap_or_else(|error| panic!("{}: {error}", vector.name))
        .unwrap_or_else(|| panic!("{}: not whole", vector.name))
}

#[test]
fn every_sealed_packet_decodes_to_its_stated_meaning() {
    for vector in packets_sealed() {
        assert_eq!(vector.decoded["encryption_version"], 1);
        for keys in [keys_of(&vector), all_keys(&vector)] {
            let messages: Vec<Value> = open(&opened(&vector, &keys))
                .iter()
                .map(message_json)
                .collect();

            let stated = stated_messages(&vector.decoded["inner"]);
            assert_eq!(messages, stated, "{}", vector.name);
        }
    }
}

#[test]
fn every_sealed_packet_seals_to_its_bytes_under_its_nonce() {
    for vector in packets_sealed() {
        let keys = keys_of(&vector);
        let inner = &vector.decoded["inner"];
        let crc = inner["type"] == "hasCrc";
        let inside = if crc { &inner["inner"] } else { inner };
        let parts: Vec<Vec<u8>> = open(&opened(&vector, &keys))
            .iter()
            .map(Message::encode)
            .collect();
        let nonce = vector.bytes[1..13].try_into().expect("a nonce");

        let plain = packet::seal(&parts, inside["type"] == "compress", crc);
        let sealed = crypto::seal_packet(&keys, nonce, &plain);

        assert_eq!(sealed, vector.bytes, "{}", vector.name);
        assert_eq!(sealed.len(), plain.len() + crypto::OVERHEAD_BYTES);
    }
}

#[test]
fn every_sealed_stream_decodes_to_its_stated_meaning() {
    for vector in streams_sealed() {
        let messages = vec![stream_json(&whole(&vector))];

        let stated = stated_messages(&vector.decoded["inner"]);
        assert_eq!(messages, stated, "{}", vector.name);
    }
}

#[test]
fn every_sealed_stream_seals_to_its_bytes_under_its_nonce() {
    for vector in streams_sealed() {
        let compress = vector.decoded["inner"]["type"] == "compress";
        let nonce = vector.bytes[6..18].try_into().expect("a nonce");

        let plain = stream::encode(&whole(&vector), compress);
        let sealed = crypto::seal_stream(&keys_of(&vector), nonce, &plain);

        assert_eq!(sealed, vector.bytes, "{}", vector.name);
    }
}

#[test]
fn the_refusals_of_a_real_agent_are_those_we_know() {
    let by_name: BTreeMap<String, Vector> = vectors("tcp_extra.json")
        .into_iter()
        .map(|vector| (vector.whole["name"].to_string(), vector))
        .collect();
    let answer = &by_name["\"extra/tcp_plain_to_encrypted\""];
    assert_eq!(
        whole(answer),
        StreamMessage::Err(stream::NOT_ENCRYPTED.to_owned())
    );

    let request = answer.whole["request_hex"].as_str().expect("a request");
    assert_eq!(
        read(&unhex(request), keys_of(answer)),
        Err(WireError::Plaintext)
    );
    let sealed = by_name["\"extra/tcp_encrypted_to_plain\""].whole["request_hex"]
        .as_str()
        .expect("a request");
    assert_eq!(
        read(&unhex(sealed), keys_of(answer)),
        Err(WireError::Decrypt)
    );
}

#[test]
fn a_packet_in_clear_is_refused_as_such_and_a_sealed_one_with_another_key_is_not() {
    for vector in packets() {
        assert_eq!(
            crypto::open_packet(&other_keys(), &vector.bytes),
            Err(WireError::Plaintext),
            "{}",
            vector.name
        );
    }
    for vector in packets_sealed() {
        assert_eq!(
            crypto::open_packet(&other_keys(), &vector.bytes),
            Err(WireError::Decrypt),
            "{}",
            vector.name
        );
    }
}

#[test]
fn every_proper_prefix_of_a_sealed_stream_waits_for_more_and_of_a_packet_is_refused() {
    for vector in streams_sealed() {
        let keys = Arc::new(keys_of(&vector));
        for len in 0..vector.bytes.len() {
            let mut decoder = Decoder::with_keys(Some(Arc::clone(&keys)));
            assert_eq!(
                decoder.feed(&vector.bytes[..len]),
                Ok(None),
                "{} cut at {len}",
                vector.name
            );
        }
    }
    for vector in packets_sealed() {
        let keys = keys_of(&vector);
        for len in 0..vector.bytes.len() {
            assert!(
                crypto::open_packet(&keys, &vector.bytes[..len]).is_err(),
                "{} cut at {len}",
                vector.name
            );
        }
    }
}

#[test]
fn changed_bytes_of_sealed_ones_are_noticed_and_survived() {
    let seed: u64 = std::env::var("LB_SEED")
        .ok()
        .map_or(3, |text| text.parse().expect("LB_SEED is a number"));
    println!("LB_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for vector in packets_sealed() {
        let keys = keys_of(&vector);
        for _ in 0..100 {
            let bytes = changed(&vector.bytes, &mut random);
            assert!(
                crypto::open_packet(&keys, &bytes).is_err(),
                "{}: {bytes:?}",
                vector.name
            );
        }
    }
    for vector in streams_sealed() {
        for _ in 0..100 {
            let bytes = changed(&vector.bytes, &mut random);
            let outcome = read(&bytes, keys_of(&vector));
            // A changed length may make it wait; it never makes it read.
            assert!(
                !matches!(outcome, Ok(Some(_))),
                "{}: {bytes:?}",
                vector.name
            );
        }
    }
}

#[test]
fn noise_and_hostile_plaintexts_behind_a_good_seal_are_survived() {
    let seed: u64 = std::env::var("LB_SEED")
        .ok()
        .map_or(4, |text| text.parse().expect("LB_SEED is a number"));
    println!("LB_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let keys = other_keys();
    for _ in 0..20_000 {
        let len = random.random_range(0..200);
        let mut noise: Vec<u8> = (0..len).map(|_| random.random()).collect();
        if let [version, ..] = &mut noise[..] {
            *version = random.random_range(0..4);
        }
        assert!(crypto::open_packet(&keys, &noise).is_err());
        if let [first, ..] = &mut noise[..] {
            *first = 10;
        }
        assert!(!matches!(read(&noise, keys.clone()), Ok(Some(_))));
    }
    for vector in packets() {
        for _ in 0..50 {
            let plain = changed(&vector.bytes, &mut random);
            let sealed = crypto::seal_packet(&keys, random.random(), &plain);
            let back = crypto::open_packet(&keys, &sealed).expect("our own seal opens");
            assert_eq!(back, plain);
            drop(packet::open(&back));
            let frame = crypto::seal_stream(&keys, random.random(), &plain);
            drop(read(&frame, keys.clone()));
        }
    }
}

/// One to three bytes differ, or some are cut off.
fn changed(bytes: &[u8], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if random.random_range(0..8) == 0 {
        bytes.truncate(random.random_range(0..bytes.len()));
        return bytes;
    }
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..bytes.len());
        bytes[at] ^= random.random_range(1..=255_u8);
    }
    bytes
}
