//! Where everyone is in the network: Vivaldi, fed by the round-trip times of our own pings.
//!
//! ```text
//! ack + rtt ─▶ the other's coordinate ─▶ median of the last 3 rtts ─▶ Vivaldi ─▶ our coordinate ─▶ our acks
//!                     └─ kept with the member, short ─▶ `rtt`
//! ```
//!
//! Source: serf `coordinate/client.go`, `coordinate.go`; `ping_delegate.go`. Ours and others' weigh the same in a mixed
//! cluster, so the arithmetic is theirs to the letter. Nothing else depends on it than `rtt`.

use std::time::Duration;

use crate::gossip::core::wire::WireError;
use crate::gossip::core::wire::msgpack::{Reader, Writer};

/// Version of the payload.
const VERSION: u8 = 1;

/// Vivaldi's dimensions.
pub const DIMENSIONS: usize = 8;

/// The error of a node that has measured nothing, and the largest.
const ERROR_MAX: f64 = 1.5;

/// Smallest height.
const HEIGHT_MIN: f64 = 1e-5;

/// How much one measurement moves the error, and the place.
const CE: f64 = 0.25;
const CC: f64 = 0.25;

/// Measurements that the adjustment is the mean of.
const WINDOW: usize = 20;

/// Below this a round-trip time, a total error or a distance counts as zero.
const ZERO: f64 = 1e-6;

/// The larger, the weaker is the pull to the origin that keeps the whole cluster from drifting.
const GRAVITY_RHO: f64 = 150.0;

/// A longer round trip is no measurement.
pub(super) const RTT_MAX: Duration = Duration::from_secs(10);

/// Round trips that the median is taken of.
const FILTER: usize = 3;

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

impl Default for Coordinate {
    /// Of a node that has measured nothing.
    fn default() -> Self {
        Self {
            vec: [0.0; DIMENSIONS],
            error: ERROR_MAX,
            adjustment: 0.0,
            height: HEIGHT_MIN,
        }
    }
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
        magnitude(&difference(&self.vec, &other.vec)) + self.height + other.height
    }

    pub(super) fn is_valid(&self) -> bool {
        let rest = [self.error, self.adjustment, self.height];
        self.vec.iter().chain(&rest).all(|part| part.is_finite())
    }

    /// Moves away from `other`, or towards it where `force` is negative. Where both are at one place, along `aside`.
    fn apply_force(&mut self, force: f64, other: &Self, aside: impl FnOnce() -> [f64; DIMENSIONS]) {
        let away = difference(&self.vec, &other.vec);
        let distance = magnitude(&away);
        if distance > ZERO {
            self.push(force / distance, &away);
            let height = (self.height + other.height) * force / distance + self.height;
            self.height = height.max(HEIGHT_MIN);
        } else {
            let aside = aside();
            self.push(force / magnitude(&aside), &aside);
        }
    }

    fn push(&mut self, factor: f64, along: &[f64; DIMENSIONS]) {
        for (own, part) in self.vec.iter_mut().zip(along) {
            *own += part * factor;
        }
    }
}

fn difference(one: &[f64; DIMENSIONS], other: &[f64; DIMENSIONS]) -> [f64; DIMENSIONS] {
    std::array::from_fn(|at| one[at] - other[at])
}

fn magnitude(vec: &[f64; DIMENSIONS]) -> f64 {
    vec.iter().map(|part| part * part).sum::<f64>().sqrt()
}

/// Our own coordinate, and what moves it.
#[derive(Debug)]
pub(crate) struct Vivaldi {
    own: Coordinate,
    /// The last measurements less the distances, in a ring.
    samples: [f64; WINDOW],
    next: usize,
    resets: u64,
    /// State of the generator of directions.
    direction: u64,
}

impl Vivaldi {
    /// Whoever starts at one place with others must not leave it in one direction with them, so `name` chooses it.
    pub(super) fn new(name: &str) -> Self {
        // FNV-1a. Taking it from the layer's generator would change what else is drawn, whenever an ack comes.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self {
            own: Coordinate::default(),
            samples: [0.0; WINDOW],
            next: 0,
            resets: 0,
            direction: hash,
        }
    }

    pub(super) fn own(&self) -> &Coordinate {
        &self.own
    }

    pub(super) fn resets(&self) -> u64 {
        self.resets
    }

    /// Takes in that `other` is `rtt` seconds away.
    pub(super) fn update(&mut self, other: &Coordinate, rtt: f64) {
        self.approach(other, rtt);
        self.adjust(other, rtt);
        // Gravity. The origin has the height of a node that has measured nothing.
        let origin = Coordinate::default();
        let far = origin.distance_to(&self.own) / GRAVITY_RHO;
        let direction = &mut self.direction;
        self.own
            .apply_force(-far * far, &origin, || aside(direction));
        if !self.own.is_valid() {
            self.resets += 1;
            self.own = Coordinate::default();
        }
    }

    /// Source: serf `updateVivaldi`.
    fn approach(&mut self, other: &Coordinate, rtt: f64) {
        let dist = self.own.distance_to(other);
        let rtt = rtt.max(ZERO);
        let wrong = (dist - rtt).abs() / rtt;
        let weight = self.own.error / (self.own.error + other.error).max(ZERO);
        let error = CE * weight * wrong + self.own.error * (1.0 - CE * weight);
        self.own.error = error.min(ERROR_MAX);
        let force = CC * weight * (rtt - dist);
        let direction = &mut self.direction;
        self.own.apply_force(force, other, || aside(direction));
    }

    /// Source: serf `updateAdjustment`.
    fn adjust(&mut self, other: &Coordinate, rtt: f64) {
        self.samples[self.next] = rtt - self.own.raw_distance_to(other);
        self.next = (self.next + 1) % WINDOW;
        self.own.adjustment = self.samples.iter().sum::<f64>() / (2.0 * WINDOW as f64);
    }
}

/// Some direction, another each time (SplitMix64).
fn aside(state: &mut u64) -> [f64; DIMENSIONS] {
    let mut vec: [f64; DIMENSIONS] = std::array::from_fn(|_| {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    });
    if magnitude(&vec) <= ZERO {
        vec[0] = 1.0;
    }
    vec
}

/// What we keep of another member: its coordinate, and our last round trips to it.
///
/// In 56 bytes, since an agent keeps one of every member: with f64 and Go's map of slices, 300 members would be 60 kB.
/// A round-trip time is not known to seven digits.
#[derive(Debug)]
pub(crate) struct Measured {
    vec: [f32; DIMENSIONS],
    error: f32,
    adjustment: f32,
    height: f32,
    /// Oldest first; NaN before there are so many.
    rtts: [f32; FILTER],
}

impl Measured {
    pub(super) fn new() -> Self {
        let mut measured = Self {
            vec: [0.0; DIMENSIONS],
            error: 0.0,
            adjustment: 0.0,
            height: 0.0,
            rtts: [f32::NAN; FILTER],
        };
        measured.set(&Coordinate::default());
        measured
    }

    pub(super) fn set(&mut self, coordinate: &Coordinate) {
        self.vec = coordinate.vec.map(|part| part as f32);
        self.error = coordinate.error as f32;
        self.adjustment = coordinate.adjustment as f32;
        self.height = coordinate.height as f32;
    }

    pub(super) fn coordinate(&self) -> Coordinate {
        Coordinate {
            vec: self.vec.map(f64::from),
            error: self.error.into(),
            adjustment: self.adjustment.into(),
            height: self.height.into(),
        }
    }

    /// The median of the last round trips, this one included. Of two, the longer.
    pub(super) fn filter(&mut self, rtt: f64) -> f64 {
        self.rtts.rotate_left(1);
        self.rtts[FILTER - 1] = rtt as f32;
        let mut known: Vec<f32> = self
            .rtts
            .iter()
            .copied()
            .filter(|rtt| !rtt.is_nan())
            .collect();
        known.sort_by(f32::total_cmp);
        known[known.len() / 2].into()
    }
}

/// Payload of an ack.
pub(super) fn payload(coordinate: &Coordinate) -> Vec<u8> {
    let mut w = Writer::message(VERSION);
    let float = |w: &mut Writer, value: f64| {
        w.append(&[FLOAT64]);
        w.append(&value.to_be_bytes());
    };
    w.map(4);
    w.key("Adjustment");
    float(&mut w, coordinate.adjustment);
    w.key("Error");
    float(&mut w, coordinate.error);
    w.key("Height");
    float(&mut w, coordinate.height);
    w.key("Vec");
    w.array(DIMENSIONS);
    for part in coordinate.vec {
        float(&mut w, part);
    }
    w.finish()
}

const FLOAT64: u8 = 0xcb;

pub(super) fn parse(payload: &[u8]) -> Result<Coordinate, WireError> {
    let Some((&VERSION, body)) = payload.split_first() else {
        return Err(WireError::Field("version"));
    };
    let mut coordinate = Coordinate::default();
    let mut dimensions = 0;
    Reader::new(body).fields(&["Vec", "Error", "Adjustment", "Height"], |r, field| {
        match field {
            "Vec" => {
                dimensions = r.array()?.unwrap_or_default();
                if dimensions != DIMENSIONS {
                    return Err(WireError::Field("Vec"));
                }
                for part in &mut coordinate.vec {
                    *part = float(r)?;
                }
            }
            "Error" => coordinate.error = float(r)?,
            "Adjustment" => coordinate.adjustment = float(r)?,
            "Height" => coordinate.height = float(r)?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    if dimensions != DIMENSIONS {
        return Err(WireError::Field("Vec"));
    }
    Ok(coordinate)
}

fn float(r: &mut Reader<'_>) -> Result<f64, WireError> {
    if r.take(1)? != [FLOAT64] {
        return Err(WireError::Field("float"));
    }
    let mut bytes = [0; 8];
    bytes.copy_from_slice(r.take(8)?);
    Ok(f64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests;
