//! Who gets a connection: the same order, tiers, limits and waits as for requests.

use std::time::Duration;

use lb::pool::queue;
use lb::proxy::Feedback;
use lb::proxy::stats::Reason;

use crate::front::{Front, spec};
use crate::hanging::Hanging;
use crate::peer::Peer;
use crate::toy::Toy;
use crate::{named, relaying, until};

#[test]
fn two_equal_backends_take_turns() {
    let (a, b) = (named("a"), named("b"));
    let front = Front::with(relaying(), &[&a, &b]);

    let names: Vec<_> = (0..8).map(|_| front.client().bytes(1)).collect();

    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1], "{names:?}");
    }
}

#[test]
fn a_refused_connection_goes_elsewhere_at_once_and_is_told() {
    let (dead, alive) = (Toy::refusing(), named("a"));
    let mut front = Front::with(relaying(), &[&dead, &alive]);

    for _ in 0..4 {
        assert_eq!(front.client().bytes(1), b"a");
    }

    assert!(front.retries(Reason::Connect) >= 2);
    let refused = front.feedback().iter().any(
        |feedback| matches!(feedback, Feedback::ConnectFailed { key, .. } if key.address == dead.address),
    );
    assert!(refused);
}

#[test]
fn as_many_as_there_are_may_refuse() {
    let dead: Vec<_> = (0..6).map(|_| Toy::refusing()).collect();
    let alive = named("a");
    let toys: Vec<&Toy> = dead.iter().chain([&alive]).collect();
    let front = Front::with(relaying(), &toys);

    assert_eq!(front.client().bytes(1), b"a");
}

#[test]
fn a_silent_machine_is_overtaken() {
    let (dark, alive) = (Hanging::new(), named("a"));
    let specs = vec![spec(dark.address, 1, false), spec(alive.address, 1, false)];
    let mut front = Front::unproven(relaying(), specs);
    front.all_up();

    for _ in 0..2 {
        assert_eq!(front.client().bytes(1), b"a");
    }

    assert!(front.retries(Reason::SlowConnect) >= 1);
}

#[test]
fn nobody_to_relay_to_is_a_reset() {
    let dead = Toy::refusing();
    let front = Front::with(relaying(), &[&dead]);

    front.client().assert_reset();

    let mut empty = relaying();
    empty.timeouts.first_verdict = Duration::ZERO;
    let front = Front::with(empty, &[]);
    front.client().assert_reset();
}

#[test]
fn the_standby_takes_over_when_the_primary_is_down_and_gives_back_after() {
    let (primary, standby) = (named("p"), named("s"));
    let mut specs = vec![
        spec(primary.address, 1, false),
        spec(standby.address, 1, false),
    ];
    specs[0].tier = 1;
    let mut front = Front::unproven(relaying(), specs);
    front.all_up();
    for _ in 0..3 {
        assert_eq!(front.client().bytes(1), b"p");
    }

    front.down(&primary);
    for _ in 0..3 {
        assert_eq!(front.client().bytes(1), b"s");
    }

    let mut old = front.client();
    assert_eq!(old.bytes(1), b"s");
    front.up(&primary);
    assert_eq!(front.client().bytes(1), b"p");
    old.send("x");
    assert_eq!(old.bytes(1), b"x", "what stands stays");
}

#[test]
fn the_standby_takes_over_before_any_check_when_the_primary_refuses() {
    let (primary, standby) = (named("p"), named("s"));
    let mut specs = vec![
        spec(primary.address, 1, false),
        spec(standby.address, 1, false),
    ];
    specs[0].tier = 1;
    let mut front = Front::unproven(relaying(), specs);
    front.all_up();
    assert_eq!(front.client().bytes(1), b"p");

    primary.stop();

    assert_eq!(front.client().bytes(1), b"s");
}

#[test]
fn connections_beyond_the_limit_wait_for_one_to_end() {
    let toy = named("a");
    let mut settings = relaying();
    settings.workers = 2;
    let limits = queue::Settings {
        max_in_flight: 1,
        queue: 1,
        queue_timeout: Duration::from_secs(20),
    };
    let specs = vec![spec(toy.address, 1, false)];
    let mut front = Front::start(settings, specs, limits, None);
    front.all_up();
    let mut first = front.client();
    assert_eq!(first.bytes(1), b"a");
    assert_eq!(front.in_flight(&toy), 1);
    let mut second = front.client();
    until("it waits", || front.pool.queue.len() == 1);

    // There is no place in line either.
    front.client().assert_reset();
    drop(first);

    assert_eq!(second.bytes(1), b"a");
}

#[test]
fn a_client_that_resets_while_it_waits_leaves_the_line() {
    let toy = named("a");
    let limits = queue::Settings {
        max_in_flight: 1,
        queue: 10,
        queue_timeout: Duration::from_secs(60),
    };
    let specs = vec![spec(toy.address, 1, false)];
    let mut front = Front::start(relaying(), specs, limits, None);
    front.all_up();
    let mut first = front.client();
    assert_eq!(first.bytes(1), b"a");
    let second = front.client();
    until("it waits", || front.pool.queue.len() == 1);

    second.reset();

    until("it waits no more", || front.pool.queue.is_empty());
}

#[test]
fn a_client_that_ends_while_it_waits_is_still_served() {
    let toy = named("a");
    let limits = queue::Settings {
        max_in_flight: 1,
        queue: 10,
        queue_timeout: Duration::from_secs(60),
    };
    let specs = vec![spec(toy.address, 1, false)];
    let mut front = Front::start(relaying(), specs, limits, None);
    front.all_up();
    let mut first = front.client();
    assert_eq!(first.bytes(1), b"a");
    let mut second = front.client();
    second.send("question");
    second.end();
    until("it waits", || front.pool.queue.len() == 1);

    drop(first);

    assert_eq!(second.rest_and_end(), (b"aquestion".to_vec(), true));
}

#[test]
fn connections_that_come_before_the_first_verdict_are_held() {
    let toy = named("a");
    let mut settings = relaying();
    settings.timeouts.first_verdict = Duration::from_secs(60);
    let mut front = Front::unproven(settings, vec![spec(toy.address, 1, false)]);
    let mut client = front.client();
    until("it is held", || front.stats().requests_in_flight == 1);
    assert_eq!(toy.connections(), 0);

    front.up(&toy);

    assert_eq!(client.bytes(1), b"a");
}

#[test]
fn who_was_reset_while_it_waited_gets_no_place_whatever_it_had_said() {
    for said in ["", "hello"] {
        let toy = named("a");
        let limits = queue::Settings {
            max_in_flight: 1,
            queue: 10,
            queue_timeout: Duration::from_secs(20),
        };
        let specs = vec![spec(toy.address, 1, false)];
        let mut front = Front::start(relaying(), specs, limits, None);
        front.all_up();
        let mut first = front.client();
        assert_eq!(first.bytes(1), b"a");
        let mut others = [front.client(), front.client(), front.client()];
        for client in &mut others {
            client.send(said);
        }
        until("they wait", || front.pool.queue.len() == others.len());
        others.into_iter().for_each(Peer::reset);

        drop(first);

        assert_eq!(front.client().bytes(1), b"a");
        assert_eq!(toy.connections(), 2, "after {said:?}");
    }
}
