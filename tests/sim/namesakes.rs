//! Two members that live and have one name: exactly one of them takes another, and everyone comes to know both.

use std::net::SocketAddr;
use std::time::Duration;

use lb::gossip::core::io::Event;
use lb::gossip::core::member::Status;

use crate::host::Down;
use crate::network::HostId;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// Two looks, a vote of up to 6.4 s, the longest patience, and until either hears of the other at all.
const SETTLED_MAX: Duration = Duration::from_secs(75);

/// The same where nobody else is ours: until one of the two happens to exchange states with the other half.
const STOCK_MAX: Duration = Duration::from_secs(600);

/// A cut cluster of `sizes`, with an `n1` in each half; the two of that name.
///
/// In the second half it was started when that half held the first one failed.
fn halves(world: &mut World, sizes: [usize; 2]) -> [HostId; 2] {
    let ids = world.cluster(sizes[0] + sizes[1], SECOND);
    world.run_until_met(30 * SECOND);
    world.names_move = true;
    world.taken_is_left = true;
    let second = &ids[sizes[0]..];
    world.network.cut_off(second, 1);
    world.run_until(90 * SECOND, "failed beyond the cut", |world| {
        let mut there = second.iter();
        there.all(|&id| world.hosts[id].status_of("n1") == Some(Status::Failed))
    });
    let namesake = world.add_host("n1");
    world.network.cut_off(&[namesake], 1);
    world.boot(namesake);
    world.join(namesake, second[0]);
    let at = world.hosts[namesake].address;
    world.run_until(10 * SECOND, "in", |world| {
        second.iter().all(|&id| holds(world, id, at))
    });
    // Whatever is found now is found by members, not at their start.
    world.run(20 * SECOND);
    [ids[1], namesake]
}

fn holds(world: &World, id: HostId, at: SocketAddr) -> bool {
    let seen = world.hosts[id].member("n1");
    seen.is_some_and(|seen| seen.status == Status::Alive && seen.address == at)
}

/// Runs until one of `pair` has another name, and all views agree and go on to; who kept the name.
fn settled(world: &mut World, pair: [HostId; 2]) -> HostId {
    settled_within(world, pair, SETTLED_MAX)
}

fn settled_within(world: &mut World, pair: [HostId; 2], limit: Duration) -> HostId {
    let seed = world.seed;
    let taken = world.run_until(limit, "one of two is renamed", |world| {
        pair.iter().any(|&id| world.hosts[id].name != "n1")
    });
    let met = world.run_until_met(60 * SECOND);
    world.run(180 * SECOND);
    assert_eq!(
        world.difference(),
        None,
        "seed {seed}: met, and fell apart again"
    );
    let kept: Vec<HostId> = pair
        .into_iter()
        .filter(|&id| world.hosts[id].name == "n1")
        .collect();
    assert_eq!(kept.len(), 1, "seed {seed}: exactly one keeps the name");
    println!(
        "seed {seed}: {} of {pair:?} keeps the name, the other has another after {taken:?}, met {met:?} later",
        kept[0]
    );
    for id in world.live() {
        assert!(holds(world, id, world.hosts[kept[0]].address));
        let gone = |status| matches!(status, Status::Failed | Status::Left);
        let stuck = world.hosts[id].view.by_name.values();
        let stuck: Vec<_> = stuck.filter(|member| gone(member.status)).collect();
        assert!(
            stuck.is_empty(),
            "seed {seed}: {} still shows {stuck:?}",
            world.hosts[id].name
        );
    }
    kept[0]
}

#[test]
fn of_two_halves_with_one_name_each_the_larger_ones_member_keeps_it() {
    let name = "namesakes::of_two_halves_with_one_name_each_the_larger_ones_member_keeps_it";
    for seed in 0..12 {
        // The namesake is one more in the second half.
        let sizes = [[5, 2], [3, 4], [8, 3], [4, 9]][seed as usize % 4];
        let mut world = World::with_seed(name, seed);
        let pair = halves(&mut world, sizes);
        world.heal();
        let kept = settled(&mut world, pair);

        let expected = if sizes[0] - 1 > sizes[1] {
            pair[0]
        } else {
            pair[1]
        };
        assert_eq!(kept, expected, "seed {seed}");
    }
}

#[test]
fn of_two_halves_as_large_the_lower_address_keeps_the_name() {
    let name = "namesakes::of_two_halves_as_large_the_lower_address_keeps_the_name";
    for seed in 0..8 {
        let mut world = World::with_seed(name, seed);
        let pair = halves(&mut world, [4, 3]);
        world.heal();
        let kept = settled(&mut world, pair);

        assert_eq!(kept, pair[0], "seed {seed}");
    }
}

#[test]
fn under_loss_exactly_one_of_two_is_renamed_as_well() {
    let name = "namesakes::under_loss_exactly_one_of_two_is_renamed_as_well";
    for seed in 0..20 {
        let sizes = [[4, 3], [3, 3], [5, 2], [7, 6]][seed as usize % 4];
        let mut world = World::with_seed(name, seed);
        let pair = halves(&mut world, sizes);
        world.heal();
        world.network.loss = 0.25;
        world.mark_disturbed();
        world.run_until(4 * SETTLED_MAX, "one of two is renamed", |world| {
            pair.iter().any(|&id| world.hosts[id].name != "n1")
        });
        world.run(60 * SECOND);
        world.heal();
        settled(&mut world, pair);
    }
}

#[test]
fn nobody_of_its_own_half_loses_sight_of_either() {
    let name = "namesakes::nobody_of_its_own_half_loses_sight_of_either";
    for seed in 0..8 {
        let mut world = World::with_seed(name, seed);
        let pair = halves(&mut world, [3, 4]);
        world.heal();
        for _ in 0..SETTLED_MAX.as_millis() / 20 {
            world.run(Duration::from_millis(20));
            for (observers, of) in [([0, 2], pair[0]), ([3, 4], pair[1])] {
                for observer in observers {
                    let host = &world.hosts[observer];
                    let mut seen = host.view.by_name.values();
                    let seen = seen.find(|seen| seen.address == world.hosts[of].address);
                    assert!(
                        seen.is_some_and(|seen| seen.status == Status::Alive),
                        "seed {seed}: {} sees {seen:?}",
                        host.name
                    );
                }
            }
        }
        assert_eq!(settled(&mut world, pair), pair[1], "seed {seed}");
    }
}

#[test]
fn among_stock_agents_the_name_moves_as_well() {
    let name = "namesakes::among_stock_agents_the_name_moves_as_well";
    for seed in 0..8 {
        let mut world = World::with_seed(name, seed);
        world.stock_but = Some(vec!["n1"]);
        let sizes = [[3, 4], [5, 2]][seed as usize % 2];
        let pair = halves(&mut world, sizes);
        world.heal();
        settled_within(&mut world, pair, STOCK_MAX);
    }
}

#[test]
fn two_clusters_with_one_name_each_become_one() {
    let name = "namesakes::two_clusters_with_one_name_each_become_one";
    for seed in 0..12 {
        let mut world = World::with_seed(name, seed);
        world.names_move = true;
        world.taken_is_left = true;
        let mut pair = Vec::new();
        let mut seeds = Vec::new();
        // In each the one of that name is the seed of all others, or not.
        for (number, size) in [(0, 3 + seed as usize % 3), (1, 4)] {
            let first = world.hosts.len();
            let names = (0..size).map(|member| match member {
                0 if seed % 2 == 0 => "n1".to_owned(),
                1 if seed % 2 == 1 => "n1".to_owned(),
                _ => format!("c{number}m{member}"),
            });
            for (at, name) in names.enumerate() {
                let id = world.add_host(&name);
                world.network.cut_off(&[id], number);
                world.boot(id);
                if at > 0 {
                    world.join(id, first);
                }
                if name == "n1" {
                    pair.push(id);
                }
            }
            seeds.push(first + 2);
        }
        world.run(40 * SECOND);
        world.heal();
        world.join(seeds[0], seeds[1]);

        settled(&mut world, [pair[0], pair[1]]);
    }
}

#[test]
fn the_seed_of_a_cluster_keeps_its_name_whoever_claims_it() {
    let name = "namesakes::the_seed_of_a_cluster_keeps_its_name_whoever_claims_it";
    for seed in 0..10 {
        for stock in [false, true] {
            let mut world = World::with_seed(name, seed);
            let count = if seed % 2 == 0 { 3 } else { 6 };
            let ids = world.cluster(count, SECOND);
            world.run_until_met(20 * SECOND);
            world.run(20 * SECOND);
            world.names_move = true;
            let claimant = world.add_host("n0");
            world.hosts[claimant].claim = !stock;
            world.boot(claimant);
            world.join(claimant, ids[(seed % 3) as usize]);
            world.run(90 * SECOND);
            let taken = |event: &(_, Event)| matches!(event, (_, Event::NameTaken { name, .. }) if name == "n0");

            for &id in &ids {
                let seen = world.hosts[id].member("n0").expect("known");
                assert_eq!(seen.address, world.hosts[ids[0]].address, "seed {seed}");
                assert_eq!(seen.status, Status::Alive);
            }
            let told = world.hosts[ids[0]].events.iter().any(taken);
            assert!(!told, "seed {seed}: the wrong one gives up");
            world.crash(claimant, Down::Refuses);
        }
    }
}

#[test]
fn one_that_slept_while_its_name_moved_goes_on_under_another() {
    let name = "namesakes::one_that_slept_while_its_name_moved_goes_on_under_another";
    for seed in 0..8 {
        let mut world = World::with_seed(name, seed);
        let ids = world.cluster(5, SECOND);
        world.run_until_met(20 * SECOND);
        world.run(15 * SECOND);
        world.names_move = true;
        world.taken_is_left = true;
        world.pause(ids[1], true);
        world.run_until(60 * SECOND, "failed", |world| {
            let mut others = [0, 2, 3, 4].into_iter();
            others.all(|id: HostId| world.hosts[id].status_of("n1") == Some(Status::Failed))
        });
        let rebuilt = world.add_host("n1");
        world.boot(rebuilt);
        world.join(rebuilt, ids[0]);
        world.run(30 * SECOND);
        world.pause(ids[1], false);

        let kept = settled(&mut world, [ids[1], rebuilt]);
        assert_eq!(kept, rebuilt, "seed {seed}");
    }
}
