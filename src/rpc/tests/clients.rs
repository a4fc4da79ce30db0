//! Clients that send half a request, too much, rubbish, or read nothing.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::member::{Actor, member, user};
use crate::clock;
use crate::gossip::core::io::Answer;
use crate::gossip::core::wire::msgpack::Writer;
use crate::rpc::session::Limits;
use crate::rpc::{self, BindError, Settings};

fn request(command: &str, seq: u64, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::default();
    w.map(2);
    w.key("Command");
    w.str(command);
    w.key("Seq");
    w.uint(seq);
    body(&mut w);
    w.finish()
}

fn handshake() -> Vec<u8> {
    request("handshake", 1, |w| {
        w.map(1);
        w.key("Version");
        w.int(1);
    })
}

fn one_text(command: &str, seq: u64, field: &str, text: &str) -> Vec<u8> {
    request(command, seq, |w| {
        w.map(1);
        w.key(field);
        w.str(text);
    })
}

fn ok(seq: u64) -> Vec<u8> {
    let mut w = Writer::default();
    w.map(2);
    w.key("Error");
    w.str("");
    w.key("Seq");
    w.uint(seq);
    w.finish()
}

fn actor() -> Actor {
    Actor::new(vec![member("a1", [10, 0, 0, 1], &[])])
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("it listens")
}

async fn greeted(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address).await;
    stream.write_all(&handshake()).await.expect("it reads");
    read(&mut stream, &ok(1)).await;
    stream
}

/// Exactly `expected` comes.
async fn read(stream: &mut TcpStream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut got)).await;
    read.expect("in time").expect("so much");
    assert_eq!(got, expected);
}

/// What comes until the connection ends, which it must.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut got)).await;
    // It may have been reset, as it still had something to say.
    let _ = read.expect("it ends");
    got
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte_and_two_in_one_piece() {
    let actor = actor();
    let (address, _server, _stop) = actor.serve(None, Limits::default()).await;
    let mut stream = connect(address).await;
    stream.set_nodelay(true).expect("a socket");

    for byte in handshake() {
        stream.write_all(&[byte]).await.expect("it reads");
        tokio::task::yield_now().await;
    }
    read(&mut stream, &ok(1)).await;
    let two = [
        one_text("stream", 2, "Type", "user"),
        request("stop", 3, |w| {
            w.map(1);
            w.key("Stop");
            w.uint(2);
        }),
    ];
    stream.write_all(&two.concat()).await.expect("it reads");
    read(&mut stream, &[ok(2), ok(3)].concat()).await;
}

#[tokio::test]
async fn rubbish_ends_the_session_and_nothing_else() {
    let actor = actor();
    let (address, _server, _stop) = actor.serve(None, Limits::default()).await;
    let other = greeted(address).await;

    for rubbish in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xc1],
        &[0xdf, 0xff, 0xff, 0xff, 0xff],
        &[0x81, 0xa7, b'C', b'o', b'm', b'm', b'a', b'n', b'd', 0xc3],
    ] {
        let mut stream = connect(address).await;
        stream.write_all(rubbish).await.expect("it reads");
        assert_eq!(rest(stream).await, b"", "{rubbish:?}");
    }
    let mut stream = greeted(address).await;
    let bad = request("members-filtered", 2, |w| {
        w.map(1);
        w.key("Name");
        w.str("(");
    });
    stream.write_all(&bad).await.expect("it reads");
    assert_eq!(rest(stream).await, b"");

    let mut other = other;
    other
        .write_all(&one_text("stream", 2, "Type", "*"))
        .await
        .expect("it reads");
    read(&mut other, &ok(2)).await;
}

#[tokio::test]
async fn a_request_that_is_too_large_ends_the_session() {
    let actor = actor();
    let limits = Limits {
        request_bytes: 4096,
        greeting_bytes: 256,
        ..Limits::default()
    };
    let (address, _server, _stop) = actor.serve(Some("key"), limits).await;
    let large = one_text("auth", 2, "AuthKey", &"x".repeat(8192));

    let mut stream = greeted(address).await;
    let _ = stream.write_all(&large).await;
    assert_eq!(rest(stream).await, b"", "before it has said who it is");

    let mut stream = greeted(address).await;
    let key = one_text("auth", 2, "AuthKey", "key");
    stream.write_all(&key).await.expect("it reads");
    read(&mut stream, &ok(2)).await;
    let fits = one_text("get-coordinate", 3, "Node", &"x".repeat(3000));
    stream.write_all(&fits).await.expect("it reads");
    read(&mut stream, &ok(3)).await;
    let _ = stream
        .write_all(&one_text("stream", 4, "Type", &"x".repeat(8192)))
        .await;
    let answer = rest(stream).await;
    assert!(!answer.starts_with(&ok(4)[..5]), "{answer:?}");
}

#[tokio::test]
async fn who_does_not_say_who_it_is_has_ten_seconds() {
    let actor = actor();
    let limits = Limits {
        greeting: Duration::from_millis(50),
        ..Limits::default()
    };
    let (address, _server, _stop) = actor.serve(Some("key"), limits).await;

    let silent = connect(address).await;
    assert_eq!(rest(silent).await, b"");
    let half = greeted(address).await;
    assert_eq!(rest(half).await, b"");
}

#[tokio::test]
async fn three_wrong_keys_end_the_session() {
    let actor = actor();
    let (address, _server, _stop) = actor.serve(Some("right"), Limits::default()).await;
    let mut stream = greeted(address).await;

    for (seq, key) in [(2, "wrong"), (3, "right "), (4, "")] {
        let request = one_text("auth", seq, "AuthKey", key);
        stream.write_all(&request).await.expect("it reads");
    }

    let answer = rest(stream).await;
    let said = String::from_utf8_lossy(&answer);
    assert_eq!(said.matches("Invalid authentication token").count(), 3);
}

#[tokio::test]
async fn a_reader_that_is_too_slow_stalls_nobody_and_is_told_what_it_missed() {
    let actor = actor();
    let limits = Limits {
        out_bytes: 4096,
        ..Limits::default()
    };
    let (address, _server, _stop) = actor.serve(None, limits).await;
    let mut stream = greeted(address).await;
    let watch = one_text("stream", 2, "Type", "user:x");
    stream.write_all(&watch).await.expect("it reads");
    read(&mut stream, &ok(2)).await;

    // Far more than the sockets between us hold, until the session has stopped taking any.
    let payload = vec![b'p'; 500];
    let deadline = clock::now() + Duration::from_secs(60);
    let mut told = 0_u64;
    let mut waiting: Option<Instant> = None;
    while waiting.is_none_or(|since| since.elapsed() < Duration::from_millis(300)) {
        assert!(clock::now() < deadline, "it swallows everything: {told}");
        actor.tell(user(told, "x", &payload));
        told += 1;
        // The channel holds 64: once they stay in it, nobody takes them.
        waiting = match actor.notices.len() {
            64 => waiting.or_else(|| Some(clock::now())),
            _ => None,
        };
        tokio::task::yield_now().await;
    }

    // All others are served meanwhile.
    let mut other = greeted(address).await;
    other
        .write_all(&one_text("stream", 2, "Type", "*"))
        .await
        .expect("it reads");
    read(&mut other, &ok(2)).await;
    // Once it reads, it is told.
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains("events missed") {
        let read = stream.read_buf(&mut got);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        assert!(read.expect("in time").expect("a connection") > 0);
    }
    let records = got.windows(payload.len()).filter(|part| *part == payload);
    assert!((records.count() as u64) < told);
}

#[tokio::test]
async fn a_reader_that_reads_nothing_at_all_is_let_go() {
    let actor = actor();
    let limits = Limits {
        out_bytes: 4096,
        stall: Duration::from_millis(200),
        ..Limits::default()
    };
    let (address, _server, _stop) = actor.serve(None, limits).await;
    let mut stream = greeted(address).await;
    let watch = one_text("stream", 2, "Type", "user:x");
    stream.write_all(&watch).await.expect("it reads");
    read(&mut stream, &ok(2)).await;
    assert_eq!(actor.notices.receiver_count(), 1);

    let deadline = clock::now() + Duration::from_secs(60);
    while actor.notices.receiver_count() > 0 {
        assert!(clock::now() < deadline, "it is still there");
        let _ = actor.notices.send(user(1, "x", &[b'p'; 500]).into());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn every_answer_of_a_large_cluster_comes_and_done_is_the_last() {
    let actor = actor();
    let mut answers: Vec<Answer> = (0..2000)
        .map(|node| Answer::Response {
            from: format!("node{node}"),
            payload: vec![b'p'; 100],
        })
        .collect();
    answers.push(Answer::Done);
    actor.with(|script| script.answers = answers);
    let (address, _server, _stop) = actor.serve(None, Limits::default()).await;
    let mut stream = greeted(address).await;
    let ask = one_text("query", 2, "Name", "uptime");
    stream.write_all(&ask).await.expect("it reads");
    // A second one meanwhile, so that their numbers tell them apart.
    let ask = one_text("query", 3, "Name", "uptime");
    stream.write_all(&ask).await.expect("it reads");

    let mut got = Vec::new();
    let done = |got: &[u8]| got.windows(4).filter(|part| *part == b"done").count();
    while done(&got[got.len().saturating_sub(64)..]) == 0 || done(&got) < 2 {
        let read = stream.read_buf(&mut got);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        assert!(read.expect("in time").expect("a connection") > 0);
    }

    let text = String::from_utf8_lossy(&got);
    assert_eq!(text.matches("response").count(), 4000);
    assert!(text.ends_with("done"), "{}", &text[text.len() - 40..]);
}

#[tokio::test]
async fn a_busy_address_is_a_failure_only_if_it_was_asked_for() {
    let holder = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let busy = holder.local_addr().ok();
    let settings = |listen, given| Settings {
        listen,
        given,
        auth: None,
    };

    let default = rpc::bind(&settings(busy, false)).await;
    assert!(matches!(default, Ok(None)), "{default:?}");
    let off = rpc::bind(&settings(None, false)).await;
    assert!(matches!(off, Ok(None)), "{off:?}");
    for (kind, again) in [
        (ErrorKind::AddrInUse, false),
        (ErrorKind::AddrNotAvailable, true),
        (ErrorKind::PermissionDenied, true),
    ] {
        let address = "127.0.0.1:7373".parse().expect("an address");
        let source = kind.into();
        assert_eq!(BindError { address, source }.is_configuration(), again);
    }
}

#[tokio::test]
async fn a_stream_that_was_stopped_tells_no_more() {
    let actor = actor();
    let (address, _server, _stop) = actor.serve(None, Limits::default()).await;
    let mut stream = greeted(address).await;
    let watch = one_text("stream", 2, "Type", "*");
    stream.write_all(&watch).await.expect("it reads");
    read(&mut stream, &ok(2)).await;

    let stop = request("stop", 3, |w| {
        w.map(1);
        w.key("Stop");
        w.uint(2);
    });
    stream.write_all(&stop).await.expect("it reads");
    read(&mut stream, &ok(3)).await;

    let deadline = clock::now() + Duration::from_secs(20);
    while actor.notices.receiver_count() > 0 {
        assert!(clock::now() < deadline, "its task goes on");
        tokio::task::yield_now().await;
    }
    let again = one_text("stream", 4, "Type", "*");
    stream.write_all(&again).await.expect("it reads");
    read(&mut stream, &ok(4)).await;
}

#[tokio::test]
async fn streams_of_one_client_are_bounded() {
    let actor = actor();
    let (address, _server, _stop) = actor.serve(None, Limits::default()).await;
    let mut stream = greeted(address).await;
    let max = super::super::streams::STREAMS_MAX as u64;

    for seq in 2..2 + max {
        let watch = one_text("stream", seq, "Type", "*");
        stream.write_all(&watch).await.expect("it reads");
        read(&mut stream, &ok(seq)).await;
    }
    let watch = one_text("stream", 900, "Type", "*");
    stream.write_all(&watch).await.expect("it reads");
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("Too many streams") {
        let read = stream.read_buf(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        assert!(read.expect("in time").expect("a connection") > 0);
    }
    assert_eq!(actor.notices.receiver_count() as u64, max);
}

#[tokio::test]
async fn clients_are_bounded_and_one_that_goes_makes_room() {
    let actor = actor();
    let (address, _server, _stop) = actor.serve(None, Limits::default()).await;
    let mut all = Vec::new();
    for _ in 0..64 {
        all.push(greeted(address).await);
    }

    let refused = connect(address).await;
    assert_eq!(rest(refused).await, b"");

    drop(all.pop());
    let deadline = clock::now() + Duration::from_secs(20);
    loop {
        let mut stream = connect(address).await;
        let _ = stream.write_all(&handshake()).await;
        let mut got = [0; 8];
        if stream.read_exact(&mut got).await.is_ok() {
            break;
        }
        assert!(clock::now() < deadline, "no room");
    }
}

#[tokio::test]
async fn a_member_that_ends_ends_its_sessions() {
    let actor = actor();
    let (address, _server, stop) = actor.serve(None, Limits::default()).await;
    let stream = greeted(address).await;

    stop.trigger();

    assert_eq!(rest(stream).await, b"");
}
