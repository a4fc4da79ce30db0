//! What follows from gossip's suspicion and failure.

use super::*;

#[test]
fn suspect_asks_for_one_extra_check_and_nothing_else() {
    let mut world = World::of_three();
    let generation = world.registry.targets_generation();

    world.specs([standing(1, Standing::Suspect), spec(2), spec(3)]);
    world.specs([standing(1, Standing::Suspect), spec(2), spec(3)]);

    assert_eq!(world.extra(1), Some(1));
    assert_eq!(world.registry.targets_generation(), generation + 1);
    assert_eq!(world.active(), ["web1", "web2", "web3"]);
    assert_eq!(world.changes(), [""; 0]);
}

#[test]
fn a_lost_agent_stays_in_while_checks_pass_and_goes_with_the_first_bad_one() {
    let mut world = World::of_three();

    world.specs([standing(1, Standing::Failed), spec(2), spec(3)]);
    assert_eq!(world.extra(1), Some(1));
    world.later(10);
    let reason = "agent lost: gossip says failed, checks still pass";
    assert_eq!(world.state(1), Some((State::Lost, reason.to_owned())));
    world.pass(1);
    world.later(10);
    assert_eq!(world.active(), ["web1", "web2", "web3"]);

    // Fall is 2, and one is enough.
    world.fail(1, Some(true));
    assert_eq!(world.active(), ["web2", "web3"]);
    assert_eq!(world.extra(1), None);
    assert_eq!(
        world.changes(),
        [
            "web1 lost 3: agent lost: gossip says failed, checks still pass",
            "web1 down 2: agent lost, then a check failed: connection refused"
        ]
    );

    // Only its agent brings it back, and it has to prove itself again.
    world.pass(1);
    world.later(10);
    assert_eq!(world.active(), ["web2", "web3"]);
    world.specs([1, 2, 3].map(spec));
    world.later(10);
    assert_eq!(world.state(1).map(|it| it.0), Some(State::Unproven));
    assert!(world.extra(1) > Some(1));
    world.pass(1);
    world.later(10);
    assert_eq!(world.active(), ["web1", "web2", "web3"]);
}

#[test]
fn a_check_that_ended_before_gossip_gave_up_is_no_witness() {
    let mut world = World::of_three();
    let before = world.now;
    world.now += Duration::from_secs(1);
    world.specs([standing(1, Standing::Failed), spec(2), spec(3)]);

    let late = Outcome {
        started: before,
        ended: before,
        result: Err("no answer".to_owned()),
        timed_out: true,
        up: Some(true),
    };
    world.registry.checked(world.now, &key(1), late);

    assert_eq!(world.active(), ["web1", "web2", "web3"]);
}

#[test]
fn a_lost_agent_that_is_alive_again_never_left_the_rotation() {
    let mut world = World::of_three();
    world.specs([standing(1, Standing::Failed), spec(2), spec(3)]);
    world.pass(1);

    world.specs([1, 2, 3].map(spec));
    world.later(10);

    assert_eq!(world.state(1).map(|it| it.0), Some(State::Up));
    assert_eq!(world.snapshot().active[0].live.downs(), 0);
}

#[test]
fn a_lost_agent_is_kept_for_lost_keep_and_then_forgotten() {
    let mut world = World::of_three();
    world.specs([standing(1, Standing::Failed), spec(2), spec(3)]);
    world.later(10);
    let keep = Duration::from_secs(3600);
    assert_eq!(
        world.registry.poll_timeout(),
        Some(world.now + keep - Duration::from_millis(10))
    );

    world.later(3_600_000);
    assert_eq!(world.active(), ["web2", "web3"]);
    assert_eq!(world.state(1).map(|it| it.0), Some(State::Down));

    world.now = world.registry.poll_timeout().unwrap();
    world.later(0);
    world.later(10);
    assert_eq!(world.state(1), None);
    assert_eq!(
        world.changes().last().unwrap(),
        "web1 - 2: not seen alive for a while"
    );
    assert_eq!(world.registry.poll_timeout(), None);

    world.specs([1, 2, 3].map(spec));
    world.later(10);
    assert_eq!(world.state(1).map(|it| it.0), Some(State::Unproven));
}

#[test]
fn a_member_that_we_only_know_as_failed_is_not_tried() {
    let mut world = World::new();

    world.specs([standing(1, Standing::Failed)]);

    assert_eq!(world.registry.targets(), []);
    assert_eq!(world.state(1).map(|it| it.0), Some(State::Down));
}
