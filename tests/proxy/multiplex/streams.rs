//! What flows in a stream, both ways: bodies, trailers, windows.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use super::front;
use crate::frames::{
    DATA, END_STREAM, HEADERS, INTERNAL_ERROR, OK, WINDOW_UPDATE, Wire, field, scripted,
};
use crate::toy::{Then, Toy};
use crate::until;

#[test]
fn an_answer_that_breaks_off_is_seen_as_broken_off() {
    // What was sent before is on its way when the end comes, so it can't be taken back.
    let sent = Arc::new(Barrier::new(2));
    for how in ["reset", "close", "short", "long"] {
        let go = sent.clone();
        let (toy, _) = scripted(None, move |call, _, wire| {
            let length = field("content-length", "10");
            let block: Vec<u8> = match how {
                "short" | "long" => [OK, &length].concat(),
                _ => OK.to_vec(),
            };
            wire.head(call.id, &block, false);
            wire.send(DATA, 0, call.id, b"half");
            go.wait();
            match how {
                "reset" => drop(wire.reset(call.id, INTERNAL_ERROR)),
                "short" => drop(wire.send(DATA, END_STREAM, call.id, b"")),
                "long" => drop(wire.send(DATA, END_STREAM, call.id, b"more than ten")),
                _ => return Then::Close,
            }
            Then::Keep
        });
        let front = front(&[&toy]);
        let mut client = front.client();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let head = client.try_head().expect("a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{how}: {head}");
        sent.wait();

        let chunked = head.contains("chunked");

        let rest = String::from_utf8(client.bytes(1000)).unwrap();
        assert!(rest.contains("half"), "{how}: {rest:?}");
        match chunked {
            true => assert!(!rest.contains("\r\n0\r\n"), "{how}: {rest:?}"),
            false => assert!(rest.len() < 10, "{how}: {rest:?}"),
        }
    }
}

#[test]
fn trailers_reach_a_client_that_takes_them_and_no_other() {
    let (toy, _) = scripted(None, |call, _, wire| {
        wire.head(call.id, &[OK, &field("trailer", "x-sum")].concat(), false);
        wire.send(DATA, 0, call.id, b"body");
        let lines = [field("x-sum", "42"), field("content-length", "7")].concat();
        wire.head(call.id, &lines, true);
        Then::Keep
    });
    let front = front(&[&toy]);
    let ask = |te: &str| {
        let mut client = front.client();
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: test\r\n{te}Connection: close\r\n\r\n"
        ));
        let head = client.try_head().expect("a head");
        assert!(!head.contains("trailer:"), "{head}");
        String::from_utf8(client.bytes(1000)).unwrap()
    };

    let taken = ask("TE: gzip, trailers\r\n");
    let dropped = ask("");

    assert_eq!(taken, "4\r\nbody\r\n0\r\nx-sum: 42\r\n\r\n");
    assert_eq!(dropped, "4\r\nbody\r\n0\r\n\r\n");
}

#[test]
fn an_answer_of_nothing_says_so() {
    let (toy, _) = scripted(None, |call, _, wire| {
        wire.head(call.id, OK, true);
        Then::Keep
    });
    let front = front(&[&toy]);
    let mut client = front.client();

    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!(answer.field("content-length"), Some("0"));
        let head = {
            client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
            client.response("HEAD")
        };
        assert_eq!(head.status(), 200);
    }
}

#[test]
fn both_directions_flow_at_once() {
    let toy = Toy::raw(|peer, _| {
        let Some(mut wire) = Wire::open(peer, None) else {
            return;
        };
        while let Some(frame) = wire.read() {
            match frame.kind {
                HEADERS => drop(wire.head(frame.id, OK, false)),
                DATA => {
                    let flags = frame.flags & END_STREAM;
                    wire.send(DATA, flags, frame.id, &frame.payload);
                    if !frame.payload.is_empty() {
                        wire.widen(frame.id, frame.payload.len() as u32);
                    }
                }
                _ => {}
            }
        }
    });
    let front = front(&[&toy]);
    let mut client = front.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let head = client
        .try_head()
        .expect("the answer begins before the request ends");
    assert!(head.starts_with("HTTP/1.1 200"));

    for word in ["one", "two", "three"] {
        client.send(format!("{:x}\r\n{word}\r\n", word.len()));
        let echo = format!("{:x}\r\n{word}\r\n", word.len());
        assert_eq!(client.bytes(echo.len()), echo.as_bytes());
    }
    client.send("0\r\n\r\n");

    assert_eq!(client.bytes(5), b"0\r\n\r\n");
}

#[test]
fn an_upload_waits_for_its_backend() {
    const MORE: usize = 64 << 20;
    let received = Arc::new(AtomicUsize::new(0));
    let open = Arc::new(AtomicBool::new(false));
    let (counted, opened) = (received.clone(), open.clone());
    let toy = Toy::raw(move |peer, _| {
        let Some(mut wire) = Wire::open(peer, None) else {
            return;
        };
        while let Some(frame) = wire.read() {
            if frame.kind != DATA {
                continue;
            }
            let bytes = counted.fetch_add(frame.payload.len(), Ordering::SeqCst);
            if bytes + frame.payload.len() == 65_535 {
                until("it may go on", || opened.load(Ordering::SeqCst));
                wire.widen(frame.id, 1 << 30);
            }
            if frame.ends() {
                return wire.answer(frame.id, "thanks");
            }
        }
    });
    let front = front(&[&toy]);
    let mut client = front.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {MORE}\r\n\r\n"
    ));

    // As much as goes: what its window leaves over waits at the client.
    let piece = vec![b'x'; 64 * 1024];
    client
        .stream()
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut written = 0;
    while written < MORE {
        match client.stream().write(&piece) {
            Ok(bytes) => written += bytes,
            Err(_) => break,
        }
    }
    assert!(written < MORE / 2, "{written} bytes were taken");
    until("its window is used up", || {
        received.load(Ordering::SeqCst) == 65_535
    });
    open.store(true, Ordering::SeqCst);
    client
        .stream()
        .set_write_timeout(Some(crate::DEADLINE))
        .unwrap();
    while written < MORE {
        let bytes = piece.len().min(MORE - written);
        client.send(&piece[..bytes]);
        written += bytes;
    }

    assert_eq!(client.response("POST").text(), "thanks");
    assert_eq!(received.load(Ordering::SeqCst), MORE);
}

#[test]
fn an_answer_waits_for_its_client_and_others_pass_it() {
    const MORE: usize = 64 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let toy = Toy::raw(move |peer, _| {
        let Some(mut wire) = Wire::open(peer, None) else {
            return;
        };
        let piece = vec![b'x'; 16 * 1024];
        let (mut first, mut room, mut whole) = (0, 128 * 1024_usize, 0);
        while let Some(frame) = wire.read() {
            match frame.kind {
                HEADERS if first == 0 => {
                    first = frame.id;
                    let length = field("content-length", &MORE.to_string());
                    wire.head(first, &[OK, &length].concat(), false);
                }
                HEADERS => wire.answer(frame.id, "quick"),
                WINDOW_UPDATE if first != 0 && frame.id == first => {
                    room += frame.number() as usize;
                }
                _ => {}
            }
            while first != 0 && room >= piece.len() && whole < MORE {
                wire.send(DATA, 0, first, &piece);
                (room, whole) = (room - piece.len(), whole + piece.len());
                counted.store(whole, Ordering::SeqCst);
                if whole == MORE {
                    wire.send(DATA, END_STREAM, first, b"");
                }
            }
        }
    });
    let front = front(&[&toy]);
    let mut slow = front.client();
    slow.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    until("it has begun", || sent.load(Ordering::SeqCst) > 0);

    // While others are served, it stands still at what sockets hold.
    for _ in 0..20 {
        assert_eq!(front.client().get("/").text(), "quick");
    }
    let before = sent.load(Ordering::SeqCst);
    assert!(before < MORE / 2, "{before} bytes were taken");

    let answer = slow.response("GET");
    assert!(answer.complete);
    assert_eq!(answer.body.len(), MORE);
}
