//! Leaves, failures, returns and force-leaves that cross: in the end everyone holds the same.

use std::collections::BTreeSet;
use std::time::Duration;

use lb::gossip::core::io::Event;
use lb::gossip::core::member::Status;
use rand::{Rng, RngExt};

use crate::host::Down;
use crate::network::HostId;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// Random seeds tried each time.
const RACES: usize = 12;

fn met(name: &'static str, seed: u64, count: usize) -> (World, Vec<HostId>) {
    let mut world = World::new(name, seed);
    let ids = world.cluster(count, SECOND);
    world.run_until_met(60 * SECOND);
    (world, ids)
}

fn force_leave(world: &mut World, by: HostId, name: &str, prune: bool) {
    let now = world.now;
    // It may have been forgotten there.
    let _ = world.with(by, |node| node.force_leave(now, name, prune));
}

/// What the others hold of `name`.
fn statuses(world: &World, name: &str) -> BTreeSet<Option<Status>> {
    let observers = world.hosts.iter().filter(|host| host.is_live());
    observers
        .filter(|host| host.name != name)
        .map(|host| host.status_of(name))
        .collect()
}

/// One member goes, dies, comes back, and is forced out, in any order and at any time, while packets are lost.
fn race(seed: u64) {
    let mut world = World::with_seed("races::whatever_crosses_all_hold_the_same", seed);
    let count = world.random.random_range(3..=9);
    let ids = world.cluster(count, SECOND);
    world.run_until_met(60 * SECOND);
    let victim = ids[count - 1];
    let name = world.hosts[victim].name.clone();
    world.network.loss = world.random.random_range(0.0..0.3);
    for _ in 0..world.random.random_range(2..8) {
        let by = ids[world.random.random_range(0..count - 1)];
        let runs = world.hosts[victim].is_live();
        match world.random.random_range(0..10) {
            0..2 if runs => world.leave(victim),
            2..4 if runs => world.crash(victim, Down::Silent),
            4..7 if !world.hosts[victim].is_running() => {
                world.boot(victim);
                world.join(victim, by);
            }
            7..9 => force_leave(&mut world, by, &name, false),
            _ => {}
        }
        let pause = Duration::from_millis(world.random.random_range(0..4000));
        world.run(pause);
    }
    world.heal();
    world.run(20 * SECOND);
    let live = world.hosts[victim].is_live();
    world.run_until(240 * SECOND, "all hold the same", |world| {
        let held = statuses(world, &name);
        match live {
            true => held.iter().all(|status| *status == Some(Status::Alive)),
            false => {
                let gone =
                    |status: &Option<Status>| matches!(status, Some(Status::Left | Status::Failed));
                held.len() == 1 && held.iter().all(gone)
            }
        }
    });
    let before = statuses(&world, &name);
    world.run(90 * SECOND);
    assert_eq!(statuses(&world, &name), before, "and it stays so");
}

#[test]
fn whatever_crosses_all_hold_the_same() {
    if let Ok(seed) = std::env::var("LB_SIM_SEED") {
        race(seed.parse().expect("LB_SIM_SEED is a number"));
        return;
    }
    let mut seeds = lb::clock::random();
    for _ in 0..RACES {
        let seed = seeds.next_u64();
        println!("seed {seed}");
        race(seed);
    }
}

#[test]
fn who_failed_and_is_forced_out_has_left_everywhere() {
    let (mut world, ids) = met(
        "races::who_failed_and_is_forced_out_has_left_everywhere",
        90,
        8,
    );
    world.crash(ids[7], Down::Silent);
    world.run_until(60 * SECOND, "it is failed", |world| {
        world.all_see("n7", Status::Failed)
    });
    force_leave(&mut world, ids[2], "n7", false);
    world.run_until(10 * SECOND, "it has left", |world| {
        world.all_see("n7", Status::Left)
    });
    world.run(120 * SECOND);

    assert!(world.all_see("n7", Status::Left), "and it stays so");
    for host in &world.hosts[..7] {
        let left =
            |(_, event): &(_, Event)| matches!(event, Event::Left(member) if member.name == "n7");
        assert_eq!(host.events.iter().filter(|event| left(event)).count(), 1);
    }
}

#[test]
fn who_is_forced_out_and_lives_stays() {
    let (mut world, ids) = met("races::who_is_forced_out_and_lives_stays", 91, 6);
    for (by, prune) in [(1, false), (2, true), (5, true)] {
        force_leave(&mut world, ids[by], "n5", prune);
        world.run(20 * SECOND);
        world.run_until_met(120 * SECOND);
    }
    for host in &world.hosts {
        let gone = |(_, event): &(_, Event)| {
            matches!(event, Event::Left(_) | Event::Failed(_) | Event::Reaped(_))
        };
        assert!(!host.events.iter().any(gone), "{}", host.name);
    }
}

#[test]
fn who_is_pruned_is_forgotten_everywhere_and_not_brought_back() {
    for (seed, down) in [(92, "failed"), (93, "left")] {
        let (mut world, ids) = met(
            "races::who_is_pruned_is_forgotten_everywhere_and_not_brought_back",
            seed,
            8,
        );
        let status = if down == "left" {
            world.leave(ids[7]);
            Status::Left
        } else {
            world.crash(ids[7], Down::Silent);
            Status::Failed
        };
        world.run_until(60 * SECOND, down, |world| world.all_see("n7", status));
        force_leave(&mut world, ids[2], "n7", true);
        let gone = |world: &World| statuses(world, "n7") == BTreeSet::from([None]);
        world.run_until(60 * SECOND, "it is forgotten", gone);
        world.run(180 * SECOND);
        assert!(gone(&world), "{:?}", statuses(&world, "n7"));

        // It may come again, as anybody may.
        world.run_until(30 * SECOND, "its process has ended", |world| {
            !world.hosts[7].is_running()
        });
        world.boot(ids[7]);
        world.join(ids[7], ids[0]);
        world.run_until_met(120 * SECOND);
    }
}

#[test]
fn a_return_outbids_a_leave_that_was_forced_meanwhile() {
    let (mut world, ids) = met(
        "races::a_return_outbids_a_leave_that_was_forced_meanwhile",
        94,
        6,
    );
    world.crash(ids[5], Down::Refuses);
    world.run_until(60 * SECOND, "it is failed", |world| {
        world.all_see("n5", Status::Failed)
    });
    // At once, on two sides.
    world.boot(ids[5]);
    world.join(ids[5], ids[0]);
    force_leave(&mut world, ids[3], "n5", false);
    world.run_until_met(120 * SECOND);
    world.run(60 * SECOND);

    assert_eq!(world.difference(), None);
}

/// In Serf they keep the member for a day.
#[test]
fn who_missed_a_prune_is_told_again() {
    for seed in 1..=4 {
        let mut world = World::with_seed("races::who_missed_a_prune_is_told_again", seed);
        let ids = world.cluster(9, SECOND);
        world.run_until_met(60 * SECOND);
        world.crash(ids[8], Down::Silent);
        world.run_until(90 * SECOND, "it is failed", |world| {
            world.all_see("n8", Status::Failed)
        });
        // Six of the others hear neither of it nor of the broadcast.
        world.network.cut_off(&ids[2..8], 1);
        force_leave(&mut world, ids[0], "n8", true);
        world.run(SECOND);
        world.heal();
        world.run_until(150 * SECOND, "it is forgotten", |world| {
            statuses(world, "n8") == BTreeSet::from([None])
        });
        world.run(60 * SECOND);
        assert_eq!(statuses(&world, "n8"), BTreeSet::from([None]));
    }
}
