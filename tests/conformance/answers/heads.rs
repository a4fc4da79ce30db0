//! Heads of answers over HTTP/2: their status, their size, and what they are made into.

use super::{ASKED, GET, behind, case, data, head, raw, send, text};
use crate::backend::When;
use crate::case::{BOTH, Case, quoted};
use crate::frames::{self, CONTINUATION, END_HEADERS, HEADERS};
use crate::hpack;
use crate::subject::Profile;
use crate::upgrade::ASK;

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    statuses(cases);
    pseudo_fields(cases);
    versions(cases);
    upgrades(cases);
    too_large(cases);
    large(cases);
}

const LINE: &str = "start line";
const STATUS: &[u8] = b":status";

fn statuses(cases: &mut Vec<Case>) {
    for status in [
        "", "2", "20", "20x", "x00", "2000", "02000", " 200", "200 ", "+20", "-20", "2.0", "000",
        "099", "600", "999", "200 OK",
    ] {
        cases.push(
            case(
                LINE,
                "RFC 9113 §8.3.2, RFC 9110 §15",
                format!("a 502: the status {}", quoted(status)),
            )
            .answer(behind(head(status, &[], false)))
            .no_answer(),
        );
    }
}

fn pseudo_fields(cases: &mut Vec<Case>) {
    const SECTION: &str = "RFC 9113 §8.3";
    let ok = (STATUS, &b"200"[..]);
    let field = (&b"a"[..], &b"b"[..]);
    for (what, fields) in [
        ("no :status", &[field][..]),
        ("no field at all", &[]),
        (":status twice", &[ok, ok]),
        (":status twice, and different", &[ok, (STATUS, b"404")]),
        (":status behind a field", &[field, ok]),
        ("a second :status behind a field", &[ok, field, ok]),
        ("an unknown pseudo-field", &[ok, (b":evil", b"1")]),
        ("a pseudo-field without a name", &[ok, (b":", b"evil")]),
        ("an upper-case :Status", &[(b":Status", b"200")]),
        ("a status without its colon", &[(b"status", b"200")]),
    ] {
        cases.push(
            case(LINE, SECTION, format!("a 502: {what}"))
                .answer(behind(raw(fields, false)))
                .no_answer(),
        );
    }
    for name in [":method", ":path", ":scheme", ":authority"] {
        cases.push(
            case(
                LINE,
                SECTION,
                format!("a request's {name} in an answer goes nowhere"),
            )
            .answer(
                [
                    head("200", &[(name, "/evil"), ("a", "b")], false),
                    data("ok", true),
                ]
                .concat(),
            )
            .status(&[200, 502])
            .without_evil(),
        );
    }
}

fn versions(cases: &mut Vec<Case>) {
    const RULE: &str = "version";
    const SECTION: &str = "RFC 9110 §6.2, RFC 9113 §8.3";
    for v in BOTH {
        let get = format!("GET /a?b HTTP/1.{}\r\nHost: t\r\n\r\n", &v.to_string()[7..]);
        cases.push(
            case(
                RULE,
                SECTION,
                format!("asked in HTTP/2, and passed on as 1.1 to {v}"),
            )
            .send(get)
            .delivers("ok")
            .response("the version is ours", |response| {
                response.word(0) == "HTTP/1.1"
            })
            .request("it is HTTP/2, and its target the same", |request| {
                request.start == "GET /a?b HTTP/2"
            })
            .request("its Host is its authority", |request| {
                request.one("host") == Some("t")
            }),
        );
    }
    for (what, greeting) in [
        (
            "HTTP/1.1",
            &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\n\r\nevil"[..],
        ),
        (
            "HTTP/1.1 and its 200",
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        ),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("no settings but a PING", b"\0\0\x08\x06\0\0\0\0\0evilevil"),
        (
            "no settings but a goodbye",
            b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ),
        ("settings of an odd length", b"\0\0\x03\x04\0\0\0\0\0\0\0\0"),
    ] {
        cases.push(
            case(
                RULE,
                "RFC 9113 §3.4",
                format!("a 502 or 503: a backend that speaks {what}"),
            )
            .profile(Profile::Fresh)
            .greeting(greeting)
            .status(&[502, 503])
            .without_evil(),
        );
    }
}

fn upgrades(cases: &mut Vec<Case>) {
    for (name, request, answer) in [
        ("to a plain GET", GET, behind(head("101", &[], false))),
        (
            "that is the end",
            GET,
            head("101", &[("upgrade", "evil")], true),
        ),
        (
            "behind a 103",
            GET,
            behind([head("103", &[], false), head("101", &[], false)].concat()),
        ),
        ("to a POST", super::POST, behind(head("101", &[], false))),
    ] {
        cases.push(
            case(
                "unasked 101",
                "RFC 9113 §8.6",
                format!("a 502: a 101 {name}"),
            )
            .send(request)
            .answer(answer)
            .no_answer(),
        );
    }
    for (what, answer) in [("a 200", text("ok")), ("a 101", head("101", &[], false))] {
        cases.push(
            case(
                "websocket",
                "RFC 9113 §8.6",
                format!("no tunnel where the backend has none, though it says {what}"),
            )
            .send(ASK)
            .answer(answer)
            .check(|outcome| match outcome.response()?.status() {
                101 => Err("a tunnel".to_owned()),
                _ => Ok(()),
            }),
        );
    }
}

/// HEADERS and as many CONTINUATIONs as it takes.
fn in_pieces(fields: &[(&[u8], &[u8])], size: usize) -> Vec<u8> {
    let block = hpack::block(fields);
    let pieces: Vec<&[u8]> = block.chunks(size).collect();
    let mut bytes = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let kind = if at == 0 { HEADERS } else { CONTINUATION };
        let last = at + 1 == pieces.len();
        let flags = if last { END_HEADERS } else { 0 };
        bytes.extend(frames::frame(kind, flags, ASKED, piece));
    }
    bytes
}

fn too_large(cases: &mut Vec<Case>) {
    const RULE: &str = "limits";
    const SECTION: &str = "RFC 9110 §15.6.3, RFC 9113 §10.5.1";
    let long = "a".repeat(256 * 1024);
    let ok = (STATUS, &b"200"[..]);
    let many = [&[ok][..], &vec![(&b"x-evil"[..], &b"1"[..]); 5000]].concat();
    let wide = [&[ok][..], &vec![(&b"x-evil"[..], &[b'x'; 4000][..]); 60]].concat();
    for (what, fields) in [
        ("a long value", vec![ok, (b"evil", long.as_bytes())]),
        ("a long name", vec![ok, (long.as_bytes(), b"evil")]),
        ("many fields", many),
        ("many wide fields", wide),
    ] {
        cases.push(
            case(RULE, SECTION, format!("{what}: 502"))
                .answer(behind(in_pieces(&fields, 16_000)))
                .no_answer(),
        );
    }
    // One entry of the table, named again and again: a kilobyte for each byte.
    let mut bomb = hpack::block(&[ok]);
    bomb.push(0x40);
    for text in [&b"evil"[..], &[b'x'; 3000]] {
        hpack::integer(&mut bomb, 7, 0, text.len());
        bomb.extend_from_slice(text);
    }
    bomb.extend([0xbe; 8000]);
    cases.push(
        case(RULE, SECTION, "a head that is small on the wire alone: 502")
            .answer(behind(frames::frame(HEADERS, END_HEADERS, ASKED, &bomb)))
            .no_answer(),
    );
}

fn large(cases: &mut Vec<Case>) {
    let ok = (STATUS, &b"200"[..]);
    let value = &b"0123456789abcdef0123456789abcdef"[..];
    let several = [&[ok][..], &vec![(&b"x-field"[..], value); 80]].concat();
    for (how, size) in [("in one frame", 16_000), ("in several frames", 1_000)] {
        cases.push(
            case("limits", "RFC 9110 §5.4", format!("80 fields {how} pass"))
                .acts(
                    When::Whole,
                    [send([in_pieces(&several, size), data("ok", true)].concat())],
                )
                .delivers("ok")
                .response("all are there", |response| {
                    response.all("x-field").len() == 80
                }),
        );
    }
}
