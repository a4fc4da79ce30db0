//! Many things at once: crash and restart storms, pauses, a bad network; and all of it by chance.
//!
//! `LB_SIM_NODES` sets how many members the storms have, `LB_SIM_SECONDS` how long random ones are tried:
//! `LB_SIM_SECONDS=7200 cargo test --release --test sim` for hours.

use std::time::Duration;

use lb::gossip::core::io::Event;
use rand::seq::IteratorRandom;
use rand::{Rng, RngExt};

use crate::host::Down;
use crate::network::HostId;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// Random seeds tried by default.
const STORIES: usize = 6;

pub(crate) fn nodes(usual: usize) -> usize {
    match std::env::var("LB_SIM_NODES") {
        Ok(text) => text.parse().expect("LB_SIM_NODES is a number"),
        Err(_) => usual,
    }
}

fn met(name: &'static str, seed: u64, count: usize) -> (World, Vec<HostId>) {
    let mut world = World::new(name, seed);
    let ids = world.cluster(count, 5 * SECOND);
    world.run_until_met(60 * SECOND);
    (world, ids)
}

fn restart(world: &mut World, id: HostId) {
    world.boot(id);
    let others = world.live().into_iter().filter(|other| *other != id);
    if let Some(via) = others.choose(&mut world.random) {
        world.join(id, via);
    }
}

#[test]
fn half_of_all_crash_at_once_and_come_back_twice() {
    let (mut world, ids) = met(
        "storms::half_of_all_crash_at_once_and_come_back_twice",
        510,
        nodes(40),
    );
    for pause in [2, 20] {
        let half: Vec<HostId> = ids.iter().copied().sample(&mut world.random, ids.len() / 2);
        for &id in &half {
            world.crash(id, Down::Refuses);
        }
        world.run(pause * SECOND);
        for &id in &half {
            restart(&mut world, id);
            world.run(Duration::from_millis(50));
        }
        let taken = world.run_until_met(60 * SECOND);
        println!("met {taken:?} after the last restart");
    }
    world.run(60 * SECOND);
    assert_eq!(world.difference(), None, "met, and fell apart again");
}

#[test]
fn a_rolling_restart_of_everyone_ends_with_everyone() {
    let (mut world, ids) = met(
        "storms::a_rolling_restart_of_everyone_ends_with_everyone",
        520,
        nodes(30),
    );
    for &id in &ids {
        world.crash(id, Down::Refuses);
        world.run(SECOND / 2);
        restart(&mut world, id);
        world.run(SECOND / 2);
    }
    world.run_until_met(60 * SECOND);
}

#[test]
fn one_that_slept_for_ten_seconds_goes_on_as_if_nothing_had_been() {
    for seed in 530..536 {
        let (mut world, ids) = met(
            "storms::one_that_slept_for_ten_seconds_goes_on_as_if_nothing_had_been",
            seed,
            8,
        );
        let events = world.hosts[ids[3]].events.len();
        world.pause(ids[3], true);
        world.run(10 * SECOND);
        world.pause(ids[3], false);
        let taken = world.run_until_met(20 * SECOND);
        assert!(taken < 5 * SECOND, "seed {seed}: {taken:?}");
        world.run(60 * SECOND);

        assert_eq!(world.difference(), None);
        let failed = |(_, event): &&(_, Event)| matches!(event, Event::Failed(_));
        let blamed = world.hosts[ids[3]].events[events..].iter().find(failed);
        assert!(
            blamed.is_none(),
            "seed {seed}: it slept, and calls {blamed:?}"
        );
    }
}

#[test]
fn everyone_but_one_sleeps_and_all_go_on() {
    let (mut world, ids) = met("storms::everyone_but_one_sleeps_and_all_go_on", 540, 6);
    for &id in &ids[1..] {
        world.pause(id, true);
    }
    world.run(10 * SECOND);
    for &id in &ids[1..] {
        world.pause(id, false);
    }
    world.run_until_met(30 * SECOND);
    world.run(60 * SECOND);
    assert_eq!(world.difference(), None);
}

/// Lives through a random story of `seed`: everything that can go wrong, several at once.
fn story(seed: u64) {
    let mut world = World::with_seed("storms::whatever_happens_at_once_all_meet_in_the_end", seed);
    let count = world.random.random_range(3..=20);
    world.cluster(count, SECOND);
    for id in 0..count {
        world.hosts[id].stock = world.random.random_bool(0.3);
    }
    world.run(5 * SECOND);
    for _ in 0..world.random.random_range(5..20) {
        for _ in 0..world.random.random_range(1..4) {
            trouble(&mut world);
        }
        let pause = Duration::from_millis(world.random.random_range(0..15_000));
        world.run(pause);
        world.mark_disturbed();
    }
    world.heal();
    for id in world.ids(|host| host.paused) {
        world.pause(id, false);
    }
    for id in world.ids(|host| !host.is_running()) {
        restart(&mut world, id);
    }
    // One operator's join with each who may have met nobody yet.
    for id in world.live() {
        world.join(id, usize::from(id == 0));
    }
    world.run_until_met(120 * SECOND);
    world.run(30 * SECOND);
    assert_eq!(world.difference(), None, "met, and fell apart again");
}

fn trouble(world: &mut World) {
    let any = |world: &mut World, ids: Vec<HostId>| ids.into_iter().choose(&mut world.random);
    let awake = world.ids(|host| host.is_live() && !host.paused);
    match world.random.random_range(0..10) {
        0 | 1 if awake.len() > 2 => {
            let down = if world.random.random_bool(0.5) {
                Down::Refuses
            } else {
                Down::Silent
            };
            for id in awake.into_iter().sample(&mut world.random, 2) {
                world.crash(id, down);
            }
        }
        2 | 3 => {
            for id in world.ids(|host| !host.is_running()) {
                restart(world, id);
            }
        }
        4 => {
            if let Some(id) = any(world, awake) {
                world.pause(id, true);
            }
        }
        5 => {
            let asleep = world.ids(|host| host.paused);
            if let Some(id) = any(world, asleep) {
                world.pause(id, false);
            }
        }
        6 => {
            let all = world.hosts.len();
            let (from, to) = (
                world.random.random_range(0..all),
                world.random.random_range(0..all),
            );
            world.network.cut_one_way(from, to);
        }
        7 => {
            let part = (0..world.hosts.len()).sample(&mut world.random, 3);
            world.network.cut_off(&part, 1);
        }
        8 => {
            world.network.loss = world.random.random_range(0.0..0.4);
            world.network.duplicates = world.random.random_range(0.0..0.5);
            let slow = Duration::from_millis(world.random.random_range(1..400));
            world.network.delay = Duration::ZERO..slow;
        }
        _ => world.heal(),
    }
}

#[test]
fn whatever_happens_at_once_all_meet_in_the_end() {
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
    println!("{told} random storms");
}
