//! One name at two addresses: rebuilt nodes get in, living ones keep their names.

use std::time::Duration;

use lb::gossip::core::io::Event;
use lb::gossip::core::member::Status;

use crate::host::Down;
use crate::network::HostId;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// What the peers hold of a node that is about to be rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Alive,
    Suspect,
    Dead,
    ForcedOut,
    Left,
}

const ALL: [Held; 5] = [
    Held::Alive,
    Held::Suspect,
    Held::Dead,
    Held::ForcedOut,
    Held::Left,
];

/// A cluster of `count` whose `n1` is gone, as `held` says.
fn bereft(world: &mut World, count: usize, held: Held, down: Down) -> Vec<HostId> {
    let ids = world.cluster(count, SECOND);
    world.run_until_met(20 * SECOND);
    world.run(7 * SECOND);
    world.names_move = true;
    let all_suspect = |world: &World| {
        let mut peers = world.live().into_iter();
        peers.all(|id| {
            let seen = world.hosts[id].member("n1").expect("known");
            seen.suspect || seen.status == Status::Failed
        })
    };
    match held {
        Held::Left => {
            world.leave(ids[1]);
            world.run_until(20 * SECOND, "left", |world| {
                !world.hosts[1].is_running() && world.all_see("n1", Status::Left)
            });
            world.hosts[ids[1]].down = down;
            return ids;
        }
        _ => world.crash(ids[1], down),
    }
    match held {
        Held::Alive => {}
        Held::Suspect => {
            world.run_until(30 * SECOND, "suspect", all_suspect);
        }
        Held::Dead | Held::ForcedOut | Held::Left => {
            world.run_until(60 * SECOND, "dead", |world| {
                world.all_see("n1", Status::Failed)
            });
            if held == Held::ForcedOut {
                let now = world.now;
                world
                    .with(ids[0], |node| node.force_leave(now, "n1", false))
                    .expect("it is known");
                // Gossip may miss one of six; the next push/pull does not.
                world.run_until(40 * SECOND, "forced out", |world| {
                    world.all_see("n1", Status::Left)
                });
            }
        }
    }
    ids
}

/// Whether every other live host has `n1` alive at the address of `host`.
fn everyone_has(world: &World, host: HostId) -> bool {
    let address = world.hosts[host].address;
    world.live().into_iter().all(|id| {
        world.hosts[id]
            .member("n1")
            .is_some_and(|seen| seen.status == Status::Alive && seen.address == address)
    })
}

fn events(world: &World, host: HostId) -> impl Iterator<Item = &Event> {
    world.hosts[host].events.iter().map(|(_, event)| event)
}

fn is_taken(world: &World, host: HostId) -> bool {
    events(world, host).any(|event| matches!(event, Event::NameTaken { .. }))
}

/// Starts `n1` anew on another machine; how long until everyone has it there.
fn rebuild(world: &mut World, via: HostId, stock: bool, limit: Duration) -> Duration {
    let fresh = world.add_host("n1");
    world.hosts[fresh].claim = !stock;
    world.boot(fresh);
    world.join(fresh, via);
    let taken = world.run_until(limit, "the rebuilt node is in", |world| {
        everyone_has(world, fresh)
    });
    // A refutation that gossip did not bring to everyone comes with a push/pull.
    world.run_until_met(60 * SECOND);
    world.run(90 * SECOND);
    assert_eq!(world.difference(), None, "met, and fell apart again");
    taken
}

#[test]
fn a_living_node_keeps_its_name_whoever_claims_it() {
    for seed in 0..20 {
        let name = "names::a_living_node_keeps_its_name_whoever_claims_it";
        let mut world = World::with_seed(name, seed);
        let count = if seed % 2 == 0 { 3 } else { 10 };
        let ids = world.cluster(count, SECOND);
        world.run_until_met(20 * SECOND);
        world.names_move = true;
        if seed % 4 > 1 {
            world.network.loss = 0.1;
            world.mark_disturbed();
        }
        let claimant = world.add_host("n1");
        world.boot(claimant);
        // Through the living one itself as well.
        world.join(claimant, ids[(seed % 3) as usize]);
        let taken = world.run_until(10 * SECOND, "the claimant gives up", |world| {
            is_taken(world, claimant)
        });
        world.crash(claimant, Down::Refuses);
        world.run(90 * SECOND);

        assert!(taken >= 2 * SECOND, "confirmed after {taken:?} only");
        for &id in &ids {
            let seen = world.hosts[id].member("n1").expect("known");
            assert_eq!(seen.address, world.hosts[ids[1]].address, "seed {seed}");
            assert_eq!(seen.status, Status::Alive);
            let lost = |event: &Event| matches!(event, Event::Failed(member) | Event::Left(member) if member.name == "n1");
            assert!(!events(&world, id).any(lost), "seed {seed}");
            let stirred =
                |event: &Event| matches!(event, Event::Repaired { .. } | Event::Conflict { .. });
            assert!(!events(&world, id).any(stirred), "nobody hears of it");
        }
        let stats = world.with(ids[1], |node| node.stats());
        assert_eq!(stats.repairs, 0);
    }
}

#[test]
fn a_living_node_that_only_the_claimant_cannot_reach_keeps_its_name() {
    for seed in 0..20 {
        let name = "names::a_living_node_that_only_the_claimant_cannot_reach_keeps_its_name";
        let mut world = World::with_seed(name, seed);
        let ids = world.cluster(5, SECOND);
        world.run_until_met(20 * SECOND);
        world.names_move = true;
        let claimant = world.add_host("n1");
        world.network.separate(claimant, ids[1]);
        world.boot(claimant);
        world.join(claimant, ids[0]);
        world.run_until(10 * SECOND, "the claimant gives up", |world| {
            is_taken(world, claimant)
        });
        world.crash(claimant, Down::Refuses);
        world.run(30 * SECOND);

        assert!(everyone_has(&world, ids[1]), "seed {seed}");
    }
}

#[test]
fn a_living_node_claimed_by_a_stock_agent_keeps_its_name() {
    for seed in 0..20 {
        let name = "names::a_living_node_claimed_by_a_stock_agent_keeps_its_name";
        let mut world = World::with_seed(name, seed);
        let ids = world.cluster(4, SECOND);
        world.run_until_met(20 * SECOND);
        world.names_move = true;
        let claimant = world.add_host("n1");
        world.hosts[claimant].claim = false;
        world.boot(claimant);
        world.join(claimant, ids[0]);
        world.run(60 * SECOND);

        for &id in &ids {
            let seen = world.hosts[id].member("n1").expect("known");
            assert_eq!(seen.address, world.hosts[ids[1]].address, "seed {seed}");
            assert_eq!(seen.status, Status::Alive);
            assert!(!is_taken(&world, id), "seed {seed}: the wrong one gives up");
            let told = events(&world, id).filter(|e| matches!(e, Event::Conflict { .. }));
            assert!(told.count() <= 2, "told once a minute");
        }
    }
}

#[test]
fn a_rebuilt_node_is_in_at_once_whatever_the_peers_hold() {
    for (number, held) in ALL.into_iter().enumerate() {
        for count in [3, 10] {
            for down in [Down::Refuses, Down::Silent] {
                let name = "names::a_rebuilt_node_is_in_at_once_whatever_the_peers_hold";
                let mut world = World::with_seed(name, 40 + number as u64);
                let ids = bereft(&mut world, count, held, down);
                let taken = rebuild(&mut world, ids[0], false, 5 * SECOND);
                println!("{held:?}, {count} nodes, {down:?}: {taken:?}");
                assert!(
                    taken <= Duration::from_millis(1200) || held == Held::Left,
                    "{held:?}, {count} nodes, {down:?}: {taken:?}"
                );
            }
        }
    }
}

#[test]
fn a_rebuilt_node_among_stock_agents_is_in_at_once() {
    for (number, held) in ALL.into_iter().enumerate() {
        let name = "names::a_rebuilt_node_among_stock_agents_is_in_at_once";
        let mut world = World::with_seed(name, 60 + number as u64);
        world.stock_but = Some(vec![]);
        let ids = bereft(&mut world, 5, held, Down::Silent);
        let taken = rebuild(&mut world, ids[0], false, 5 * SECOND);
        println!("{held:?}: {taken:?}");
        assert!(
            taken <= Duration::from_millis(1200) || held == Held::Left,
            "{held:?}: {taken:?}"
        );
    }
}

#[test]
fn a_rebuilt_stock_agent_is_brought_in_by_others() {
    for seed in 0..10 {
        for held in [Held::Suspect, Held::Dead, Held::ForcedOut] {
            let name = "names::a_rebuilt_stock_agent_is_brought_in_by_others";
            let mut world = World::with_seed(name, seed);
            world.stock_but = Some(vec!["n0"]);
            let down = if seed % 2 == 0 {
                Down::Silent
            } else {
                Down::Refuses
            };
            let ids = bereft(&mut world, 6, held, down);
            let taken = rebuild(&mut world, ids[2], true, 8 * SECOND);
            println!("{held:?}, seed {seed}: {taken:?}");
            let stats = world.with(ids[0], |node| node.stats());
            assert!(stats.repairs >= 1);
        }
    }
}

#[test]
fn one_of_many_members_brings_a_stock_agent_in() {
    let name = "names::one_of_many_members_brings_a_stock_agent_in";
    let mut repairs = 0;
    for seed in 0..10 {
        let mut world = World::with_seed(name, seed);
        let ids = bereft(&mut world, 10, Held::Dead, Down::Silent);
        rebuild(&mut world, ids[2], true, 8 * SECOND);
        for &id in &ids {
            if world.hosts[id].is_running() {
                repairs += world.with(id, |node| node.stats()).repairs;
            }
        }
    }
    println!("{repairs} repairs in 10 clusters of 10");
    assert!((10..=20).contains(&repairs), "{repairs} repairs");
}

#[test]
fn a_rebuilt_node_gets_in_under_loss() {
    for seed in 0..10 {
        let mut world = World::with_seed("names::a_rebuilt_node_gets_in_under_loss", seed);
        let ids = bereft(&mut world, 6, Held::Dead, Down::Silent);
        world.network.loss = 0.1;
        world.mark_disturbed();
        let fresh = world.add_host("n1");
        world.boot(fresh);
        world.join(fresh, ids[0]);
        let taken = world.run_until(5 * SECOND, "in", |world| everyone_has(world, fresh));
        println!("seed {seed}: {taken:?}");
    }
}

#[test]
fn of_two_that_start_at_once_with_one_name_one_remains() {
    for seed in 0..20 {
        let name = "names::of_two_that_start_at_once_with_one_name_one_remains";
        let mut world = World::with_seed(name, seed);
        world.names_move = true;
        let third = world.add_host("n0");
        world.boot(third);
        let pair = [world.add_host("n1"), world.add_host("n1")];
        for id in pair {
            world.boot(id);
        }
        if seed % 2 == 0 {
            world.join(pair[0], third);
            world.join(pair[1], third);
        } else {
            world.join(pair[0], pair[1]);
            world.join(pair[1], pair[0]);
        }
        // As a program does: it ends when its name is taken.
        for _ in 0..2000 {
            world.run(Duration::from_millis(5));
            for id in pair {
                if world.hosts[id].is_running() && is_taken(&world, id) {
                    world.crash(id, Down::Refuses);
                }
            }
        }
        let running = pair.iter().filter(|&&id| world.hosts[id].is_running());
        assert_eq!(running.count(), 1, "seed {seed}");
    }
}

#[test]
fn a_forged_word_of_a_dead_nodes_new_address_moves_nothing() {
    let name = "names::a_forged_word_of_a_dead_nodes_new_address_moves_nothing";
    let mut world = World::with_seed(name, 5);
    let ids = bereft(&mut world, 4, Held::Dead, Down::Silent);
    // A node of another name lives there.
    let stranger = world.hosts[ids[2]].address;
    let forged = lb::gossip::core::wire::message::Alive {
        incarnation: 99,
        node: "n1".to_owned(),
        addr: lb::gossip::core::wire::message::WireAddr::of(stranger),
        meta: Vec::new(),
        vsn: [1, 5, 2, 2, 5, 5],
    };
    let packet = lb::gossip::core::wire::message::Message::Alive(forged).encode();
    for _ in 0..100 {
        let now = world.now;
        world.with(ids[0], |node| node.handle_packet(now, stranger, &packet));
        world.run(Duration::from_millis(100));
    }

    let stats = world.with(ids[0], |node| node.stats());
    assert_eq!(stats.repairs, 0);
    assert!(world.all_see("n1", Status::Failed));
}

#[test]
fn a_flood_of_claims_starts_few_checks() {
    let mut world = World::with_seed("names::a_flood_of_claims_starts_few_checks", 6);
    let ids = world.cluster(20, SECOND);
    world.run_until_met(30 * SECOND);
    world.names_move = true;
    let bogus: std::net::SocketAddr = "10.9.9.9:7946".parse().expect("an address");
    let before = world.with(ids[0], |node| node.stats());
    for _ in 0..10 {
        for number in 1..20 {
            let forged = lb::gossip::core::wire::message::Alive {
                incarnation: 99,
                node: format!("n{number}"),
                addr: lb::gossip::core::wire::message::WireAddr::of(bogus),
                meta: Vec::new(),
                vsn: [1, 5, 2, 2, 5, 5],
            };
            let packet = lb::gossip::core::wire::message::Message::Alive(forged).encode();
            let now = world.now;
            world.with(ids[0], |node| node.handle_packet(now, bogus, &packet));
        }
        world.run(Duration::from_millis(100));
    }
    let after = world.with(ids[0], |node| node.stats());

    // Two checks for each of a few names, eleven packets for each; and what a second of gossip takes anyway.
    let sent = after.packets_sent - before.packets_sent;
    assert!(sent < 500, "{sent} packets");
    assert!(after.streams <= 16, "{} streams", after.streams);
    world.run(30 * SECOND);
    assert_eq!(world.difference(), None);
}

#[test]
fn an_ordinary_join_costs_one_look_more_and_no_wait() {
    let mut world = World::with_seed("names::an_ordinary_join_costs_one_look_more_and_no_wait", 7);
    let ids = world.cluster(5, SECOND);
    world.run_until_met(20 * SECOND);
    let late = world.add_host("late");
    world.boot(late);
    world.join(late, ids[0]);
    let done = world.run_until(SECOND, "joined", |world| {
        events(world, late).any(|event| matches!(event, Event::JoinFinished { reached: 1, .. }))
    });

    assert!(done <= Duration::from_millis(50), "{done:?}");
}
