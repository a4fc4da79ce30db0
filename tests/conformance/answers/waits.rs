//! Waits for a backend of HTTP/2: each has a limit that fires, and none of them ends honest work.

use super::{ASKED, GET, POST, case, data, head, send, text};
use crate::backend::{Act, When};
use crate::case::{BOTH, Case};
use crate::frames::{self, END_STREAM, HEADERS};
use crate::subject::{Profile, SHORT};
use crate::time::{FOREVER, impatient};

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    heads(cases);
    bodies(cases);
    slow_bodies(cases);
    silence(cases);
    connects(cases);
    idle(cases);
}

const SLOW: &str = "RFC 9110 §15.6.5";

fn ping() -> Vec<u8> {
    frames::frame(frames::PING, 0, 0, &[1; 8])
}

fn heads(cases: &mut Vec<Case>) {
    let whole = head("200", &[("a", "b")], true);
    let open = frames::frame(HEADERS, END_STREAM, ASKED, &[0x88]);
    for (name, bytes) in [
        ("half a frame's head", whole[..5].to_vec()),
        ("half a head", whole[..12].to_vec()),
        ("a head without its end", open),
        ("a 100 and no more", head("100", &[], false)),
        ("a 103 and no more", head("103", &[], false)),
    ] {
        cases.push(
            impatient(case("slow head", SLOW, format!("{name}: 504")))
                .acts(When::Whole, [send(bytes), FOREVER[0].clone()])
                .status(&[504]),
        );
    }
}

fn bodies(cases: &mut Vec<Case>) {
    for (name, fields) in [
        ("of a length", &[("content-length", "10")][..]),
        ("without a length", &[]),
    ] {
        for v in BOTH {
            cases.push(
                impatient(case(
                    "slow body",
                    "RFC 9113 §8.1",
                    format!("an answer {name} that stands still is cut for {v}"),
                ))
                .send(format!("GET / {v}\r\nHost: t\r\n\r\n"))
                .acts(
                    When::Whole,
                    [
                        send([head("200", fields, false), data("hello", false)].concat()),
                        FOREVER[0].clone(),
                    ],
                )
                .broken(),
            );
        }
    }
}

/// A head, then this again and again for twice the limit, then an end.
fn dripping(piece: &[u8]) -> Vec<Act> {
    let begun = [head("200", &[], false), data("x", false)].concat();
    let mut acts = vec![send(begun)];
    for _ in 0..8 {
        acts.extend([Act::Pause(SHORT / 4), send(piece)]);
    }
    acts.push(send(data("", true)));
    acts
}

fn slow_bodies(cases: &mut Vec<Case>) {
    cases.push(
        case(
            "slow body",
            SLOW,
            "a slow answer in all takes longer than its limit",
        )
        .profile(Profile::Impatient)
        .acts(When::Whole, dripping(&data("x", false)))
        .delivers("xxxxxxxxx"),
    );
    for (what, piece) in [
        ("PINGs", ping()),
        ("windows", frames::window_update(0, 1)),
        ("empty frames", data("", false)),
    ] {
        cases.push(
            impatient(case(
                "slow body",
                SLOW,
                format!("{what} are no progress of an answer: it is cut"),
            ))
            .acts(When::Whole, dripping(&piece))
            .broken(),
        );
    }
}

fn silence(cases: &mut Vec<Case>) {
    const RULE: &str = "first byte";
    let closed_window = frames::settings(&[(4, 0)]);
    for (what, request, greeting) in [
        ("reads, and says nothing", GET, frames::settings(&[])),
        (
            "reads a body, and says nothing",
            POST,
            frames::settings(&[]),
        ),
        ("has no window, and says nothing", POST, closed_window),
    ] {
        cases.push(
            impatient(case(RULE, SLOW, format!("{what}: 504")))
                .send(request)
                .greeting(greeting)
                .acts(When::Head, FOREVER)
                .status(&[504]),
        );
    }
    let mut acts = Vec::new();
    for _ in 0..8 {
        acts.extend([Act::Pause(SHORT / 4), send(ping())]);
    }
    acts.push(send(text("late")));
    cases.push(
        impatient(case(RULE, SLOW, "says nothing but PING: 504"))
            .acts(When::Whole, acts)
            .status(&[504]),
    );
}

fn connects(cases: &mut Vec<Case>) {
    for (what, greeting) in [
        ("no settings", Vec::new()),
        ("settings that take no request", frames::settings(&[(3, 0)])),
    ] {
        cases.push(
            case(
                "slow connect",
                "RFC 9110 §15.6.5, RFC 9113 §3.4",
                format!("it takes a connection, and says {what}: 502, 503 or 504"),
            )
            .profile(Profile::Fresh)
            .greeting(greeting)
            .acts(When::Head, FOREVER)
            .status(&[502, 503, 504])
            .holds("not before its time", |outcome| {
                outcome.took > SHORT.mul_f32(0.8)
            }),
        );
    }
}

fn idle(cases: &mut Vec<Case>) {
    cases.push(
        case(
            "idle",
            "RFC 9113 §9.1",
            "a kept one is closed by us after its time",
        )
        .profile(Profile::Impatient)
        .send(GET)
        .await_client("ok")
        .await_plays(1)
        .acts(When::Whole, [send(text("ok")), Act::AwaitEnd])
        .delivers("ok")
        .requests(1),
    );
}
