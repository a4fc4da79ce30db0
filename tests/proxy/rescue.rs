//! Requests that wait at a backend when it goes down.

use std::sync::{Arc, Barrier};

use lb::proxy::Feedback;
use lb::proxy::stats::Reason;

use crate::front::{Front, settings};
use crate::toy::{Then, Toy, answer};

/// Never answers `/slow`.
fn stuck() -> (Toy, Arc<Barrier>) {
    let barrier = Arc::new(Barrier::new(2));
    let inside = barrier.clone();
    let toy = Toy::scripted(move |request, _, peer| {
        if !request.start().contains("/slow") {
            answer(peer, request, "stuck");
            return Then::Keep;
        }
        inside.wait();
        // Until the test says so, or for ever.
        inside.wait();
        answer(peer, request, "late");
        Then::Keep
    });
    (toy, barrier)
}

/// A client whose next request goes to `toy`.
fn aimed_at(front: &Front, toy: &Toy) -> crate::peer::Peer {
    let mut client = front.client();
    loop {
        let before = toy.count();
        client.get("/");
        if toy.count() == before {
            // Two alternate, and the other one had the last.
            return client;
        }
    }
}

#[test]
fn a_waiting_get_moves_to_another_backend_when_its_own_goes_down() {
    let ((stuck, barrier), good) = (stuck(), Toy::named("good"));
    let mut front = Front::with(without_timers(), &[&stuck, &good]);
    let mut client = aimed_at(&front, &stuck);
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    barrier.wait();
    assert_eq!(front.in_flight(&stuck), 1);

    front.down(&stuck);

    assert_eq!(client.response("GET").text(), "good");
    assert_eq!(front.retries(Reason::Rescue), 1);
    assert_eq!(front.in_flight(&stuck), 0);
}

/// Two clients, of whom one waits for a connect to the first of these backends.
fn one_connects() -> (Front, [crate::peer::Peer; 2], [Toy; 2], Arc<Barrier>) {
    let gate = Arc::new(Barrier::new(2));
    let (crowded, good) = (Toy::crowded(gate.clone()), Toy::named("good"));
    let front = Front::with(without_timers(), &[&crowded, &good]);
    let mut clients = [front.client(), front.client()];
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    crate::until("one connects, and the other was served", || {
        front.in_flight(&crowded) == 1 && good.count() == 1
    });
    (front, clients, [crowded, good], gate)
}

#[test]
fn a_get_does_not_wait_for_who_went_down_while_it_connected() {
    let (mut front, mut clients, [crowded, _good], gate) = one_connects();

    front.down(&crowded);
    gate.wait();

    for client in &mut clients {
        assert_eq!(client.response("GET").text(), "good");
    }
    assert_eq!(front.retries(Reason::Rescue), 1);
}

#[test]
fn a_get_waits_for_who_was_back_before_it_was_connected() {
    let (mut front, mut clients, [crowded, _good], gate) = one_connects();

    front.down(&crowded);
    front.up(&crowded);
    gate.wait();
    crate::until("it was sent there", || crowded.count() == 1);

    assert_eq!(front.in_flight(&crowded), 1);
    assert_eq!(front.retries(Reason::Rescue), 0);
    front.down(&crowded);
    for client in &mut clients {
        assert_eq!(client.response("GET").text(), "good");
    }
    assert_eq!(front.retries(Reason::Rescue), 1);
}

#[test]
fn who_leaves_during_a_connect_is_not_asked_for() {
    let gate = Arc::new(Barrier::new(2));
    let crowded = Toy::crowded(gate.clone());
    let mut settings = without_timers();
    settings.timeouts.slow_first_byte = std::time::Duration::from_millis(60);
    let front = Front::with(settings, &[&crowded]);
    for request in [
        "GET / HTTP/1.1\r\nHost: t\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 30\r\n\r\nabc",
    ] {
        let mut client = front.client();
        client.send(request);
        crate::until("it connects", || front.in_flight(&crowded) == 1);

        drop(client);

        crate::until("its place is free", || front.in_flight(&crowded) == 0);
    }
    gate.wait();
    let mut client = front.client();
    client.send("GET /last HTTP/1.1\r\nHost: t\r\n\r\n");
    crate::until("it was sent there", || crowded.count() > 0);
    assert_eq!(crowded.count(), 1);
    assert!(crowded.requests()[0].start().starts_with("GET /last "));
}

/// A first byte may take for ever, so that no timer can be what wakes a request.
fn without_timers() -> lb::proxy::Settings {
    let mut settings = settings();
    let never = std::time::Duration::from_secs(60);
    settings.timeouts.slow_first_byte = never;
    settings.timeouts.second_connect = never;
    settings.timeouts.connect = never;
    settings
}

#[test]
fn a_get_that_waits_at_a_draining_backend_moves_on_when_that_dies_silently() {
    let ((stuck, barrier), good) = (stuck(), Toy::named("good"));
    let mut front = Front::with(without_timers(), &[&stuck, &good]);
    let mut client = aimed_at(&front, &stuck);
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    barrier.wait();
    let mut other = front.client();
    crate::until("it has an idle connection too", || {
        other.get("/");
        stuck.open() == 2
    });
    front.drain(&stuck);
    crate::until("the worker has noticed, and closed the idle one", || {
        stuck.open() == 1
    });
    assert_eq!(front.in_flight(&stuck), 1);

    // Its state stays what it was: drained.
    front.down(&stuck);

    assert_eq!(client.response("GET").text(), "good");
    assert_eq!(front.retries(Reason::Rescue), 1);
}

#[test]
fn a_waiting_post_keeps_waiting_and_gets_its_own_answer() {
    let ((stuck, barrier), good) = (stuck(), Toy::named("good"));
    let mut front = Front::of(&[&stuck, &good]);
    let mut client = aimed_at(&front, &stuck);
    client.send("POST /slow HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx");
    barrier.wait();

    front.down(&stuck);
    // The workers have seen the new snapshot once they answer from it.
    assert_eq!(front.client().get("/").text(), "good");
    barrier.wait();

    assert_eq!(client.response("POST").text(), "late");
    assert_eq!(front.retries(Reason::Rescue), 0);
}

#[test]
fn a_get_that_waits_long_where_packets_are_lost_moves_on() {
    let ((stuck, barrier), good) = (stuck(), Toy::named("good"));
    let front = Front::of(&[&stuck, &good]);
    let mut client = aimed_at(&front, &stuck);
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    barrier.wait();

    front.live(&stuck).lost(lb::clock::now());

    assert_eq!(client.response("GET").text(), "good");
    assert_eq!(front.retries(Reason::Loss), 1);
    assert_eq!(front.in_flight(&stuck), 0);
}

#[test]
fn a_post_that_waits_long_where_packets_are_lost_goes_on_waiting() {
    let ((stuck, barrier), good) = (stuck(), Toy::named("good"));
    let front = Front::of(&[&stuck, &good]);
    let mut client = aimed_at(&front, &stuck);
    front.live(&stuck).lost(lb::clock::now());
    client.send("POST /slow HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx");
    barrier.wait();
    // A GET in the same place moves on meanwhile.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    barrier.wait();

    assert_eq!(client.response("POST").text(), "late");
    assert_eq!(front.retries(Reason::Loss), 0);
}

#[test]
fn a_waiting_get_keeps_waiting_when_nobody_else_is_left() {
    let (stuck, barrier) = stuck();
    let mut front = Front::of(&[&stuck]);
    let mut client = front.client();
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    barrier.wait();

    front.down(&stuck);
    assert_eq!(front.client().get("/").status(), 503);
    barrier.wait();

    assert_eq!(client.response("GET").text(), "late");
}

#[test]
fn a_slow_first_byte_asks_for_a_check() {
    let (stuck, barrier) = stuck();
    let mut settings = settings();
    settings.timeouts.slow_first_byte = std::time::Duration::from_millis(20);
    let mut front = Front::with(settings, &[&stuck]);
    let mut client = front.client();
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    barrier.wait();

    crate::until("it is reported", || !front.feedback().is_empty());
    barrier.wait();

    assert_eq!(client.response("GET").text(), "late");
    assert!(matches!(&front.feedback()[0], Feedback::Slow { key } if key.address == stuck.address));
}

#[test]
fn a_rescued_request_is_not_sent_to_who_went_down_meanwhile() {
    let (stuck, barrier) = stuck();
    let others = [Toy::named("a"), Toy::named("b")];
    let mut front = Front::with(without_timers(), &[&stuck, &others[0], &others[1]]);
    let rotation: Vec<_> = front.pool.snapshot.load().active.clone();
    let at = rotation.iter().position(|one| one.address == stuck.address);
    let after = rotation[(at.unwrap() + 1) % 3].address;
    let [gone, staying] = match others[0].address == after {
        true => [&others[0], &others[1]],
        false => [&others[1], &others[0]],
    };
    let mut client = front.client();
    crate::until("the next turn is that of the one that is stuck", || {
        let before = staying.count();
        client.get("/");
        staying.count() > before
    });
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    barrier.wait();
    let asked = gone.count();

    front.down(gone);
    front.down(&stuck);

    assert_eq!(client.response("GET").status(), 200);
    assert_eq!(gone.count(), asked);
    assert_eq!(front.retries(Reason::Rescue), 1);
}
