//! The network coordinate that rides on acks. Ours is constant: nothing depends on it but `serf rtt`.

use crate::gossip::core::wire::msgpack::Writer;

/// Version of the payload.
const VERSION: u8 = 1;

/// Vivaldi's dimensions.
pub const DIMENSIONS: usize = 8;

/// The error and height of a node that has measured nothing.
const ERROR: f64 = 1.5;
const HEIGHT: f64 = 1e-5;

/// Where a node is in a space in which distance is round-trip time; all in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Coordinate {
    /// Place.
    pub vec: [f64; DIMENSIONS],
    /// How sure it is: 0 is sure, 1.5 knows nothing.
    pub error: f64,
    /// What distances are off by on average.
    pub adjustment: f64,
    /// Of the access link, on top of any distance.
    pub height: f64,
}

impl Coordinate {
    /// Estimated round-trip time between two nodes, in seconds.
    ///
    /// Source: serf `coordinate.go`, `DistanceTo`.
    pub fn distance_to(&self, other: &Self) -> f64 {
        let dist = self.raw_distance_to(other);
        let adjusted = dist + self.adjustment + other.adjustment;
        if adjusted > 0.0 { adjusted } else { dist }
    }

    fn raw_distance_to(&self, other: &Self) -> f64 {
        let squares = self
            .vec
            .iter()
            .zip(&other.vec)
            .map(|(a, b)| (a - b) * (a - b));
        squares.sum::<f64>().sqrt() + self.height + other.height
    }
}

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
