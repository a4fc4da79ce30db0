//! Answers over HTTP/2 that are none, and what a client gets of them: the rules of RFC 9113, one row each.

use std::time::Duration;

use lb::announce::Proto;
use lb::pool::spec::Spec;
use lb::proxy::Settings;

use crate::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, HEADERS, OK, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    Wire, field, scripted,
};
use crate::front::{Front, settings, spec};
use crate::toy::{Then, Toy};

const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 8;

fn front(toy: &Toy) -> Front {
    let spec = Spec {
        proto: Some(Proto::H2c),
        ..spec(toy.address, 1, false)
    };
    // What should have failed at once must not wait for a minute.
    let mut settings: Settings = settings();
    settings.timeouts.first_byte = Duration::from_secs(10);
    let mut front = Front::unproven(settings, vec![spec]);
    front.all_up();
    front
}

/// A field whose name or value may hold anything.
fn raw(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut block = vec![0, name.len() as u8];
    block.extend_from_slice(name);
    block.push(value.len() as u8);
    block.extend_from_slice(value);
    block
}

fn with(fields: &[&[u8]]) -> Vec<u8> {
    let mut block = OK.to_vec();
    fields
        .iter()
        .for_each(|field| block.extend_from_slice(field));
    block
}

/// What a backend answers with, on the stream that it was asked on.
type Act = Box<dyn Fn(&mut Wire, u32) + Send + Sync>;

fn head(block: Vec<u8>) -> Act {
    Box::new(move |wire, id| {
        wire.head(id, &block, false);
        wire.send(DATA, END_STREAM, id, b"evil");
    })
}

fn frame(kind: u8, flags: u8, id: Option<u32>, payload: &'static [u8]) -> Act {
    Box::new(move |wire, asked| {
        wire.send(kind, flags, id.unwrap_or(asked), payload);
        wire.answer(asked, "evil");
    })
}

/// No answers: the section that says so, and what was sent.
fn refused() -> Vec<(&'static str, &'static str, Act)> {
    let mut rows: Vec<(&str, &str, Act)> = vec![
        (
            "§8.2.1",
            "CR in a value",
            head(with(&[&raw(b"a", b"b\rc")])),
        ),
        (
            "§8.2.1",
            "LF in a value",
            head(with(&[&raw(b"a", b"b\nevil: 1")])),
        ),
        (
            "§8.2.1",
            "CRLF in a value",
            head(with(&[&raw(b"a", b"b\r\nevil: 1")])),
        ),
        (
            "§8.2.1",
            "NUL in a value",
            head(with(&[&raw(b"a", b"b\0c")])),
        ),
        (
            "§8.2.1",
            "a control in a value",
            head(with(&[&raw(b"a", b"b\x01c")])),
        ),
        (
            "§8.2.1",
            "DEL in a value",
            head(with(&[&raw(b"a", b"b\x7fc")])),
        ),
        (
            "§8.2",
            "an upper-case name",
            head(with(&[&raw(b"Evil", b"1")])),
        ),
        (
            "§8.2.1",
            "a space in a name",
            head(with(&[&raw(b"e vil", b"1")])),
        ),
        (
            "§8.2.1",
            "a colon in a name",
            head(with(&[&raw(b"e:vil", b"1")])),
        ),
        ("§8.2.1", "LF in a name", head(with(&[&raw(b"a\nb", b"1")]))),
        ("§8.2.1", "an empty name", head(with(&[&raw(b"", b"1")]))),
        ("§8.3.2", "no :status", head(field("a", "b"))),
        ("§8.3.2", "two of :status", head([OK, OK].concat())),
        (
            "§8.3.2",
            ":status of a letter",
            head(raw(b":status", b"20x")),
        ),
        (
            "§8.3.2",
            ":status of two digits",
            head(raw(b":status", b"20")),
        ),
        ("§8.3.2", "an empty :status", head(raw(b":status", b""))),
        ("RFC 9110 §15", ":status 600", head(raw(b":status", b"600"))),
        ("§8.6", ":status 101", head(raw(b":status", b"101"))),
        (
            "§8.3",
            ":status behind a field",
            head([field("a", "b").as_slice(), OK].concat()),
        ),
        (
            "§8.3",
            "an unknown pseudo-field",
            head(with(&[&raw(b":evil", b"1")])),
        ),
        (
            "§8.1.1",
            "two lengths",
            head(with(&[
                &field("content-length", "4"),
                &field("content-length", "5"),
            ])),
        ),
        (
            "§8.1.1",
            "two lengths that agree",
            head(with(&[
                &field("content-length", "4"),
                &field("content-length", "4"),
            ])),
        ),
        (
            "§8.1.1",
            "a length with a sign",
            head(with(&[&field("content-length", "+4")])),
        ),
        (
            "§8.1.1",
            "a list of lengths",
            head(with(&[&field("content-length", "4, 4")])),
        ),
        (
            "§8.1.1",
            "a length of no digits",
            head(with(&[&field("content-length", "")])),
        ),
        (
            "§8.1",
            "an interim answer that is the end",
            Box::new(|wire, id| {
                wire.head(id, &raw(b":status", b"103"), true);
            }),
        ),
        (
            "§8.1.1",
            "a length and no body",
            Box::new(|wire, id| {
                wire.head(id, &with(&[&field("content-length", "4")]), true);
            }),
        ),
        ("§8.1", "DATA before a head", frame(DATA, 0, None, b"evil")),
        (
            "§6.1",
            "DATA on no stream",
            frame(DATA, 0, Some(0), b"evil"),
        ),
        (
            "§6.1",
            "padding longer than its frame",
            frame(DATA, PADDED, None, b"\x09evil"),
        ),
        (
            "§6.2",
            "a head on no stream",
            frame(HEADERS, END_HEADERS, Some(0), OK),
        ),
        (
            "§5.1.1",
            "a stream of the backend's own",
            frame(HEADERS, END_HEADERS, Some(2), OK),
        ),
        (
            "§5.1",
            "a stream that nobody opened",
            frame(HEADERS, END_HEADERS, Some(99), OK),
        ),
        (
            "§6.10",
            "a continuation of nothing",
            frame(CONTINUATION, END_HEADERS, None, OK),
        ),
        (
            "§6.2",
            "a head that is interrupted",
            frame(HEADERS, 0, None, OK),
        ),
        (
            "§8.4",
            "a push",
            frame(PUSH_PROMISE, END_HEADERS, None, b"\0\0\0\x02\x82"),
        ),
        (
            "§4.3",
            "fields that are none",
            head(vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ),
        (
            "§6.5",
            "settings of an odd length",
            frame(SETTINGS, 0, Some(0), b"\0\0\0"),
        ),
        (
            "§6.5",
            "an answer to settings with some",
            frame(SETTINGS, ACK, Some(0), b"\0\x03\0\0\0\x01"),
        ),
        (
            "§6.5.2",
            "a window beyond all",
            frame(SETTINGS, 0, Some(0), b"\0\x04\xff\xff\xff\xff"),
        ),
        (
            "§6.7",
            "a PING of seven bytes",
            frame(PING, 0, Some(0), b"1234567"),
        ),
        (
            "§6.4",
            "a reset of no stream",
            frame(RST_STREAM, 0, Some(0), b"\0\0\0\0"),
        ),
        (
            "§6.9",
            "a window of nothing",
            frame(WINDOW_UPDATE, 0, Some(0), b"\0\0\0\0"),
        ),
        (
            "§4.2",
            "a frame larger than allowed",
            Box::new(|wire, id| {
                wire.send(DATA, 0, id, &[b'x'; 20_000]);
            }),
        ),
        (
            "§6.5.2",
            "a head larger than allowed",
            Box::new(|wire, id| {
                let line = raw(b"evil", &[b'x'; 100]);
                let block = line.repeat(1000);
                wire.send(HEADERS, 0, id, OK);
                for piece in block.chunks(16_000) {
                    wire.send(CONTINUATION, 0, id, piece);
                }
                wire.send(CONTINUATION, END_HEADERS, id, &[]);
                wire.send(DATA, END_STREAM, id, b"evil");
            }),
        ),
    ];
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ] {
        let block = with(&[&field(name, "evil")]);
        rows.push(("§8.2.2", name, head(block)));
    }
    rows
}

#[test]
fn what_is_no_answer_is_a_502_and_none_of_it_gets_through() {
    let mut wrong = Vec::new();
    for (section, what, act) in refused() {
        let (toy, _) = scripted(None, move |call, _, wire| {
            act(wire, call.id);
            Then::Keep
        });
        let front = front(&toy);

        let answer = front.client().get("/");

        let told = format!("{} {}", answer.head, answer.text()).to_lowercase();
        if answer.status() != 502 || told.contains("evil") {
            wrong.push(format!("{section} {what}: {told}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Bodies that end otherwise than they should: what is sent behind a head and some of a body.
fn broken() -> Vec<(&'static str, &'static str, Act)> {
    vec![
        (
            "§8.1",
            "a second head",
            Box::new(|wire, id| {
                wire.head(id, OK, false);
            }),
        ),
        (
            "§8.1",
            "trailers that are not the end",
            Box::new(|wire, id| {
                wire.head(id, &field("a", "b"), false);
                wire.send(DATA, END_STREAM, id, b"evil");
            }),
        ),
        (
            "§8.2.1",
            "LF in trailers",
            Box::new(|wire, id| {
                wire.head(id, &raw(b"a", b"b\nevil: 1"), true);
            }),
        ),
        (
            "§8.2.2",
            "a connection's field in trailers",
            Box::new(|wire, id| {
                wire.head(id, &field("connection", "evil"), true);
            }),
        ),
        (
            "§6.1",
            "padding longer than its frame",
            frame(DATA, PADDED, None, b"\x09evil"),
        ),
        (
            "§6.9.1",
            "more than its window",
            Box::new(|wire, id| {
                for _ in 0..20_000 {
                    wire.send(DATA, 0, id, &[b'x'; 1000]);
                }
            }),
        ),
        (
            "§5.4.1",
            "another protocol",
            Box::new(|wire, _| {
                wire.peer.try_send("HTTP/1.1 200 OK\r\n\r\n");
            }),
        ),
        (
            "RFC 9112 §8",
            "half of a frame",
            Box::new(|wire, _| {
                wire.peer
                    .try_send([0, 0, 100, DATA, END_STREAM, 0, 0, 0, 1, b'e', b'v']);
                let _ = wire.peer.stream().shutdown(std::net::Shutdown::Write);
            }),
        ),
    ]
}

#[test]
fn a_body_that_ends_in_the_wrong_way_is_seen_as_cut() {
    let mut wrong = Vec::new();
    for (section, what, act) in broken() {
        let go = std::sync::Arc::new(std::sync::Barrier::new(2));
        let wait = go.clone();
        let (toy, _) = scripted(None, move |call, _, wire| {
            wire.head(call.id, OK, false);
            wire.send(DATA, 0, call.id, b"half");
            wait.wait();
            act(wire, call.id);
            Then::Keep
        });
        let front = front(&toy);
        let mut client = front.client();
        client.send("GET / HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nConnection: close\r\n\r\n");
        let head = client.try_head().expect("a head");
        assert!(head.contains("chunked"), "{section} {what}: {head}");
        assert_eq!(client.bytes(9), b"4\r\nhalf\r\n", "{section} {what}");
        go.wait();

        let rest = client.bytes(64 << 20);

        let end = String::from_utf8_lossy(&rest[rest.len().saturating_sub(200)..]).into_owned();
        if end.ends_with("0\r\n\r\n") || end.contains("evil") {
            wrong.push(format!("{section} {what}: {end:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn answers_that_are_odd_but_right_get_through() {
    let rows: Vec<(&str, &str, Act)> = vec![
        (
            "padding",
            "GET",
            Box::new(|wire, id| {
                wire.send(
                    HEADERS,
                    END_HEADERS | PADDED,
                    id,
                    &[&[3], OK, &[0; 3]].concat(),
                );
                wire.send(DATA, END_STREAM | PADDED, id, b"\x02good\0\0");
            }),
        ),
        (
            "a head in pieces",
            "GET",
            Box::new(|wire, id| {
                wire.send(HEADERS, 0, id, OK);
                wire.send(CONTINUATION, 0, id, &[]);
                wire.send(CONTINUATION, END_HEADERS, id, &field("a", "b"));
                wire.send(DATA, END_STREAM, id, b"good");
            }),
        ),
        (
            "frames of unknown kinds",
            "GET",
            Box::new(|wire, id| {
                wire.send(0x77, 0xff, id, b"whatever");
                wire.send(0x77, 0xff, 0, b"whatever");
                wire.answer(id, "good");
            }),
        ),
        (
            "empty DATA",
            "GET",
            Box::new(|wire, id| {
                wire.head(id, OK, false);
                for piece in [&b""[..], b"go", b"", b"od", b""] {
                    wire.send(DATA, 0, id, piece);
                }
                wire.send(DATA, END_STREAM, id, b"");
            }),
        ),
        (
            "an interim answer",
            "GET",
            Box::new(|wire, id| {
                wire.head(
                    id,
                    &[raw(b":status", b"103"), field("link", "x")].concat(),
                    false,
                );
                wire.answer(id, "good");
            }),
        ),
        // Malformed by §8.3, and h2 reads over it: at least none of it gets through.
        (
            "pseudo-fields that belong elsewhere",
            "GET",
            Box::new(|wire, id| {
                wire.head(id, &with(&[&raw(b":path", b"/evil")]), false);
                wire.send(DATA, 0, id, b"good");
                wire.head(id, OK, true);
            }),
        ),
        (
            "a reset behind the end",
            "GET",
            Box::new(|wire, id| {
                wire.answer(id, "good");
                wire.reset(id, 0);
            }),
        ),
        (
            "obs-text in a value",
            "GET",
            Box::new(|wire, id| {
                wire.head(id, &with(&[&raw(b"a", b"\xff")]), false);
                wire.send(DATA, END_STREAM, id, b"good");
            }),
        ),
    ];
    for (what, method, act) in rows {
        let (toy, _) = scripted(None, move |call, _, wire| {
            act(wire, call.id);
            Then::Keep
        });
        let front = front(&toy);
        let mut client = front.client();
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        ));

        let all = client.bytes(10_000);

        let text = String::from_utf8_lossy(&all).into_owned();
        assert!(text.contains("HTTP/1.1 200 OK\r\n"), "{what}: {text}");
        assert!(!text.contains("evil"), "{what}: {text}");
        let body: String = text.split("\r\n\r\n").skip(1).collect();
        let body: String = body
            .chars()
            .filter(|letter| letter.is_alphabetic())
            .collect();
        assert!(body.ends_with("good"), "{what}: {text}");
        assert_eq!(
            text.contains("103 Early Hints"),
            what == "an interim answer",
            "{text}"
        );
    }
}

#[test]
fn answers_without_a_body_have_none() {
    for (status, length) in [("204", None), ("304", Some("10")), ("200", Some("10"))] {
        let (toy, _) = scripted(None, move |call, _, wire| {
            let mut block = raw(b":status", status.as_bytes());
            if let Some(length) = length {
                block.extend_from_slice(&field("content-length", length));
            }
            wire.head(call.id, &block, true);
            Then::Keep
        });
        let front = front(&toy);
        let mut client = front.client();
        let method = if status == "200" { "HEAD" } else { "GET" };

        for _ in 0..2 {
            client.send(format!("{method} / HTTP/1.1\r\nHost: test\r\n\r\n"));
            let head = client.try_head().expect("a head");

            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
            assert_eq!(
                head.contains("content-length: 10"),
                status == "200",
                "{head}"
            );
            assert!(!head.contains("chunked"), "{head}");
        }
        assert_eq!(toy.connections(), 1);
    }
}
