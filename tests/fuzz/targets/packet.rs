//! A datagram: whatever it holds, it opens into messages and errors, and what opened is written back the same.

#![no_main]

use lb::gossip::core::wire::message::Message;
use lb::gossip::core::wire::packet;
use libfuzzer_sys::fuzz_target;

/// Type byte of a checksum, and what stands in front of what it covers.
const CRC: u8 = 12;
const CRC_HEADER_BYTES: usize = 5;

fuzz_target!(|data: &[u8]| {
    look_into(data);
    // No mutation finds a checksum; with it made right, what it covers is reached.
    if data.len() > CRC_HEADER_BYTES && data[0] == CRC {
        let mut right = data.to_vec();
        let sum = crc32(&right[CRC_HEADER_BYTES..]).to_be_bytes();
        right[1..CRC_HEADER_BYTES].copy_from_slice(&sum);
        look_into(&right);
    }
});

fn look_into(data: &[u8]) {
    let mut parts = Vec::new();
    let mut messages = Vec::new();
    for message in packet::open(data).into_iter().flatten() {
        let bytes = message.encode();
        // A name in an odd form may be written longer than it was read; beyond a part's length it cannot travel.
        if bytes.len() <= usize::from(u16::MAX) && parts.len() < 0xff {
            parts.push(bytes);
            messages.push(message);
        }
    }
    for (part, message) in parts.iter().zip(&messages) {
        assert_eq!(Message::decode(part).as_ref(), Ok(message));
    }
    // Compressed, the sum of them must fit the budget of one packet.
    let total: usize = parts.iter().map(Vec::len).sum();
    if !parts.is_empty() && total < 1 << 19 {
        for (compress, crc) in [(false, true), (true, false)] {
            let again: Vec<Message> = packet::open(&packet::seal(&parts, compress, crc))
                .into_iter()
                .map(|message| message.expect("what we sealed opens"))
                .collect();
            assert_eq!(again, messages);
        }
    }
}

/// CRC-32/IEEE, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    })
}
