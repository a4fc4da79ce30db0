//! Random stories: whatever happens for a while, all views meet in the end.

use std::time::Duration;

use lb::gossip::core::member::Status;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::host::Down;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// Random seeds tried by default.
const STORIES: usize = 20;

/// Lives through a random story of `seed`.
fn story(seed: u64) {
    let mut world = World::with_seed("random::whatever_happens_all_views_meet_in_the_end", seed);
    let count = world.random.random_range(3..=12);
    let cuts = world.random.random_bool(0.5);
    world.compress = world.random.random_bool(0.2);
    // By the seed and not drawn: so the stories of old seeds stay what they were.
    if seed.is_multiple_of(4) {
        world.keyring = crate::keys::ring(&[2, 3]);
    }
    world.cluster(count, SECOND);
    // Dice of its own, for the same reason.
    let mut talk = seed
        .is_multiple_of(3)
        .then(|| ChaCha8Rng::seed_from_u64(seed));
    for _ in 0..world.random.random_range(10..40) {
        act(&mut world, cuts);
        if let Some(random) = &mut talk {
            crate::chatter::talk(&mut world, random);
        }
        let pause = Duration::from_millis(world.random.random_range(0..6000));
        world.run(pause);
        if !world.network.is_calm() {
            world.mark_disturbed();
        }
    }
    world.heal();
    for id in world.ids(|host| !host.is_running()) {
        world.boot(id);
        rejoin(&mut world, id);
    }
    world.run(3 * SECOND);
    world.run_until(30 * SECOND, "all leaves are done", |world| {
        world
            .hosts
            .iter()
            .all(|host| !host.leaving || !host.is_running())
    });
    bridge_islands(&mut world);
    world.run_until_met(300 * SECOND);
    world.run(20 * SECOND);
    assert_eq!(world.difference(), None, "met, and fell apart again");
}

/// One random thing happens.
fn act(world: &mut World, cuts: bool) {
    let live = world.live();
    let down = world.ids(|host| !host.is_running());
    let pick = |world: &mut World, from: &[usize]| from[world.random.random_range(0..from.len())];
    match world.random.random_range(0..100) {
        0..20 if live.len() > 2 => {
            let id = pick(world, &live);
            let how = if world.random.random_bool(0.5) {
                Down::Refuses
            } else {
                Down::Silent
            };
            world.crash(id, how);
        }
        20..30 if live.len() > 2 => {
            let id = pick(world, &live);
            world.leave(id);
        }
        30..60 if !down.is_empty() => {
            let id = pick(world, &down);
            world.boot(id);
            rejoin(world, id);
        }
        60..70 if !live.is_empty() => {
            let id = pick(world, &live);
            let mut tags = world.hosts[id].tags.clone();
            let value = world.random.next_u32().to_string();
            tags.insert("state".to_owned(), value);
            world.hosts[id].tags.clone_from(&tags);
            let now = world.now;
            world
                .with(id, |node| node.set_tags(now, tags))
                .expect("short tags");
        }
        70..80 => world.network.loss = world.random.random_range(0.0..0.3),
        80..84 => world.network.duplicates = world.random.random_range(0.0..0.3),
        84..92 if cuts => {
            let some: Vec<usize> = (0..world.hosts.len())
                .filter(|_| world.random.random_bool(0.4))
                .collect();
            world.network.cut_off(&some, 1);
        }
        92..98 => world.heal(),
        _ if live.len() > 1 => {
            let (id, other) = (pick(world, &live), pick(world, &live));
            let (now, name) = (world.now, world.hosts[other].name.clone());
            // Unknown to it, perhaps: then refused.
            let _ = world.with(id, |node| node.force_leave(now, &name, false));
        }
        _ => {}
    }
}

/// Those who do not know each other, or hold each other for left, look for nobody: there an operator must help.
fn bridge_islands(world: &mut World) {
    let live = world.live();
    let lost = |world: &World, one: usize, other: usize| {
        let status = world.hosts[one].status_of(&world.hosts[other].name);
        matches!(status, None | Some(Status::Left))
    };
    for &one in &live {
        for &other in &live {
            if lost(world, one, other) && lost(world, other, one) {
                world.join(one, other);
                break;
            }
        }
    }
}

/// A new process joins through any running one; without one it waits for nobody.
fn rejoin(world: &mut World, id: usize) {
    let others: Vec<usize> = world
        .live()
        .into_iter()
        .filter(|other| *other != id)
        .collect();
    if !others.is_empty() {
        let via = others[world.random.random_range(0..others.len())];
        world.join(id, via);
    }
}

#[test]
fn whatever_happens_all_views_meet_in_the_end() {
    if let Ok(seed) = std::env::var("LB_SIM_SEED") {
        story(seed.parse().expect("LB_SIM_SEED is a number"));
        return;
    }
    let mut seeds = lb::clock::random();
    let begun = lb::clock::now();
    let seconds: u64 = std::env::var("LB_SIM_SECONDS")
        .map(|text| text.parse().expect("LB_SIM_SECONDS is a number"))
        .unwrap_or_default();
    let mut told = 0;
    while told < STORIES || begun.elapsed() < Duration::from_secs(seconds) {
        let seed = seeds.next_u64();
        if seconds == 0 {
            println!("seed {seed}");
        }
        story(seed);
        told += 1;
    }
    println!("{told} random stories");
}
