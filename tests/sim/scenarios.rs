//! Named stories, each with its own seed.

use std::time::Duration;

use lb::announce::Tags;
use lb::gossip::core::io::Event;
use lb::gossip::core::member::Status;

use crate::host::Down;
use crate::network::HostId;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// A cluster whose members know each other.
fn met(name: &'static str, seed: u64, count: usize) -> (World, Vec<HostId>) {
    let mut world = World::new(name, seed);
    let ids = world.cluster(count, SECOND);
    world.run_until_met(20 * SECOND);
    (world, ids)
}

#[test]
fn a_member_alone_is_alive_and_sends_nothing() {
    let mut world = World::new("scenarios::a_member_alone_is_alive_and_sends_nothing", 1);
    let id = world.add_host("alone");
    world.boot(id);
    world.run(120 * SECOND);

    assert_eq!(world.hosts[id].status_of("alone"), Some(Status::Alive));
    assert_eq!(world.network.sent, 0);
    let joined = |event: &Event| matches!(event, Event::Joined(member) if member.name == "alone");
    assert_eq!(world.hosts[id].events.len(), 1);
    assert!(joined(&world.hosts[id].events[0].1));
}

#[test]
fn three_meet_and_stay_without_a_suspicion() {
    let (mut world, ids) = met("scenarios::three_meet_and_stay_without_a_suspicion", 2, 3);
    world.run(180 * SECOND);

    assert_eq!(world.difference(), None);
    for &id in &ids {
        let stats = world.with(id, |node| node.stats());
        assert_eq!(stats.refutations, 0, "{:?}", stats);
        assert_eq!(stats.probes_failed, 0);
        assert_eq!(stats.health_score, 0);
        assert!(stats.probes > 150, "{} probes", stats.probes);
        assert!(stats.dropped.is_empty(), "{:?}", stats.dropped);
        assert_eq!(stats.streams, 0);
        assert_eq!(stats.queued_broadcasts, 0);
    }
}

#[test]
fn compressed_clusters_meet_too() {
    let mut world = World::new("scenarios::compressed_clusters_meet_too", 3);
    world.compress = true;
    world.cluster(5, SECOND);
    world.run_until_met(20 * SECOND);
    world.run(40 * SECOND);

    assert_eq!(world.difference(), None);
}

#[test]
fn a_crash_is_seen_as_failed_by_everyone() {
    for (count, down) in [(3, Down::Refuses), (10, Down::Silent)] {
        let (mut world, ids) = met("scenarios::a_crash_is_seen_as_failed_by_everyone", 4, count);
        world.crash(ids[1], down);
        // Three nodes expect no confirmation; ten would wait for 24 s without any.
        let taken = world.run_until(40 * SECOND, "the crash is seen", |world| {
            world.all_see("n1", Status::Failed)
        });
        assert!(taken < 14 * SECOND, "{taken:?} among {count}");
        world.run(60 * SECOND);

        assert_eq!(world.difference(), None);
        assert!(world.all_see("n1", Status::Failed), "and it stays so");
    }
}

#[test]
fn a_leave_is_seen_as_left_by_everyone_and_never_as_failed() {
    for count in [2, 3, 10, 30] {
        let (mut world, ids) = met(
            "scenarios::a_leave_is_seen_as_left_by_everyone_and_never_as_failed",
            5,
            count,
        );
        world.leave(ids[1]);
        let taken = world.run_until(20 * SECOND, "the leave is done", |world| {
            !world.hosts[1].is_running()
        });
        world.run_until(5 * SECOND, "the leave is seen", |world| {
            world.all_see("n1", Status::Left)
        });
        world.run(60 * SECOND);

        assert!(taken < 8 * SECOND, "{taken:?} for {count} nodes");
        assert!(world.all_see("n1", Status::Left));
        for host in &world.hosts {
            let failed = |(_, event): &(_, Event)| matches!(event, Event::Failed(_));
            assert!(!host.events.iter().any(failed), "{}", host.name);
        }
    }
}

#[test]
fn a_farewell_reaches_everyone_before_the_next_gossip_tick() {
    let (mut world, ids) = met(
        "scenarios::a_farewell_reaches_everyone_before_the_next_gossip_tick",
        31,
        30,
    );
    world.leave(ids[1]);
    // LAN gossips each 200 ms.
    world.run(Duration::from_millis(100));

    assert!(world.all_see("n1", Status::Leaving));
}

#[test]
fn many_leaving_at_once_are_left_and_none_failed() {
    // Whoever should pass a farewell on is leaving too: seen when a whole demo was stopped.
    for seed in 100..130 {
        let (mut world, ids) = met(
            "scenarios::many_leaving_at_once_are_left_and_none_failed",
            seed,
            5,
        );
        for id in &ids[1..] {
            world.leave(*id);
        }
        world.run(30 * SECOND);

        let failed: Vec<_> = world.hosts[ids[0]]
            .events
            .iter()
            .filter(|(_, event)| matches!(event, Event::Failed(_)))
            .collect();
        assert!(failed.is_empty(), "seed {seed}: {failed:?}");
    }
}

#[test]
fn a_leave_in_the_middle_of_a_join_is_a_leave() {
    let mut middles = 0;
    for seed in 200..220 {
        let mut world = World::new(
            "scenarios::a_leave_in_the_middle_of_a_join_is_a_leave",
            seed,
        );
        let (one, two) = (world.add_host("one"), world.add_host("two"));
        world.boot(one);
        world.boot(two);
        world.join(two, one);
        while world.hosts[one].member("two").is_none() {
            world.run(Duration::from_micros(10));
        }
        // The peer knows the newcomer, which still thinks that it is alone.
        middles += usize::from(world.hosts[two].member("one").is_none());
        world.leave(two);
        world.run(20 * SECOND);

        assert_eq!(world.hosts[one].status_of("two"), Some(Status::Left));
        let failed = |(_, event): &(_, Event)| matches!(event, Event::Failed(_));
        assert!(!world.hosts[one].events.iter().any(failed), "seed {seed}");
        assert!(!world.hosts[two].is_running());
    }
    assert!(middles > 0, "no leave met the moment");
}

#[test]
fn the_last_one_leaves_at_once() {
    let mut world = World::new("scenarios::the_last_one_leaves_at_once", 6);
    let id = world.add_host("alone");
    world.boot(id);
    world.leave(id);

    assert!(!world.hosts[id].is_running());
}

#[test]
fn a_restart_is_alive_again_whatever_the_others_thought() {
    // Before anyone noticed; while suspect; when failed; when forgotten by memberlist.
    for (pause, seed) in [(0, 7), (3, 8), (12, 9), (90, 10)] {
        let (mut world, ids) = met(
            "scenarios::a_restart_is_alive_again_whatever_the_others_thought",
            seed,
            5,
        );
        world.crash(ids[2], Down::Refuses);
        world.run(Duration::from_secs(pause));
        world.hosts[2]
            .tags
            .insert("version".to_owned(), "2".to_owned());
        world.boot(ids[2]);
        world.join(ids[2], ids[0]);
        let taken = world.run_until_met(60 * SECOND);

        assert!(taken < 30 * SECOND, "{taken:?} after {pause} s");
        world.run(60 * SECOND);
        assert_eq!(world.difference(), None);
    }
}

#[test]
fn who_left_may_come_back_at_once_even_at_another_address() {
    let (mut world, ids) = met(
        "scenarios::who_left_may_come_back_at_once_even_at_another_address",
        11,
        5,
    );
    world.leave(ids[3]);
    world.run_until(20 * SECOND, "the leave is done", |world| {
        !world.hosts[3].is_running()
    });
    world.boot(ids[3]);
    world.join(ids[3], ids[0]);
    world.run_until_met(10 * SECOND);
    world.leave(ids[3]);
    world.run_until(20 * SECOND, "the leave is done", |world| {
        !world.hosts[3].is_running()
    });
    let before = world.hosts[3].address;
    let after = "10.9.9.9:7946".parse().expect("an address");
    world.by_address.remove(&before);
    world.by_address.insert(after, ids[3]);
    world.hosts[3].address = after;
    world.boot(ids[3]);
    world.join(ids[3], ids[1]);
    world.run_until_met(10 * SECOND);
}

#[test]
fn new_tags_reach_everyone() {
    let (mut world, ids) = met("scenarios::new_tags_reach_everyone", 12, 10);
    let now = world.now;
    let tags = Tags::from([("state".to_owned(), "drain".to_owned())]);
    world
        .with(ids[4], |node| node.set_tags(now, tags.clone()))
        .expect("short tags");
    let taken = world.run_until_met(10 * SECOND);

    assert!(taken < 3 * SECOND, "{taken:?}");
    for host in &world.hosts {
        let updated = host
            .events
            .iter()
            .filter(|(_, event)| matches!(event, Event::Updated(member) if member.tags.decode() == tags))
            .count();
        assert_eq!(updated, 1, "{}", host.name);
    }
}

#[test]
fn a_forced_leave_turns_failed_into_left_everywhere() {
    let (mut world, ids) = met(
        "scenarios::a_forced_leave_turns_failed_into_left_everywhere",
        13,
        6,
    );
    world.crash(ids[5], Down::Refuses);
    world.run_until(40 * SECOND, "failed", |world| {
        world.all_see("n5", Status::Failed)
    });
    let now = world.now;
    world
        .with(ids[0], |node| node.force_leave(now, "n5", false))
        .expect("n5 is known");
    world.run_until(10 * SECOND, "left", |world| {
        world.all_see("n5", Status::Left)
    });
    let now = world.now;
    world
        .with(ids[1], |node| node.force_leave(now, "n5", true))
        .expect("n5 is known");
    world.run_until(10 * SECOND, "pruned", |world| {
        world
            .hosts
            .iter()
            .filter(|host| host.is_live())
            .all(|host| host.member("n5").is_none())
    });
    world.run(120 * SECOND);
    assert_eq!(world.difference(), None);
    assert!(world.hosts[0].member("n5").is_none());
}

#[test]
fn a_forced_leave_of_the_living_is_refuted() {
    let (mut world, ids) = met("scenarios::a_forced_leave_of_the_living_is_refuted", 14, 6);
    let now = world.now;
    world
        .with(ids[0], |node| node.force_leave(now, "n5", true))
        .expect("n5 is known");
    world.run_until_met(10 * SECOND);
    world.run(60 * SECOND);
    assert_eq!(world.difference(), None);
}

#[test]
fn a_quarter_of_all_packets_lost_forgets_nobody_for_good() {
    let (mut world, ids) = met(
        "scenarios::a_quarter_of_all_packets_lost_forgets_nobody_for_good",
        15,
        10,
    );
    world.network.loss = 0.25;
    world.network.duplicates = 0.1;
    world.network.delay = Duration::from_millis(1)..Duration::from_millis(80);
    world.run(300 * SECOND);
    let failed: usize = world
        .hosts
        .iter()
        .flat_map(|host| &host.events)
        .filter(|(_, event)| matches!(event, Event::Failed(_)))
        .count();
    world.heal();
    world.run_until_met(60 * SECOND);
    let probes: u64 = ids
        .iter()
        .map(|&id| world.with(id, |node| node.stats().probes))
        .sum();

    assert_eq!(
        failed, 0,
        "indirect probes, TCP and refutation outlive 25 % loss over {probes} probes"
    );
}

#[test]
fn without_packets_the_streams_keep_a_member_alive() {
    let (mut world, ids) = met(
        "scenarios::without_packets_the_streams_keep_a_member_alive",
        16,
        4,
    );
    world.network.no_packets = vec![ids[2]];
    world.run(120 * SECOND);

    let suspected = world
        .hosts
        .iter()
        .any(|host| host.view.by_name.values().any(|member| member.suspect));
    assert!(!suspected);
    assert_eq!(world.difference(), None);
}

#[test]
fn a_partition_heals() {
    for (length, seed) in [(10, 17), (120, 18)] {
        let (mut world, ids) = met("scenarios::a_partition_heals", seed, 10);
        world.network.cut_off(&ids[6..], 1);
        world.run(Duration::from_secs(length));
        if length > 60 {
            assert_eq!(world.hosts[0].status_of("n8"), Some(Status::Failed));
            assert_eq!(world.hosts[8].status_of("n0"), Some(Status::Failed));
            assert_eq!(world.hosts[8].status_of("n7"), Some(Status::Alive));
        }
        world.heal();
        let taken = world.run_until_met(150 * SECOND);
        println!("cut for {length} s, views met {taken:?} after it healed");
    }
}

#[test]
fn a_join_through_a_dead_seed_fails_and_says_so() {
    let (mut world, ids) = met(
        "scenarios::a_join_through_a_dead_seed_fails_and_says_so",
        19,
        3,
    );
    world.crash(ids[0], Down::Refuses);
    world.crash(ids[1], Down::Silent);
    let id = world.add_host("late");
    world.boot(id);
    let (now, refused, silent) = (
        world.now,
        world.hosts[ids[0]].address,
        world.hosts[ids[1]].address,
    );
    let (alive, own) = (world.hosts[ids[2]].address, world.hosts[id].address);
    world.with(id, |node| node.join(now, &[refused, silent, alive, own]));
    world.run(11 * SECOND);

    let (reached, mut failures) = world.hosts[id]
        .events
        .iter()
        .find_map(|(_, event)| match event {
            Event::JoinFinished {
                reached, failures, ..
            } => Some((*reached, failures.clone())),
            _ => None,
        })
        .expect("the join is over");
    failures.sort();
    assert_eq!(reached, 1);
    let mut expected = vec![
        (refused, "connection refused".to_owned()),
        (silent, "timed out".to_owned()),
        (own, "that is this node itself".to_owned()),
    ];
    expected.sort();
    assert_eq!(failures, expected);
}

#[test]
fn a_hundred_join_crash_leave_and_agree() {
    let mut world = World::new("scenarios::a_hundred_join_crash_leave_and_agree", 20);
    let ids = world.cluster(100, 4 * SECOND);
    let taken = world.run_until_met(30 * SECOND);
    println!("100 nodes met {taken:?} after the last one joined");
    world.crash(ids[7], Down::Silent);
    world.leave(ids[8]);
    let crash = world.run_until(60 * SECOND, "the crash is seen", |world| {
        world.all_see("n7", Status::Failed)
    });
    println!("a crash among 100 was seen by everyone after {crash:?}");
    assert!(world.all_see("n8", Status::Left));
    world.boot(ids[7]);
    world.join(ids[7], ids[50]);
    world.run_until_met(30 * SECOND);
}

#[test]
fn the_same_seed_gives_the_same_story() {
    let story = |seed| {
        let mut world = World::with_seed("scenarios::the_same_seed_gives_the_same_story", seed);
        world.network.loss = 0.1;
        world.network.duplicates = 0.1;
        let ids = world.cluster(6, SECOND);
        world.run(10 * SECOND);
        world.crash(ids[3], Down::Refuses);
        world.run(20 * SECOND);
        (world.trace(), world.steps)
    };

    assert_eq!(story(21), story(21));
    assert_ne!(story(21), story(22));
}
