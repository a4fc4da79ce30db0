//! The captured bytes, by file, and the shortest way to read them.

use std::fs;
use std::path::Path;

use lb::gossip::core::wire::message::Message;
use lb::gossip::core::wire::stream::{Decoder, StreamMessage};
use lb::gossip::core::wire::{WireError, packet};
use serde_json::Value;

/// One capture.
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) decoded: Value,
    pub(crate) whole: Value,
}

pub(crate) fn vectors(file: &str) -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/serf")
        .join(file);
    let text = fs::read_to_string(&path).expect("the vectors are there");
    let list: Vec<Value> = serde_json::from_str(&text).expect("the vectors are JSON");
    list.into_iter()
        .map(|whole| Vector {
            name: format!("{file}: {}", whole["name"]),
            bytes: unhex(whole["hex"].as_str().expect("hex")),
            decoded: whole["decoded"].clone(),
            whole,
        })
        .collect()
}

pub(crate) fn of_transport(files: &[&str], transport: &str) -> Vec<Vector> {
    let found: Vec<Vector> = files
        .iter()
        .flat_map(|file| vectors(file))
        .filter(|vector| vector.whole["transport"] == transport)
        .collect();
    assert!(!found.is_empty());
    found
}

pub(crate) fn packets() -> Vec<Vector> {
    let found = of_transport(
        &[
            "udp_plain.json",
            "udp_compressed.json",
            "udp_conflict.json",
            "addresses.json",
        ],
        "udp",
    );
    assert_eq!(found.len(), 117 + 29 + 17 + 10, "every packet in clear");
    found
}

pub(crate) fn streams() -> Vec<Vector> {
    let found = of_transport(
        &["tcp_plain.json", "tcp_compressed.json", "addresses.json"],
        "tcp",
    );
    assert_eq!(found.len(), 15 + 9 + 2, "every stream in clear");
    found
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits"))
        .collect()
}

pub(crate) fn open(bytes: &[u8]) -> Vec<Message> {
    packet::open(bytes)
        .into_iter()
        .map(|part| part.expect("a captured part is good"))
        .collect()
}

pub(crate) fn feed(bytes: &[u8]) -> Result<Option<StreamMessage>, WireError> {
    Decoder::new().feed(bytes)
}

pub(crate) fn stream_of(vector: &Vector) -> StreamMessage {
    feed(&vector.bytes)
        .unwrap_or_else(|error| panic!("{}: {error}", vector.name))
        .unwrap_or_else(|| panic!("{}: not whole", vector.name))
}
