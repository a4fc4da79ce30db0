//! Waits: each has a limit that fires, and none of them ends honest work.
//!
//! The rules are about time, so these cases wait for it; no limit may fire before `SHORT`.

use std::time::Duration;

use crate::backend::{Act, When};
use crate::case::{BOTH, Case, OK, Version};
use crate::subject::{Profile, SHORT};
use crate::upgrade::{AGREED, ASK};

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    for v in BOTH {
        heads(cases, v);
        bodies(cases, v);
        slow_bodies(cases, v);
        linger(cases, v);
        let silent = Case::backend(
            "first byte",
            "RFC 9110 §15.6.5",
            v,
            match v {
                Version::V10 => "reads, and says nothing: 504",
                _ => "does not even read its body, and says nothing: 504",
            },
        );
        let request = match v {
            Version::V10 => "GET / HTTP/1.1\r\nHost: t\r\n\r\n",
            _ => "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi",
        };
        cases.push(impatient(silent.send(request).acts(When::Head, FOREVER)).status(&[504]));
    }
    idle(cases);
    cases.push(
        Case::backend(
            "slow connect",
            "RFC 9110 §15.6.5",
            Version::V11,
            "no answer to a connect: 502, 503 or 504",
        )
        .profile(Profile::Dark)
        .status(&[502, 503, 504])
        .holds("not before its time", |outcome| {
            outcome.took > SHORT.mul_f32(0.8)
        }),
    );
    tunnels(cases);
}

fn tunnels(cases: &mut Vec<Case>) {
    const RULE: &str = "upgrade idle";
    const SECTION: &str = "RFC 9110 §7.8";
    const QUIET: &str = "one in which nobody speaks is ended";
    for quiet in [
        Case::client(RULE, SECTION, Version::V11, QUIET),
        Case::backend(RULE, SECTION, Version::V11, QUIET),
    ] {
        cases.push(
            impatient(quiet)
                .send(ASK)
                .acts(When::Whole, [Act::Send(AGREED.into()), Act::AwaitEnd])
                .status(&[101])
                .closed(),
        );
    }
    let step = SHORT / 4;
    let words = (0..8).fold(
        Case::client(
            RULE,
            SECTION,
            Version::V11,
            "a client that says little, but says it, keeps it",
        )
        .profile(Profile::Impatient)
        .send(ASK)
        .await_client("\r\n\r\n"),
        |case, _| case.pause(step).send("x"),
    );
    cases.push(
        words
            .await_client("heard")
            .acts(
                When::Whole,
                [
                    Act::Send(AGREED.into()),
                    Act::AwaitReceived("xxxxxxxx"),
                    Act::Send(b"heard".to_vec()),
                    Act::Close,
                ],
            )
            .status(&[101]),
    );
    let mut acts = vec![Act::Send(AGREED.into())];
    for _ in 0..8 {
        acts.push(Act::Pause(step));
        acts.push(Act::Send(b"x".to_vec()));
    }
    acts.push(Act::Close);
    cases.push(
        Case::backend(
            RULE,
            SECTION,
            Version::V11,
            "a backend that says little, but says it, keeps it",
        )
        .profile(Profile::Impatient)
        .send(ASK)
        .await_client("xxxxxxxx")
        .acts(When::Whole, acts)
        .status(&[101]),
    );
}

/// Longer than any limit of the impatient profile; the end of the case ends it.
pub(crate) const FOREVER: [Act; 1] = [Act::AwaitClient("what never comes")];

/// Not before the limit, and the limit itself is the shipped one's stand-in.
pub(crate) fn impatient(case: Case) -> Case {
    case.profile(Profile::Impatient)
        .holds("not before its time", |outcome| {
            outcome.took > SHORT.mul_f32(0.8)
        })
}

fn heads(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "slow head";
    const SECTION: &str = "RFC 9110 §15.5.9";
    for (name, bytes) in [
        ("half a request line", format!("GET / {v}")),
        ("a request line", format!("GET / {v}\r\n")),
        ("half a field", format!("GET / {v}\r\nHost: t\r\nA: ")),
        (
            "all but the empty line",
            format!("GET / {v}\r\nHost: t\r\n"),
        ),
    ] {
        cases.push(
            impatient(Case::client(RULE, SECTION, v, format!("{name}: 408")))
                .send(bytes)
                .refused(&[408]),
        );
    }
    let drip = (0..12).fold(
        Case::client(RULE, SECTION, v, "one byte now and then does not help: 408")
            .profile(Profile::Impatient)
            .send(format!("GET / {v}\r\nHost: t\r\nA: ")),
        |case, _| case.send("a").pause(SHORT / 6),
    );
    cases.push(drip.refused(&[408]));
    for (name, bytes) in [
        ("half a status line", format!("{v} 200")),
        ("half a head", format!("{v} 200 OK\r\nA: b\r\n")),
        ("a 100 and no more", format!("{v} 100 Continue\r\n\r\n")),
    ] {
        cases.push(
            impatient(Case::backend(
                RULE,
                "RFC 9110 §15.6.5",
                v,
                format!("{name}: 504"),
            ))
            .acts(When::Whole, [Act::Send(bytes.into()), FOREVER[0].clone()])
            .status(&[504]),
        );
    }
}

fn bodies(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "slow body";
    cases.push(
        impatient(Case::client(
            RULE,
            "RFC 9110 §15.5.9",
            v,
            "nothing of a body: 408",
        ))
        .send(format!(
            "POST / {v}\r\nHost: t\r\nContent-Length: 10\r\n\r\n"
        ))
        .never_whole(&[408]),
    );
    cases.push(
        impatient(Case::client(
            RULE,
            "RFC 9110 §15.5.9",
            v,
            "a part of a body: 408",
        ))
        .send(format!(
            "POST / {v}\r\nHost: t\r\nContent-Length: 10\r\n\r\nhello"
        ))
        .never_whole(&[408]),
    );
    if v == Version::V11 {
        cases.push(
            impatient(Case::client(
                RULE,
                "RFC 9110 §15.5.9",
                v,
                "a part of a chunk: 408",
            ))
            .send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhello")
            .never_whole(&[408]),
        );
    }
    let coded = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".to_owned();
    for (name, bytes) in [
        (
            "of a length",
            Some(format!("{v} 200 OK\r\nContent-Length: 10\r\n\r\nhello")),
        ),
        ("up to the close", Some(format!("{v} 200 OK\r\n\r\nhello"))),
        ("in chunks", (v == Version::V11).then_some(coded)),
    ] {
        let Some(bytes) = bytes else { continue };
        for client in BOTH {
            cases.push(
                impatient(Case::backend(
                    RULE,
                    "RFC 9112 §8",
                    v,
                    format!("an answer {name} that stands still is cut for {client}"),
                ))
                .send(format!("GET / {client}\r\nHost: t\r\n\r\n"))
                .acts(
                    When::Whole,
                    [Act::Send(bytes.clone().into()), FOREVER[0].clone()],
                )
                .broken(),
            );
        }
    }
}

fn slow_bodies(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "slow body";
    let step = SHORT / 4;
    let slow = (0..8).fold(
        Case::client(
            RULE,
            "RFC 9110 §15.5.9",
            v,
            "a slow body in all takes longer than its limit",
        )
        .profile(Profile::Impatient)
        .send(format!(
            "POST / {v}\r\nHost: t\r\nContent-Length: 8\r\n\r\n"
        )),
        |case, _| case.pause(step).send("x"),
    );
    cases.push(slow.delivers("ok").requests(1));
    let mut acts = vec![Act::Send(
        format!("{v} 200 OK\r\nContent-Length: 8\r\n\r\n").into(),
    )];
    for _ in 0..8 {
        acts.push(Act::Pause(step));
        acts.push(Act::Send(b"x".to_vec()));
    }
    cases.push(
        Case::backend(
            RULE,
            "RFC 9110 §15.6.5",
            v,
            "a slow answer in all takes longer than its limit",
        )
        .profile(Profile::Impatient)
        .acts(When::Whole, acts)
        .delivers("xxxxxxxx"),
    );
}

fn idle(cases: &mut Vec<Case>) {
    const RULE: &str = "idle";
    const SECTION: &str = "RFC 9112 §9.5";
    let quiet = |case: Case| {
        impatient(case)
            .holds("nothing is said", |outcome| outcome.read.is_empty())
            .closed_in_order()
            .unseen()
            .methods(&[])
    };
    cases.push(quiet(
        Case::client(
            RULE,
            SECTION,
            Version::V11,
            "a connection that never asks is closed without a word",
        )
        .send(""),
    ));
    cases.push(
        Case::client(
            RULE,
            SECTION,
            Version::V11,
            "one that has asked is closed without another word",
        )
        .profile(Profile::Impatient)
        .delivers("ok")
        .closed_in_order()
        .holds("and no more was read", |outcome| {
            outcome.responses.len() == 1
        }),
    );
    cases.push(
        Case::client(
            RULE,
            SECTION,
            Version::V10,
            "one of 1.0 kept alive is closed without another word",
        )
        .profile(Profile::Impatient)
        .send("GET / HTTP/1.0\r\nHost: t\r\nConnection: keep-alive\r\n\r\n")
        .delivers("ok")
        .closed_in_order()
        .holds("and no more was read", |outcome| {
            outcome.responses.len() == 1
        }),
    );
    cases.push(
        Case::backend(
            RULE,
            SECTION,
            Version::V11,
            "a kept one is closed by us after its time",
        )
        .profile(Profile::Impatient)
        .send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        .await_client("ok")
        .await_plays(1)
        .acts(When::Whole, [Act::Send(OK.into()), Act::AwaitEnd])
        .delivers("ok")
        .requests(1),
    );
}

fn linger(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "linger";
    const SECTION: &str = "RFC 9112 §9.6";
    let junk = "x".repeat(200_000);
    for (name, head) in [
        (
            "an invalid Host",
            format!("POST / {v}\r\nHost: a b\r\nContent-Length: 200000\r\n\r\n"),
        ),
        (
            "a bad length",
            format!("POST / {v}\r\nHost: t\r\nContent-Length: x\r\n\r\n"),
        ),
        (
            "a bad field",
            format!("POST / {v}\r\nHost : t\r\nContent-Length: 200000\r\n\r\n"),
        ),
    ] {
        cases.push(
            Case::client(
                RULE,
                SECTION,
                v,
                format!("{name}, and a body already sent: the answer arrives in order"),
            )
            .send(format!("{head}{junk}"))
            .half_close()
            .refused(&[400])
            .closed_in_order(),
        );
        cases.push(
            Case::client(
                RULE,
                SECTION,
                v,
                format!("{name}, and a body that goes on: the answer arrives in order"),
            )
            .send(head)
            .await_client("400")
            .send(junk.clone())
            .half_close()
            .refused(&[400])
            .closed_in_order(),
        );
    }
    cases.push(
        Case::client(RULE, SECTION, v, "one that never stops sending is cut off")
            .send(format!(
                "POST / {v}\r\nHost: t\r\nContent-Length: x\r\n\r\n"
            ))
            .await_client("400")
            .pause(Duration::from_millis(10))
            .refused(&[400]),
    );
}
