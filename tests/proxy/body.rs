//! Bodies arrive as they were sent, at the pace of who reads them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::front::{Front, settings};
use crate::peer::Peer;
use crate::toy::{Then, Toy, answer};

fn seed() -> u64 {
    let given = std::env::var("LB_TEST_SEED").ok();
    let seed = given.map_or_else(
        || lb::clock::random().random(),
        |seed| seed.parse().unwrap(),
    );
    println!("LB_TEST_SEED={seed}");
    seed
}

fn random_bytes(dice: &mut ChaCha8Rng, bytes_max: usize) -> Vec<u8> {
    let mut bytes = vec![0; dice.random_range(0..=bytes_max)];
    dice.fill_bytes(&mut bytes);
    bytes
}

/// `body` in chunks of random sizes, in writes of random sizes.
fn send_chunked(dice: &mut ChaCha8Rng, peer: &mut Peer, body: &[u8]) {
    let mut framed = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, tail) = rest.split_at(dice.random_range(1..=rest.len()));
        framed.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
        framed.extend(chunk);
        framed.extend(b"\r\n");
        rest = tail;
    }
    framed.extend(b"0\r\n\r\n");
    send_in_pieces(dice, peer, &framed);
}

fn send_in_pieces(dice: &mut ChaCha8Rng, peer: &mut Peer, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(dice.random_range(1..=rest.len()));
        peer.try_send(piece);
        rest = tail;
    }
}

#[test]
fn random_bodies_pass_both_ways_byte_by_byte() {
    let seed = seed();
    // Sends the body back, framed at random.
    let echo = Toy::scripted(move |request, number, peer| {
        let mut dice = ChaCha8Rng::seed_from_u64(seed ^ number as u64);
        if dice.random() {
            peer.try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            send_chunked(&mut dice, peer, &request.body);
        } else {
            let length = request.body.len();
            peer.try_send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
            ));
            send_in_pieces(&mut dice, peer, &request.body);
        }
        Then::Keep
    });
    let front = Front::of(&[&echo]);
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut client = front.client();

    for round in 0..150 {
        let bytes_max = if round % 10 == 0 { 500_000 } else { 3000 };
        let body = random_bytes(&mut dice, bytes_max);
        let method = ["POST", "PUT", "GET", "DELETE"][dice.random_range(0..4)];
        if dice.random() {
            client.send(format!(
                "{method} / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
            ));
            send_chunked(&mut dice, &mut client, &body);
        } else {
            let length = body.len();
            client.send(format!(
                "{method} / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
            ));
            send_in_pieces(&mut dice, &mut client, &body);
        }

        let response = client.response(method);

        assert_eq!(response.status(), 200, "{}", response.text());
        assert!(response.complete, "round {round}");
        assert!(
            response.body == body,
            "round {round}: {} bytes differ",
            body.len()
        );
    }
    assert_eq!(
        echo.connections(),
        1,
        "every exchange left the connection in order"
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let toys = ["a", "b"].map(|_| {
        Toy::scripted(|request, _, peer| {
            let path = request.start().split(' ').nth(1).unwrap().to_owned();
            answer(peer, request, &path);
            Then::Keep
        })
    });
    let front = Front::of(&toys.each_ref());
    let mut client = front.client();
    let paths: Vec<String> = (0..20).map(|at| format!("/{at}")).collect();
    let requests = paths
        .iter()
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n"));

    client.send(requests.collect::<String>());

    for path in &paths {
        assert_eq!(client.response("GET").text(), path);
    }
}

#[test]
fn heads_204_and_304_have_no_body_whatever_they_claim() {
    let toy = Toy::scripted(|request, _, peer| {
        let status = match request.start().split(' ').nth(1) {
            Some("/204") => "204 No Content",
            Some("/304") => "304 Not Modified",
            _ => "200 OK",
        };
        peer.try_send(format!(
            "HTTP/1.1 {status}\r\nContent-Length: 5\r\nETag: x\r\n\r\n"
        ));
        Then::Keep
    });
    let front = Front::of(&[&toy]);
    let mut client = front.client();

    client.send("HEAD / HTTP/1.1\r\nHost: t\r\n\r\n");
    let head = client.response("HEAD");
    assert_eq!(head.field("content-length"), Some("5"));
    for path in ["/204", "/304"] {
        let response = client.get(path);
        assert_eq!(response.field("etag"), Some("x"));
        assert_eq!(response.body, b"");
    }
    assert_eq!(toy.connections(), 1);
}

/// Found by fuzzing: the text of the refusal followed a head that has no body.
#[test]
fn a_head_request_that_is_refused_is_answered_without_a_body() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    for request in [
        "HEAD / HTTP/1.1\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "HEAD / HTTP/1.1\nHost: t\n\n",
    ] {
        let mut client = front.client();
        client.send(request);

        let response = client.response("HEAD");

        assert_eq!(response.status(), 400, "{request:?}");
        client.assert_ended_in_order();
    }
    assert_eq!(toy.count(), 0);
}

#[test]
fn http_1_0_clients_get_unchunked_bodies() {
    let toy = Toy::scripted(|_, _, peer| {
        peer.try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        Then::Keep
    });
    let front = Front::of(&[&toy]);
    let mut client = front.client();

    client.send("GET / HTTP/1.0\r\n\r\n");

    let response = client.response("GET");
    assert_eq!(response.field("transfer-encoding"), None);
    assert_eq!(response.text(), "abc");
    let host = toy.requests()[0].field("host").map(str::to_owned);
    assert_eq!(host, Some(front.address.to_string()));
}

#[test]
fn expect_100_continue_is_passed_on_with_its_answer_and_the_body_arrives() {
    let toy = Toy::raw(|mut peer, _| {
        let head = peer.try_head().unwrap();
        assert!(head.to_ascii_lowercase().contains("expect: 100-continue"));
        peer.try_send("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(peer.bytes(4), b"body");
        peer.try_send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nthanks");
    });
    let front = Front::of(&[&toy]);
    let mut client = front.client();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");

    assert_eq!(client.try_head().as_deref(), Some("HTTP/1.1 100 Continue"));
    client.send("body");

    assert_eq!(client.response("POST").text(), "thanks");
}

#[test]
fn informational_responses_before_the_final_one_are_no_answer() {
    let toy = Toy::scripted(|_, _, peer| {
        peer.try_send(
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        );
        Then::Keep
    });
    let front = Front::of(&[&toy]);

    assert_eq!(front.client().get("/").text(), "ok");
}

#[test]
fn a_final_answer_is_delivered_while_the_request_body_still_comes() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_head();
        peer.try_send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig");
        // Reads nothing more; whoever wants to send the whole body first waits for ever.
        peer.try_head();
    });
    let front = Front::of(&[&toy]);
    let mut client = front.client();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000000\r\n\r\n");
    // More than the front wants to hold, so that some of it is unread when the front closes.
    client.send(vec![1; 1_500_000]);

    let response = client.response("POST");

    assert_eq!((response.status(), response.text()), (413, "big"));
    client.assert_ended_in_order();
    crate::until("the half-used connection is not kept", || toy.open() == 0);
}

#[test]
fn an_early_answer_survives_a_backend_that_closes_under_the_body() {
    for _ in 0..20 {
        let toy = Toy::raw(|mut peer, _| {
            peer.try_head();
            peer.try_send(
                "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig",
            );
        });
        let front = Front::of(&[&toy]);
        let mut client = front.client();
        client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n");
        // Its close leaves unread bytes there, so the kernel answers with a reset.
        let _ = client.try_send(vec![1; 300_000]);

        let response = client.response("POST");

        assert_eq!((response.status(), response.text()), (413, "big"));
    }
}

#[test]
fn a_client_that_does_not_read_stops_the_backend() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    const TOTAL: usize = 64 * 1024 * 1024;
    let toy = Toy::raw(move |mut peer, _| {
        peer.try_request();
        peer.try_send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n"
        ));
        let chunk = vec![7; 64 * 1024];
        while counted.load(Ordering::SeqCst) < TOTAL && peer.try_send(&chunk) {
            counted.fetch_add(chunk.len(), Ordering::SeqCst);
        }
    });
    let front = Front::of(&[&toy]);
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert!(client.try_head().is_some());

    // Kernel buffers on both hops fill up, then nothing moves any more.
    let stalled_at = standstill(&sent);
    assert!(stalled_at < TOTAL / 2, "{stalled_at} bytes were taken");

    assert_eq!(client.bytes(TOTAL).len(), TOTAL);
    assert!(sent.load(Ordering::SeqCst) >= TOTAL);
}

#[test]
fn a_backend_that_does_not_read_stops_the_client() {
    let (go, going) = std::sync::mpsc::sync_channel::<()>(0);
    let going = std::sync::Mutex::new(going);
    let toy = Toy::raw(move |mut peer, _| {
        let head = peer.try_head().unwrap();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap()
            .parse()
            .unwrap();
        going.lock().unwrap().recv().unwrap();
        let body = peer.bytes(length);
        let text = body.len().to_string();
        peer.try_send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        ));
    });
    let front = Front::of(&[&toy]);
    const TOTAL: usize = 64 * 1024 * 1024;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let mut client = front.client();
    let sending = std::thread::spawn(move || {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {TOTAL}\r\n\r\n"
        ));
        let chunk = vec![7; 64 * 1024];
        while counted.load(Ordering::SeqCst) < TOTAL {
            client.send(&chunk);
            counted.fetch_add(chunk.len(), Ordering::SeqCst);
        }
        client.response("POST").text().to_owned()
    });

    let stalled_at = standstill(&sent);
    assert!(stalled_at < TOTAL / 2, "{stalled_at} bytes were taken");
    go.send(()).unwrap();

    assert_eq!(sending.join().unwrap(), TOTAL.to_string());
}

/// Waits until a count has begun to grow and then stood still for a while.
fn standstill(count: &AtomicUsize) -> usize {
    let mut last = 0;
    let mut still = 0;
    crate::until("it stands still", || {
        std::thread::sleep(Duration::from_millis(5));
        let now = count.load(Ordering::SeqCst);
        still = if now == last && now > 0 { still + 1 } else { 0 };
        last = now;
        still >= 30
    });
    last
}

#[test]
fn a_large_request_body_beyond_the_replay_limit_streams_through() {
    let toy = Toy::scripted(|request, _, peer| {
        let text = request.body.len().to_string();
        answer(peer, request, &text);
        Then::Keep
    });
    let mut settings = settings();
    settings.limits.replay_bytes = 1024;
    let front = Front::with(settings, &[&toy]);
    let mut client = front.client();

    for method in ["PUT", "POST"] {
        let body = vec![9; 3_000_000];
        assert_eq!(client.request(method, "/", &body).text(), "3000000");
    }
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n";

/// A sized request whose bytes all count, `head` included.
fn send_counted(client: &mut Peer, method: &str, bytes: usize) -> Vec<u8> {
    let body: Vec<u8> = (0..bytes as u32)
        .flat_map(u32::to_be_bytes)
        .take(bytes)
        .collect();
    let mut all =
        format!("{method} / HTTP/1.1\r\nHost: t\r\nContent-Length: {bytes}\r\n\r\n").into_bytes();
    all.extend_from_slice(&body);
    client.send(all);
    body
}

/// A backend that reads late, so that a kernel that takes little takes a body in pieces.
fn late_reader(says_first: &'static str) -> Toy {
    let log: Arc<std::sync::Mutex<Vec<_>>> = Arc::default();
    let kept = log.clone();
    // Each connection is new, as a kernel takes more once it knows that much gets through.
    let toy = Toy::raw_and_narrow(move |mut peer, _| {
        if !matches!(peer.stream().peek(&mut [0]), Ok(1)) {
            return;
        }
        peer.try_send(says_first);
        std::thread::sleep(Duration::from_millis(100));
        let Some(request) = peer.try_request() else {
            return;
        };
        kept.lock().unwrap().push(request);
        if says_first.is_empty() {
            peer.try_send(ANSWER);
        }
        peer.try_send("ok");
    });
    toy.logging(log)
}

#[test]
fn bodies_that_the_kernel_takes_in_pieces_stay_in_order() {
    for says_first in ["", ANSWER] {
        let toy = late_reader(says_first);
        let front = Front::of(&[&toy]);
        for method in ["POST", "PUT"] {
            for bytes in [10_000, 40_000, 60_000, 70_000, 200_000, 1_000_000] {
                let mut client = front.client();
                let body = send_counted(&mut client, method, bytes);

                let text = client.response(method).text().to_owned();

                let what = format!(
                    "{method} {bytes}, the answer begins early: {}",
                    !says_first.is_empty()
                );
                assert_eq!(text, "ok", "{what}");
                let got = toy.requests().pop().expect("it came").body;
                let same = got.iter().zip(&body).take_while(|(got, sent)| got == sent);
                assert_eq!((got.len(), same.count()), (bytes, bytes), "{what}");
            }
        }
    }
}
