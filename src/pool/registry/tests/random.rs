//! Any news in any order: what must hold between all of them.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

#[test]
fn whatever_comes_only_who_is_in_rotation_is_in_the_table() {
    let seed = 0x5e_ed03;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for round in 0..60 {
        let mut world = World::new();
        let mut generation = 0;
        for step in 0..200 {
            random_news(&mut world, &mut random);
            let case = format!("seed {seed:#x}, round {round}, step {step}");
            let snapshot = world.snapshot();
            assert!(snapshot.generation >= generation, "{case}");
            generation = snapshot.generation;
            consistent(&snapshot, &case);
            let due = world.registry.poll_timeout();
            assert!(due.is_none_or(|due| due > world.now), "{case}: {due:?}");
            no_address_twice(&snapshot, &case);
            the_ladder_holds(&snapshot, &case);
        }
        assert!(generation > 10, "seed {seed:#x}, round {round}");
    }
}

fn random_news(world: &mut World, random: &mut ChaCha8Rng) {
    let host = random.random_range(1..8);
    match random.random_range(0..12) {
        0 => {
            let specs: Vec<Spec> = (1..8).map(|host| random_spec(host, random)).collect();
            world.specs(specs.into_iter().filter(|_| random.random_bool(0.8)));
        }
        1 | 2 => world.pass(host),
        3 => world.fail(host, None),
        4 => world.fail(host, Some(random.random_bool(0.5))),
        9 => {
            for _ in 0..random.random_range(1..7) {
                world.request(host, false);
            }
        }
        10 => world.request(host, true),
        11 => world.registry.slept(),
        5 => world.refuse(host),
        6 => world.registry.connected(world.now, &key(host)),
        7 => world.registry.slow(world.now, &key(host)),
        _ => {}
    }
    let waits = [0, 1, 5, 10, 400, 300_000, 4_000_000];
    world.later(waits[random.random_range(0..waits.len())]);
}

impl World {
    fn request(&mut self, host: u8, passes: bool) {
        let Some(live) = self.registry.live(&key(host)) else {
            return;
        };
        if passes {
            live.succeeded(self.now);
        } else {
            live.failed();
            self.registry.request_failed(self.now, &key(host), "503");
        }
    }
}

/// Ejection spares someone, and only panic, which is never beside a sound backend, uses the others.
fn the_ladder_holds(snapshot: &Snapshot, case: &str) {
    let count = |wanted: &dyn Fn(&crate::pool::snapshot::Backend) -> bool| {
        snapshot.backends.iter().filter(|one| wanted(one)).count()
    };
    let sound = count(&|one| {
        one.verdict.in_rotation && matches!(one.verdict.state, State::Up | State::Lost)
    });
    let other = count(&|one| {
        one.verdict.in_rotation && !matches!(one.verdict.state, State::Up | State::Lost)
    });
    assert_eq!(snapshot.panic, other > 0, "{case}");
    assert!(sound == 0 || other == 0, "{case}");
    let ejected = count(&|one| one.verdict.state == State::Ejected);
    assert!(
        ejected == 0 || sound + other > 0,
        "an ejected backend and nobody in: {case}"
    );
}

fn random_spec(host: u8, random: &mut ChaCha8Rng) -> Spec {
    with(host, |spec| {
        spec.standing = match random.random_range(0..8) {
            0 => Standing::Failed,
            1 => Standing::Suspect,
            2 => Standing::Leaving,
            3 => Standing::Static,
            _ => Standing::Alive,
        };
        spec.weight = random.random_range(1..5);
        spec.tier = random.random_range(0..2);
        spec.backup = random.random_bool(0.2);
        spec.check = random.random_bool(0.2).then_some(CheckSpec::None);
        spec.unusable = random.random_bool(0.1).then(|| "bad".to_owned());
        if random.random_bool(0.2) {
            spec.address = key(1).address;
        }
        if random.random_bool(0.1) {
            spec.announced = announce::State::Fail("x".to_owned());
        }
    })
}

fn consistent(snapshot: &Snapshot, case: &str) {
    let mut expected: Vec<_> = snapshot
        .backends
        .iter()
        .filter(|backend| backend.verdict.in_rotation)
        .map(|backend| Arc::as_ptr(&backend.upstream))
        .collect();
    let mut found: Vec<_> = snapshot
        .active
        .iter()
        .chain(&snapshot.standby)
        .map(Arc::as_ptr)
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "{case}");
    assert_eq!(snapshot.table.is_empty(), expected.is_empty(), "{case}");
    let active = snapshot.active.len() as u32;
    assert!(snapshot.table.iter().all(|&index| index < active), "{case}");
    assert!(snapshot.settled || expected.is_empty(), "{case}");
}

fn no_address_twice(snapshot: &Snapshot, case: &str) {
    let mut addresses: Vec<_> = snapshot
        .active
        .iter()
        .chain(&snapshot.standby)
        .map(|one| one.address)
        .collect();
    addresses.sort();
    let all = addresses.len();
    addresses.dedup();
    assert_eq!(addresses.len(), all, "{case}");
}
