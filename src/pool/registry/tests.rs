use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::announce;
use crate::pool::snapshot::Snapshot;
use crate::pool::spec::Standing;

/// A registry of one pool, and a clock turned by hand.
struct World {
    now: Instant,
    registry: Registry,
}

fn settings(name: &str) -> Settings {
    Settings {
        name: name.to_owned(),
        check: "http:/".parse().unwrap(),
        proto: Proto::Http,
        default_port: 80,
        lost_keep: Duration::from_secs(3600),
        backends: vec![],
    }
}

fn spec(host: u8) -> Spec {
    Spec {
        id: UpstreamId {
            node: format!("web{host}").into(),
            service: "web".into(),
        },
        address: ([10, 0, 0, host], 80).into(),
        weight: 1,
        tier: 0,
        backup: false,
        check: None,
        proto: None,
        announced: announce::State::Ready,
        standing: Standing::Alive,
        joined: u64::from(host),
        unusable: None,
        warnings: vec![],
    }
}

fn with(host: u8, change: impl FnOnce(&mut Spec)) -> Spec {
    let mut spec = spec(host);
    change(&mut spec);
    spec
}

fn standing(host: u8, standing: Standing) -> Spec {
    with(host, |spec| spec.standing = standing)
}

fn key(host: u8) -> Key {
    key_of(&spec(host))
}

fn key_of(spec: &Spec) -> Key {
    Key {
        pool: "web".into(),
        id: spec.id.clone(),
        address: spec.address,
    }
}

impl World {
    fn new() -> Self {
        let now = crate::clock::now();
        Self {
            now,
            registry: Registry::new(now, vec![settings("web")]),
        }
    }

    /// Three backends that have passed their first check, all told.
    fn of_three() -> Self {
        let mut world = Self::new();
        world.specs([1, 2, 3].map(spec));
        (1..=3).for_each(|host| world.pass(host));
        world.later(10);
        world.changes();
        world
    }

    fn specs(&mut self, specs: impl IntoIterator<Item = Spec>) {
        let specs = specs.into_iter().collect();
        self.registry.set_specs(self.now, "web", specs);
    }

    fn later(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.registry.handle_timeout(self.now);
    }

    fn pass(&mut self, host: u8) {
        self.check(&key(host), Ok("200".to_owned()), Some(true));
    }

    fn fail(&mut self, host: u8, up: Option<bool>) {
        self.check(&key(host), Err("connection refused".to_owned()), up);
    }

    fn check(&mut self, key: &Key, result: Result<String, String>, up: Option<bool>) {
        let outcome = Outcome {
            started: self.now,
            ended: self.now,
            result,
            timed_out: false,
            up,
        };
        self.registry.checked(self.now, key, outcome);
    }

    fn refuse(&mut self, host: u8) {
        self.registry
            .connect_failed(self.now, &key(host), "connection refused");
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.registry.pools()[0].snapshot.load_full()
    }

    /// Hosts in the active tier.
    fn active(&self) -> Vec<String> {
        let snapshot = self.snapshot();
        snapshot
            .active
            .iter()
            .map(|one| one.id.to_string())
            .collect()
    }

    fn state(&self, host: u8) -> Option<(State, String)> {
        let snapshot = self.snapshot();
        let mut all = snapshot.backends.iter();
        let found = all.find(|one| one.upstream.id == key(host).id)?;
        Some((found.verdict.state, found.verdict.reason.clone()))
    }

    fn extra(&self, host: u8) -> Option<u64> {
        let targets = self.registry.targets();
        let found = targets.into_iter().find(|target| target.key == key(host));
        found.map(|target| target.extra)
    }

    fn changes(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.registry.poll_change())
            .map(|change| {
                let who = change
                    .backend
                    .map_or("pool".to_owned(), |(id, _)| id.to_string());
                let to = change.to.map_or("-".to_owned(), |to| to.to_string());
                format!("{who} {to} {}: {}", change.in_count, change.reason)
            })
            .collect()
    }
}

#[test]
fn a_backend_is_in_with_its_first_passed_check() {
    let mut world = World::new();

    world.specs([spec(1)]);
    assert_eq!(world.active(), [""; 0]);
    assert_eq!(world.registry.targets().len(), 1);

    world.pass(1);
    world.later(10);
    assert_eq!(world.active(), ["web1"]);
    assert_eq!(
        world.changes(),
        [
            "web1 unproven 0: unproven: waiting for the first check",
            "web1 up 1: check http:/ passed: 200"
        ]
    );
}

#[test]
fn two_bad_checks_take_it_out_with_the_reason_and_its_since() {
    let mut world = World::of_three();

    world.fail(2, Some(true));
    assert_eq!(world.active(), ["web1", "web2", "web3"]);
    world.now += Duration::from_secs(1);
    world.fail(2, Some(false));

    assert_eq!(world.active(), ["web1", "web3"]);
    let down = (
        State::Down,
        "2 checks failed: connection refused".to_owned(),
    );
    assert_eq!(world.state(2), Some(down.clone()));
    assert_eq!(world.snapshot().backends[1].since, world.now);
    assert_eq!(
        world.changes(),
        ["web2 down 2: 2 checks failed: connection refused"]
    );

    // More of the same is no news.
    let generation = world.snapshot().generation;
    world.fail(2, Some(false));
    world.later(20);
    assert_eq!(world.snapshot().generation, generation);
    assert_eq!(world.state(2), Some(down));
}

#[test]
fn joins_coalesce_to_one_store_per_10_ms_and_removals_are_stored_at_once() {
    let mut world = World::new();
    world.specs([1, 2, 3].map(spec));
    let generation = world.snapshot().generation;

    (1..=3).for_each(|host| world.pass(host));
    assert_eq!(world.active(), [""; 0]);
    assert_eq!(
        world.registry.poll_timeout(),
        Some(world.now + Duration::from_millis(10))
    );
    world.later(9);
    assert_eq!(world.snapshot().generation, generation);
    world.later(1);
    assert_eq!(world.snapshot().generation, generation + 1);
    assert_eq!(world.active(), ["web1", "web2", "web3"]);

    world.fail(1, Some(false));
    world.fail(2, Some(false));
    assert_eq!(world.snapshot().generation, generation + 3);
    assert_eq!(world.active(), ["web3"]);
    assert_eq!(world.registry.poll_timeout(), None);
}

#[test]
fn a_store_wakes_those_who_wait_for_the_pool() {
    let mut world = World::new();
    let changes = world.registry.pools()[0].changes();

    world.specs([spec(1)]);

    assert!(changes.has_changed().unwrap());
    assert_eq!(*changes.borrow(), world.snapshot().generation);
}

#[test]
fn settled_means_one_is_in_or_all_are_decided_and_it_stays() {
    let mut world = World::new();
    world.specs([]);
    assert!(!world.snapshot().settled);

    world.specs([spec(1), spec(2)]);
    world.fail(1, Some(false));
    world.later(10);
    assert!(!world.snapshot().settled);
    world.fail(2, None);
    world.later(10);
    assert!(!world.snapshot().settled);
    world.fail(2, Some(false));
    world.later(10);
    assert!(world.snapshot().settled);

    world.specs([spec(3)]);
    world.later(10);
    assert!(world.snapshot().settled);

    let mut other = World::new();
    other.specs([spec(1), spec(2)]);
    other.pass(1);
    other.later(10);
    assert!(other.snapshot().settled);
}

#[test]
fn left_is_removed_at_once_and_what_runs_there_is_not_disturbed() {
    let mut world = World::of_three();
    let held = world.snapshot().active[1].clone();

    world.specs([spec(1), standing(2, Standing::Leaving), spec(3)]);
    assert_eq!(world.active(), ["web1", "web3"]);
    assert_eq!(world.state(2).map(|it| it.0), Some(State::Drain));
    world.specs([spec(1), spec(3)]);
    world.later(10);

    assert_eq!(world.active(), ["web1", "web3"]);
    assert_eq!(world.state(2), None);
    assert_eq!(world.extra(2), None);
    assert_eq!(held.live.downs(), 0);
    assert_eq!(
        world.changes(),
        [
            "web2 drain 2: leaving the cluster",
            "web2 - 2: left the cluster"
        ]
    );
}

#[test]
fn going_down_wakes_the_requests_that_wait_there_and_draining_does_not() {
    let mut world = World::of_three();
    let live = world.snapshot().active[0].live.clone();
    let mut waiting = pin!(live.gone_down(live.downs()));
    let mut context = Context::from_waker(Waker::noop());

    world.specs([
        with(1, |spec| spec.announced = announce::State::Drain),
        spec(2),
        spec(3),
    ]);
    assert_eq!(waiting.as_mut().poll(&mut context), Poll::Pending);

    world.fail(1, Some(false));
    assert_eq!(waiting.as_mut().poll(&mut context), Poll::Ready(()));
    assert_eq!(world.state(1).map(|it| it.0), Some(State::Drain));
}

#[test]
fn counters_survive_a_new_weight_and_not_a_new_address() {
    let mut world = World::of_three();
    let live = world.snapshot().active[0].live.clone();

    world.specs([with(1, |spec| spec.weight = 5), spec(2), spec(3)]);
    world.later(10);
    assert_eq!(world.snapshot().active[0].weight, 5);
    assert!(Arc::ptr_eq(&live, &world.snapshot().active[0].live));

    let moved = with(1, |spec| spec.address.set_port(81));
    world.specs([moved, spec(2), spec(3)]);
    assert_eq!(world.active(), ["web2", "web3"]);
    assert!(!Arc::ptr_eq(
        &live,
        &world.snapshot().backends[0].upstream.live
    ));
}

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
fn an_emptied_pool_is_told_and_so_is_its_recovery() {
    let mut world = World::new();
    world.specs([spec(1)]);
    world.pass(1);
    world.changes();

    world.fail(1, Some(false));
    world.pass(1);

    assert_eq!(
        world.changes(),
        [
            "web1 down 0: check failed: connection refused",
            "pool - 0: no backend is in rotation",
            "web1 up 1: check http:/ passed: 200",
            "pool - 1: 1 in rotation again"
        ]
    );
}

#[test]
fn a_reload_keeps_pools_backends_and_verdicts() {
    let mut world = World::of_three();
    let pool = world.registry.pools()[0].clone();
    let generation = world.registry.targets_generation();
    let changed = Settings {
        check: "http:/health".parse().unwrap(),
        ..settings("web")
    };

    world
        .registry
        .configure(world.now, vec![settings("api"), changed]);

    let pools = world.registry.pools();
    assert_eq!(&*pools[0].name, "api");
    assert!(Arc::ptr_eq(&pools[1], &pool));
    assert_eq!(pool.snapshot.load().active.len(), 3);
    assert!(world.registry.targets_generation() > generation);
    let check = &world.registry.targets()[0].check;
    assert_eq!(check.to_string(), "http:/health");

    // The new check decides once it can, not by its first failure.
    world.fail(1, None);
    assert_eq!(pool.snapshot.load().active.len(), 3);
    world.fail(1, Some(false));
    assert_eq!(pool.snapshot.load().active.len(), 2);
}

#[test]
fn a_removed_pool_keeps_its_last_snapshot_and_is_checked_no_more() {
    let mut world = World::of_three();
    let pool = world.registry.pools()[0].clone();
    let generation = world.registry.targets_generation();

    world.registry.configure(world.now, vec![settings("api")]);
    world.fail(1, Some(false));

    assert_eq!(pool.snapshot.load().active.len(), 3);
    assert_eq!(world.registry.targets(), []);
    assert!(world.registry.targets_generation() > generation);
    assert_eq!(
        world.changes(),
        ["pool - 0: the pool is no longer configured"]
    );
}

#[test]
fn whatever_comes_only_who_is_in_rotation_is_in_the_table() {
    let seed = 0x5e_ed03;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for round in 0..60 {
        let mut world = World::new();
        let mut generation = 0;
        for step in 0..200 {
            random_news(&mut world, &mut random);
            let case = format!("seed {seed:#x}, round {round}, step {step}");
            let snapshot = world.snapshot();
            assert!(snapshot.generation >= generation, "{case}");
            generation = snapshot.generation;
            consistent(&snapshot, &case);
            let due = world.registry.poll_timeout();
            assert!(due.is_none_or(|due| due > world.now), "{case}: {due:?}");
            no_address_twice(&snapshot, &case);
        }
        assert!(generation > 10, "seed {seed:#x}, round {round}");
    }
}

fn random_news(world: &mut World, random: &mut ChaCha8Rng) {
    let host = random.random_range(1..8);
    match random.random_range(0..9) {
        0 => {
            let specs: Vec<Spec> = (1..8)
                .filter_map(|host| random.random_bool(0.8).then(|| random_spec(host, random)))
                .collect();
            world.specs(specs);
        }
        1 | 2 => world.pass(host),
        3 => world.fail(host, None),
        4 => world.fail(host, Some(random.random_bool(0.5))),
        5 => world.refuse(host),
        6 => world.registry.connected(world.now, &key(host)),
        7 => world.registry.slow(world.now, &key(host)),
        _ => {}
    }
    let waits = [0, 1, 5, 10, 400, 300_000, 4_000_000];
    world.later(waits[random.random_range(0..waits.len())]);
}

fn random_spec(host: u8, random: &mut ChaCha8Rng) -> Spec {
    with(host, |spec| {
        spec.standing = match random.random_range(0..8) {
            0 => Standing::Failed,
            1 => Standing::Suspect,
            2 => Standing::Leaving,
            3 => Standing::Static,
            _ => Standing::Alive,
        };
        spec.weight = random.random_range(1..5);
        spec.tier = random.random_range(0..2);
        spec.backup = random.random_bool(0.2);
        spec.check = random.random_bool(0.2).then_some(CheckSpec::None);
        spec.unusable = random.random_bool(0.1).then(|| "bad".to_owned());
        if random.random_bool(0.2) {
            spec.address = key(1).address;
        }
        if random.random_bool(0.1) {
            spec.announced = announce::State::Fail("x".to_owned());
        }
    })
}

fn consistent(snapshot: &Snapshot, case: &str) {
    let mut expected: Vec<_> = snapshot
        .backends
        .iter()
        .filter(|backend| backend.verdict.in_rotation)
        .map(|backend| Arc::as_ptr(&backend.upstream))
        .collect();
    let mut found: Vec<_> = snapshot
        .active
        .iter()
        .chain(&snapshot.standby)
        .map(Arc::as_ptr)
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "{case}");
    assert_eq!(snapshot.table.is_empty(), expected.is_empty(), "{case}");
    let active = snapshot.active.len() as u32;
    assert!(snapshot.table.iter().all(|&index| index < active), "{case}");
    assert!(snapshot.settled || expected.is_empty(), "{case}");
}

fn no_address_twice(snapshot: &Snapshot, case: &str) {
    let mut addresses: Vec<_> = snapshot
        .active
        .iter()
        .chain(&snapshot.standby)
        .map(|one| one.address)
        .collect();
    addresses.sort();
    let all = addresses.len();
    addresses.dedup();
    assert_eq!(addresses.len(), all, "{case}");
}
