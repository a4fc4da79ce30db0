//! Whole, cut, oversized and hostile streams.

use super::*;
use crate::gossip::core::keyring::Key;
use crate::gossip::core::wire::message::WireAddr;

fn node(name: &str) -> PushNode {
    PushNode {
        name: name.to_owned(),
        addr: WireAddr {
            octets: vec![127, 0, 0, 1],
            port: 7946,
        },
        meta: vec![0xff, 0x80],
        incarnation: 1,
        state: 0,
        vsn: Some([1, 5, 2, 2, 5, 5]),
    }
}

fn push_pull(nodes: usize) -> StreamMessage {
    StreamMessage::PushPull(PushPull {
        join: true,
        nodes: (0..nodes).map(|i| node(&format!("n{i}"))).collect(),
        user_state: vec![2, 0x80],
    })
}

fn all_kinds() -> Vec<StreamMessage> {
    vec![
        push_pull(0),
        push_pull(3),
        StreamMessage::Ping(Ping {
            seq_no: 7,
            node: "a".into(),
            source: None,
        }),
        StreamMessage::Ack(Ack {
            seq_no: 7,
            payload: None,
        }),
        StreamMessage::User(vec![3, 0x80]),
        StreamMessage::Err(NOT_ENCRYPTING.into()),
    ]
}

#[test]
fn a_message_is_whole_at_its_last_byte_and_not_before() {
    for message in all_kinds() {
        for compress in [false, true] {
            let bytes = encode(&message, compress);
            let mut decoder = Decoder::new();
            let (last, before) = bytes.split_last().unwrap();
            for byte in before {
                assert_eq!(decoder.feed(&[*byte]), Ok(None), "{message:?}");
            }

            assert_eq!(decoder.feed(&[*last]), Ok(Some(message.clone())));
            assert_eq!(decoder.feed(b"more"), Ok(None));
        }
    }
}

#[test]
fn a_large_state_in_small_pieces_is_not_read_again_and_again() {
    // A decoder that starts over at each piece would read 2.5 GB here.
    let message = push_pull(5_000);
    let bytes = encode(&message, false);
    let mut decoder = Decoder::new();
    let whole = bytes
        .chunks(64)
        .find_map(|piece| decoder.feed(piece).unwrap());

    assert_eq!(whole, Some(message));
}

#[test]
fn an_encrypted_stream_is_named_as_such() {
    assert_eq!(Decoder::new().feed(&[10]), Err(WireError::Encrypted));
}

#[test]
fn a_stream_of_another_type_is_refused_at_its_first_byte() {
    assert_eq!(Decoder::new().feed(&[7]), Err(WireError::UnknownType(7)));
}

#[test]
fn an_envelope_in_an_envelope_and_a_cut_inside_are_refused() {
    let inner = encode(&push_pull(1), true);
    assert_eq!(
        Decoder::new().feed(&compress::pack(&inner)),
        Err(WireError::UnknownType(COMPRESS))
    );

    let plain = encode(&push_pull(1), false);
    assert_eq!(
        Decoder::new().feed(&compress::pack(&plain[..plain.len() - 1])),
        Err(WireError::Truncated)
    );
}

#[test]
fn declared_sizes_beyond_the_limits_are_refused_at_once() {
    let header = |nodes: u64, state: u64| {
        let mut w = Writer::message(PUSH_PULL);
        w.map(2);
        w.key("Nodes");
        w.uint(nodes);
        w.key("UserStateLen");
        w.uint(state);
        w.finish()
    };

    assert_eq!(Decoder::new().feed(&header(10, 100)), Ok(None));
    for bad in [header(1 << 40, 0), header(0, 1 << 40)] {
        assert_eq!(Decoder::new().feed(&bad), Err(WireError::TooLarge));
    }
    // A ping whose name claims 4 GB.
    let ping = [0, 0x81, 0xa4, b'N', b'o', b'd', b'e', 0xdb, 0xff, 0, 0, 0];
    assert_eq!(Decoder::new().feed(&ping), Err(WireError::TooLarge));
}

#[test]
fn a_node_larger_than_any_node_is_refused_before_it_has_come() {
    let mut w = Writer::message(PUSH_PULL);
    w.map(1);
    w.key("Nodes");
    w.uint(1);
    w.map(1);
    w.key("Meta");
    w.append(&[0xdb, 0, 0x10, 0, 0]);

    assert_eq!(Decoder::new().feed(&w.finish()), Err(WireError::TooLarge));
}

#[test]
fn a_bomb_in_a_stream_stops_at_the_limit() {
    let bomb = compress::pack(&vec![0; STREAM_BYTES_MAX + 1]);

    assert_eq!(Decoder::new().feed(&bomb), Err(WireError::TooLarge));
}

#[test]
fn endless_bytes_stop_at_the_limit() {
    let mut decoder = Decoder::new();
    let mut w = Writer::message(USER);
    w.map(1);
    w.key("UserMsgLen");
    w.uint(STREAM_BYTES_MAX as u64);
    assert_eq!(decoder.feed(&w.finish()), Ok(None));

    let chunk = vec![0; 1 << 20];
    let outcome = (0..30).find_map(|_| decoder.feed(&chunk).err());

    assert_eq!(outcome, Some(WireError::TooLarge));
}

#[test]
fn a_node_without_a_readable_name_is_left_out() {
    let StreamMessage::PushPull(whole) = push_pull(3) else {
        unreachable!()
    };
    let mut bytes = encode(&StreamMessage::PushPull(whole.clone()), false);
    let at = bytes.windows(2).position(|pair| pair == b"n1").unwrap();
    bytes[at] = 0xff;

    let Ok(Some(StreamMessage::PushPull(read))) = Decoder::new().feed(&bytes) else {
        panic!("the others are readable")
    };
    let names: Vec<_> = read.nodes.iter().map(|node| node.name).collect();

    assert_eq!(names, ["n0", "n2"]);
    assert_eq!(read.user_state, whole.user_state);
}

fn ring(byte: u8) -> Arc<Keyring> {
    Arc::new(Keyring::new(Key::new(&[byte; 24]).unwrap()))
}

fn sealed(message: &StreamMessage, compress: bool) -> Vec<u8> {
    crypto::seal_stream(&ring(1), [9; 12], &encode(message, compress))
}

#[test]
fn a_sealed_message_is_whole_at_its_last_byte_and_not_before() {
    for message in all_kinds() {
        for compress in [false, true] {
            let bytes = sealed(&message, compress);
            let mut decoder = Decoder::with_keys(Some(ring(1)));
            let (last, before) = bytes.split_last().unwrap();
            for byte in before {
                assert_eq!(decoder.feed(&[*byte]), Ok(None), "{message:?}");
            }

            assert_eq!(decoder.feed(&[*last]), Ok(Some(message.clone())));
            assert_eq!(decoder.feed(b"more"), Ok(None));
        }
        let mut more = sealed(&message, true);
        more.extend(b"what follows is ignored");
        assert_eq!(
            Decoder::with_keys(Some(ring(1))).feed(&more),
            Ok(Some(message))
        );
    }
}

#[test]
fn with_keys_only_what_is_sealed_is_read() {
    let message = push_pull(2);
    let mut strict = Decoder::with_keys(Some(ring(1)));

    assert_eq!(
        strict.feed(&encode(&message, false)[..1]),
        Err(WireError::Plaintext)
    );
    assert_eq!(
        Decoder::with_keys(Some(ring(2))).feed(&sealed(&message, true)),
        Err(WireError::Decrypt)
    );
    assert_eq!(
        Decoder::with_keys(None).feed(&sealed(&message, true)),
        Err(WireError::Encrypted)
    );
}

#[test]
fn a_cut_message_in_a_whole_frame_is_refused_and_not_waited_for() {
    for compress in [false, true] {
        let mut plain = encode(&push_pull(2), compress);
        plain.pop();
        let frame = crypto::seal_stream(&ring(1), [9; 12], &plain);

        assert_eq!(
            Decoder::with_keys(Some(ring(1))).feed(&frame),
            Err(WireError::Truncated)
        );
    }
    let nothing = crypto::seal_stream(&ring(1), [9; 12], &[]);
    assert_eq!(
        Decoder::with_keys(Some(ring(1))).feed(&nothing),
        Err(WireError::Truncated)
    );
}

#[test]
fn a_frame_in_a_frame_is_no_message() {
    let inner = sealed(&push_pull(1), false);
    let outer = crypto::seal_stream(&ring(1), [9; 12], &inner);

    assert_eq!(
        Decoder::with_keys(Some(ring(1))).feed(&outer),
        Err(WireError::UnknownType(ENCRYPT))
    );
}

#[test]
fn an_oversized_frame_is_refused_at_its_header() {
    let mut decoder = Decoder::with_keys(Some(ring(1)));

    assert_eq!(
        decoder.feed(&[ENCRYPT, 0x7f, 0, 0, 0]),
        Err(WireError::TooLarge)
    );
}
