//! Who was cut off, or thought dead, is back soon after it can be reached again.

use std::time::Duration;

use lb::gossip::core::io::Event;
use lb::gossip::core::member::Status;

use crate::host::Down;
use crate::network::HostId;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// `ours` members of ours and then `stock` members of Serf's, that know each other.
fn mixed(name: &'static str, seed: u64, ours: usize, stock: usize) -> (World, Vec<HostId>) {
    let mut world = World::new(name, seed);
    let mut ids = Vec::new();
    for number in 0..ours + stock {
        let id = world.add_host(&format!("n{number}"));
        world.hosts[id].stock = number >= ours;
        world.boot(id);
        if number > 0 {
            world.join(id, ids[0]);
        }
        ids.push(id);
    }
    world.run_until_met(30 * SECOND);
    (world, ids)
}

/// Cuts the last one off for 45 s; how long after the repair the first one sees it, and everyone everyone.
fn cut_off_for_45_seconds(world: &mut World, ids: &[HostId]) -> (Duration, Duration) {
    let last = *ids.last().expect("somebody");
    let name = world.hosts[last].name.clone();
    world.network.cut_off(&[last], 1);
    world.run(45 * SECOND);
    assert_eq!(world.hosts[ids[0]].status_of(&name), Some(Status::Failed));
    world.heal();
    let seen = world.run_until(40 * SECOND, "the front sees it", |world| {
        world.hosts[ids[0]].status_of(&name) == Some(Status::Alive)
    });
    let met = seen + world.run_until_met(60 * SECOND);
    (seen, met)
}

#[test]
fn one_front_among_stock_agents_sees_the_lost_one_within_a_second_and_a_half() {
    for seed in 300..310 {
        let (mut world, ids) = mixed(
            "recall::one_front_among_stock_agents_sees_the_lost_one_within_a_second_and_a_half",
            seed,
            1,
            3,
        );
        let (seen, met) = cut_off_for_45_seconds(&mut world, &ids);

        assert!(seen <= SECOND + SECOND / 2, "seed {seed}: {seen:?}");
        assert!(met <= 5 * SECOND, "seed {seed}: all after {met:?}");
    }
}

#[test]
fn among_our_own_everyone_is_back_within_seconds() {
    for (seed, count) in [(320, 2), (321, 4), (322, 12), (323, 30)] {
        let (mut world, ids) = mixed(
            "recall::among_our_own_everyone_is_back_within_seconds",
            seed,
            count,
            0,
        );
        let (seen, met) = cut_off_for_45_seconds(&mut world, &ids);

        assert!(seen <= 2 * SECOND, "{count}: {seen:?}");
        assert!(met <= 4 * SECOND, "{count}: all after {met:?}");
    }
}

#[test]
fn stock_agents_alone_take_as_long_as_serf_does() {
    // What the figures above are measured against; were it quick as well, they would say nothing.
    let mut slowest = Duration::ZERO;
    for seed in 330..334 {
        let (mut world, ids) = mixed(
            "recall::stock_agents_alone_take_as_long_as_serf_does",
            seed,
            0,
            4,
        );
        let (seen, _) = cut_off_for_45_seconds(&mut world, &ids);
        slowest = slowest.max(seen);
    }
    assert!(slowest > 3 * SECOND, "{slowest:?}");
}

#[test]
fn the_dead_are_asked_a_few_times_a_second_however_many_members_there_are() {
    let (mut world, ids) = mixed(
        "recall::the_dead_are_asked_a_few_times_a_second_however_many_members_there_are",
        340,
        60,
        0,
    );
    let dead = &ids[50..];
    for id in dead {
        world.crash(*id, Down::Silent);
    }
    // Until gossip to the dead has ended, and memberlist has forgotten them.
    world.run(150 * SECOND);
    world.network.sent_to.clear();
    world.run(60 * SECOND);

    for id in dead {
        let packets = world.network.sent_to.get(id).copied().unwrap_or_default();
        let each_second = packets as f64 / 60.0;
        assert!(
            (2.0..6.0).contains(&each_second),
            "{each_second} a second to {}",
            world.hosts[*id].name
        );
    }
}

#[test]
fn one_that_is_gone_for_good_is_asked_for_an_hour() {
    let (mut world, ids) = mixed(
        "recall::one_that_is_gone_for_good_is_asked_for_an_hour",
        341,
        2,
        0,
    );
    world.crash(ids[1], Down::Silent);
    world.run(3000 * SECOND);
    world.network.sent_to.clear();
    world.run(60 * SECOND);
    assert_eq!(world.network.sent_to[&ids[1]], 60);
    world.run(700 * SECOND);
    world.network.sent_to.clear();
    world.run(600 * SECOND);

    assert_eq!(world.network.sent_to.get(&ids[1]), None);
}

#[test]
fn one_that_left_is_not_called_back() {
    let (mut world, ids) = mixed("recall::one_that_left_is_not_called_back", 342, 3, 0);
    world.leave(ids[2]);
    world.run(20 * SECOND);
    world.network.sent_to.clear();
    world.run(60 * SECOND);

    assert_eq!(world.network.sent_to.get(&ids[2]), None);
    assert!(world.all_see("n2", Status::Left));
}

#[test]
fn an_address_that_another_name_has_now_does_not_answer_for_the_dead() {
    let (mut world, ids) = mixed(
        "recall::an_address_that_another_name_has_now_does_not_answer_for_the_dead",
        343,
        3,
        0,
    );
    world.crash(ids[2], Down::Refuses);
    world.run_until(30 * SECOND, "failed", |world| {
        world.all_see("n2", Status::Failed)
    });
    let address = world.hosts[ids[2]].address;
    let other = world.add_host("other");
    world.hosts[other].address = address;
    world.by_address.insert(address, other);
    world.boot(other);
    world.join(other, ids[0]);
    world.run(60 * SECOND);

    for &id in &ids[..2] {
        assert_eq!(world.hosts[id].status_of("n2"), Some(Status::Failed));
    }
    assert!(world.all_see("other", Status::Alive));
    let back =
        |(_, event): &(_, Event)| matches!(event, Event::Joined(member) if member.name == "n2");
    let times = world.hosts[ids[0]]
        .events
        .iter()
        .filter(|event| back(event))
        .count();
    assert_eq!(times, 1, "n2 joined once, at the beginning");
}
