//! Connections of HTTP/2: many streams, limits of time, and floods.

use super::{ask, get, open};
use crate::backend::{Act, When};
use crate::case::{Case, OK, Version};
use crate::frames;
use crate::subject::Profile;

const V: Version = Version::V20;

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    streams(cases);
    waits(cases);
    floods(cases);
}

fn streams(cases: &mut Vec<Case>) {
    let many: Vec<u8> = (0..10)
        .flat_map(|at| frames::headers(2 * at + 1, &frames::pseudo("GET", "/"), true))
        .collect();
    cases.push(
        Case::client(
            "pipelining",
            "RFC 9113 §5",
            V,
            "ten requests at once, each on its own stream",
        )
        .send(many)
        .methods(&["GET"; 10])
        .requests(10)
        .holds("all are answered", |outcome| {
            outcome.responses.len() == 10
                && outcome.responses.iter().all(|answer| answer.text() == "ok")
        }),
    );
    for (what, answer) in [
        ("an answer", OK),
        (
            "a backend that closes",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        ),
        (
            "a backend's error",
            "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        ),
    ] {
        cases.push(
            Case::client(
                "persistence",
                "RFC 9113 §9.1",
                V,
                format!("a connection goes on after {what}"),
            )
            .answer(answer)
            .open(),
        );
    }
    cases.push(
        Case::client(
            "persistence",
            "RFC 9113 §5.4.2",
            V,
            "a connection goes on after a reset stream",
        )
        .send(
            [
                open("POST", &[("content-length", "5")]),
                frames::reset(1, 8),
            ]
            .concat(),
        )
        .methods(&[])
        .pause(std::time::Duration::from_millis(50))
        .send(frames::headers(3, &frames::pseudo("GET", "/"), true))
        .await_backend("GET / ")
        .requests(1),
    );
    cases.push(
        Case::client(
            "linger",
            "RFC 9113 §5.4.1",
            V,
            "an end of the connection is told, whatever else was sent",
        )
        .send(
            [
                ask("GET", "/", &[]),
                frames::data(0, "x".repeat(200_000), false)[..100_000].to_vec(),
            ]
            .concat(),
        )
        .methods(&[])
        .closed()
        .holds("GOAWAY was read", |outcome| goaway(&outcome.read).is_some()),
    );
}

fn goaway(mut bytes: &[u8]) -> Option<u32> {
    let mut told = None;
    while let Some((frame, length)) = frames::first(bytes) {
        bytes = &bytes[length..];
        if frame.kind == frames::GOAWAY {
            told = Some(frame.number(4));
        }
    }
    told
}

fn waits(cases: &mut Vec<Case>) {
    let head = get("/");
    let mut begun = head.clone();
    begun[4] &= !frames::END_HEADERS;
    for (what, bytes) in [
        ("half a frame", head[..12].to_vec()),
        ("a head without its end", begun),
    ] {
        cases.push(
            Case::client(
                "slow head",
                "RFC 9110 §15.5.9",
                V,
                format!("{what} ends the connection"),
            )
            .profile(Profile::Impatient)
            .send(bytes)
            .methods(&[])
            .closed()
            .unseen(),
        );
    }
    cases.push(
        Case::client(
            "slow body",
            "RFC 9110 §15.5.9",
            V,
            "one that stands still has a limit",
        )
        .profile(Profile::Impatient)
        .send(
            [
                open("POST", &[("content-length", "10")]),
                frames::data(1, "begin", false),
            ]
            .concat(),
        )
        .acts(When::Head, vec![Act::AwaitEnd])
        .methods(&["POST"])
        .requests(0)
        .check(
            |outcome| match outcome.responses.first().map(|answer| answer.status()) {
                None | Some(0 | 408 | 400 | 504 | 502) => Ok(()),
                Some(other) => Err(format!("answered: {other}")),
            },
        ),
    );
    cases.push(
        Case::client(
            "idle",
            "RFC 9113 §9.1",
            V,
            "an idle connection is closed by GOAWAY without an error",
        )
        .profile(Profile::Impatient)
        .closed()
        .holds("it was told", |outcome| goaway(&outcome.read) == Some(0)),
    );
}

fn floods(cases: &mut Vec<Case>) {
    const SECTION: &str = "RFC 9113 §10.5";
    const MANY: u32 = 20_000;
    let times = |frame: Vec<u8>| frame.repeat(MANY as usize);
    let resets = |count: u32| -> Vec<u8> {
        (0..count)
            .flat_map(|at| {
                let head = frames::headers(2 * at + 1, &frames::pseudo("GET", "/"), true);
                [head, frames::reset(2 * at + 1, 8)].concat()
            })
            .collect()
    };
    let mut begun = get("/");
    begun[4] &= !frames::END_HEADERS;
    for (what, bytes) in [
        ("PING", times(frames::frame(frames::PING, 0, 0, &[1; 8]))),
        ("SETTINGS", times(frames::settings(&[(4, 65_535)]))),
        (
            "PRIORITY",
            times(frames::frame(frames::PRIORITY, 0, 1, &[0, 0, 0, 3, 9])),
        ),
        ("WINDOW_UPDATE", times(frames::window_update(0, 1))),
        ("unknown frames", times(frames::frame(0x42, 0, 0, b"x"))),
        (
            "empty DATA",
            [open("POST", &[]), times(frames::data(1, [], false))].concat(),
        ),
        (
            "CONTINUATION",
            [begun, times(frames::frame(frames::CONTINUATION, 0, 1, &[]))].concat(),
        ),
        ("rapid resets (CVE-2023-44487)", resets(MANY)),
    ] {
        cases.push(
            Case::client(
                "floods",
                SECTION,
                V,
                format!("{what}: the connection is ended"),
            )
            .send(bytes)
            .methods(&[])
            .closed(),
        );
    }
}
