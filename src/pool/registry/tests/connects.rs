//! What real requests report: failed connects, late answers.

use super::*;

#[test]
fn two_failed_connects_within_a_second_take_it_out_until_a_later_check_passes() {
    let mut world = World::of_three();
    let early = world.now;

    world.refuse(1);
    assert_eq!(world.active(), ["web1", "web2", "web3"]);
    world.now += Duration::from_secs(1);
    world.refuse(1);
    assert_eq!(world.active(), ["web2", "web3"]);
    assert_eq!(world.extra(1), Some(1));

    // A check begun before says nothing about now; a later connect neither.
    let stale = Outcome {
        started: early,
        ended: world.now,
        result: Ok("200".to_owned()),
        timed_out: false,
        up: Some(true),
    };
    world.registry.checked(world.now, &key(1), stale);
    world.registry.connected(world.now, &key(1));
    world.later(10);
    assert_eq!(world.active(), ["web2", "web3"]);

    world.pass(1);
    world.later(10);
    assert_eq!(world.active(), ["web1", "web2", "web3"]);
}

#[test]
fn failed_connects_apart_or_with_a_success_between_do_nothing() {
    let mut world = World::of_three();

    world.refuse(1);
    world.now += Duration::from_millis(1001);
    world.refuse(1);
    world.registry.connected(world.now, &key(1));
    world.refuse(1);

    assert_eq!(world.active(), ["web1", "web2", "web3"]);
}

#[test]
fn while_connects_keep_it_out_a_bad_check_asks_for_the_next_at_once() {
    let mut world = World::of_three();
    world.refuse(1);
    world.refuse(1);

    world.fail(1, Some(true));
    assert_eq!(world.extra(1), Some(2));
    world.fail(1, Some(false));
    assert_eq!(world.extra(1), Some(2));
}

#[test]
fn a_backend_without_a_check_gets_one_while_connects_keep_it_out() {
    let mut world = World::new();
    world.specs([with(1, |spec| spec.check = Some(CheckSpec::None))]);
    assert_eq!(world.active(), ["web1"]);
    assert_eq!(world.registry.targets()[0].check, CheckSpec::None);

    world.refuse(1);
    world.refuse(1);
    assert_eq!(world.active(), [""; 0]);
    assert_eq!(
        world.registry.targets()[0].check,
        CheckSpec::Tcp { port: None }
    );

    world.pass(1);
    world.later(10);
    assert_eq!(world.active(), ["web1"]);
    assert_eq!(world.registry.targets()[0].check, CheckSpec::None);
}

#[test]
fn slow_answers_ask_for_an_extra_check_at_most_every_250_ms() {
    let mut world = World::of_three();

    for (wait, expected) in [(0, 1), (249, 1), (1, 2), (100, 2), (400, 3)] {
        world.now += Duration::from_millis(wait);
        world.registry.slow(world.now, &key(1));
        assert_eq!(world.extra(1), Some(expected), "{wait}");
    }
}
