//! User events and queries: once to each, and to all that can be reached.
//!
//! That nothing is delivered twice and that no clock falls is checked in every story; see `invariants`.

use std::collections::BTreeSet;
use std::time::Duration;

use lb::gossip::core::io::{Answer, QueryId, Question};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::host::Down;
use crate::network::HostId;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// Somebody says or asks something.
pub(crate) fn talk(world: &mut World, random: &mut ChaCha8Rng) {
    let live = world.live();
    if live.is_empty() {
        return;
    }
    let id = live[random.random_range(0..live.len())];
    let now = world.now;
    if random.random_bool(0.5) {
        let payload = random.random::<u32>().to_be_bytes().to_vec();
        world
            .with(id, |node| node.user_event(now, "talk", payload, false))
            .expect("it is short, and the host is live");
    } else {
        let question = Question {
            name: "talk".to_owned(),
            wants_ack: random.random_bool(0.5),
            relay_factor: random.random_range(0..4),
            ..Question::default()
        };
        world
            .with(id, |node| node.query(now, question))
            .expect("it is short, and the host is live");
    }
}

fn met(name: &'static str, seed: u64, count: usize) -> (World, Vec<HostId>) {
    let mut world = World::new(name, seed);
    let ids = world.cluster(count, SECOND);
    world.run_until_met(60 * SECOND);
    (world, ids)
}

fn send(world: &mut World, id: HostId, name: &str) -> u64 {
    let now = world.now;
    world
        .with(id, |node| node.user_event(now, name, Vec::new(), false))
        .expect("it is short")
}

pub(crate) fn ask(world: &mut World, id: HostId, question: Question) -> QueryId {
    let now = world.now;
    world
        .with(id, |node| node.query(now, question))
        .expect("it is short")
}

/// Hosts that were told of a user event.
fn heard(world: &World, name: &str) -> Vec<HostId> {
    world.ids(|host| host.heard.iter().any(|(_, heard, _)| heard == name))
}

/// Who acknowledged and who answered, and after which time it was over.
pub(crate) fn answers(
    world: &World,
    id: HostId,
    query: QueryId,
) -> (BTreeSet<String>, BTreeSet<String>, Option<Duration>) {
    let (mut acks, mut responses, mut done) = (BTreeSet::new(), BTreeSet::new(), None);
    for (at, of, answer) in &world.hosts[id].answers {
        if *of != query {
            continue;
        }
        assert_eq!(done, None, "{answer:?} comes after the end");
        match answer {
            Answer::Ack { from } => assert!(acks.insert(from.clone()), "two acks of {from}"),
            Answer::Response { from, payload } => {
                assert_eq!(from.as_bytes(), payload);
                assert!(responses.insert(from.clone()), "two responses of {from}");
            }
            Answer::Done => done = Some(*at - world.start),
        }
    }
    (acks, responses, done)
}

fn names(world: &World, ids: &[HostId]) -> BTreeSet<String> {
    ids.iter().map(|&id| world.hosts[id].name.clone()).collect()
}

#[test]
fn an_event_reaches_everyone_in_the_order_of_its_time() {
    for count in [1, 3, 12, 60] {
        let (mut world, ids) = met(
            "chatter::an_event_reaches_everyone_in_the_order_of_its_time",
            80,
            count,
        );
        let first = send(&mut world, ids[0], "first");
        world.run_until(10 * SECOND, "the first event is everywhere", |world| {
            heard(world, "first").len() == count
        });
        let second = send(&mut world, ids[count - 1], "second");
        assert!(second > first);
        world.run_until(10 * SECOND, "the second event is everywhere", |world| {
            heard(world, "second").len() == count
        });
    }
}

#[test]
fn events_reach_everyone_though_a_quarter_of_the_packets_is_lost() {
    let (mut world, ids) = met(
        "chatter::events_reach_everyone_though_a_quarter_of_the_packets_is_lost",
        81,
        6,
    );
    world.network.loss = 0.25;
    world.network.duplicates = 0.25;
    for number in 0..20 {
        send(&mut world, ids[number % 6], &format!("event {number}"));
        world.run(SECOND / 10);
    }
    // What gossip loses, a push/pull brings.
    world.run_until(120 * SECOND, "all events are everywhere", |world| {
        (0..20).all(|number| heard(world, &format!("event {number}")).len() == 6)
    });
}

#[test]
fn events_of_two_halves_meet_when_they_do() {
    let (mut world, ids) = met("chatter::events_of_two_halves_meet_when_they_do", 82, 6);
    world.network.cut_off(&ids[..3], 1);
    world.run(60 * SECOND);
    send(&mut world, ids[0], "here");
    send(&mut world, ids[5], "there");
    world.run(20 * SECOND);
    assert_eq!(heard(&world, "here"), ids[..3]);
    assert_eq!(heard(&world, "there"), ids[3..]);

    world.heal();
    world.run_until(180 * SECOND, "both events are everywhere", |world| {
        heard(world, "here").len() == 6 && heard(world, "there").len() == 6
    });
}

#[test]
fn who_comes_later_or_again_hears_nothing_of_the_past() {
    let (mut world, ids) = met(
        "chatter::who_comes_later_or_again_hears_nothing_of_the_past",
        83,
        4,
    );
    send(&mut world, ids[1], "past");
    world.run(5 * SECOND);
    let late = world.add_host("late");
    world.boot(late);
    world.join(late, ids[0]);
    // It comes back and waits to be found, as a seed does.
    world.crash(ids[0], Down::Refuses);
    world.run(20 * SECOND);
    world.boot(ids[0]);
    world.run_until_met(120 * SECOND);
    world.run(120 * SECOND);

    let after = send(&mut world, late, "after");
    assert!(after > 1, "it knows what time it is");
    world.run_until(20 * SECOND, "the new event is everywhere", |world| {
        heard(world, "after").len() == 5
    });
    assert_eq!(
        heard(&world, "past"),
        [1, 2, 3].map(|index: usize| ids[index])
    );
}

#[test]
fn a_query_is_answered_by_everyone_whom_it_is_for() {
    for count in [1, 3, 12, 60] {
        let (mut world, ids) = met(
            "chatter::a_query_is_answered_by_everyone_whom_it_is_for",
            84,
            count,
        );
        let asked = world.elapsed();
        let question = Question {
            name: "uptime".to_owned(),
            wants_ack: true,
            ..Question::default()
        };
        let query = ask(&mut world, ids[count / 2], question);
        world.run(7 * SECOND);

        let (acks, responses, done) = answers(&world, ids[count / 2], query);
        assert_eq!(responses, names(&world, &ids));
        assert_eq!(acks, responses);
        let digits = count.to_string().len() as u32;
        assert_eq!(done, Some(asked + digits * Duration::from_millis(3200)));
        for &id in &ids {
            assert_eq!(world.hosts[id].asked.len(), 1);
        }
    }
}

#[test]
fn filters_choose_by_name_and_by_tag() {
    let (mut world, ids) = met("chatter::filters_choose_by_name_and_by_tag", 85, 5);
    for (number, &id) in ids.iter().enumerate() {
        let mut tags = world.hosts[id].tags.clone();
        tags.insert("rack".to_owned(), format!("r{number}"));
        let now = world.now;
        world
            .with(id, |node| node.set_tags(now, tags))
            .expect("short tags");
    }
    world.run(5 * SECOND);
    for (nodes, tags, meant) in [
        (vec!["n1", "n3", "nobody"], vec![], vec![1, 3]),
        (vec![], vec![("rack", "^r[0-2]$")], vec![0, 1, 2]),
        (vec!["n2", "n4"], vec![("rack", "[34]")], vec![4]),
        (vec![], vec![("rack", "r"), ("role", "db")], vec![]),
        (vec![], vec![("absent", "^$")], vec![0, 1, 2, 3, 4]),
        (vec![], vec![("rack", "(")], vec![]),
    ] {
        let question = Question {
            name: "uptime".to_owned(),
            nodes: nodes.iter().map(|&name| name.to_owned()).collect(),
            tags: tags
                .iter()
                .map(|&(tag, expression)| (tag.to_owned(), expression.to_owned()))
                .collect(),
            wants_ack: true,
            ..Question::default()
        };
        let query = ask(&mut world, ids[0], question);
        world.run(4 * SECOND);
        let (acks, responses, done) = answers(&world, ids[0], query);
        let meant: BTreeSet<String> = meant.iter().map(|number| format!("n{number}")).collect();
        assert_eq!((&acks, &responses), (&meant, &meant), "{nodes:?} {tags:?}");
        assert!(done.is_some());
    }
}

/// The way between two is broken: answers reach who asked through the others.
#[test]
fn relays_bring_answers_where_the_direct_way_is_broken() {
    for (relay_factor, answered) in [(0, false), (3, true)] {
        let (mut world, ids) = met(
            "chatter::relays_bring_answers_where_the_direct_way_is_broken",
            86,
            6,
        );
        world.network.separate(ids[0], ids[5]);
        let question = Question {
            name: "uptime".to_owned(),
            relay_factor,
            ..Question::default()
        };
        let query = ask(&mut world, ids[0], question);
        world.run(4 * SECOND);

        let (_, responses, _) = answers(&world, ids[0], query);
        assert_eq!(
            responses.contains("n5"),
            answered,
            "{relay_factor}: {responses:?}"
        );
        assert!(responses.len() >= 5, "{responses:?}");
    }
}
