//! Frames that break HTTP/2, and frames that are only odd, from both sides.

use crate::answers::{self, ASKED, data, head, text};
use crate::case::{Case, Version};
use crate::frames::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING,
    PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use crate::two;

const RULE: &str = "frames";

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    for (section, what, bytes) in broken() {
        from_backend(cases, section, what, &bytes);
        from_client(cases, section, what, &bytes);
    }
    of_backends_alone(cases);
    odd(cases);
}

/// The section that forbids it, what it is, and its bytes, where `ASKED` is a stream that has begun.
fn broken() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let frame = frames::frame;
    let settings = |id: u16, value: u32| frames::settings(&[(id, value)]);
    let ok: &[u8] = &[0x88];
    vec![
        (
            "RFC 9113 §6.1",
            "DATA on no stream",
            frame(DATA, 0, 0, b"evil"),
        ),
        (
            "RFC 9113 §6.1",
            "padding longer than its frame",
            frame(DATA, PADDED, ASKED, b"\x09evil"),
        ),
        (
            "RFC 9113 §6.1",
            "padding without a length",
            frame(DATA, PADDED, ASKED, b""),
        ),
        (
            "RFC 9113 §6.2",
            "a head on no stream",
            frame(HEADERS, END_HEADERS, 0, ok),
        ),
        (
            "RFC 9113 §6.2",
            "a head padded beyond its frame",
            frame(HEADERS, END_HEADERS | PADDED, ASKED, b"\x09\x88"),
        ),
        (
            "RFC 9113 §5.1.1",
            "a stream of an even number",
            frame(HEADERS, END_HEADERS, 2, ok),
        ),
        (
            "RFC 9113 §5.1",
            "DATA on an idle stream",
            frame(DATA, 0, 99, b"evil"),
        ),
        (
            "RFC 9113 §6.10",
            "a continuation of nothing",
            frame(CONTINUATION, END_HEADERS, ASKED, ok),
        ),
        (
            "RFC 9113 §6.2",
            "a head that is interrupted",
            [frame(HEADERS, 0, ASKED, ok), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        (
            "RFC 9113 §6.10",
            "a head that goes on elsewhere",
            [
                frame(HEADERS, 0, ASKED, ok),
                frame(CONTINUATION, END_HEADERS, 99, b""),
            ]
            .concat(),
        ),
        (
            "RFC 9113 §4.3",
            "fields that are none",
            frame(HEADERS, END_HEADERS, ASKED, &[0xff; 6]),
        ),
        (
            "RFC 9113 §6.5",
            "settings of an odd length",
            frame(SETTINGS, 0, 0, b"\0\0\0"),
        ),
        (
            "RFC 9113 §6.5",
            "an answer to settings with some",
            frame(SETTINGS, ACK, 0, b"\0\x03\0\0\0\x01"),
        ),
        (
            "RFC 9113 §6.5",
            "settings of a stream",
            frame(SETTINGS, 0, ASKED, b""),
        ),
        (
            "RFC 9113 §6.5.2",
            "a window beyond all",
            settings(4, u32::MAX),
        ),
        ("RFC 9113 §6.5.2", "frames too small", settings(5, 16_383)),
        ("RFC 9113 §6.5.2", "frames too large", settings(5, 1 << 24)),
        ("RFC 9113 §6.5.2", "pushes that are neither", settings(2, 2)),
        (
            "RFC 9113 §6.7",
            "a PING of seven bytes",
            frame(PING, 0, 0, b"1234567"),
        ),
        (
            "RFC 9113 §6.7",
            "a PING of a stream",
            frame(PING, 0, ASKED, b"12345678"),
        ),
        (
            "RFC 9113 §6.4",
            "a reset of no stream",
            frame(RST_STREAM, 0, 0, &[0; 4]),
        ),
        (
            "RFC 9113 §6.4",
            "a reset of three bytes",
            frame(RST_STREAM, 0, ASKED, &[0; 3]),
        ),
        (
            "RFC 9113 §6.4",
            "a reset of an idle stream",
            frame(RST_STREAM, 0, 99, &[0; 4]),
        ),
        (
            "RFC 9113 §6.8",
            "a goodbye of seven bytes",
            frame(GOAWAY, 0, 0, &[0; 7]),
        ),
        (
            "RFC 9113 §6.8",
            "a goodbye of a stream",
            frame(GOAWAY, 0, ASKED, &[0; 8]),
        ),
        (
            "RFC 9113 §6.9",
            "a window of nothing",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        ),
        (
            "RFC 9113 §6.9",
            "a window of three bytes",
            frame(WINDOW_UPDATE, 0, 0, &[1; 3]),
        ),
        (
            "RFC 9113 §6.9.1",
            "windows beyond all",
            frames::window_update(0, 0x7fff_ffff).repeat(2),
        ),
        (
            "RFC 9113 §6.3",
            "a priority of four bytes",
            frame(PRIORITY, 0, ASKED, &[0; 4]),
        ),
        (
            "RFC 9113 §8.4",
            "a push",
            frame(PUSH_PROMISE, END_HEADERS, ASKED, b"\0\0\0\x02\x82"),
        ),
        (
            "RFC 9113 §4.2",
            "a frame larger than allowed",
            frame(DATA, 0, ASKED, &[b'x'; 20_000]),
        ),
        (
            "RFC 9113 §5.4.1",
            "another protocol",
            b"HTTP/1.1 200 OK\r\nEvil: 1\r\n\r\n".to_vec(),
        ),
    ]
}

fn from_backend(cases: &mut Vec<Case>, section: &'static str, what: &str, bytes: &[u8]) {
    cases.push(
        answers::case(RULE, section, format!("a 502: {what}"))
            .answer([bytes.to_vec(), text("evil")].concat())
            .no_answer(),
    );
}

fn from_client(cases: &mut Vec<Case>, section: &'static str, what: &str, bytes: &[u8]) {
    let asked = ASKED.to_be_bytes();
    let mut bytes = bytes.to_vec();
    while let Some(at) = crate::wire::find(&bytes, &asked) {
        bytes[at..at + 4].copy_from_slice(&1u32.to_be_bytes());
    }
    cases.push(
        Case::client(RULE, section, Version::V20, format!("refused: {what}"))
            .send(
                [
                    two::open("POST", &[]),
                    frames::data(1, "begun", false),
                    bytes,
                    frames::data(1, "", true),
                ]
                .concat(),
            )
            .methods(&["POST"])
            .requests(0)
            .check(|outcome| match outcome.responses.first() {
                Some(answer) if answer.complete && answer.status() < 400 => {
                    Err(format!("answered: {}", answer.start))
                }
                _ => Ok(()),
            }),
    );
}

fn of_backends_alone(cases: &mut Vec<Case>) {
    cases.push(
        answers::case(RULE, "RFC 9113 §8.1", "a 502: DATA before a head")
            .answer([data("evil", false), text("evil")].concat())
            .no_answer(),
    );
}

/// Odd, and allowed.
fn odd(cases: &mut Vec<Case>) {
    let frame = frames::frame;
    let ok: &[u8] = &[0x88];
    let end = data("good", true);
    for (section, what, answer) in [
        (
            "RFC 9113 §6.1, §6.2",
            "padding",
            [
                frame(
                    HEADERS,
                    END_HEADERS | PADDED,
                    ASKED,
                    &[&[3], ok, &[0; 3]].concat(),
                ),
                frame(DATA, END_STREAM | PADDED, ASKED, b"\x02good\0\0"),
            ]
            .concat(),
        ),
        (
            "RFC 9113 §6.2, §5.3",
            "a head with a priority",
            [
                frame(
                    HEADERS,
                    END_HEADERS | 0x20,
                    ASKED,
                    &[&[0, 0, 0, 0, 9], ok].concat(),
                ),
                end.clone(),
            ]
            .concat(),
        ),
        (
            "RFC 9113 §6.10",
            "a head in pieces",
            [
                frame(HEADERS, 0, ASKED, ok),
                frame(CONTINUATION, 0, ASKED, &[]),
                frame(CONTINUATION, END_HEADERS, ASKED, b"\0\x01a\x01b"),
                end.clone(),
            ]
            .concat(),
        ),
        (
            "RFC 9113 §5.5, §4.1",
            "frames of unknown kinds",
            [
                frame(0x77, 0xff, ASKED, b"evil"),
                frame(0x77, 0xff, 0, b"evil"),
                frame(0x0a, 0, 0, b"\0\x04evil"),
                text("good"),
                frame(0x77, 0, ASKED, b"evil"),
            ]
            .concat(),
        ),
        (
            "RFC 9113 §4.1",
            "flags that mean nothing",
            [
                frame(HEADERS, END_HEADERS | 0x52, ASKED, ok),
                frame(DATA, END_STREAM | 0xf6, ASKED, b"good"),
            ]
            .concat(),
        ),
        ("RFC 9113 §4.1", "a reserved bit that is set", {
            let mut bytes = text("good");
            bytes[5] |= 0x80;
            bytes
        }),
        (
            "RFC 9113 §6.1",
            "empty frames",
            [
                head("200", &[], false),
                data("", false),
                data("go", false),
                data("", false),
                data("od", false),
                data("", true),
            ]
            .concat(),
        ),
        (
            "RFC 9113 §6.5.2",
            "settings that nobody knows",
            [frames::settings(&[(0x4242, 7), (0x0a0a, 0)]), text("good")].concat(),
        ),
        (
            "RFC 9113 §6.7",
            "a PING, and an answer to one that was not sent",
            [
                frame(PING, 0, 0, &[7; 8]),
                frame(PING, ACK, 0, &[8; 8]),
                text("good"),
            ]
            .concat(),
        ),
        (
            "RFC 9113 §5.3.2",
            "priorities of streams that are not there",
            [
                frame(PRIORITY, 0, 99, &[0, 0, 0, 1, 9]),
                frame(PRIORITY, 0, 2, &[0, 0, 0, 1, 9]),
                text("good"),
            ]
            .concat(),
        ),
    ] {
        cases.push(
            answers::case(RULE, section, format!("taken: {what}"))
                .answer(answer)
                .delivers("good")
                .without_evil()
                .open(),
        );
    }
}
