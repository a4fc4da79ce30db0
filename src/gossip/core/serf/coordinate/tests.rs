use super::*;

fn at(x: f64) -> Coordinate {
    let mut vec = [0.0; DIMENSIONS];
    vec[0] = x;
    Coordinate {
        vec,
        ..Coordinate::default()
    }
}

fn close(one: f64, other: f64) {
    assert!((one - other).abs() < 1e-12, "{one} is not {other}");
}

#[test]
fn the_payload_has_the_size_and_shape_seen_on_the_wire() {
    let payload = payload(&Coordinate::default());

    assert_eq!(payload.len(), 130);
    assert_eq!(payload[..3], [0x01, 0x84, 0xaa]);
    assert!(payload.windows(4).any(|part| part == b"\xa3Vec"));
}

#[test]
fn what_is_written_is_read() {
    let coordinate = Coordinate {
        vec: [1.0, -2.5, 3e-9, 0.0, 5.0, 6.0, 7.0, 8.0],
        error: 0.25,
        adjustment: -0.001,
        height: 0.002,
    };

    assert_eq!(parse(&payload(&coordinate)), Ok(coordinate));
}

#[test]
fn what_is_no_coordinate_is_refused() {
    let good = payload(&Coordinate::default());
    for len in 0..good.len() {
        assert!(parse(&good[..len]).is_err(), "{len} bytes");
    }
    let mut other = good.clone();
    other[0] = 2;
    assert!(parse(&other).is_err());
    // One dimension less, with a map that is whole.
    let mut short = good.clone();
    let vec = good.len() - 9 * DIMENSIONS - 1;
    short[vec] = 0x97;
    short.truncate(good.len() - 9);
    assert_eq!(parse(&short), Err(WireError::Field("Vec")));
    assert!(parse(b"\x01\x80").is_err(), "no place at all");
}

#[test]
fn distance_is_that_of_the_places_and_both_heights_and_adjustments() {
    let (mut one, mut other) = (at(0.003), at(-0.001));
    one.height = 0.002;
    close(one.distance_to(&other), 0.004 + 0.002 + HEIGHT_MIN);

    one.adjustment = 0.001;
    other.adjustment = -0.0005;
    close(one.distance_to(&other), 0.00651);
    // As long as it stays positive.
    other.adjustment = -1.0;
    close(one.distance_to(&other), 0.00601);
}

/// By hand: at 0 and at 0.1, both with error 1.5 and height 1e-5, measured 0.2.
#[test]
fn one_step_is_the_one_that_go_takes() {
    let mut vivaldi = Vivaldi::new("us");
    vivaldi.approach(&at(0.1), 0.2);

    // The distance is 0.10002, the weight 1/2, what is wrong (0.2 - 0.10002) / 0.2 = 0.4999.
    close(vivaldi.own.error, 0.125 * 0.4999 + 1.5 * 0.875);
    // The force is 0.125 × 0.09998 = 0.0124975, away from the other.
    close(vivaldi.own.vec[0], -0.012_497_5);
    close(vivaldi.own.height, 2e-5 * 0.012_497_5 / 0.1 + 1e-5);
    // The raw distance is now 0.1124975 and both heights.
    vivaldi.adjust(&at(0.1), 0.2);
    let raw = 0.112_497_5 + vivaldi.own.height + 1e-5;
    close(vivaldi.own.adjustment, (0.2 - raw) / 40.0);
}

/// By hand: at 15 the pull is (15.00002 / 150)² towards the origin.
#[test]
fn gravity_pulls_to_the_origin() {
    let mut vivaldi = Vivaldi::new("us");
    vivaldi.own = at(15.0);
    let other = at(15.0 + 1.0 - 2.0 * HEIGHT_MIN);
    // As far as it seems to be: nothing but gravity moves us.
    vivaldi.update(&other, 1.0);

    let pull = (15.000_02_f64 / 150.0).powi(2);
    close(vivaldi.own.vec[0], 15.0 - pull);
}

#[test]
fn nodes_at_one_place_part_in_different_directions() {
    let mut parted: Vec<[f64; DIMENSIONS]> = Vec::new();
    for name in ["one", "two"] {
        let mut vivaldi = Vivaldi::new(name);
        vivaldi.approach(&Coordinate::default(), 0.1);
        close(magnitude(&vivaldi.own.vec), 0.125 * (0.1 - 2e-5));
        close(vivaldi.own.height, HEIGHT_MIN);
        parted.push(vivaldi.own.vec);
    }
    assert_ne!(parted[0], parted[1]);
}

#[test]
fn a_wrong_error_is_bounded_and_nonsense_begins_anew() {
    let mut vivaldi = Vivaldi::new("us");
    vivaldi.update(&at(9.0), 0.0);
    assert_eq!(vivaldi.own.error, ERROR_MAX);
    assert!(vivaldi.own.is_valid());

    vivaldi.own.vec[3] = f64::MAX;
    vivaldi.update(&at(f64::MIN), 1.0);
    assert_eq!((vivaldi.resets, &vivaldi.own), (1, &Coordinate::default()));
}

#[test]
fn the_median_of_three_is_taken() {
    let mut measured = Measured::new();
    for (rtt, wanted) in [
        (1.0, 1.0),
        (5.0, 5.0),
        (2.0, 2.0),
        (9.0, 5.0),
        (9.0, 9.0),
        (1.0, 9.0),
    ] {
        assert_eq!(measured.filter(rtt), wanted, "after {rtt}");
    }
}

#[test]
fn what_is_kept_of_a_member_is_small_and_good_enough() {
    assert_eq!(size_of::<Measured>(), 56);
    let mut measured = Measured::new();
    let mut coordinate = at(0.123_456_789);
    coordinate.height = 0.000_123;
    measured.set(&coordinate);

    let kept = measured.coordinate();
    let off = kept.distance_to(&at(0.0)) - coordinate.distance_to(&at(0.0));
    assert!(off.abs() < 1e-7, "{off}");
}

/// Three nodes in a row, who measure one another again and again, find out their distances.
#[test]
fn estimates_come_near_what_is_measured() {
    let places: [f64; 3] = [0.0, 0.010, 0.030];
    let mut nodes = ["a", "b", "c"].map(Vivaldi::new);
    for round in 0..600 {
        let (one, other) = (round % 3, (round + 1 + round / 3 % 2) % 3);
        let rtt = (places[one] - places[other]).abs();
        let seen = nodes[other].own.clone();
        nodes[one].update(&seen, rtt);
    }

    for (one, other) in [(0, 1), (1, 2), (0, 2)] {
        let rtt = (places[one] - places[other]).abs();
        let estimate = nodes[one].own.distance_to(&nodes[other].own);
        assert!(
            (estimate - rtt).abs() < 0.1 * rtt,
            "{one} to {other}: {estimate} for {rtt}"
        );
    }
}
