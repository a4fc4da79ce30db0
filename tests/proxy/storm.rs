//! Everything goes wrong at once, at random; in the end nothing may be counted that is not there.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use lb::pool::queue;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::front::{Front, settings, spec};
use crate::peer::{Message, Peer};
use crate::toy::{Then, Toy, answer};

const CLIENTS: u64 = 12;
const ACTS: usize = 60;
const CHANGES: usize = 150;

fn pause(random: &mut ChaCha8Rng) {
    thread::sleep(Duration::from_micros(random.random_range(0..4000)));
}

/// A backend that does anything but follow the rules.
fn unruly(seed: u64) -> Toy {
    let turn = AtomicU64::new(0);
    Toy::scripted(move |request, _, peer| {
        let number = turn.fetch_add(1, Ordering::SeqCst);
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ number);
        misbehave(request, peer, &mut random)
    })
}

fn misbehave(request: &Message, peer: &mut Peer, random: &mut ChaCha8Rng) -> Then {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nonly this";
    match random.random_range(0..12) {
        0 => return Then::Close,
        1 => return Then::Reset,
        2 => {
            peer.try_send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        }
        3 => {
            peer.try_send("what?\r\n\r\n");
        }
        4 => {
            peer.try_send(half);
            return [Then::Close, Then::Reset]
                .into_iter()
                .nth(random.random_range(0..2))
                .unwrap();
        }
        5 => {
            // Neither a word nor the end, until the front gives up.
            peer.rest();
            return Then::Close;
        }
        6 => {
            peer.try_send(half);
            peer.rest();
            return Then::Close;
        }
        7 => {
            peer.try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for _ in 0..200 {
                if !peer.try_send("400\r\n") || !peer.try_send([b'x'; 1026]) {
                    return Then::Close;
                }
            }
            return Then::Close;
        }
        _ => {
            pause(random);
            answer(peer, request, "well");
        }
    }
    Then::Keep
}

/// A client that leaves whenever it likes.
fn act(front: SocketAddr, random: &mut ChaCha8Rng) {
    let mut client = Peer::connect(front);
    let get = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 70000\r\n\r\n";
    let texts: &[&[&str]] = &[
        &[get],
        &[get, get, get],
        &[post, "the rest never comes"],
        &["GET / HT"],
        &["PUT / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
        &[
            "PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc",
            get,
        ],
        &["POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n"],
    ];
    for text in *texts.choose(random).unwrap() {
        client.try_send(text);
        if random.random_bool(0.2) {
            pause(random);
        }
    }
    match random.random_range(0..6) {
        0 => client.reset(),
        1 => drop(client),
        2 => {
            pause(random);
            client.reset();
        }
        3 => {
            client.try_head();
            client.reset();
        }
        4 => {
            let _ = client.stream().shutdown(std::net::Shutdown::Write);
            client.rest();
        }
        _ => {
            client.try_response("GET");
        }
    }
}

fn limits(random: &mut ChaCha8Rng) -> queue::Settings {
    queue::Settings {
        max_in_flight: *[0, 1, 1, 2, 3].choose(random).unwrap(),
        queue: *[0, 2, 100].choose(random).unwrap(),
        queue_timeout: Duration::from_millis(random.random_range(1..200)),
    }
}

#[test]
fn nothing_is_counted_after_a_storm() {
    let given = std::env::var("LB_TEST_SEED").ok();
    let seed = given.map_or_else(
        || lb::clock::random().random(),
        |seed| seed.parse().expect("a number"),
    );
    println!("LB_TEST_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let toys = [1, 2, 3].map(|number| unruly(seed.wrapping_add(number << 32)));
    let specs = toys.iter().zip([false, false, true]);
    let specs = specs
        .map(|(toy, backup)| spec(toy.address, 1, backup))
        .collect();
    let mut settings = settings();
    settings.workers = 2;
    settings.timeouts.first_byte = Duration::from_millis(40);
    settings.timeouts.body_progress = Duration::from_millis(60);
    settings.timeouts.request_head = Duration::from_millis(60);
    settings.timeouts.client_idle = Duration::from_millis(100);
    let mut front = Front::start(settings, specs, limits(&mut random), None);
    front.all_up();

    let address = front.address;
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let mut random = ChaCha8Rng::seed_from_u64(seed ^ number << 48);
            scope.spawn(move || {
                for _ in 0..ACTS {
                    act(address, &mut random);
                }
            });
        }
        for _ in 0..CHANGES {
            pause(&mut random);
            let toy = toys.choose(&mut random).unwrap();
            match random.random_range(0..4) {
                0 => front.change(toy, false),
                1 => front.limit(limits(&mut random)),
                _ => front.change(toy, true),
            }
        }
        // Who comes later still has somebody to ask.
        front.all_up();
    });

    crate::until("nothing is under way any more", || {
        let stats = front.stats();
        stats.requests_in_flight == 0
            && stats.connections_open == 0
            && front.pool.queue.is_empty()
            && toys.iter().all(|toy| front.in_flight(toy) == 0)
    });
    let asked: usize = toys.iter().map(Toy::count).sum();
    assert!(asked > 100, "{asked} requests were no storm");
    let queues = front.stats().queues;
    let waited = queues.iter().flat_map(|one| one.waits.buckets).sum::<u64>();
    assert!(waited > 0, "nobody ever had to wait");
}
