//! Before the first verdict.

use std::time::Duration;

use crate::front::{Front, settings, spec};
use crate::toy::Toy;

#[test]
fn a_request_waits_for_the_first_verdict() {
    let toy = Toy::named("a");
    let mut settings = settings();
    settings.timeouts.first_verdict = Duration::from_secs(60);
    let mut front = Front::unproven(settings, vec![spec(toy.address, 1, false)]);
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    crate::until("it is held", || front.stats().requests_in_flight == 1);

    front.up(&toy);

    assert_eq!(client.response("GET").text(), "a");
}

#[test]
fn a_bad_first_verdict_ends_the_wait_too() {
    let toy = Toy::named("a");
    let mut settings = settings();
    settings.timeouts.first_verdict = Duration::from_secs(60);
    let mut front = Front::unproven(settings, vec![spec(toy.address, 1, false)]);
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    crate::until("it is held", || front.stats().requests_in_flight == 1);

    front.down(&toy);

    assert_eq!(client.response("GET").status(), 503);
}

#[test]
fn the_wait_ends_a_while_after_the_start() {
    let toy = Toy::named("a");
    let mut settings = settings();
    settings.timeouts.first_verdict = Duration::from_millis(50);
    let front = Front::unproven(settings, vec![spec(toy.address, 1, false)]);

    assert_eq!(front.client().get("/").status(), 503);
    assert_eq!(front.client().get("/").status(), 503);
}

#[test]
fn a_held_client_that_leaves_is_forgotten() {
    let toy = Toy::named("a");
    let mut settings = settings();
    settings.timeouts.first_verdict = Duration::from_secs(60);
    let front = Front::unproven(settings, vec![spec(toy.address, 1, false)]);
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    crate::until("it is held", || front.stats().requests_in_flight == 1);

    drop(client);

    crate::until("it is gone", || front.stats().requests_in_flight == 0);
}
