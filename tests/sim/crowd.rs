//! Hundreds of members: a join and a crash are seen by all, and of all their answers none is lost.
//!
//! One world for all of it: that three hundred meet takes most of the time.

use std::time::Duration;

use lb::gossip::core::io::{Event, Question};
use lb::gossip::core::member::Status;

use crate::chatter::{answers, ask};
use crate::host::Down;
use crate::network::HostId;
use crate::storms::nodes;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn three_hundred_see_a_join_and_a_crash_and_no_answer_of_theirs_is_lost() {
    let mut world = World::new(
        "crowd::three_hundred_see_a_join_and_a_crash_and_no_answer_of_theirs_is_lost",
        500,
    );
    let ids = world.cluster(nodes(300), 5 * SECOND);
    world.run_until_met(60 * SECOND);

    let late = world.add_host("late");
    world.boot(late);
    world.join(late, ids[7]);
    let join = world.run_until(20 * SECOND, "the join is seen", |world| {
        world.all_see("late", Status::Alive)
    });
    world.crash(ids[3], Down::Silent);
    let crash = world.run_until(60 * SECOND, "the crash is seen", |world| {
        world.all_see("n3", Status::Failed)
    });
    println!(
        "{}: join seen by all after {join:?}, crash after {crash:?}",
        ids.len()
    );

    assert_all_answer(&mut world, ids[7]);
}

/// One asks all; each live host is asked once, and what it says arrives.
fn assert_all_answer(world: &mut World, asker: HostId) {
    let question = Question {
        name: "uptime".to_owned(),
        wants_ack: true,
        ..Question::default()
    };
    let query = ask(world, asker, question);
    world.run(10 * SECOND);

    let (acks, responses, done) = answers(world, asker, query);
    let live = world.live();
    assert_eq!((acks.len(), responses.len()), (live.len(), live.len()));
    assert!(done.is_some());
    let questions = |event: &Event| matches!(event, Event::Query { .. });
    for id in live {
        let events = &world.hosts[id].events;
        let asked = events.iter().filter(|(_, event)| questions(event)).count();
        assert_eq!(asked, 1);
    }
}
