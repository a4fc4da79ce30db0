//! The network coordinate that rides on acks. Ours is constant: nothing depends on it but `serf rtt`.

use crate::gossip::core::wire::msgpack::Writer;

/// Version of the payload.
const VERSION: u8 = 1;

/// Vivaldi's dimensions, and the error and height of a node that has measured nothing.
const DIMENSIONS: usize = 8;
const ERROR: f64 = 1.5;
const HEIGHT: f64 = 1e-5;

/// Payload of an ack: the coordinate that a new node begins with. Peers learn nothing from it, and accept it.
pub(crate) fn initial() -> Vec<u8> {
    let mut w = Writer::message(VERSION);
    let float = |w: &mut Writer, value: f64| {
        w.append(&[0xcb]);
        w.append(&value.to_be_bytes());
    };
    w.map(4);
    w.key("Adjustment");
    float(&mut w, 0.0);
    w.key("Error");
    float(&mut w, ERROR);
    w.key("Height");
    float(&mut w, HEIGHT);
    w.key("Vec");
    w.array(DIMENSIONS);
    for _ in 0..DIMENSIONS {
        float(&mut w, 0.0);
    }
    w.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_has_the_size_and_shape_seen_on_the_wire() {
        let payload = initial();

        assert_eq!(payload.len(), 130);
        assert_eq!(payload[..3], [0x01, 0x84, 0xaa]);
        assert!(payload.windows(4).any(|part| part == b"\xa3Vec"));
    }
}
