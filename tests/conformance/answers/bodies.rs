//! Bodies of answers over HTTP/2: their length, their end, those that are cut, those that are none.

use super::{ASKED, GET, case, data, head, raw, reset, send, text, trailers};
use crate::backend::{Act, When};
use crate::case::{BOTH, Case, Version};
use crate::frames::{self, DATA, END_HEADERS, END_STREAM, HEADERS};
use crate::hpack;

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    lengths(cases);
    ends(cases);
    cut(cases);
    cut_heads(cases);
    bodiless(cases);
    behind_bodies(cases);
    cut_behind_bodies(cases);
}

fn get(v: Version) -> String {
    format!("GET / {v}\r\nHost: t\r\n\r\n")
}

/// It asks for trailers.
const TAKES_TRAILERS: &str = "GET / HTTP/1.1\r\nHost: t\r\nTE: trailers\r\nConnection: TE\r\n\r\n";

fn lengths(cases: &mut Vec<Case>) {
    const RULE: &str = "length";
    const SECTION: &str = "RFC 9113 §8.1.1";
    let sized = |length: &str| head("200", &[("content-length", length)], false);
    for (what, answer) in [
        (
            "a length and no body",
            head("200", &[("content-length", "4")], true),
        ),
        ("less", [sized("10"), data("hello", true)].concat()),
        (
            "less, ended by an empty frame",
            [sized("10"), data("hello", false), data("", true)].concat(),
        ),
        (
            "less, ended by trailers",
            [sized("10"), data("hello", false), trailers(&[("a", "b")])].concat(),
        ),
        ("more", [sized("3"), data("hello", true)].concat()),
        (
            "anything where it says 0",
            [sized("0"), data("hello", true)].concat(),
        ),
    ] {
        for v in BOTH {
            cases.push(
                case(RULE, SECTION, format!("{what}: never whole for {v}"))
                    .send(get(v))
                    .answer(answer.clone())
                    .broken(),
            );
        }
    }
    cases.push(
        case(
            RULE,
            SECTION,
            "more, in a second frame: nothing of what is too much arrives",
        )
        .answer([sized("3"), data("hel", false), data("evil", true)].concat())
        .without_evil()
        .check(|outcome| match outcome.response()? {
            whole if whole.text() == "hel" => Ok(()),
            other if !other.complete || other.status() == 502 => Ok(()),
            other => Err(format!("{other:?}")),
        }),
    );
    let pieces = [data("hel", false), data("", false), data("lo", true)].concat();
    for v in BOTH {
        cases.push(
            case(RULE, SECTION, format!("as long as it says: whole for {v}"))
                .send(get(v))
                .answer([sized("5"), pieces.clone()].concat())
                .delivers("hello")
                .response("its length is told", |response| {
                    response.one("content-length") == Some("5")
                }),
        );
    }
}

/// Bodies without a length.
fn ends(cases: &mut Vec<Case>) {
    let begun = [head("200", &[], false), data("hel", false)].concat();
    for v in BOTH {
        for (how, end) in [
            ("its last frame", data("lo", true)),
            (
                "an empty frame",
                [data("lo", false), data("", true)].concat(),
            ),
            (
                "trailers",
                [data("lo", false), trailers(&[("a", "b")])].concat(),
            ),
        ] {
            cases.push(
                case(
                    "close-delimited",
                    "RFC 9113 §8.1",
                    format!("no length, ended by {how}: whole for {v}"),
                )
                .send(get(v))
                .acts(
                    When::Whole,
                    [send(begun.clone()), Act::AwaitClient("hel"), send(end)],
                )
                .delivers("hello"),
            );
        }
        cases.push(
            case(
                "close-delimited",
                "RFC 9113 §8.1",
                format!("nothing but a head that is the end: whole for {v}"),
            )
            .send(get(v))
            .answer(head("200", &[], true))
            .delivers(""),
        );
    }
    cases.push(
        case(
            "unchunked",
            "RFC 9112 §7.1, §6.1",
            "frames that come one by one reach 1.0 one by one, without chunks",
        )
        .send("GET / HTTP/1.0\r\nHost: t\r\n\r\n")
        .acts(
            When::Whole,
            [
                send([head("200", &[], false), data("he", false)].concat()),
                Act::AwaitClient("\r\n\r\nhe"),
                send(data("llo", true)),
            ],
        )
        .delivers("hello")
        .response("no coding", |response| !response.has("transfer-encoding"))
        .closed_in_order(),
    );
    cases.push(
        case(
            "unchunked",
            "RFC 9112 §7.1",
            "1.1 keeps its connection behind an answer without a length",
        )
        .answer(text("hello"))
        .delivers("hello")
        .open(),
    );
}

/// What ends a body otherwise than it should.
fn breaks() -> Vec<(&'static str, Vec<Act>)> {
    let bad = |bytes: Vec<u8>| vec![send(bytes)];
    let half = [0, 0, 100, DATA, END_STREAM, 0, 0, 0, 1, b'e', b'v'];
    let continued = frames::frame(HEADERS, END_STREAM, ASKED, &hpack::block(&[(b"a", b"b")]));
    vec![
        ("a reset without an error", bad(reset(0))),
        ("a reset", bad(reset(2))),
        ("a reset that says it was refused", bad(reset(7))),
        ("a reset that says it was cancelled", bad(reset(8))),
        ("a close", vec![Act::Close]),
        ("a reset connection", vec![Act::Reset]),
        (
            "a goodbye that knows it, and a close",
            vec![send(frames::goaway(ASKED, 0)), Act::Close],
        ),
        (
            "a goodbye that does not, and a close",
            vec![send(frames::goaway(0, 0)), Act::Close],
        ),
        (
            "half a frame that would be its end",
            vec![send(half), Act::HalfClose],
        ),
        (
            "trailers without their end, and a close",
            vec![send(continued), Act::HalfClose],
        ),
        (
            "another protocol",
            vec![
                send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
                Act::HalfClose,
            ],
        ),
        ("a second head", bad(head("200", &[], false))),
        ("an interim head", bad(head("103", &[], false))),
        (
            "padding longer than its frame",
            bad(frames::frame(
                DATA,
                frames::PADDED | END_STREAM,
                ASKED,
                b"\x09evil",
            )),
        ),
        (
            "more than any window, and a close",
            vec![send(data([b'x'; 16_000], false).repeat(200)), Act::Close],
        ),
    ]
}

fn cut(cases: &mut Vec<Case>) {
    for (what, fields) in [
        ("a length", &[("content-length", "10")][..]),
        ("no length", &[]),
    ] {
        for v in BOTH {
            for (how, acts) in breaks() {
                let begun = [head("200", fields, false), data("half", false)].concat();
                let first = [send(begun), Act::AwaitClient("half")];
                cases.push(
                    case(
                        "truncation",
                        "RFC 9113 §8.1, §5.4",
                        format!("{what}, cut by {how} before a client of {v}"),
                    )
                    .send(get(v))
                    .acts(When::Whole, [&first[..], &acts].concat())
                    .answer(text("evil"))
                    .broken()
                    .without_evil(),
                );
            }
        }
    }
}

fn cut_heads(cases: &mut Vec<Case>) {
    const RULE: &str = "truncation";
    const SECTION: &str = "RFC 9113 §8.1, §6.10";
    let whole = head("200", &[("a", "evil")], true);
    let block = hpack::block(&[(b":status", b"200"), (b"a", b"evil")]);
    let open = frames::frame(HEADERS, END_STREAM, ASKED, &block);
    for (what, bytes) in [
        ("half a frame's head", whole[..5].to_vec()),
        ("a frame's head", whole[..9].to_vec()),
        ("half a head", whole[..12].to_vec()),
        ("a head without its end", open),
        ("an interim head", head("103", &[("link", "</a>")], false)),
    ] {
        cases.push(
            case(RULE, SECTION, format!("{what}, and a close: a 502"))
                .answer_close(bytes)
                .no_answer(),
        );
    }
    for code in [0, 1, 2, 5, 8, 11, 13, 99] {
        cases.push(
            case(
                RULE,
                "RFC 9113 §8.1, §6.4",
                format!("a reset with {code} instead of an answer: a 502"),
            )
            .answer(reset(code))
            .status(&[502]),
        );
    }
    for (how, act) in [("closed", Act::Close), ("reset", Act::Reset)] {
        cases.push(
            case(
                "start line",
                "RFC 9110 §15.6.3",
                format!("a 502: {how} without a word"),
            )
            .acts(When::Whole, [act])
            .status(&[502]),
        );
    }
}

fn bodiless(cases: &mut Vec<Case>) {
    const RULE: &str = "bodiless";
    const SECTION: &str = "RFC 9113 §8.1.1, RFC 9110 §6.4.1";
    let length = [("content-length", "6")];
    for (method, status, fields) in [
        ("HEAD", "200", &length[..]),
        ("HEAD", "200", &[]),
        ("HEAD", "404", &length),
        ("GET", "204", &[]),
        ("GET", "204", &length),
        ("GET", "304", &length),
        ("GET", "304", &[]),
    ] {
        let with = if fields.is_empty() { "no" } else { "a" };
        for (how, answer) in [
            ("its head", head(status, fields, true)),
            (
                "an empty frame",
                [head(status, fields, false), data("", true)].concat(),
            ),
            (
                "trailers",
                [head(status, fields, false), trailers(&[("a", "b")])].concat(),
            ),
        ] {
            let answered = case(
                RULE,
                SECTION,
                format!("{method}, {status}, {with} length, ended by {how}: no body"),
            )
            .send(format!("{method} / HTTP/1.1\r\nHost: t\r\n\r\n"))
            .methods(if method == "HEAD" {
                &["HEAD"]
            } else {
                &["GET"]
            })
            .answer(answer)
            .response("whole, and its status", move |response| {
                response.complete && response.word(1) == status && response.body.is_empty()
            })
            .response("no coding, and in a 204 no length", |response| {
                !response.has("transfer-encoding")
                    && (response.status() != 204 || !response.has("content-length"))
            });
            cases.push(match (method, fields) {
                ("HEAD", [_]) => answered
                    .response("its length is told", |response| {
                        response.one("content-length") == Some("6")
                    })
                    .open(),
                _ => answered.open(),
            });
        }
        cases.push(
            case(
                RULE,
                SECTION,
                format!(
                    "{method}, {status}, {with} length, and a body all the same: it goes nowhere"
                ),
            )
            .send(format!("{method} / HTTP/1.1\r\nHost: t\r\n\r\n"))
            .await_client("\r\n\r\n")
            .await_plays(1)
            .send("GET /2 HTTP/1.1\r\nHost: t\r\n\r\n")
            .methods(if method == "HEAD" {
                &["HEAD", "GET"]
            } else {
                &["GET"; 2]
            })
            .answer_read([head(status, fields, false), data("evil-b", true)].concat())
            .answer(text("second"))
            .without_evil()
            .second_is_its_own(),
        );
    }
}

fn behind_bodies(cases: &mut Vec<Case>) {
    const RULE: &str = "extensions";
    const SECTION: &str = "RFC 9113 §8.1, RFC 9110 §6.5.1";
    let with = |fields: &[(&str, &str)]| {
        [
            head("200", &[("trailer", "x-sum")], false),
            data("body", false),
            trailers(fields),
        ]
        .concat()
    };
    cases.push(
        case(RULE, SECTION, "trailers reach a client that takes them")
            .send(TAKES_TRAILERS)
            .answer(with(&[("x-sum", "42"), ("x-more", "43")]))
            .delivers("body")
            .response("in order", |response| {
                response.trailers == ["x-sum: 42", "x-more: 43"]
            })
            .open(),
    );
    for v in BOTH {
        cases.push(
            case(
                RULE,
                SECTION,
                format!("trailers do not reach a client of {v} that does not take them"),
            )
            .send(get(v))
            .answer(with(&[("x-sum", "evil")]))
            .delivers("body")
            .response("none", |response| response.trailers.is_empty())
            .without_evil(),
        );
    }
    for (name, value) in [
        ("content-length", "7"),
        ("host", "evil"),
        ("content-length", "4"),
    ] {
        cases.push(
            case(
                RULE,
                SECTION,
                format!("what belongs into a head is no trailer: {name}: {value}"),
            )
            .send(TAKES_TRAILERS)
            .answer(with(&[(name, value), ("x-sum", "42")]))
            .check(move |outcome| {
                let response = outcome.response()?;
                let mut lines = response.trailers.iter();
                match lines.any(|line| line.starts_with(name)) {
                    true => Err(format!("{:?}", response.trailers)),
                    false => Ok(()),
                }
            })
            .without_evil(),
        );
    }
    for name in [":status", ":path", ":evil"] {
        cases.push(
            case(
                RULE,
                SECTION,
                format!("pseudo-fields in trailers go nowhere: {name}"),
            )
            .send(TAKES_TRAILERS)
            .answer(with(&[(name, "299")]))
            .response("none is seen", |response| response.trailers.is_empty())
            .holds("nor is its value", |outcome| {
                crate::wire::find(&outcome.read, b"299").is_none()
            }),
        );
    }
}

fn cut_behind_bodies(cases: &mut Vec<Case>) {
    const RULE: &str = "extensions";
    let wide = "x".repeat(4000);
    let many = vec![(&b"x-evil"[..], &b"1"[..]); 2000];
    let large = vec![(&b"x-evil"[..], wide.as_bytes()); 4];
    let ok = [head("200", &[], false), data("half", false)].concat();
    for (section, what, bad) in [
        (
            "RFC 9113 §8.1",
            "trailers that are not the end",
            frames::headers(ASKED, &[("evil", "b")], false),
        ),
        (
            "RFC 9113 §8.2.1",
            "LF in trailers",
            raw(&[(b"a", b"b\nevil: 1")], true),
        ),
        (
            "RFC 9113 §8.2.1",
            "NUL in trailers",
            raw(&[(b"a", b"b\0evil")], true),
        ),
        (
            "RFC 9113 §8.2",
            "an upper-case name in trailers",
            raw(&[(b"Evil", b"b")], true),
        ),
        (
            "RFC 9113 §8.2.2",
            "a connection's field in trailers",
            trailers(&[("connection", "evil")]),
        ),
        (
            "RFC 9113 §8.2.2",
            "a coding in trailers",
            trailers(&[("transfer-encoding", "evil")]),
        ),
        (
            "RFC 9113 §10.5.1",
            "many trailers",
            [many, large]
                .concat()
                .chunks(1700)
                .fold(Vec::new(), |bytes: Vec<u8>, part| {
                    let block = hpack::block(part);
                    let first = bytes.is_empty();
                    let kind = if first { HEADERS } else { frames::CONTINUATION };
                    let flags = if first { END_STREAM } else { END_HEADERS };
                    [bytes, frames::frame(kind, flags, ASKED, &block)].concat()
                }),
        ),
    ] {
        cases.push(
            case(RULE, section, format!("{what}: the body is seen as cut"))
                .send(TAKES_TRAILERS)
                .acts(
                    When::Whole,
                    [send(ok.clone()), Act::AwaitClient("half"), send(bad)],
                )
                .broken()
                .without_evil(),
        );
    }
    cases.push(
        case(RULE, "RFC 9113 §5.1", "DATA behind trailers goes nowhere")
            .send(GET)
            .await_client("half")
            .await_plays(1)
            .send("GET /2 HTTP/1.1\r\nHost: t\r\n\r\n")
            .methods(&["GET"; 2])
            .answer_read([ok, trailers(&[("a", "b")]), data("evil", true)].concat())
            .answer(text("second"))
            .without_evil(),
    );
}
