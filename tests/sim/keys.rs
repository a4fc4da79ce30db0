//! Encrypted clusters: those with a key meet, others stay out.

use std::time::Duration;

use lb::gossip::core::io::Event;
use lb::gossip::core::keyring::{Key, Keyring};
use lb::gossip::core::member::Status;
use lb::gossip::core::serf::keys::{KeyRequest, KeyTally};

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// A ring of keys of 16, 24 or 32 bytes, the first the primary.
pub(crate) fn ring(keys: &[u8]) -> Option<Keyring> {
    let key = |&number: &u8| {
        let len = [16, 24, 32][usize::from(number) % 3];
        Key::new(&vec![number; len]).expect("a length of AES")
    };
    let mut keyring = Keyring::new(key(keys.first()?));
    for number in &keys[1..] {
        keyring.install(key(number));
    }
    Some(keyring)
}

fn dropped(world: &mut World, id: usize, reason: &str) -> u64 {
    let stats = world.with(id, |node| node.stats());
    stats.dropped.get(reason).copied().unwrap_or_default()
}

#[test]
fn an_encrypted_cluster_meets_and_loses_nothing() {
    for (key, compress) in [(0, false), (1, true), (2, false)] {
        let mut world = World::new("keys::an_encrypted_cluster_meets_and_loses_nothing", 70);
        world.keyring = ring(&[key]);
        world.compress = compress;
        let ids = world.cluster(8, SECOND);
        world.run_until_met(20 * SECOND);
        world.run(90 * SECOND);

        assert_eq!(world.difference(), None);
        for id in ids {
            let stats = world.with(id, |node| node.stats());
            assert!(stats.dropped.is_empty(), "{:?}", stats.dropped);
            assert_eq!((stats.probes_failed, stats.refutations), (0, 0));
        }
    }
}

#[test]
fn no_packet_of_an_encrypted_cluster_is_longer_than_one_in_clear() {
    for keys in [&[][..], &[2]] {
        let mut world = World::new(
            "keys::no_packet_of_an_encrypted_cluster_is_longer_than_one_in_clear",
            71,
        );
        world.keyring = ring(keys);
        world.cluster(40, SECOND / 2);
        world.run_until_met(60 * SECOND);

        assert!(
            // The budget of memberlist, and a CRC header, which it does not count.
            (1300..=1400 + 5).contains(&world.longest),
            "{} bytes with keys {keys:?}",
            world.longest
        );
    }
}

#[test]
fn a_member_with_another_key_stays_out_and_disturbs_nobody() {
    for keys in [&[5][..], &[]] {
        let mut world = World::new(
            "keys::a_member_with_another_key_stays_out_and_disturbs_nobody",
            72,
        );
        world.keyring = ring(&[2]);
        let ids = world.cluster(4, SECOND);
        world.run_until_met(20 * SECOND);
        world.keyring = ring(keys);
        let stranger = world.add_host("stranger");
        world.boot(stranger);
        world.join(stranger, ids[0]);
        world.run(60 * SECOND);

        for &id in &ids {
            assert_eq!(world.hosts[id].view.by_name.len(), 4);
            assert_eq!(world.hosts[id].status_of("stranger"), None);
        }
        assert_eq!(world.hosts[stranger].view.by_name.len(), 1);
        // It tries once a second and is refused each time.
        let reason = if keys.is_empty() {
            "plaintext"
        } else {
            "decrypt"
        };
        let refused: u64 = ids.iter().map(|&id| dropped(&mut world, id, reason)).sum();
        assert!(refused >= 30, "{refused} refusals");
        let (first, mut polled) = (ids[0], 0);
        while world.with(first, |node| node.poll_mismatch()).is_some() {
            polled += 1;
        }
        assert!(polled > 0, "and the driver can tell");
    }
}

#[test]
fn members_whose_rings_share_keys_meet_whatever_their_primaries() {
    let mut world = World::new(
        "keys::members_whose_rings_share_keys_meet_whatever_their_primaries",
        73,
    );
    for (number, keys) in [&[2, 3][..], &[3, 2], &[2, 3, 4], &[3, 4, 2]]
        .into_iter()
        .enumerate()
    {
        world.keyring = ring(keys);
        let id = world.add_host(&format!("n{number}"));
        world.boot(id);
        if number > 0 {
            world.join(id, 0);
        }
    }
    world.run_until_met(20 * SECOND);
    world.run(30 * SECOND);

    assert_eq!(world.difference(), None);
    for id in 0..4 {
        assert_eq!(dropped(&mut world, id, "decrypt"), 0);
    }
}

#[test]
fn a_member_that_comes_back_with_another_key_is_failed_to_the_others() {
    let mut world = World::new(
        "keys::a_member_that_comes_back_with_another_key_is_failed_to_the_others",
        74,
    );
    world.keyring = ring(&[2]);
    let ids = world.cluster(4, SECOND);
    world.run_until_met(20 * SECOND);

    world.crash(ids[3], crate::host::Down::Silent);
    world.hosts[ids[3]].keyring = ring(&[5]);
    world.boot(ids[3]);
    world.join(ids[3], ids[0]);
    world.run(60 * SECOND);
    for &id in &ids[..3] {
        assert_eq!(world.hosts[id].status_of("n3"), Some(Status::Failed));
    }

    world.crash(ids[3], crate::host::Down::Silent);
    world.hosts[ids[3]].keyring = ring(&[2]);
    world.boot(ids[3]);
    world.join(ids[3], ids[0]);
    world.run_until_met(60 * SECOND);
}

/// Everyone takes one step of a rotation; asked again until all have, as packets are lost.
fn turn(world: &mut World, by: usize, request: &KeyRequest) {
    for _ in 0..10 {
        let now = world.now;
        let asked = world.with(by, |node| node.keys(now, request));
        let query = asked.expect("it may ask");
        let mut tally = KeyTally::new(world.live().len());
        world.run(5 * SECOND);
        let answers = world.hosts[by].answers.iter();
        for (_, _, answer) in answers.filter(|(_, of, _)| *of == query) {
            if tally.add(answer) {
                break;
            }
        }
        let report = tally.report();
        assert_eq!(report.errors, 0, "{request:?}: {report:?}");
        if report.responses == report.nodes {
            return;
        }
    }
    panic!("not everyone takes {request:?}");
}

#[test]
fn a_rotation_loses_nobody_though_packets_are_lost() {
    let mut world = World::new("keys::a_rotation_loses_nobody_though_packets_are_lost", 75);
    world.keyring = ring(&[2]);
    let ids = world.cluster(9, SECOND);
    world.run_until_met(20 * SECOND);
    world.network.loss = 0.1;
    let key = |number: u8| ring(&[number]).expect("one").primary().clone();

    turn(&mut world, ids[1], &KeyRequest::Install(key(3)));
    turn(&mut world, ids[2], &KeyRequest::Use(key(3)));
    // One is killed and comes back with what it kept.
    world.crash(ids[8], crate::host::Down::Refuses);
    world.boot(ids[8]);
    world.join(ids[8], ids[0]);
    world.run(5 * SECOND);
    turn(&mut world, ids[3], &KeyRequest::Remove(key(2)));
    world.run(30 * SECOND);
    world.heal();
    world.run_until_met(60 * SECOND);

    for &id in &ids {
        assert_eq!(world.hosts[id].keyring, ring(&[3]));
        assert_eq!(dropped(&mut world, id, "decrypt"), 0);
        let events = world.hosts[id].events.iter();
        let failed: Vec<_> = events
            .filter(|(_, event)| matches!(event, Event::Failed(member) if member.name != "n8"))
            .collect();
        assert!(failed.is_empty(), "{failed:?}");
    }
}
