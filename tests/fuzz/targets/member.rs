//! A whole member that is told anything, by packets and streams, with time passing: it neither panics, nor loops, nor
//! speaks without measure, nor holds more than it may.
//!
//! ```text
//! [kind][len: u16 be][len bytes] …   kind & 7: packet from one of two peers · bytes of a stream · stream closed · time
//! ```

#![no_main]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lb::gossip::core::io::{Config, StreamAction, StreamId};
use lb::gossip::core::node::Node;
use lb::gossip::core::timing::{Profile, Timing};
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Most datagrams that one input may cause: an answer to each of a packet's parts, which are at most 1,024.
const ANSWERS_MAX: usize = 2_048;

fuzz_target!(|data: &[u8]| {
    let start = Instant::now();
    let mut now = start;
    let peers: [SocketAddr; 2] = [([10, 0, 0, 2], 7946).into(), ([10, 0, 0, 3], 7946).into()];
    let config = Config {
        name: "us".to_owned(),
        advertise: ([10, 0, 0, 1], 7946).into(),
        tags: Default::default(),
        timing: Timing::of(Profile::Lan),
        compress: false,
        keyring: None,
        claim: false,
    };
    let mut node = Node::new(config, now, ChaCha8Rng::seed_from_u64(1)).expect("no tags");
    node.join(now, &peers[..1]);
    let mut stream = None;
    let mut rest = data;
    while let Some((&[kind, high, low], tail)) = rest.split_first_chunk::<3>() {
        let len = usize::from(u16::from_be_bytes([high, low])).min(tail.len());
        let (bytes, tail) = tail.split_at(len);
        rest = tail;
        match kind & 7 {
            0..=2 => node.handle_packet(now, peers[usize::from(kind & 1)], bytes),
            3 | 4 => {
                let id = *stream.get_or_insert_with(|| {
                    node.handle_stream_accepted(now, peers[1])
                        .unwrap_or(StreamId(u64::MAX))
                });
                node.handle_stream_bytes(now, id, bytes);
                if kind & 7 == 4
                    && let Some(id) = stream.take()
                {
                    node.handle_stream_closed(now, id, None);
                }
            }
            5 => node.handle_stream_connected(now, StreamId(u64::from(low))),
            6 => {
                let _ = node.force_leave(now, &String::from_utf8_lossy(bytes), kind & 8 != 0);
            }
            _ => {
                now += Duration::from_millis(10 * u64::from(high));
                node.handle_timeout(now);
            }
        }
        drain(&mut node, now);
    }
});

fn drain(node: &mut Node, now: Instant) {
    let mut sent = 0;
    while let Some(transmit) = node.poll_transmit() {
        sent += 1;
        assert!(
            transmit.packet.len() <= 65_507,
            "{} bytes in one datagram",
            transmit.packet.len()
        );
    }
    assert!(sent <= ANSWERS_MAX, "{sent} datagrams");
    while let Some(action) = node.poll_stream() {
        if let StreamAction::Send { bytes, .. } = action {
            assert!(bytes.len() < 20 << 20);
        }
    }
    while node.poll_event().is_some() {}
    // What is due is done at once; then nothing is due any more.
    node.handle_timeout(now);
    assert!(
        node.poll_timeout().is_none_or(|at| at > now),
        "handle_timeout leaves something due"
    );
    let own = node
        .members()
        .by_name
        .get("us")
        .cloned()
        .expect("we know ourselves");
    assert_eq!(own.address.to_string(), "10.0.0.1:7946");
}
