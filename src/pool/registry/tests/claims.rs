//! Who owns an address, and what the others are shown as.

use super::*;

#[test]
fn the_alive_member_that_joined_last_owns_an_address() {
    let mut world = World::of_three();
    let newcomer = with(9, |spec| spec.address = key(1).address);

    world.specs([spec(1), spec(2), spec(3), newcomer.clone()]);

    // It is the same socket: what checks said of it still holds.
    assert_eq!(world.active(), ["web2", "web3", "web9"]);
    let shadowed = (State::Shadowed, "shadowed by web9".to_owned());
    assert_eq!(world.state(1), Some(shadowed));
    assert_eq!(world.extra(1), None);

    // When the newcomer fails, the one that is alive takes its address back.
    let lost = Spec {
        standing: Standing::Failed,
        ..newcomer
    };
    world.specs([spec(1), spec(2), spec(3), lost]);
    assert_eq!(world.active(), ["web1", "web2", "web3"]);
}

#[test]
fn an_address_never_passes_to_a_verdict_from_another_check_or_to_a_failing_one() {
    let mut world = World::of_three();
    let newcomer = with(9, |spec| {
        spec.address = key(1).address;
        spec.check = Some(CheckSpec::Tcp { port: None });
    });

    world.specs([spec(1), spec(2), spec(3), newcomer]);
    assert_eq!(world.state(9).map(|it| it.0), Some(State::Unproven));

    world.refuse(2);
    world.refuse(2);
    let newcomer = with(8, |spec| spec.address = key(2).address);
    world.specs([spec(2), spec(3), newcomer]);
    world.later(10);
    assert_eq!(world.state(8).map(|it| it.0), Some(State::Unproven));
}

#[test]
fn a_shadowed_backend_does_not_come_back_on_old_checks() {
    let mut world = World::of_three();
    let newcomer = with(9, |spec| spec.address = key(1).address);
    world.specs([spec(1), spec(2), spec(3), newcomer.clone()]);
    world.check(&key_of(&newcomer), Err("refused".to_owned()), Some(false));

    world.specs([1, 2, 3].map(spec));
    world.later(10);

    assert_eq!(world.active(), ["web2", "web3"]);
    assert_eq!(world.state(1).map(|it| it.0), Some(State::Down));
}

#[test]
fn a_configured_backend_keeps_its_address_from_members() {
    let mut world = World::new();
    let fixed = with(1, |spec| {
        spec.standing = Standing::Static;
        spec.joined = 0;
    });
    let member = with(2, |spec| spec.address = fixed.address);

    world.specs([fixed, member]);

    assert_eq!(
        world.state(2),
        Some((State::Shadowed, "shadowed by web1".to_owned()))
    );
}

#[test]
fn an_unusable_backend_is_shown_not_checked_and_owns_nothing() {
    let mut world = World::new();
    let bad = with(9, |spec| {
        spec.address = key(1).address;
        spec.unusable = Some("state \"x\"".to_owned());
    });

    world.specs([spec(1), bad]);

    assert_eq!(
        world.state(9),
        Some((State::Unusable, "state \"x\"".to_owned()))
    );
    assert_eq!(world.state(1).map(|it| it.0), Some(State::Unproven));
    assert_eq!(world.registry.targets().len(), 1);
}

#[test]
fn one_name_with_two_addresses_is_two_backends() {
    let mut world = World::new();
    let second = with(1, |spec| spec.address = ([10, 0, 0, 2], 80).into());

    world.specs([spec(1), second.clone()]);
    world.pass(1);
    world.check(&key_of(&second), Ok("200".to_owned()), Some(true));
    world.later(10);

    assert_eq!(world.active(), ["web1", "web1"]);
}

#[test]
fn a_renamed_node_never_leaves_the_rotation() {
    let mut world = World::of_three();
    let renamed = with(9, |spec| spec.address = key(1).address);

    world.specs([spec(2), spec(3), renamed]);

    assert_eq!(world.active(), ["web2", "web3", "web9"]);
}
