//! Backends that speak HTTP/2: many requests on few connections.

mod again;
mod streams;
mod trouble;

use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use lb::announce::Proto;
use lb::pool::spec::Spec;
use lb::proxy::Settings;

use crate::frames::{named, scripted};
use crate::front::{Front, settings, spec};
use crate::peer::Peer;
use crate::toy::{Then, Toy};
use crate::until;

fn h2c(toy: &Toy) -> Spec {
    Spec {
        proto: Some(Proto::H2c),
        ..spec(toy.address, 1, false)
    }
}

fn with(settings: Settings, toys: &[&Toy]) -> Front {
    let mut front = Front::unproven(settings, toys.iter().map(|toy| h2c(toy)).collect());
    front.all_up();
    front
}

fn front(toys: &[&Toy]) -> Front {
    with(settings(), toys)
}

/// A first byte may take for ever, so that no timer can be what wakes a request.
fn without_timers() -> Settings {
    let mut settings = settings();
    let never = Duration::from_secs(60);
    settings.timeouts.slow_first_byte = never;
    settings.timeouts.second_connect = never;
    settings.timeouts.connect = never;
    settings
}

#[test]
fn those_who_come_while_a_connection_opens_share_it_too() {
    for _ in 0..20 {
        let (toy, _) = named("good");
        let front = with(without_timers(), &[&toy]);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..3 {
                        assert_eq!(front.client().get("/").text(), "good");
                    }
                });
            }
        });
        assert_eq!(toy.connections(), 1);
    }
}

#[test]
fn many_requests_share_one_connection() {
    let (toy, calls) = named("good");
    let front = front(&[&toy]);
    let mut clients: Vec<Peer> = (0..10).map(|_| front.client()).collect();

    for client in &mut clients {
        client.send("GET /a HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response("GET").text(), "good");
        let answer = client.request("POST", "/b", b"body");
        assert_eq!((answer.status(), answer.text()), (200, "good"));
    }

    assert_eq!(toy.connections(), 1);
    let posted = calls
        .all()
        .iter()
        .filter(|call| call.body == b"body")
        .count();
    assert_eq!((calls.count(), posted), (20, 10));
    assert_eq!(front.in_flight(&toy), 0);
}

#[test]
fn no_connection_gets_more_than_its_backend_takes_at_once() {
    let held: Arc<Mutex<Vec<usize>>> = Arc::default();
    let per_connection = held.clone();
    let all_in = Arc::new(Barrier::new(7));
    let inside = all_in.clone();
    let (toy, _) = scripted(Some(2), move |call, _, wire| {
        let both = {
            let mut held = per_connection.lock().unwrap();
            held.push(call.conn);
            held.iter().filter(|conn| **conn == call.conn).count() == 2
        };
        // The second of each connection: both are answered once everybody is in.
        if both {
            inside.wait();
            for id in [call.id - 2, call.id] {
                wire.answer(id, "good");
            }
        }
        Then::Keep
    });
    let front = with(without_timers(), &[&toy]);
    let mut clients: Vec<Peer> = (0..12).map(|_| front.client()).collect();

    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    all_in.wait();

    for client in &mut clients {
        assert_eq!(client.response("GET").text(), "good");
    }
    assert_eq!(toy.connections(), 6);
}

#[test]
fn beyond_the_last_connection_requests_wait_for_one_another() {
    let mut settings = without_timers();
    settings.limits.idle_per_backend = 1;
    let (toy, calls) = scripted(Some(1), |call, _, wire| {
        wire.answer(call.id, "good");
        Then::Keep
    });
    let front = with(settings, &[&toy]);
    let mut clients: Vec<Peer> = (0..20).map(|_| front.client()).collect();

    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }

    for client in &mut clients {
        assert_eq!(client.response("GET").text(), "good");
    }
    assert_eq!((toy.connections(), calls.count()), (1, 20));
}

#[test]
fn who_comes_later_waits_behind_those_who_wait() {
    let mut settings = without_timers();
    settings.limits.idle_per_backend = 1;
    let barrier = Arc::new(Barrier::new(2));
    let inside = barrier.clone();
    let (toy, calls) = scripted(Some(1), move |call, number, wire| {
        if number == 0 {
            inside.wait();
        }
        wire.answer(call.id, "good");
        Then::Keep
    });
    let front = with(settings, &[&toy]);
    let post = |body| format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n{body}");
    let (mut one, mut other) = (front.client(), front.client());

    // Its second follows at once.
    one.send(post("a") + &post("c"));
    until("the first is there", || calls.count() == 1);
    other.send(post("b"));
    until("the other waits", || front.in_flight(&toy) == 2);
    barrier.wait();

    for client in [&mut one, &mut other] {
        assert_eq!(client.response("POST").text(), "good");
    }
    assert_eq!(one.response("POST").text(), "good");
    let order: Vec<_> = calls.all().into_iter().map(|call| call.body).collect();
    assert_eq!(order, [b"a", b"b", b"c"]);
}
