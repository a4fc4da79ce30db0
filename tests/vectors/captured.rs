//! To the stated meaning, and back to the bytes.

use std::collections::BTreeMap;

use lb::gossip::core::serf::tags;
use lb::gossip::core::wire::message::{Message, WireAddr};
use lb::gossip::core::wire::serf::SerfMessage;
use lb::gossip::core::wire::stream::{self, PushPull, StreamMessage};
use lb::gossip::core::wire::{WireError, packet};
use serde_json::Value;

use crate::meaning::{has_array_body, message_json, stated_messages, stream_json};
use crate::samples::{Vector, feed, open, packets, stream_of, streams, unhex, vectors};

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
