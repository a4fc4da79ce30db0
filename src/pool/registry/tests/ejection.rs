//! Failed requests: who goes out for them, for how long, and when the pool uses it all the same.

use super::*;

impl World {
    fn live(&self, host: u8) -> Arc<Live> {
        self.registry.live(&key(host)).expect("it is known")
    }

    /// One request of `host` fails, and a worker tells.
    fn request_fails(&mut self, host: u8) {
        self.live(host).failed();
        self.registry.request_failed(self.now, &key(host), "503");
    }

    fn requests_fail(&mut self, host: u8, times: usize) {
        (0..times).for_each(|_| self.request_fails(host));
    }

    fn request_passes(&mut self, host: u8) {
        self.live(host).succeeded(self.now);
    }

    /// Lives through it, every timer in time.
    fn live_through(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(due) = self.registry.poll_timeout().filter(|due| *due <= end) {
            self.now = due;
            self.registry.handle_timeout(due);
        }
        self.now = end;
    }
}

fn ejected(reason: &str) -> Option<(State, String)> {
    Some((State::Ejected, reason.to_owned()))
}

#[test]
fn five_failed_requests_in_a_row_eject_at_once_although_the_check_passes() {
    let mut world = World::of_three();

    world.requests_fail(2, 4);
    world.pass(2);
    assert_eq!(world.active(), ["web1", "web2", "web3"]);
    world.request_fails(2);

    assert_eq!(world.active(), ["web1", "web3"]);
    assert_eq!(world.state(2), ejected("5 requests in a row failed: 503"));
    assert_eq!(
        world.changes(),
        ["web2 ejected 2: 5 requests in a row failed: 503"]
    );
    assert_eq!(world.live(2).downs(), 0, "who waits there may be answered");
}

#[test]
fn an_ejected_backend_comes_back_after_its_time_and_longer_each_time() {
    let mut world = World::of_three();
    for (times, seconds) in [(5, 1), (1, 2), (1, 4), (1, 8)] {
        world.requests_fail(2, times);
        assert_eq!(world.active(), ["web1", "web3"], "{seconds}");

        world.live_through(seconds * 1000 - 1);
        assert_eq!(world.active(), ["web1", "web3"], "{seconds}");
        world.live_through(20);
        assert_eq!(world.active(), ["web1", "web2", "web3"], "{seconds}");
    }
    assert_eq!(
        world.changes().last().map(String::as_str),
        Some("web2 up 3: check http:/ passed: 200")
    );
}

#[test]
fn a_share_of_failures_ejects_too_even_when_nobody_tells_of_the_last_one() {
    let mut world = World::of_three();
    for _ in 0..6 {
        world.request_fails(2);
        world.request_passes(2);
    }
    assert_eq!(
        world.state(2),
        ejected("6 of 11 requests failed in 1s: 503")
    );

    let mut world = World::of_three();
    world.request_fails(2);
    (0..4).for_each(|_| world.live(2).failed());
    world.live_through(100);
    assert_eq!(world.state(2), ejected("5 requests in a row failed: 503"));
}

#[test]
fn half_of_a_tier_at_most_is_ejected_and_never_the_last_one() {
    let mut world = World::of_three();
    (1..=3).for_each(|host| world.requests_fail(host, 9));
    assert_eq!(world.active(), ["web2", "web3"]);

    let mut world = World::new();
    world.specs([spec(1), with(2, |spec| spec.backup = true)]);
    (1..=2).for_each(|host| world.pass(host));
    world.requests_fail(1, 50);
    world.live_through(5000);
    assert_eq!(world.active(), ["web1"], "a tier of one keeps it");
}

#[test]
fn one_that_goes_down_and_comes_back_is_forgiven() {
    let mut world = World::of_three();
    world.requests_fail(2, 5);

    world.fail(2, Some(false));
    world.later(100);
    assert_eq!(world.state(2).map(|it| it.0), Some(State::Down));
    world.pass(2);
    world.later(10);

    assert_eq!(world.active(), ["web1", "web2", "web3"]);
}

#[test]
fn in_panic_the_ejected_are_used_and_who_fails_its_check_is_not() {
    let mut world = World::of_three();
    world.requests_fail(2, 5);
    world.fail(1, Some(false));
    assert!(!world.snapshot().panic);
    world.changes();

    world.fail(3, Some(false));

    assert_eq!(world.active(), ["web2"]);
    assert!(world.snapshot().panic);
    let reason = "used in panic, nobody else is left: 5 requests in a row failed: 503";
    assert_eq!(world.state(2), ejected(reason));
    assert_eq!(
        world.changes(),
        [
            "web3 down 0: check failed: connection refused".to_owned(),
            format!("web2 ejected 1: {reason}"),
            "pool - 1: panic: 1 in rotation, all of them out otherwise by their requests or their own node's word"
                .to_owned(),
        ]
    );

    // A failed active check is never ignored.
    world.fail(2, Some(false));
    assert_eq!(world.active(), [""; 0]);
    assert!(!world.snapshot().panic);

    world.pass(3);
    world.later(10);
    assert_eq!(world.active(), ["web3"]);
}

#[test]
fn panic_ends_with_the_first_sound_backend_in_one_store() {
    let mut world = World::of_three();
    let fails = |host| {
        with(host, |spec| {
            spec.announced = announce::State::Fail("x".into())
        })
    };
    world.specs([1, 2, 3].map(fails));
    assert_eq!(world.active(), ["web1", "web2", "web3"]);
    assert!(world.snapshot().panic);

    world.specs([fails(1), fails(2), spec(3)]);

    assert_eq!(world.active(), ["web3"]);
    assert!(!world.snapshot().panic);
}

#[test]
fn backups_are_asked_before_there_is_panic() {
    let mut world = World::new();
    let backup = with(2, |spec| spec.backup = true);
    world.specs([spec(1), backup.clone()]);
    (1..=2).for_each(|host| world.pass(host));
    let fails = with(1, |spec| spec.announced = announce::State::Fail("x".into()));

    world.specs([fails, backup]);

    assert_eq!(world.active(), ["web2"]);
    assert!(!world.snapshot().panic);
}

#[test]
fn what_failed_while_we_slept_ejects_nobody() {
    let mut world = World::of_three();
    world.requests_fail(2, 4);
    world.refuse(3);

    world.registry.slept();
    world.request_fails(2);
    world.refuse(3);

    assert_eq!(world.active(), ["web1", "web2", "web3"]);
}
