//! Cuts of ten minutes, and cuts in one direction: they heal by themselves.

use std::time::Duration;

use lb::gossip::core::io::Event;

use crate::network::HostId;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

fn met(name: &'static str, seed: u64, count: usize) -> (World, Vec<HostId>) {
    let mut world = World::new(name, seed);
    let ids = world.cluster(count, 2 * SECOND);
    world.run_until_met(40 * SECOND);
    (world, ids)
}

/// Cuts into `parts` for ten minutes; how long it takes until all views agree again.
fn ten_minutes_apart(world: &mut World, ids: &[HostId], parts: usize) -> Duration {
    for part in 1..parts {
        let some: Vec<HostId> = ids.iter().copied().skip(part).step_by(parts).collect();
        world.network.cut_off(&some, part as u32);
    }
    world.run(600 * SECOND);
    assert!(world.difference().is_some());
    world.heal();
    let taken = world.run_until_met(30 * SECOND);
    println!(
        "{} members in {parts} parts: met after {taken:?}",
        ids.len()
    );
    world.run(30 * SECOND);
    assert_eq!(world.difference(), None, "met, and fell apart again");
    taken
}

#[test]
fn halves_that_were_apart_for_ten_minutes_meet_within_half_a_minute() {
    for (count, seed) in [(2, 400), (4, 401), (15, 402), (40, 403)] {
        let (mut world, ids) = met(
            "partitions::halves_that_were_apart_for_ten_minutes_meet_within_half_a_minute",
            seed,
            count,
        );
        ten_minutes_apart(&mut world, &ids, 2);
    }
}

#[test]
fn three_parts_meet_as_well() {
    let (mut world, ids) = met("partitions::three_parts_meet_as_well", 410, 12);
    ten_minutes_apart(&mut world, &ids, 3);
}

#[test]
fn one_front_brings_two_halves_of_stock_agents_together() {
    for seed in 420..423 {
        let mut world = World::new(
            "partitions::one_front_brings_two_halves_of_stock_agents_together",
            seed,
        );
        let ids: Vec<HostId> = (0..11)
            .map(|number| {
                let id = world.add_host(&format!("n{number}"));
                world.hosts[id].stock = number > 0;
                world.boot(id);
                if number > 0 {
                    world.join(id, 0);
                }
                id
            })
            .collect();
        world.run_until_met(40 * SECOND);
        ten_minutes_apart(&mut world, &ids, 2);
    }
}

#[test]
fn a_cut_in_one_direction_makes_nobody_fail() {
    // Others vouch for it, and a refutation finds its way round.
    for seed in 430..434 {
        let (mut world, ids) = met(
            "partitions::a_cut_in_one_direction_makes_nobody_fail",
            seed,
            6,
        );
        world.network.cut_one_way(ids[1], ids[2]);
        world.run(300 * SECOND);
        world.heal();
        world.run_until_met(20 * SECOND);

        for host in &world.hosts {
            let failed = host
                .events
                .iter()
                .find(|(_, event)| matches!(event, Event::Failed(_)));
            assert!(
                failed.is_none(),
                "seed {seed}: {} reports {failed:?}",
                host.name
            );
        }
    }
}

#[test]
fn one_that_hears_nobody_and_is_heard_is_back_after_the_repair() {
    let (mut world, ids) = met(
        "partitions::one_that_hears_nobody_and_is_heard_is_back_after_the_repair",
        440,
        8,
    );
    for &id in &ids[1..] {
        world.network.cut_one_way(id, ids[0]);
    }
    world.run(120 * SECOND);
    world.heal();
    let taken = world.run_until_met(30 * SECOND);
    println!("the deaf one is back after {taken:?}");
    world.run(30 * SECOND);
    assert_eq!(world.difference(), None);
}

#[test]
fn one_that_hears_all_and_is_not_heard_is_back_after_the_repair() {
    let (mut world, ids) = met(
        "partitions::one_that_hears_all_and_is_not_heard_is_back_after_the_repair",
        441,
        8,
    );
    for &id in &ids[1..] {
        world.network.cut_one_way(ids[0], id);
    }
    world.run(120 * SECOND);
    world.heal();
    let taken = world.run_until_met(30 * SECOND);
    println!("the mute one is back after {taken:?}");
    world.run(30 * SECOND);
    assert_eq!(world.difference(), None);
}
