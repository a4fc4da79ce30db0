//! How long a crash goes unnoticed, beside the formula. Printed, not asserted: the wait is random by design.

use std::time::Duration;

use lb::gossip::core::member::Status;

use crate::host::Down;
use crate::world::World;

#[test]
fn how_long_a_crash_goes_unnoticed() {
    println!("nodes   first suspect   first failed   all failed   (medians of 5, seconds)");
    for count in [3, 10, 30] {
        let mut rows = Vec::new();
        for seed in 0..5 {
            let mut world = World::with_seed("detection::how_long_a_crash_goes_unnoticed", seed);
            let ids = world.cluster(count, Duration::from_secs(1));
            world.run_until_met(Duration::from_secs(20));
            world.run(Duration::from_secs(7));
            world.crash(ids[1], Down::Silent);
            let minute = Duration::from_secs(60);
            let any = |wanted: fn(&lb::gossip::core::member::Member) -> bool| {
                move |world: &World| {
                    world
                        .live()
                        .iter()
                        .any(|&id| world.hosts[id].member("n1").is_some_and(wanted))
                }
            };
            let suspect = world.run_until(minute, "suspect", any(|member| member.suspect));
            let first = suspect
                + world.run_until(
                    minute,
                    "failed",
                    any(|member| member.status == Status::Failed),
                );
            let all = first
                + world.run_until(minute, "all failed", |world| {
                    world.all_see("n1", Status::Failed)
                });
            rows.push([suspect, first, all]);
        }
        let median = |column: usize| {
            let mut values: Vec<Duration> = rows.iter().map(|row| row[column]).collect();
            values.sort();
            values[values.len() / 2].as_secs_f64()
        };
        println!(
            "{count:5}   {:13.2}   {:12.2}   {:10.2}",
            median(0),
            median(1),
            median(2)
        );
    }
    println!("formula: one probe (1 s), then 4 s × max(1, log10 n) if confirmed: 4.0, 4.0, 5.9");
}
