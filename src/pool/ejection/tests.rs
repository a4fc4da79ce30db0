use super::*;

/// A backend's requests, and a clock turned by hand.
struct World {
    now: Instant,
    tally: Tally,
    record: Record,
    settings: Settings,
}

impl World {
    fn new() -> Self {
        Self {
            now: crate::clock::now(),
            tally: Tally::default(),
            record: Record::default(),
            settings: Settings::default(),
        }
    }

    fn look(&mut self) -> Option<String> {
        self.record.look(self.now, self.tally, &self.settings)
    }

    fn fail(&mut self) -> Option<String> {
        self.tally.failed += 1;
        self.tally.row += 1;
        self.record.failed("503");
        self.look()
    }

    fn pass(&mut self, times: u64) -> Option<String> {
        self.tally.row = 0;
        self.tally.passed += if self.record.is_watching() { times } else { 0 };
        self.look()
    }

    fn later(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    /// Ejects it; how long it stays out.
    fn eject(&mut self) -> Duration {
        self.record.eject(self.now, "x".to_owned(), &self.settings);
        self.tally.row = 0;
        let until = self.record.poll_timeout().unwrap();
        let time = until - self.now;
        self.now = until;
        assert!(self.record.readmit(self.now, self.tally));
        time
    }
}

#[test]
fn five_in_a_row_are_an_outlier_and_four_are_not() {
    let mut world = World::new();
    for _ in 0..4 {
        assert_eq!(world.fail(), None);
        world.later(200);
    }

    assert_eq!(
        world.fail().as_deref(),
        Some("5 requests in a row failed: 503")
    );
}

#[test]
fn a_row_with_a_success_in_between_is_judged_by_its_share_and_volume() {
    let mut world = World::new();
    for _ in 0..4 {
        assert_eq!(world.fail(), None);
    }
    assert_eq!(world.pass(4), None);

    assert_eq!(world.fail(), None, "9 requests are too few");
    assert_eq!(
        world.fail().as_deref(),
        Some("6 of 10 requests failed in 1s: 503")
    );
}

#[test]
fn a_few_failures_among_many_requests_are_none_of_an_outlier() {
    let mut world = World::new();
    for _ in 0..100 {
        assert_eq!(world.fail(), None);
        assert_eq!(world.pass(9), None);
        world.later(20);
    }
}

#[test]
fn old_failures_are_forgotten_and_then_successes_need_no_counting() {
    let mut world = World::new();
    (0..4).for_each(|_| assert_eq!(world.fail(), None));
    assert_eq!(world.pass(1), None);
    assert!(world.record.is_watching());

    for _ in 0..30 {
        world.later(100);
        assert_eq!(world.look(), None);
    }

    assert!(!world.record.is_watching());
    assert_eq!(world.record.poll_timeout(), None);
    (0..4).for_each(|_| assert_eq!(world.fail(), None));
}

#[test]
fn an_ejection_takes_longer_each_time_up_to_its_limit_and_starts_small_after_a_good_time() {
    let mut world = World::new();

    let times: Vec<_> = (0..7).map(|_| world.eject().as_secs()).collect();
    assert_eq!(times, [1, 2, 4, 8, 16, 30, 30]);

    world.later(30_000);
    assert_eq!(world.eject().as_secs(), 1);
}

#[test]
fn one_failure_soon_after_the_return_is_enough_and_later_it_is_not() {
    let mut world = World::new();
    world.eject();
    assert_eq!(world.pass(9), None);
    assert_eq!(
        world.fail().as_deref(),
        Some("failed again after its return: 503")
    );

    world.eject();
    assert_eq!(world.pass(10), None);
    assert_eq!(world.fail(), None);

    world.eject();
    world.later(30_000);
    assert_eq!(world.fail(), None, "a return long ago");
}

#[test]
fn whoever_is_out_already_is_not_judged_again_and_comes_back_in_time() {
    let mut world = World::new();
    world
        .record
        .eject(world.now, "x".to_owned(), &world.settings);

    (0..20).for_each(|_| assert_eq!(world.fail(), None));
    world.later(999);
    assert!(!world.record.readmit(world.now, world.tally));
    world.later(1);
    assert!(world.record.readmit(world.now, world.tally));
    assert_eq!(world.record.ejected(), None);
}

#[test]
fn the_tier_keeps_half_and_its_last_one() {
    let settings = Settings::default();
    for (tier, ejected, spared) in [
        (1, 0, false),
        (2, 0, true),
        (2, 1, false),
        (3, 0, true),
        (3, 1, false),
        (4, 1, true),
        (4, 2, false),
    ] {
        let says = settings.spares_one_more(tier, ejected, tier - ejected);
        assert_eq!(says, spared, "{ejected} of {tier}");
    }
    let all = Settings {
        max_percent: 100,
        ..Settings::default()
    };
    assert!(all.spares_one_more(2, 0, 2) && !all.spares_one_more(2, 1, 1));
    let off = Settings {
        max_percent: 0,
        ..Settings::default()
    };
    assert!(!off.spares_one_more(100, 0, 100));
}

#[test]
fn what_failed_while_we_slept_does_not_count() {
    let mut world = World::new();
    (0..4).for_each(|_| assert_eq!(world.fail(), None));

    world.tally.failed += 100;
    world.tally.row = 0;
    world.record.calm(world.tally);

    assert_eq!(world.fail(), None);
    assert_eq!(world.look(), None);
}
