//! Failed requests are told to the registry, and nothing else is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lb::proxy::{Feedback, Timeouts};

use crate::front::{Front, settings};
use crate::toy::{Then, Toy};
use crate::until;

/// Answers 503 while `sick`.
fn sickly(sick: &Arc<AtomicBool>) -> Toy {
    let sick = Arc::clone(sick);
    Toy::scripted(move |_, _, peer| {
        let (status, name) = match sick.load(Ordering::SeqCst) {
            true => ("503 Service Unavailable", "sick"),
            false => ("200 OK", "well"),
        };
        peer.try_send(format!(
            "HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\n{name}"
        ));
        Then::Keep
    })
}

fn reasons(front: &mut Front, toy: &Toy) -> Vec<String> {
    let failed = front.feedback().iter().filter_map(|one| match one {
        Feedback::Failed { key, reason } if key.address == toy.address => Some(reason.clone()),
        _ => None,
    });
    failed.collect()
}

#[test]
fn a_backend_that_answers_503_is_ejected_and_no_get_notices() {
    let sick = Arc::new(AtomicBool::new(true));
    let (bad, good) = (sickly(&sick), Toy::named("good"));
    let mut front = Front::of(&[&bad, &good]);
    let mut client = front.client();

    let mut asked = 0;
    until("it is out", || {
        assert_eq!(client.get("/").text(), "good");
        asked += 1;
        front.learn();
        !front.is_in(&bad)
    });

    assert!(asked < 100, "{asked} requests");
    let before = bad.requests().len();
    assert!((5..20).contains(&before), "{before} failed requests");
    (0..10).for_each(|_| assert_eq!(client.get("/").text(), "good"));
    assert_eq!(bad.requests().len(), before);
}

#[test]
fn one_that_answers_well_between_its_failures_stays_in() {
    let sick = Arc::new(AtomicBool::new(false));
    let (bad, good) = (sickly(&sick), Toy::named("good"));
    let mut front = Front::of(&[&bad, &good]);
    let mut client = front.client();

    for turn in 0..100 {
        sick.store(turn % 10 == 0, Ordering::SeqCst);
        client.get("/");
        client.get("/");
        front.learn();
        assert!(front.is_in(&bad), "{turn}");
    }
    assert!(!reasons(&mut front, &bad).is_empty());
}

#[test]
fn a_reset_after_the_request_counts_and_a_stale_close_does_not() {
    let (crashing, good) = (Toy::scripted(|_, _, _| Then::Reset), Toy::named("good"));
    let mut front = Front::of(&[&crashing, &good]);
    let mut client = front.client();
    (0..2).for_each(|_| assert_eq!(client.get("/").text(), "good"));
    assert_eq!(reasons(&mut front, &crashing).len(), 1);

    // Closes what it kept.
    let closing = Toy::scripted(|_, _, peer| {
        peer.try_send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        Then::Close
    });
    let mut front = Front::of(&[&closing]);
    let mut client = front.client();
    (0..20).for_each(|_| assert_eq!(client.get("/").text(), "ok"));
    assert_eq!(reasons(&mut front, &closing), [""; 0]);
}

#[test]
fn no_answer_in_time_counts() {
    let silent = Toy::scripted(|_, _, _| Then::Keep);
    let mut settings = settings();
    settings.timeouts = Timeouts {
        first_byte: std::time::Duration::from_millis(50),
        ..Timeouts::default()
    };
    let mut front = Front::with(settings, &[&silent]);

    assert_eq!(front.client().get("/").status(), 504);

    assert_eq!(
        reasons(&mut front, &silent),
        ["the backend did not answer in time"]
    );
}
