//! Who gets the next request.

use std::collections::BTreeMap;

use crate::front::{Front, settings, spec};
use crate::toy::Toy;

fn names(front: &Front, requests: usize, per_connection: usize) -> Vec<String> {
    let mut names = Vec::new();
    while names.len() < requests {
        let mut client = front.client();
        for _ in 0..per_connection {
            names.push(client.get("/").text().to_owned());
        }
    }
    names
}

fn count(names: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name.as_str()).or_default() += 1;
    }
    counts
}

#[test]
fn three_backends_get_ten_each_of_thirty_whatever_worker_accepts() {
    let toys = ["a", "b", "c"].map(Toy::named);
    let mut settings = settings();
    settings.workers = 4;
    let front = Front::with(settings, &toys.each_ref());

    let names = names(&front, 30, 1);

    assert_eq!(
        count(&names),
        BTreeMap::from([("a", 10), ("b", 10), ("c", 10)])
    );
    for three in names.chunks(3) {
        assert_eq!(count(three).len(), 3, "{names:?}");
    }
}

#[test]
fn two_backends_alternate_strictly_across_workers_and_connections() {
    let toys = ["a", "b"].map(Toy::named);
    let mut settings = settings();
    settings.workers = 3;
    let front = Front::with(settings, &toys.each_ref());

    let names = names(&front, 40, 4);

    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1], "{names:?}");
    }
}

#[test]
fn weights_five_one_one_are_exact_and_smooth() {
    let toys = ["a", "b", "c"].map(Toy::named);
    let weights = [5, 1, 1];
    let mut specs: Vec<_> = toys
        .iter()
        .zip(weights)
        .map(|(toy, weight)| spec(toy.address, weight, false))
        .collect();
    // The order of equals is that of their identities, so these must not depend on the ports.
    for (spec, name) in specs.iter_mut().zip(["a", "b", "c"]) {
        spec.id.node = name.into();
    }
    let mut front = Front::unproven(settings(), specs);
    front.all_up();

    let names = names(&front, 14, 7);

    assert_eq!(names[..7].concat(), "abaacaa");
    assert_eq!(names[7..].concat(), "abaacaa");
}

#[test]
fn a_backup_serves_only_when_no_primary_is_in() {
    let (primary, backup) = (Toy::named("primary"), Toy::named("backup"));
    let specs = vec![
        spec(primary.address, 1, false),
        spec(backup.address, 1, true),
    ];
    let mut front = Front::unproven(settings(), specs);
    front.all_up();
    let mut client = front.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "primary");
    }

    front.down(&primary);
    assert_eq!(client.get("/").text(), "backup");

    front.up(&primary);
    assert_eq!(client.get("/").text(), "primary");
    assert_eq!(backup.count(), 1);
}

#[test]
fn an_empty_pool_answers_503_and_says_which() {
    let toy = Toy::named("a");
    let mut front = Front::of(&[&toy]);
    front.down(&toy);
    let mut client = front.client();

    let response = client.get("/");

    assert_eq!(response.status(), 503);
    assert_eq!(response.field("retry-after"), Some("1"));
    assert_eq!(response.text(), "no backend of pool web is in rotation\n");
    front.up(&toy);
    assert_eq!(client.get("/").text(), "a");
}

#[test]
fn connections_to_backends_are_kept_and_used_again() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);

    names(&front, 20, 1);

    assert_eq!(toy.connections(), 1);
}

#[test]
fn requests_are_counted_by_backend_and_class() {
    let toy = Toy::named("a");
    let mut front = Front::of(&[&toy]);
    let mut client = front.client();
    client.get("/");
    client.get("/");
    front.down(&toy);
    client.get("/");

    crate::until("all are counted", || {
        let stats = front.stats();
        let total: u64 = stats.backends.iter().flat_map(|one| one.classes).sum();
        total == 3
    });
    let stats = front.stats();
    let of = |backend: bool| {
        stats
            .backends
            .iter()
            .find(|one| one.backend.is_some() == backend)
    };
    assert_eq!(of(true).unwrap().classes, [0, 2, 0, 0, 0, 0, 0]);
    assert_eq!(of(false).unwrap().classes, [0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(of(true).unwrap().durations.buckets.iter().sum::<u64>(), 2);
    assert_eq!((stats.connections_open, stats.connections_total), (1, 1));
    assert_eq!(stats.requests_in_flight, 0);
}
