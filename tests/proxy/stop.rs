//! Stopping: what is under way ends well, nothing new begins.

use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use arc_swap::ArcSwap;
use lb::proxy::{self, Routes};
use lb::shutdown;
use tokio::sync::mpsc;

use crate::front::{Front, run, settings};
use crate::toy::{Then, Toy, answer};

fn waiting() -> (Toy, Arc<Barrier>) {
    let barrier = Arc::new(Barrier::new(2));
    let inside = barrier.clone();
    let toy = Toy::scripted(move |request, _, peer| {
        inside.wait();
        inside.wait();
        answer(peer, request, "done");
        Then::Keep
    });
    (toy, barrier)
}

#[test]
fn a_request_under_way_is_finished_and_told_to_close() {
    let (toy, barrier) = waiting();
    let mut front = Front::of(&[&toy]);
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    barrier.wait();

    front.stop();
    crate::until("nobody is accepted any more", || {
        TcpStream::connect(front.address).is_err()
    });
    barrier.wait();

    let response = client.response("GET");
    assert_eq!(response.text(), "done");
    assert_eq!(response.field("connection"), Some("close"));
    client.assert_closed();
    front.drained();
}

#[test]
fn an_idle_connection_is_closed() {
    let toy = Toy::named("a");
    let mut front = Front::of(&[&toy]);
    let mut used = front.client();
    used.get("/");

    front.stop();

    used.assert_closed();
    front.drained();
    crate::until("kept connections are closed", || toy.open() == 0);
}

#[test]
fn a_request_that_takes_too_long_is_cut() {
    let (toy, barrier) = waiting();
    let mut settings = settings();
    settings.timeouts.drain = Duration::from_millis(50);
    let mut front = Front::with(settings, &[&toy]);
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    barrier.wait();

    front.stop();
    front.drained();

    assert!(client.try_response("GET").is_none());
    barrier.wait();
}

#[test]
fn an_answer_that_ends_with_its_connection_is_seen_as_cut_by_a_stop() {
    let (told, heard) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (tell, hear) = (told.clone(), heard.clone());
    let toy = Toy::raw(move |mut peer, _| {
        peer.try_request();
        peer.try_send("HTTP/1.1 200 OK\r\n\r\nabc");
        tell.wait();
        hear.wait();
    });
    let mut settings = settings();
    settings.timeouts.drain = Duration::from_millis(50);
    let mut front = Front::with(settings, &[&toy]);
    let mut client = front.client();
    client.send("GET / HTTP/1.0\r\nHost: t\r\n\r\n");
    told.wait();
    client.try_head().expect("a head");

    front.stop();
    front.drained();

    let (body, in_order) = client.rest_and_end();
    assert_eq!((body.as_slice(), in_order), (&b"abc"[..], false));
    heard.wait();
}

#[test]
fn several_workers_end_together() {
    let toy = Toy::named("a");
    let mut settings = settings();
    settings.workers = 4;
    let mut front = Front::with(settings, &[&toy]);
    let mut clients: Vec<_> = (0..16).map(|_| front.client()).collect();
    for client in &mut clients {
        client.get("/");
    }

    front.stop();
    front.drained();

    for client in &mut clients {
        client.assert_closed();
    }
}

#[test]
fn the_limit_of_connections_holds_new_ones_back() {
    let toy = Toy::named("a");
    let mut settings = settings();
    settings.limits.connections = 2;
    let front = Front::with(settings, &[&toy]);
    let mut first = front.client();
    first.get("/");
    let mut second = front.client();
    second.get("/");
    let mut third = front.client();
    third.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(front.stats().connections_open, 2);

    drop(first);

    assert_eq!(third.response("GET").text(), "a");
}

#[test]
fn workers_that_are_told_to_stop_before_they_begin_end() {
    for _ in 0..20 {
        let settings = settings();
        let listeners = run(proxy::bind(&settings.listeners, 2)).expect("a free port");
        let (trigger, stop) = shutdown::channel();
        trigger.trigger();
        let (feedback, _) = mpsc::channel(1);

        let routes = Arc::new(ArcSwap::from_pointee(Routes::default()));
        let server =
            proxy::start(settings, listeners, routes, feedback, None, stop).expect("threads start");

        run(async {
            let ended = tokio::time::timeout(Duration::from_secs(20), server.drained()).await;
            assert!(ended.is_ok(), "a worker still accepts");
        });
    }
}
