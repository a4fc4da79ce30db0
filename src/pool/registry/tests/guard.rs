//! A front that is cut off does not empty its own pool.

use super::*;

fn no_check(host: u8, gossip: Standing) -> Spec {
    with(host, |spec| {
        spec.check = Some(CheckSpec::None);
        spec.standing = gossip;
    })
}

fn pool(of: u8, failed: u8) -> Vec<Spec> {
    let gossip = |host| match host <= failed {
        true => Standing::Failed,
        false => Standing::Alive,
    };
    (1..=of).map(|host| no_check(host, gossip(host))).collect()
}

#[test]
fn most_of_a_pool_lost_at_once_stays_until_a_check_of_each_fails() {
    let mut world = World::new();
    world.specs(pool(3, 0));
    world.later(10);
    world.changes();

    world.specs(pool(3, 3));
    world.later(10);
    assert_eq!(world.active(), ["web1", "web2", "web3"]);
    assert_eq!(world.state(1).map(|it| it.0), Some(State::Lost));
    let checks = world.registry.targets();
    assert_eq!(checks.len(), 3);
    assert!(checks.iter().all(|one| one.check.to_string() == "tcp"));
    assert_eq!(
        world.changes()[0],
        "pool - 3: 3 of 3 lost within 5s, so it may be us: each stays until a check of its own fails"
    );

    world.pass(1);
    world.fail(2, None);
    world.later(10);
    assert_eq!(world.active(), ["web1", "web3"]);

    world.specs(pool(3, 0));
    world.later(10);
    assert_eq!(world.active(), ["web1", "web2", "web3"]);
}

#[test]
fn half_of_a_pool_is_not_most_of_it() {
    let mut world = World::new();
    world.specs(pool(4, 0));
    world.later(10);

    world.specs(pool(4, 2));

    assert_eq!(world.active(), ["web3", "web4"]);
}

#[test]
fn who_was_lost_first_gets_its_chance_when_the_others_follow() {
    let mut world = World::new();
    world.specs(pool(4, 0));
    world.later(10);
    for failed in 1..=2 {
        world.specs(pool(4, failed));
        world.later(1000);
    }
    assert_eq!(world.active(), ["web3", "web4"]);

    world.specs(pool(4, 3));
    assert_eq!(world.active(), ["web3", "web4"]);
    (1..=2).for_each(|host| world.pass(host));
    world.later(10);
    assert_eq!(world.active(), ["web1", "web2", "web3", "web4"]);
}

#[test]
fn losses_that_are_far_apart_are_believed() {
    let mut world = World::new();
    world.specs(pool(3, 0));
    world.later(10);
    for failed in 1..=2 {
        world.specs(pool(3, failed));
        world.later(5000);
    }

    assert_eq!(world.active(), ["web3"]);
}

#[test]
fn leaves_and_tags_are_not_guarded() {
    let mut world = World::of_three();
    world.specs([1, 2, 3].map(|host| standing(host, Standing::Leaving)));
    assert_eq!(world.active(), [""; 0]);

    let mut world = World::of_three();
    world.specs([]);
    assert_eq!(world.active(), [""; 0]);

    let mut world = World::of_three();
    let maint = |host| with(host, |spec| spec.announced = announce::State::Maint);
    world.specs([1, 2, 3].map(maint));
    assert_eq!(world.active(), [""; 0]);
}

#[test]
fn the_reaped_are_held_with_the_others_and_go_with_their_first_bad_check() {
    let mut world = World::of_three();
    world.specs([1, 2, 3].map(|host| standing(host, Standing::Failed)));
    world.specs([standing(3, Standing::Failed)]);
    world.later(10);
    assert_eq!(world.active(), ["web1", "web2", "web3"]);

    world.fail(1, Some(true));
    assert_eq!(world.active(), ["web2", "web3"]);
    world.specs([standing(3, Standing::Failed)]);
    world.later(10);
    assert_eq!(world.state(1), None);
    assert_eq!(world.active(), ["web2", "web3"]);

    world.later(3_600_000);
    world.specs([spec(3)]);
    world.later(10);
    assert_eq!(world.state(2), None, "lost_keep holds for them too");
}
