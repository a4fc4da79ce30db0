mod claims;
mod connects;
mod ejection;
mod guard;
mod lost;
mod random;

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
        ejection: crate::pool::ejection::Settings::default(),
        hop: hop::Settings::default(),
        limits: queue::Settings::default(),
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
                    .map_or_else(|| "pool".to_owned(), |(id, _)| id.to_string());
                let to = change
                    .to
                    .map_or_else(|| "-".to_owned(), |to| to.to_string());
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
fn going_down_while_drained_or_leaving_is_told_and_draining_is_not() {
    for out in [
        with(1, |spec| spec.announced = announce::State::Drain),
        standing(1, Standing::Leaving),
    ] {
        let mut world = World::of_three();
        let live = world.snapshot().active[0].live.clone();
        let changes = world.registry.pools()[0].changes();

        world.specs([out, spec(2), spec(3)]);
        assert_eq!(live.downs(), 0);
        let generation = *changes.borrow();

        // Workers look at `downs` when a snapshot is stored, and at no other time.
        world.fail(1, Some(false));
        assert_eq!(live.downs(), 1);
        assert!(*changes.borrow() > generation);
        assert_eq!(world.state(1).map(|it| it.0), Some(State::Drain));
    }
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
fn requests_that_wait_at_the_old_address_of_a_rebuilt_node_are_woken() {
    type Change = fn(&mut Spec);
    let cases: [(&str, Change, u64); 3] = [
        (
            "another machine",
            |spec| spec.address.set_ip([10, 0, 0, 99].into()),
            1,
        ),
        ("another port", |spec| spec.address.set_port(81), 0),
        ("another name", |spec| spec.id.node = "web9".into(), 0),
    ];
    for (what, change, downs) in cases {
        let mut world = World::of_three();
        let live = world.snapshot().active[0].live.clone();
        let generation = *world.registry.pools()[0].changes().borrow();

        world.specs([with(1, change), spec(2), spec(3)]);

        assert_eq!(live.downs(), downs, "{what}");
        let told = world
            .changes()
            .contains(&"web1 - 2: its node is at another address now".to_owned());
        assert_eq!(told, downs == 1, "{what}");
        assert!(
            *world.registry.pools()[0].changes().borrow() > generation,
            "{what}"
        );
    }
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
fn a_check_over_tls_is_made_in_clear_only_for_members_of_a_pool_of_tls_that_speak_none() {
    for (pool, member, check, expected) in [
        (Proto::Http, None, "https:/", "https:/"),
        (Proto::Http, None, "http:/", "http:/"),
        (Proto::Http, Some(Proto::Https), "http:/", "https:/"),
        (Proto::Https, None, "http:/", "https:/"),
        (Proto::Https, Some(Proto::Http), "https:/", "http:/"),
        (Proto::Https, Some(Proto::Http), "https:9/", "https:9/"),
    ] {
        let settings = Settings {
            proto: pool,
            check: check.parse().unwrap(),
            ..settings("web")
        };
        let now = crate::clock::now();
        let mut registry = Registry::new(now, vec![settings]);
        registry.set_specs(now, "web", vec![with(1, |spec| spec.proto = member)]);

        let targets = registry.targets();

        assert_eq!(targets[0].check.to_string(), expected, "{pool} {member:?}");
    }
}
