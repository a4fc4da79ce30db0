//! Connections to a backend of HTTP/2: which are used again, what is asked again, and floods.

use super::{ASKED, GET, POST, case, data, head, raw, reset, send, text};
use crate::backend::{Act, When};
use crate::case::Case;
use crate::frames::{self, CONTINUATION, END_STREAM, HEADERS};
use crate::outcome::Outcome;

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    persistence(cases);
    asked_again(cases);
    never_twice(cases);
    floods(cases);
    floods_of_answers(cases);
}

/// A first request, its answer, and a second one.
fn two(rule: &'static str, section: &'static str, name: impl Into<String>, second: &str) -> Case {
    case(rule, section, name)
        .send(GET)
        .await_client("first")
        .await_plays(1)
        .send(second)
        .methods(match second.starts_with("POST") {
            true => &["GET", "POST"],
            false => &["GET"; 2],
        })
}

fn persistence(cases: &mut Vec<Case>) {
    const RULE: &str = "persistence";
    const SECTION: &str = "RFC 9113 §9.1, §6.8";
    let by_one = |outcome: &Outcome, kept: bool| {
        let [(a, _), (b, _)] = &outcome.requests[..] else {
            return false;
        };
        (a == b) == kept
    };
    let sized = |body: &str| {
        let length = body.len().to_string();
        let head = head("200", &[("content-length", &length)], false);
        [head, data(body, true)].concat()
    };
    let no_more_than_one = frames::settings(&[(3, 1)]);
    for (what, greeting, first) in [
        ("an answer", frames::settings(&[]), text("first")),
        (
            "an answer with a length",
            frames::settings(&[]),
            sized("first"),
        ),
        ("an answer, one at a time", no_more_than_one, text("first")),
        (
            "settings that change",
            frames::settings(&[]),
            [frames::settings(&[(1, 0), (4, 1)]), text("first")].concat(),
        ),
        (
            "an answer and a reset without an error",
            frames::settings(&[]),
            [text("first"), reset(0)].concat(),
        ),
    ] {
        cases.push(
            two(RULE, SECTION, format!("{what}: it is used again"), GET)
                .greeting(greeting)
                .answer_read(first)
                .answer(text("second"))
                .second_is_its_own()
                .holds("by the same connection", move |outcome| {
                    by_one(outcome, true)
                })
                .open(),
        );
    }
    for (what, last, code) in [
        ("a goodbye", ASKED, 0),
        ("a goodbye of an error", ASKED, 2),
        ("a goodbye that takes more", 0x7fff_ffff, 0),
    ] {
        let goodbye = frames::goaway(last, code);
        for (when, answer) in [
            (
                "before the answer",
                [goodbye.clone(), text("first")].concat(),
            ),
            ("behind the answer", [text("first"), goodbye].concat()),
        ] {
            cases.push(
                two(
                    RULE,
                    SECTION,
                    format!("{what} {when}: it is whole, and the next takes another"),
                    POST,
                )
                .answer_read(answer)
                .answer(text("second"))
                .delivers("first")
                .second_is_its_own()
                .holds("by another connection", move |outcome| {
                    by_one(outcome, false)
                }),
            );
        }
    }
    cases.push(
        case(
            RULE,
            SECTION,
            "a goodbye within an answer: the rest of it arrives",
        )
        .acts(
            When::Whole,
            [
                send([head("200", &[], false), data("begun", false)].concat()),
                Act::AwaitClient("begun"),
                send(frames::goaway(ASKED, 0)),
                send(data(", done", true)),
            ],
        )
        .delivers("begun, done"),
    );
    for (what, bad) in [
        ("a reset stream", reset(2)),
        (
            "a malformed answer",
            [
                head("200", &[("connection", "evil")], false),
                data("", true),
            ]
            .concat(),
        ),
    ] {
        cases.push(
            case(
                RULE,
                "RFC 9113 §5.4.2",
                format!("{what} harms no other one"),
            )
            .send(POST)
            .await_client("\r\n\r\n")
            .await_plays(1)
            .send(POST)
            .methods(&["POST"; 2])
            .answer_read(bad)
            .answer(text("second"))
            .status(&[502])
            .second_is_its_own()
            .without_evil(),
        );
    }
}

/// What a backend has certainly not done.
fn asked_again(cases: &mut Vec<Case>) {
    const RULE: &str = "retry";
    const SECTION: &str = "RFC 9113 §8.7, §6.8";
    let ways: [(&str, Vec<Act>); 5] = [
        ("refused", vec![send(reset(7))]),
        (
            "above the last of a goodbye",
            vec![send(frames::goaway(0, 0))],
        ),
        (
            "above the last of a goodbye of an error",
            vec![send(frames::goaway(0, 11))],
        ),
        (
            "above the last of a goodbye, and a close",
            vec![send(frames::goaway(0, 0)), Act::Close],
        ),
        (
            "above the last of two goodbyes",
            vec![
                send(frames::goaway(0x7fff_ffff, 0)),
                send(frames::goaway(0, 0)),
            ],
        ),
    ];
    for (method, request) in [("GET", GET), ("POST", POST)] {
        for (how, acts) in &ways {
            cases.push(
                case(
                    RULE,
                    SECTION,
                    format!("a {method} that is {how} is asked again"),
                )
                .send(request)
                .acts(When::Whole, acts.clone())
                .answer(text("again"))
                .delivers("again")
                .requests(2)
                .holds("all of it, both times", move |outcome| {
                    let wanted = if method == "POST" { "hello" } else { "" };
                    outcome.requests.iter().all(|(_, one)| one.text() == wanted)
                }),
            );
        }
    }
    for act in [Act::Close, Act::Reset] {
        cases.push(
            two(
                RULE,
                SECTION,
                format!("kept, and {} under a GET: asked again", ended(&act)),
                GET,
            )
            .answer(text("first"))
            .acts(When::Whole, [act])
            .answer(text("second"))
            .second_is_its_own()
            .open(),
        );
    }
}

fn ended(act: &Act) -> &'static str {
    match act {
        Act::Close => "closed",
        _ => "reset",
    }
}

/// What a backend may have done.
fn never_twice(cases: &mut Vec<Case>) {
    const RULE: &str = "retry";
    const SECTION: &str = "RFC 9110 §9.2.2, RFC 9113 §8.7";
    let ways: [(&str, Vec<Act>); 8] = [
        ("closed", vec![Act::Close]),
        ("reset with its connection", vec![Act::Reset]),
        ("reset without an error", vec![send(reset(0))]),
        ("reset", vec![send(reset(2))]),
        ("cancelled", vec![send(reset(8))]),
        ("reset to calm down", vec![send(reset(11))]),
        (
            "known to a goodbye, and closed",
            vec![send(frames::goaway(ASKED, 0)), Act::Close],
        ),
        (
            "refused behind an interim answer, and closed",
            vec![send(head("103", &[], false)), Act::Close],
        ),
    ];
    let once = |outcome: &Outcome| {
        let posts = outcome.requests.iter();
        posts.filter(|(_, one)| one.word(0) == "POST").count() == 1
    };
    for (how, acts) in &ways {
        cases.push(
            case(
                RULE,
                SECTION,
                format!("a POST that is {how}: 502, never twice"),
            )
            .send(POST)
            .acts(When::Whole, acts.clone())
            .answer(text("evil"))
            .status(&[502])
            .holds("it was sent once", once),
        );
        cases.push(
            two(
                RULE,
                SECTION,
                format!("a POST on a kept one that is {how}: 502, never twice"),
                POST,
            )
            .answer(text("first"))
            .acts(When::Whole, acts.clone())
            .answer(text("evil"))
            .holds("the second is a 502", |outcome| {
                let second = outcome.responses.get(1);
                second.is_some_and(|second| second.status() == 502)
            })
            .holds("it was sent once", once),
        );
    }
    for (how, act) in [
        ("closed", Act::Close),
        ("reset", send(reset(2))),
        ("refused", send(reset(7))),
        ("above a goodbye", send(frames::goaway(0, 0))),
    ] {
        let ends = [act, Act::Close];
        let begun = [head("200", &[], false), data("hello", false)].concat();
        cases.push(
            case(
                RULE,
                SECTION,
                format!("{how} within its answer: never asked again"),
            )
            .acts(
                When::Whole,
                [&[send(begun), Act::AwaitClient("hello")][..], &ends].concat(),
            )
            .answer(text("evil"))
            .broken()
            .requests(1),
        );
    }
    cases.push(
        case(RULE, SECTION, "refused for ever: a 502, in the end")
            .send(POST)
            .answer(reset(7))
            .status(&[502, 503]),
    );
}

const FLOODS: &str = "floods";
const CALM: &str = "RFC 9113 §10.5";
const MANY: usize = 20_000;

/// Frames that are no part of any answer.
fn floods(cases: &mut Vec<Case>) {
    for (what, frame) in [
        ("PING", frames::frame(frames::PING, 0, 0, &[1; 8])),
        ("SETTINGS", frames::settings(&[(4, 65_535)])),
        (
            "PRIORITY",
            frames::frame(frames::PRIORITY, 0, ASKED, &[0, 0, 0, 0, 9]),
        ),
        ("WINDOW_UPDATE", frames::window_update(0, 1)),
        ("unknown frames", frames::frame(0x42, 0, 0, b"x")),
    ] {
        cases.push(
            case(
                FLOODS,
                CALM,
                format!("{what}: the answer arrives, or its connection is ended"),
            )
            .answer([frame.repeat(MANY), text("ok")].concat())
            .status(&[200, 502])
            .open(),
        );
    }
    let pieces = [data("x", false).repeat(MANY), data("", true)].concat();
    cases.push(
        case(FLOODS, CALM, "one byte in each frame: it arrives")
            .answer([head("200", &[], false), pieces].concat())
            .status(&[200])
            .response("whole", |response| {
                response.complete && response.body.len() == MANY
            })
            .open(),
    );
}

/// Frames that are some, and never end.
fn floods_of_answers(cases: &mut Vec<Case>) {
    let ok = raw(&[(b":status", b"200")], false);
    let mut open = frames::frame(HEADERS, END_STREAM, ASKED, &[0x88]);
    open.extend(frames::frame(CONTINUATION, 0, ASKED, &[]).repeat(MANY));
    let line = [&[0, 4][..], b"evil", &[100], &[b'x'; 100]].concat();
    let mut wide = frames::frame(HEADERS, END_STREAM, ASKED, &[0x88]);
    wide.extend(frames::frame(CONTINUATION, 0, ASKED, &line.repeat(150)).repeat(50));
    for (what, bytes, ends) in [
        (
            "empty DATA",
            [ok.clone(), data("", false).repeat(MANY)].concat(),
            true,
        ),
        (
            "DATA of nothing but padding",
            [
                ok,
                frames::frame(frames::DATA, frames::PADDED, ASKED, &[0]).repeat(MANY),
            ]
            .concat(),
            true,
        ),
        ("empty CONTINUATION", open, true),
        ("CONTINUATION with fields", wide, true),
        (
            "interim answers",
            head("103", &[], false).repeat(MANY),
            false,
        ),
    ] {
        let flooded = case(
            FLOODS,
            CALM,
            format!("{what}, without end: no answer, and an end"),
        )
        .send(GET)
        .broken()
        .without_evil()
        .holds("little of it reached the client", |outcome| {
            outcome.read.len() < 100_000
        });
        cases.push(match ends {
            true => flooded
                .await_plays(1)
                .acts(When::Whole, [send(bytes), Act::AwaitEnd]),
            false => flooded.answer(bytes),
        });
    }
}
