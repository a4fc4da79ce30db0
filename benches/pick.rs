//! What a pick costs, and what a new snapshot costs: `cargo bench --bench pick`.
//!
//! | upstreams | weights | slots | ns per pick | µs per table | µs per snapshot |
//! |---|---|---|---|---|---|
//! | 3 | equal | 3 | 13.8 | 0.1 | 0.1 |
//! | 3 | 1-1000 | 1024 | 13.6 | 17.0 | 17.1 |
//! | 100 | equal | 100 | 13.7 | 2.2 | 5.8 |
//! | 100 | 1-1000 | 1024 | 13.7 | 41.5 | 45.3 |
//! | 1000 | equal | 1000 | 13.7 | 31.7 | 75.5 |
//! | 1000 | 1-1000 | 4000 | 13.7 | 411.8 | 462.3 |
//!
//! On two virtual cores of an AMD EPYC, one thread. Most of a pick is its two atomic additions (the cursor, and the
//! reference it returns), which is why the number of upstreams does not show.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use lb::announce::Proto;
use lb::clock;
use lb::pool::effective::{State, Verdict};
use lb::pool::smooth_weighted;
use lb::pool::snapshot::{Backend, Snapshot};
use lb::pool::spec::UpstreamId;
use lb::pool::upstream::Upstream;

fn main() {
    println!("| upstreams | weights | slots | ns per pick | µs per table | µs per snapshot |");
    println!("|---|---|---|---|---|---|");
    for upstreams in [3_u16, 100, 1000] {
        for (name, weight) in [
            ("equal", (|_| 1) as fn(u16) -> u16),
            ("1-1000", |n| 1 + n.wrapping_mul(7919) % 1000),
        ] {
            row(upstreams, name, weight);
        }
    }
}

fn row(upstreams: u16, name: &str, weight: fn(u16) -> u16) {
    let weights: Vec<u16> = (0..upstreams).map(weight).collect();
    let backends: Vec<Backend> = weights
        .iter()
        .enumerate()
        .map(|(index, &weight)| backend(index, weight))
        .collect();
    let snapshot = Snapshot::new(1, true, backends.clone());
    let cursor = AtomicUsize::new(0);

    let pick = seconds_per_call(1_000_000, || {
        drop(black_box(snapshot.pick(&cursor)));
    });
    let table = seconds_per_call(200, || {
        black_box(smooth_weighted::table(black_box(&weights)));
    });
    let build = seconds_per_call(200, || {
        black_box(Snapshot::new(1, true, black_box(&backends).clone()));
    });

    println!(
        "| {upstreams} | {name} | {} | {:.1} | {:.1} | {:.1} |",
        snapshot.table.len(),
        pick * 1e9,
        table * 1e6,
        build * 1e6,
    );
}

/// The fastest of seven rounds: what disturbs a round only ever adds.
fn seconds_per_call(calls: u32, mut call: impl FnMut()) -> f64 {
    let fastest = (0..7)
        .map(|_| {
            let begun = clock::now();
            (0..calls).for_each(|_| call());
            begun.elapsed()
        })
        .min();
    fastest.unwrap_or(Duration::ZERO).as_secs_f64() / f64::from(calls)
}

fn backend(index: usize, weight: u16) -> Backend {
    let [.., high, low] = (index as u32 + 1).to_be_bytes();
    Backend {
        upstream: Arc::new(Upstream {
            id: UpstreamId {
                node: format!("web{index:04}").into(),
                service: "web".into(),
            },
            address: SocketAddr::from(([10, 0, high, low], 80)),
            weight,
            tier: 0,
            backup: false,
            proto: Proto::Http,
            live: Arc::default(),
        }),
        verdict: Verdict {
            in_rotation: true,
            state: State::Up,
            reason: "check http:/ passed: 200".to_owned(),
            weight,
            tier: 0,
            backup: false,
        },
        since: clock::now(),
    }
}
