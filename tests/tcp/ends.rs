//! How connections end: each way by itself, by reset, for want of movement, by a verdict, at a stop.

use std::io::Read;
use std::sync::mpsc;
use std::time::Duration;

use lb::pool::hop::{OnDown, Settings as Hop};
use lb::proxy::stats::ENDS;

use crate::front::{Front, settings};
use crate::peer::Peer;
use crate::toy::Toy;
use crate::{echo, named, relaying, until};

/// A backend that hands its connections out.
fn open() -> (Toy, mpsc::Receiver<Peer>) {
    let (give, take) = mpsc::channel();
    let toy = Toy::raw(move |peer, _| give.send(peer).expect("the test takes it"));
    (toy, take)
}

/// Relayed connections that ended in this way, anywhere.
fn ended(front: &Front, end: &str) -> u64 {
    let at = ENDS.iter().position(|known| *known == end);
    let at = at.expect("a known end");
    let backends = front.stats().backends;
    backends.iter().map(|counts| counts.connections[at]).sum()
}

#[test]
fn a_client_that_ends_still_gets_its_answer() {
    let (toy, backends) = open();
    let front = Front::with(relaying(), &[&toy]);
    let mut client = front.client();
    client.send("question");
    client.end();
    let mut backend = backends.recv().unwrap();

    assert_eq!(backend.rest_and_end(), (b"question".to_vec(), true));
    backend.send("answer");
    drop(backend);

    assert_eq!(client.rest_and_end(), (b"answer".to_vec(), true));
    until("it is counted", || ended(&front, "done") == 1);
}

#[test]
fn a_backend_that_ends_still_hears_its_client() {
    let (toy, backends) = open();
    let front = Front::with(relaying(), &[&toy]);
    let mut client = front.client();
    let mut backend = backends.recv().unwrap();
    backend.send("that is all");
    backend.end();

    assert_eq!(client.rest_and_end(), (b"that is all".to_vec(), true));
    client.send("thank you");
    drop(client);

    assert_eq!(backend.rest_and_end(), (b"thank you".to_vec(), true));
    until("it is counted", || ended(&front, "done") == 1);
}

#[test]
fn a_reset_of_the_client_is_one_at_the_backend() {
    let (toy, backends) = open();
    let front = Front::with(relaying(), &[&toy]);
    let mut client = front.client();
    client.send("half a");
    let mut backend = backends.recv().unwrap();
    assert_eq!(backend.bytes(6), b"half a");

    client.reset();

    assert_eq!(backend.rest_and_end(), (Vec::new(), false));
    until("it is counted", || ended(&front, "client") == 1);
}

#[test]
fn a_reset_of_the_backend_is_one_at_the_client() {
    let (toy, backends) = open();
    let front = Front::with(relaying(), &[&toy]);
    let mut client = front.client();
    let mut backend = backends.recv().unwrap();
    backend.send("half an");
    assert_eq!(client.bytes(7), b"half an");

    backend.reset();

    assert_eq!(client.rest_and_end(), (Vec::new(), false));
    until("it is counted", || ended(&front, "backend") == 1);
}

#[test]
fn an_answer_that_comes_before_all_was_sent_arrives() {
    let toy = Toy::raw(|mut peer, _| {
        // Closing with unread bytes resets the connection, behind the answer.
        peer.bytes(1);
        peer.send("too much");
    });
    let front = Front::with(relaying(), &[&toy]);
    let mut client = front.client();
    let mut sender = client.stream().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let chunk = [b'x'; 64 * 1024];
        for _ in 0..256 {
            if std::io::Write::write_all(&mut sender, &chunk).is_err() {
                return;
            }
        }
    });

    let got = client.bytes(8);

    assert_eq!(String::from_utf8_lossy(&got), "too much");
    drop(client);
    sending.join().unwrap();
}

#[test]
fn what_does_not_move_for_long_ends() {
    let (toy, backends) = open();
    let mut settings = relaying();
    settings.timeouts.tcp_idle = Duration::from_millis(100);
    let front = Front::with(settings, &[&toy]);
    let mut client = front.client();
    let mut backend = backends.recv().unwrap();
    client.try_send("a");

    client.rest();
    assert!(matches!(&*backend.rest(), b"a" | b""));
    until("it is counted", || ended(&front, "lb") == 1);
}

#[test]
fn what_moves_now_and_then_goes_on() {
    let idle = Duration::from_secs(1);
    let (toy, backends) = open();
    let mut settings = relaying();
    settings.timeouts.tcp_idle = idle;
    let front = Front::with(settings, &[&toy]);
    // Where this machine pauses for a second, nothing moved for a second.
    let goes_on = || {
        let mut client = front.client();
        let mut backend = backends.recv().unwrap();
        let begun = lb::clock::now();
        let mut moved = begun;
        while begun.elapsed() < 2 * idle {
            std::thread::sleep(Duration::from_millis(20));
            // One way is enough.
            let went = backend.try_send("b") && client.bytes(1) == b"b";
            let paused = moved.elapsed() >= idle / 2;
            assert!(went || paused, "it was ended while it moved");
            if !went {
                return false;
            }
            moved = lb::clock::now();
        }
        true
    };
    assert!((0..20).any(|_| goes_on()), "this machine is too slow");
}

#[test]
fn a_drained_backend_keeps_its_connections() {
    let (a, b) = (named("a"), named("b"));
    let mut front = Front::with(relaying(), &[&a, &b]);
    let mut clients = [front.client(), front.client()];
    let names: Vec<_> = clients.iter_mut().map(|client| client.bytes(1)).collect();

    front.drain(&a);

    for (client, name) in clients.iter_mut().zip(&names) {
        client.send("still there");
        assert_eq!(client.bytes(11), b"still there", "{name:?}");
    }
    for _ in 0..4 {
        assert_eq!(front.client().bytes(1), b"b");
    }
}

#[test]
fn a_backend_found_down_loses_its_connections_and_others_keep_theirs() {
    let (a, b) = (named("a"), named("b"));
    let mut front = Front::with(relaying(), &[&a, &b]);
    let mut clients: Vec<_> = (0..4).map(|_| front.client()).collect();
    let names: Vec<_> = clients.iter_mut().map(|client| client.bytes(1)).collect();

    front.down(&a);

    for (client, name) in clients.iter_mut().zip(names) {
        if name == b"a" {
            assert_eq!(client.rest_and_end(), (Vec::new(), false));
        } else {
            client.send("on");
            assert_eq!(client.bytes(2), b"on");
        }
    }
    until("they are counted", || ended(&front, "backend") == 2);
    assert_eq!(front.in_flight(&a), 0);
}

#[test]
fn a_backend_found_down_keeps_its_connections_where_that_is_wanted() {
    let a = named("a");
    let mut front = Front::with(relaying(), &[&a]);
    front.hop(Hop {
        on_down: OnDown::Keep,
        ..Hop::default()
    });
    let mut client = front.client();
    assert_eq!(client.bytes(1), b"a");

    front.down(&a);

    for _ in 0..10 {
        client.send("on");
        assert_eq!(client.bytes(2), b"on");
    }
}

#[test]
fn refused_connects_take_no_connection_away() {
    let a = named("a");
    let mut front = Front::with(relaying(), &[&a]);
    let mut client = front.client();
    assert_eq!(client.bytes(1), b"a");
    a.stop();

    until("two refused connects in a row take it out", || {
        front.client().assert_reset();
        front.learn_connects();
        !front.is_in(&a)
    });
    client.send("on");
    assert_eq!(client.bytes(2), b"on");
    // A check that agrees does.
    front.down(&a);
    assert_eq!(client.rest_and_end(), (Vec::new(), false));
}

#[test]
fn a_stop_lets_connections_end_by_themselves() {
    let toy = echo();
    let mut front = Front::with(relaying(), &[&toy]);
    let mut client = front.client();
    client.send("a");
    assert_eq!(client.bytes(1), b"a");

    front.stop();
    until("nobody is accepted any more", || {
        std::net::TcpStream::connect(front.address).is_err()
    });

    client.send("b");
    assert_eq!(client.bytes(1), b"b");
    client.end();
    client.assert_ended_in_order();
    front.drained();
}

#[test]
fn a_stop_tells_both_sides_the_end_when_its_time_is_over() {
    let (toy, backends) = open();
    let mut settings = relaying();
    settings.timeouts.drain = Duration::from_millis(100);
    let mut front = Front::with(settings, &[&toy]);
    let counters = front.counters();
    let mut client = front.client();
    let mut backend = backends.recv().unwrap();
    backend.send("hello");
    assert_eq!(client.bytes(5), b"hello");

    front.stop();

    assert_eq!(client.rest_and_end(), (Vec::new(), true));
    assert_eq!(backend.rest_and_end(), (Vec::new(), true));
    drop((client, backend));
    front.drained();
    let backends = counters.scrape().backends;
    let cut: u64 = backends.iter().map(|counts| counts.connections[3]).sum();
    assert_eq!(cut, 1);
}

#[test]
fn a_stop_tells_a_websocket_the_end_when_its_time_is_over() {
    let (give, backends) = mpsc::channel();
    let toy = Toy::raw(move |mut peer, _| {
        peer.try_head();
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        give.send(peer).expect("the test takes it");
    });
    let mut settings = settings();
    settings.timeouts.drain = Duration::from_millis(100);
    let mut front = Front::with(settings, &[&toy]);
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert!(client.try_head().is_some_and(|head| head.contains(" 101 ")));
    let mut backend: Peer = backends.recv().unwrap();
    backend.send("hello");
    assert_eq!(client.bytes(5), b"hello");

    front.stop();

    assert_eq!(client.rest_and_end(), (Vec::new(), true));
    assert_eq!(backend.rest_and_end(), (Vec::new(), true));
    drop((client, backend));
    front.drained();
}

#[test]
fn what_stood_still_before_all_was_taken_is_not_ended_in_order() {
    let (toy, backends) = open();
    let mut settings = relaying();
    // Long enough for the backend to fill all buffers on a machine with other work: else the line is idle, and ends in order.
    settings.timeouts.tcp_idle = Duration::from_secs(3);
    let front = Front::with(settings, &[&toy]);
    let mut client = std::net::TcpStream::connect(front.address).expect("it connects");
    let mut backend = backends.recv().unwrap();
    // More than all buffers on the way.
    let sending = std::thread::spawn(move || backend.try_send(vec![b'x'; 64 << 20]));
    until("it is ended", || ended(&front, "lb") == 1);

    let read = client.read_to_end(&mut Vec::new());

    assert!(read.is_err(), "it looks whole after {read:?} bytes");
    sending.join().unwrap();
}
