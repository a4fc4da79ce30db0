//! Bytes of real `serf agent`s: each decodes to its stated meaning, and back to its bytes.
//!
//! ```text
//! tests/data/serf/*.json ── hex ──▶ codec ──▶ as JSON ──== decoded
//!                            ▲                   │
//!                            └──── encode ◀──────┘   where there is one encoding
//! ```
//!
//! Left out, since the layers are not built yet: `udp_encrypted`, `tcp_encrypted` and the encrypted answer in `tcp_extra`
//! (encryption), `rpc` (the control port), `mdns` (discovery), and the payloads of queries and their answers
//! (`payload_decoded`, `filters`), which are opaque bytes to this codec.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lb::gossip::core::serf::tags;
use lb::gossip::core::wire::message::{Accusation, Message, Source, WireAddr};
use lb::gossip::core::wire::serf::{RecordedEvents, SerfMessage};
use lb::gossip::core::wire::stream::{self, Decoder, PushNode, PushPull, StreamMessage};
use lb::gossip::core::wire::{WireError, packet};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

struct Vector {
    name: String,
    bytes: Vec<u8>,
    decoded: Value,
    whole: Value,
}

fn vectors(file: &str) -> Vec<Vector> {
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

fn of_transport(files: &[&str], transport: &str) -> Vec<Vector> {
    let found: Vec<Vector> = files
        .iter()
        .flat_map(|file| vectors(file))
        .filter(|vector| vector.whole["transport"] == transport)
        .collect();
    assert!(!found.is_empty());
    found
}

fn packets() -> Vec<Vector> {
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

fn streams() -> Vec<Vector> {
    let found = of_transport(
        &["tcp_plain.json", "tcp_compressed.json", "addresses.json"],
        "tcp",
    );
    assert_eq!(found.len(), 15 + 9 + 2, "every stream in clear");
    found
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits"))
        .collect()
}

fn hex(bytes: &[u8]) -> Value {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "$hex": digits })
}

fn hex_or_null(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        Value::Null
    } else {
        hex(bytes)
    }
}

/// A body as stated, without the keys of `source` that were not sent.
fn with_source(mut body: Value, source: Option<&Source>) -> Value {
    if let Some(source) = source {
        body["SourceAddr"] = hex(&source.addr.octets);
        body["SourcePort"] = json!(source.addr.port);
        body["SourceNode"] = json!(source.node);
    }
    body
}

fn accusation(kind: &str, it: &Accusation) -> Value {
    json!({"type": kind, "body": {"Incarnation": it.incarnation, "Node": it.node, "From": it.from}})
}

/// A message in the shape of `decoded`.
fn message_json(message: &Message) -> Value {
    match message {
        Message::Ping(ping) => {
            let body = json!({"SeqNo": ping.seq_no, "Node": ping.node});
            json!({"type": "ping", "body": with_source(body, ping.source.as_ref())})
        }
        Message::IndirectPing(ping) => {
            let body = json!({
                "SeqNo": ping.seq_no, "Node": ping.node, "Nack": ping.nack,
                "Target": hex(&ping.target.octets), "Port": ping.target.port,
            });
            json!({"type": "indirectPing", "body": with_source(body, ping.source.as_ref())})
        }
        Message::Ack(ack) => json!({
            "type": "ackResp",
            "body": {"SeqNo": ack.seq_no, "Payload": ack.payload.as_deref().map(hex)},
        }),
        Message::Nack(nack) => json!({"type": "nackResp", "body": {"SeqNo": nack.seq_no}}),
        Message::Suspect(it) => accusation("suspect", it),
        Message::Dead(it) => accusation("dead", it),
        Message::Alive(alive) => json!({
            "type": "alive",
            "body": {
                "Incarnation": alive.incarnation, "Node": alive.node, "Addr": hex(&alive.addr.octets),
                "Port": alive.addr.port, "Meta": hex(&alive.meta), "Vsn": hex(&alive.vsn),
            },
            "tags": tags::decode(&alive.meta),
        }),
        Message::User(bytes) => {
            let serf = SerfMessage::decode(bytes).expect("a Serf message");
            json!({"type": "user", "inner": serf_json(&serf)})
        }
    }
}

fn event_slot(slot: &Option<RecordedEvents>) -> Value {
    slot.as_ref().map_or(Value::Null, |recorded| {
        let events: Vec<Value> = recorded
            .events
            .iter()
            .map(|(name, payload)| json!({"Name": name, "Payload": hex_or_null(payload)}))
            .collect();
        json!({"LTime": recorded.ltime, "Events": events})
    })
}

fn serf_json(message: &SerfMessage) -> Value {
    match message {
        SerfMessage::Leave(leave) => json!({
            "serf": "leave", "body": {"LTime": leave.ltime, "Node": leave.node, "Prune": leave.prune},
        }),
        SerfMessage::Join(join) => json!({
            "serf": "join", "body": {"LTime": join.ltime, "Node": join.node},
        }),
        SerfMessage::PushPull(state) => json!({
            "serf": "pushPull",
            "body": {
                "LTime": state.ltime, "StatusLTimes": state.status_ltimes, "LeftMembers": state.left_members,
                "EventLTime": state.event_ltime, "QueryLTime": state.query_ltime,
                "Events": state.events.iter().map(event_slot).collect::<Vec<_>>(),
            },
        }),
        SerfMessage::UserEvent(event) => json!({
            "serf": "userEvent",
            "body": {
                "LTime": event.ltime, "Name": event.name, "Payload": hex_or_null(&event.payload), "CC": event.coalesce,
            },
        }),
        SerfMessage::Query(query) => json!({
            "serf": "query",
            "body": {
                "LTime": query.ltime, "ID": query.id, "Addr": hex(&query.addr.octets), "Port": query.addr.port,
                "SourceNode": query.source_node, "Flags": query.flags, "RelayFactor": query.relay_factor,
                "Timeout": query.timeout_ns, "Name": query.name, "Payload": hex_or_null(&query.payload),
                "Filters": (!query.filters.is_empty())
                    .then(|| query.filters.iter().map(|filter| hex(filter)).collect::<Vec<_>>()),
            },
        }),
        SerfMessage::QueryResponse(response) => json!({
            "serf": "queryResponse",
            "body": {
                "LTime": response.ltime, "ID": response.id, "From": response.from, "Flags": response.flags,
                "Payload": response.payload.as_deref().map(hex),
            },
        }),
        SerfMessage::Relay(relay) => json!({
            "serf": "relay",
            "header": {
                "DestAddr": {"IP": hex(&relay.dest.octets), "Port": relay.dest.port, "Zone": ""},
                "DestName": relay.dest_name,
            },
            "inner": serf_json(&SerfMessage::decode(&relay.body).expect("a relayed Serf message")),
        }),
    }
}

fn node_json(node: &PushNode) -> Value {
    json!({
        "Name": node.name, "Addr": hex(&node.addr.octets), "Port": node.addr.port, "Meta": hex(&node.meta),
        "Incarnation": node.incarnation, "State": node.state, "Vsn": node.vsn.map(|vsn| hex(&vsn)),
        "$tags": tags::decode(&node.meta),
    })
}

fn stream_json(message: &StreamMessage) -> Value {
    match message {
        StreamMessage::PushPull(whole) => {
            let state = SerfMessage::decode(&whole.user_state).expect("a Serf state");
            json!({
                "type": "pushPull",
                "header": {
                    "Join": whole.join, "Nodes": whole.nodes.len(), "UserStateLen": whole.user_state.len(),
                },
                "nodes": whole.nodes.iter().map(node_json).collect::<Vec<_>>(),
                "user_state": serf_json(&state),
            })
        }
        StreamMessage::Ping(ping) => message_json(&Message::Ping(ping.clone())),
        StreamMessage::Ack(ack) => message_json(&Message::Ack(ack.clone())),
        StreamMessage::User(bytes) => message_json(&Message::User(bytes.clone())),
        StreamMessage::Err(text) => json!({"type": "err", "body": {"Error": text}}),
    }
}

/// `decoded` without the views that this codec doesn't give, and with a struct sent as an array as the map it means.
fn stated(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut kept: serde_json::Map<String, Value> = fields
                .iter()
                .filter(|(key, _)| {
                    !["payload_decoded", "filters", "trailing_bytes"].contains(&&key[..])
                })
                .map(|(key, value)| (key.clone(), stated(value)))
                .collect();
            if let Some(Value::Array(values)) = kept.get("body") {
                let names: &[&str] = match kept["serf"].as_str() {
                    Some("join") => &["LTime", "Node"],
                    Some("leave") => &["LTime", "Node", "Prune"],
                    other => panic!("{other:?} as an array"),
                };
                let body: BTreeMap<_, _> = names.iter().zip(values).collect();
                let body = serde_json::to_value(body).expect("a map");
                kept.insert("body".into(), body);
            }
            Value::Object(kept)
        }
        Value::Array(items) => items.iter().map(stated).collect(),
        other => other.clone(),
    }
}

/// The messages inside the stated envelopes, in order.
fn stated_messages(decoded: &Value) -> Vec<Value> {
    match decoded["type"].as_str() {
        Some("hasCrc" | "compress") => stated_messages(&decoded["inner"]),
        Some("compound") => {
            let parts = decoded["parts"].as_array().expect("parts");
            parts.iter().flat_map(stated_messages).collect()
        }
        _ => vec![stated(decoded)],
    }
}

/// True when a struct of it was sent as an array, which nobody but a test does.
fn has_array_body(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.get("body").is_some_and(Value::is_array) || fields.values().any(has_array_body)
        }
        Value::Array(items) => items.iter().any(has_array_body),
        _ => false,
    }
}

fn open(bytes: &[u8]) -> Vec<Message> {
    packet::open(bytes)
        .into_iter()
        .map(|part| part.expect("a captured part is good"))
        .collect()
}

#[test]
fn every_packet_decodes_to_its_stated_meaning() {
    for vector in packets() {
        let messages: Vec<Value> = open(&vector.bytes).iter().map(message_json).collect();

        assert_eq!(
            messages,
            stated_messages(&vector.decoded),
            "{}",
            vector.name
        );
    }
}

#[test]
fn every_packet_encodes_to_its_bytes() {
    for vector in packets() {
        let crc = vector.decoded["type"] == "hasCrc";
        let inside = if crc {
            &vector.decoded["inner"]
        } else {
            &vector.decoded
        };
        let compress = inside["type"] == "compress";
        let parts: Vec<Vec<u8>> = open(&vector.bytes).iter().map(Message::encode).collect();

        assert_eq!(
            packet::seal(&parts, compress, crc),
            vector.bytes,
            "{}",
            vector.name
        );
    }
}

#[test]
fn every_serf_message_encodes_to_its_bytes() {
    let mut seen = 0;
    for vector in packets()
        .iter()
        .filter(|vector| !has_array_body(&vector.decoded))
    {
        for message in open(&vector.bytes) {
            let Message::User(bytes) = message else {
                continue;
            };
            let serf = SerfMessage::decode(&bytes).expect("a Serf message");

            assert_eq!(serf.encode(), bytes, "{}", vector.name);
            seen += 1;
        }
    }
    assert!(seen > 100, "only {seen} Serf messages were compared");
}

#[test]
fn tags_in_name_order_encode_to_their_bytes() {
    let mut seen = 0;
    for vector in packets() {
        for message in open(&vector.bytes) {
            let Message::Alive(alive) = message else {
                continue;
            };
            let read = tags::decode(&alive.meta);
            let again = tags::encode(&read);

            // Go writes its maps in random order, so only the content is the same for sure.
            assert_eq!(again.len(), alive.meta.len(), "{}", vector.name);
            assert_eq!(tags::decode(&again), read, "{}", vector.name);
            seen += usize::from(again == alive.meta);
        }
    }
    assert!(seen > 10, "only {seen} were in name order");
}

fn feed(bytes: &[u8]) -> Result<Option<StreamMessage>, WireError> {
    Decoder::new().feed(bytes)
}

fn stream_of(vector: &Vector) -> StreamMessage {
    feed(&vector.bytes)
        .unwrap_or_else(|error| panic!("{}: {error}", vector.name))
        .unwrap_or_else(|| panic!("{}: not whole", vector.name))
}

#[test]
fn every_stream_decodes_to_its_stated_meaning() {
    for vector in streams() {
        let message = stream_json(&stream_of(&vector));

        assert_eq!(
            vec![message],
            stated_messages(&vector.decoded),
            "{}",
            vector.name
        );
    }
}

#[test]
fn every_stream_encodes_to_its_bytes() {
    let mut same_state = 0;
    for vector in streams() {
        let compress = vector.decoded["type"] == "compress";
        let message = stream_of(&vector);

        assert_eq!(
            stream::encode(&message, compress),
            vector.bytes,
            "{}",
            vector.name
        );

        if let StreamMessage::PushPull(PushPull { user_state, .. }) = &message {
            // `StatusLTimes` is a Go map in random order: the same length always, the same bytes when in order.
            let state = SerfMessage::decode(user_state).expect("a Serf state");
            let again = state.encode();
            assert_eq!(again.len(), user_state.len(), "{}", vector.name);
            assert_eq!(SerfMessage::decode(&again), Ok(state), "{}", vector.name);
            same_state += usize::from(again == *user_state);
        }
    }
    assert!(
        same_state > 5,
        "only {same_state} states were in name order"
    );
}

#[test]
fn requests_of_a_test_client_and_the_answers_read_as_stated() {
    let all: BTreeMap<String, Vector> = vectors("tcp_extra.json")
        .into_iter()
        .map(|vector| {
            (
                vector.whole["name"].as_str().expect("a name").to_owned(),
                vector,
            )
        })
        .collect();
    let request = |name: &str| {
        let hex = all[name].whole["request_hex"].as_str().expect("a request");
        feed(&unhex(hex))
    };
    assert_eq!(all.len(), 7);

    for name in [
        "extra/tcp_ping",
        "extra/tcp_encrypted_to_plain",
        "extra/tcp_bad_vsn",
    ] {
        let answer = stream_of(&all[name]);
        assert_eq!(
            vec![stream_json(&answer)],
            stated_messages(&all[name].decoded),
            "{name}"
        );
        assert_eq!(stream::encode(&answer, false), all[name].bytes, "{name}");
    }
    assert_eq!(
        stream_of(&all["extra/tcp_encrypted_to_plain"]),
        StreamMessage::Err(stream::NOT_ENCRYPTING.to_owned())
    );

    let Ok(Some(StreamMessage::Ping(ping))) = request("extra/tcp_ping") else {
        panic!("a ping")
    };
    assert_eq!((ping.seq_no, &ping.node[..]), (77, "a1"));
    assert_eq!(ping.source.map(|source| source.node).as_deref(), Some("py"));

    let Ok(Some(StreamMessage::Ping(ping))) = request("extra/tcp_ping_wrong_node") else {
        panic!("a ping")
    };
    assert_eq!((&ping.node[..], ping.source), ("zz", None));

    let Ok(Some(StreamMessage::User(event))) = request("extra/tcp_user_event") else {
        panic!("a user message")
    };
    assert!(matches!(
        SerfMessage::decode(&event),
        Ok(SerfMessage::UserEvent(event)) if event.name == "viatcp" && event.ltime == 500
    ));

    let Ok(Some(StreamMessage::PushPull(state))) = request("extra/tcp_bad_vsn") else {
        panic!("a push/pull")
    };
    assert_eq!((state.nodes.len(), state.user_state.len()), (1, 0));

    assert_eq!(
        request("extra/tcp_encrypted_to_plain"),
        Err(WireError::Encrypted)
    );
    assert_eq!(
        request("extra/tcp_bad_type"),
        Err(WireError::UnknownType(7))
    );
    // Its answer is encrypted; that it is, is seen.
    assert_eq!(
        feed(&all["extra/tcp_plain_to_encrypted"].bytes),
        Err(WireError::Encrypted)
    );
}

#[test]
fn every_lzw_sample_decompresses_to_its_plain_bytes() {
    for vector in vectors("lzw.json") {
        // The samples are bare; the envelope is `09 82 Algo 0 Buf raw16`.
        let mut envelope = b"\x09\x82\xa4Algo\x00\xa3Buf\xda".to_vec();
        envelope.extend((vector.bytes.len() as u16).to_be_bytes());
        envelope.extend(&vector.bytes);
        let plain = unhex(vector.decoded["plain_hex"].as_str().expect("hex"));

        if plain[0] == 6 {
            assert_eq!(feed(&envelope), feed(&plain), "{}", vector.name);
            assert!(matches!(feed(&plain), Ok(Some(_))), "{}", vector.name);
        } else {
            assert_eq!(
                packet::open(&envelope),
                packet::open(&plain),
                "{}",
                vector.name
            );
            assert!(
                packet::open(&plain).iter().all(Result::is_ok),
                "{}",
                vector.name
            );
        }
    }
}

#[test]
fn sixteen_octets_of_an_ipv4_address_are_kept_and_shown_as_ipv4() {
    let mut mapped = 0;
    for vector in packets() {
        for message in open(&vector.bytes) {
            let Message::Alive(alive) = message else {
                continue;
            };
            let shown = alive.addr.socket().expect("an address");
            if alive.addr.octets.len() == 16 && shown.is_ipv4() {
                mapped += 1;
                assert_ne!(WireAddr::of(shown), alive.addr, "{}", vector.name);
            } else {
                assert_eq!(WireAddr::of(shown), alive.addr, "{}", vector.name);
            }
        }
    }
    assert!(mapped > 0);
}

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
