//! Bodies both ways: windows, slow readers, aborts, and what is cut short.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::client::Client;
use crate::frames::{self, End};
use crate::front::{Front, settings};
use crate::peer::Peer;
use crate::toy::{Then, Toy, answer};
use crate::{CANCEL, INTERNAL_ERROR};

/// INITIAL_WINDOW_SIZE.
const WINDOW: u16 = 4;

/// Sends back what it gets; kernels take all of that at once, or little.
fn echo(narrow: bool) -> Toy {
    let raw = match narrow {
        true => Toy::raw_and_narrow,
        false => Toy::raw,
    };
    raw(Box::new(|mut peer: Peer, _| {
        let mut sent = true;
        for number in 0.. {
            let Some(request) = peer.try_request().filter(|_| sent) else {
                return;
            };
            let body = &request.body;
            sent = match number % 2 {
                0 => {
                    peer.try_send(format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    )) && peer.try_send(body)
                }
                _ => {
                    let mut sent =
                        peer.try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                    for piece in body.chunks(10_007) {
                        let size = format!("{:x}\r\n", piece.len());
                        sent = sent && peer.try_send([size.as_bytes(), piece, b"\r\n"].concat());
                    }
                    sent && peer.try_send("0\r\n\r\n")
                }
            };
        }
    }))
}

/// A client to whom the front's kernel gives little at once.
fn tight(address: SocketAddr, settings: &[(u16, u32)]) -> Client {
    let peer = Peer::connect_tight(address);
    let stream = peer.stream().try_clone().expect("a descriptor");
    Client::over(stream).greeted(settings)
}

fn noise(dice: &mut impl Rng, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    dice.fill_bytes(&mut noise);
    noise
}

/// Random bodies, windows and neighbours that leave: what goes in comes out.
#[test]
fn bytes_in_are_bytes_out() {
    let seed = std::env::var("LB_H2_SEED").map_or_else(
        |_| lb::clock::random().random(),
        |seed| seed.parse().expect("a number"),
    );
    println!("LB_H2_SEED={seed}");
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let toys = [false, true].map(echo);
    let front = Front::of(&[&toys[0], &toys[1]]);
    for _ in 0..12 {
        let window = [1_000, 16_384, 65_535, 1 << 20][dice.random_range(0..4)];
        let connect = [Client::with, tight][dice.random_range(0..2)];
        let mut client = connect(front.address, &[(WINDOW, window)]);
        for _ in 0..dice.random_range(1..4) {
            let size = dice.random_range(0..600_000);
            let body = noise(&mut dice, size);
            let length = size.to_string();
            let sized = [("content-length", length.as_str())];
            let fields = if dice.random() { &sized[..] } else { &[] };
            let neighbour = client.ask("GET", "/", &[]);
            if dice.random() {
                client.send(frames::reset(neighbour, CANCEL));
            }
            let stream = client.open("POST", "/", fields);
            let cut = dice.random_range(0..=size);
            client.upload(stream, &body[..cut], false);
            if dice.random_range(0..5) == 0 {
                client.send(frames::reset(stream, CANCEL));
                continue;
            }
            client.upload(stream, &body[cut..], true);
            let answer = client.answer(stream);
            assert_eq!(
                answer.end,
                End::Whole,
                "window {window}, {size} bytes: {:?}",
                client.goaways
            );
            assert!(
                answer.body == body,
                "window {window}, {size} bytes, {} came",
                answer.body.len()
            );
        }
    }
    crate::until("all are over", || front.stats().requests_in_flight == 0);
}

#[test]
fn an_answer_waits_for_its_window_and_its_neighbours_do_not() {
    let toy = Toy::scripted(|request, _, peer| {
        let text = if request.start().contains("big") {
            "x".repeat(100_000)
        } else {
            "small".to_owned()
        };
        answer(peer, request, &text);
        Then::Keep
    });
    let front = Front::of(&[&toy]);
    let mut client = Client::with(front.address, &[(WINDOW, 10)]);
    client.generous = false;

    let big = client.ask("GET", "/big", &[]);
    client.until("ten bytes", |client| client.so_far(big).body.len() == 10);
    let small = client.ask("GET", "/", &[]);
    assert_eq!(client.answer(small).text(), "small");
    assert_eq!(client.so_far(big).body.len(), 10);

    client.send(frames::window_update(big, 1 << 20));
    client.generous = true;
    client.send(frames::window_update(0, 1 << 20));
    let answer = client.answer(big);
    assert_eq!((answer.body.len(), answer.end), (100_000, End::Whole));
}

#[test]
fn a_backend_is_read_no_faster_than_its_client_reads() {
    const TOTAL: usize = 64 << 20;
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let toy = Toy::raw(move |mut peer, _| {
        peer.try_head();
        peer.try_send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n"
        ));
        let piece = vec![b'x'; 64 * 1024];
        while peer.try_send(&piece) {
            count.fetch_add(piece.len(), Ordering::SeqCst);
        }
    });
    let front = Front::of(&[&toy]);
    let mut client = Client::with(front.address, &[(WINDOW, 100_000)]);
    client.generous = false;
    let stream = client.ask("GET", "/", &[]);
    client.until("a window of it", |client| {
        client.so_far(stream).body.len() == 65_535
    });

    // It stands still: neither more is read, nor more is written.
    let mut before = usize::MAX;
    crate::until("the backend stands still", || {
        std::thread::sleep(Duration::from_millis(300));
        let now = written.load(Ordering::SeqCst);
        std::mem::replace(&mut before, now) == now
    });
    // Buffers of kernels are some MiB; the body is far larger.
    assert!(before < TOTAL / 2, "{before}");
    client.send(frames::reset(stream, CANCEL));
    crate::until("the backend is let go", || toy.open() == 0);
}

#[test]
fn an_upload_in_a_burst_of_small_frames_gets_through() {
    const FRAMES: usize = 5000;
    let toy = echo(false);
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);
    // By then it has said how wide its windows are.
    assert_eq!(client.get("/").status(), 200);

    for _ in 0..3 {
        let stream = client.open("POST", "/", &[]);
        let mut burst = frames::data(stream, [b'x'; 20], false).repeat(FRAMES);
        burst.extend(frames::data(stream, [], true));
        client.send(burst);
        let answer = client.answer(stream);
        assert_eq!((answer.status(), answer.end), (200, End::Whole));
        assert_eq!(answer.body.len(), 20 * FRAMES);
    }
    assert_eq!(client.goaways, []);
}

#[test]
fn a_slow_backend_holds_uploads_back() {
    let gate = Arc::new(Barrier::new(2));
    let inside = gate.clone();
    let toy = Toy::raw(move |mut peer, _| {
        peer.try_head();
        inside.wait();
        let body = peer.bytes(40 << 20);
        peer.try_send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{:08}",
            body.len() >> 10
        ));
        peer.rest();
    });
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);
    let length = (40 << 20).to_string();
    let stream = client.open("POST", "/", &[("content-length", &length)]);
    let sender = std::thread::spawn(move || {
        client.upload(stream, &vec![7; 40 << 20], true);
        client.answer(stream)
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(!sender.is_finished(), "all of it went nowhere");
    gate.wait();
    assert_eq!(sender.join().unwrap().text(), "00040960");
}

#[test]
fn a_truncated_answer_is_a_reset_stream_and_never_a_clean_end() {
    for head in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        for reset in [false, true] {
            let gate = Arc::new(Barrier::new(2));
            let inside = gate.clone();
            let toy = Toy::raw(move |mut peer, _| {
                peer.try_head();
                peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"));
                peer.send("5\r\nhello\r\n");
                inside.wait();
                if reset {
                    peer.reset();
                }
            });
            let front = Front::of(&[&toy]);
            let mut client = Client::connect(front.address);
            let stream = client.ask("GET", "/", &[]);
            client.until("its beginning", |client| {
                !client.so_far(stream).body.is_empty()
            });
            gate.wait();

            let answer = client.answer(stream);

            assert_eq!(
                answer.end,
                End::Reset(INTERNAL_ERROR),
                "{head}, reset: {reset}"
            );
            assert_eq!(answer.status(), 200);
            let neighbour = client.ask("OPTIONS", "*", &[("max-forwards", "0")]);
            assert_eq!(
                client.answer(neighbour).status(),
                200,
                "the connection goes on"
            );
            crate::until("it is counted", || front.stats().requests_in_flight == 0);
        }
    }
}

#[test]
fn an_answer_that_breaks_off_at_once_is_a_502() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    });
    let front = Front::of(&[&toy]);
    // It may also come a moment later, and then it is cut.
    let answer = Client::connect(front.address).get("/");
    let cut = matches!(answer.end, End::Reset(INTERNAL_ERROR));
    assert!(cut || answer.status() == 502, "{answer:?}");
}

#[test]
fn a_body_up_to_the_close_ends_its_stream() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_head();
        peer.send("HTTP/1.1 200 OK\r\n\r\nhello");
    });
    let front = Front::of(&[&toy]);
    let answer = Client::connect(front.address).get("/");
    assert_eq!((answer.text().as_str(), answer.end), ("hello", End::Whole));
}

#[test]
fn an_early_answer_is_delivered_at_once() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_head();
        peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        peer.rest();
    });
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);
    let stream = client.open("POST", "/", &[("content-length", "1000000")]);
    client.send(frames::data(stream, "beginning", false));

    client.until("all of the answer", |client| {
        client.so_far(stream).end != End::Open
    });

    let answer = client.so_far(stream);
    assert_eq!((answer.status(), answer.text().as_str()), (403, "no"));
    assert_eq!(client.get("/").status(), 403);
}

#[test]
fn a_client_that_leaves_takes_its_requests_with_it() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_head();
        peer.rest();
    });
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);
    let streams: Vec<u32> = (0..5).map(|_| client.ask("GET", "/", &[])).collect();
    crate::until("all wait", || toy.open() == 5);

    client.send(frames::reset(streams[0], CANCEL));
    crate::until("one is let go", || toy.open() == 4);
    drop(client);
    crate::until("all are let go", || {
        toy.open() == 0 && front.stats().connections_open == 0
    });
    assert_eq!(front.stats().requests_in_flight, 0);
}

#[test]
fn a_window_of_one_byte_delivers_a_small_body() {
    let toy = Toy::named("hello, world");
    let front = Front::of(&[&toy]);
    let mut client = Client::with(front.address, &[(WINDOW, 1)]);
    let answer = client.get("/");
    assert_eq!(
        (answer.text().as_str(), answer.end),
        ("hello, world", End::Whole)
    );
    assert_eq!(answer.pieces, 12);
}

#[test]
fn a_backend_that_goes_down_gives_its_requests_to_another() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let (slow, quick) = (
        Toy::raw(move |mut peer, _| {
            peer.try_head();
            counted.fetch_add(1, Ordering::SeqCst);
            peer.rest();
        }),
        Toy::named("quick"),
    );
    let mut front = Front::with(settings(), &[&slow, &quick]);
    let mut client = Client::connect(front.address);
    let streams: Vec<u32> = (0..4).map(|_| client.ask("GET", "/", &[])).collect();
    crate::until("half of them wait", || asked.load(Ordering::SeqCst) == 2);

    front.down(&slow);

    for stream in streams {
        assert_eq!(client.answer(stream).text(), "quick");
    }
}
