//! A stream: in one piece or in many, the same outcome; and what was read is written back the same.
//!
//! The first two bytes say how it is cut up.

#![no_main]

use lb::gossip::core::wire::WireError;
use lb::gossip::core::wire::stream::{Decoder, StreamMessage, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[first, step], bytes)) = data.split_first_chunk::<2>() else {
        return;
    };
    let whole = Decoder::new().feed(bytes);
    let in_pieces = feed(bytes, usize::from(first), usize::from(step).max(1));
    match (&whole, &in_pieces) {
        // A short first piece may be refused for what a later byte would have been refused for, too.
        (Err(_), Err(_)) => {}
        _ => assert_eq!(whole, in_pieces),
    }
    if let Ok(Some(message)) = whole {
        for compress in [false, true] {
            let again = encode(&message, compress);
            assert_eq!(
                Decoder::new().feed(&again).as_ref(),
                Ok(&Some(message.clone()))
            );
        }
    }
});

fn feed(bytes: &[u8], first: usize, step: usize) -> Result<Option<StreamMessage>, WireError> {
    let mut decoder = Decoder::new();
    let (head, tail) = bytes.split_at(first.min(bytes.len()));
    for piece in std::iter::once(head).chain(tail.chunks(step)) {
        if let Some(message) = decoder.feed(piece)? {
            return Ok(Some(message));
        }
    }
    Ok(None)
}
