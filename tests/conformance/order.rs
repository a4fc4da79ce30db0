//! What goes on behind an answer: its end, the order of answers, and which connections are kept.

use crate::backend::{Act, When};
use crate::case::{BOTH, Case, Version};
use crate::wire::Message;

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    unchunked(cases);
    for v in BOTH {
        close_delimited(cases, v);
    }
    pipelining(cases);
    persistence(cases);
}

fn unchunked(cases: &mut Vec<Case>) {
    const RULE: &str = "unchunked";
    const SECTION: &str = "RFC 9112 §7.1, §6.1";
    let coded = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n";
    for (name, fields) in [
        ("plain", ""),
        ("kept alive", "Connection: keep-alive\r\n"),
        ("TE", "Connection: TE\r\nTE: chunked\r\n"),
    ] {
        cases.push(
            Case::client(
                RULE,
                SECTION,
                Version::V10,
                format!("1.0, {name}: no chunks"),
            )
            .send(format!("GET / HTTP/1.0\r\nHost: t\r\n{fields}\r\n"))
            .answer(coded)
            .delivers("hello")
            .response("no coding", |response| !response.has("transfer-encoding"))
            .closed_in_order(),
        );
    }
    cases.push(
        Case::client(RULE, SECTION, Version::V11, "1.1 keeps its connection")
            .answer(coded)
            .delivers("hello")
            .open(),
    );
    cases.push(
        Case::backend(
            RULE,
            SECTION,
            Version::V11,
            "chunks that come one by one reach 1.0 one by one",
        )
        .send("GET / HTTP/1.0\r\nHost: t\r\n\r\n")
        .acts(
            When::Whole,
            [
                Act::Send(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n".to_vec(),
                ),
                Act::AwaitClient("\r\n\r\nhe"),
                Act::Send(b"3\r\nllo\r\n0\r\n\r\n".to_vec()),
            ],
        )
        .delivers("hello")
        .closed_in_order(),
    );
}

fn close_delimited(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "close-delimited";
    const SECTION: &str = "RFC 9112 §6.3";
    let case = Case::client(RULE, SECTION, v, "a body up to the close is whole")
        .send(format!("GET / {v}\r\nHost: t\r\n\r\n"))
        .answer_close("HTTP/1.1 200 OK\r\n\r\nhello")
        .delivers("hello");
    cases.push(match v {
        Version::V10 => case.closed_in_order(),
        _ => case.holds("it is closed, or coded", |outcome| {
            outcome.ended == crate::outcome::Ended::InOrder
                || outcome.responses[0].has("transfer-encoding")
        }),
    });
    for (name, fields) in [
        ("no field", ""),
        ("a lie", "Connection: keep-alive\r\n"),
        ("the truth", "Connection: close\r\n"),
    ] {
        cases.push(
            Case::backend(RULE, SECTION, v, format!("up to the close, with {name}"))
                .acts(
                    When::Whole,
                    [
                        Act::Send(format!("{v} 200 OK\r\n{fields}\r\nhel").into()),
                        Act::AwaitClient("hel"),
                        Act::Send(b"lo".to_vec()),
                        Act::Close,
                    ],
                )
                .delivers("hello"),
        );
    }
    cases.push(
        Case::backend(RULE, SECTION, v, "an empty body up to the close")
            .answer_close(format!("{v} 200 OK\r\n\r\n"))
            .delivers(""),
    );
}

fn pipelining(cases: &mut Vec<Case>) {
    const RULE: &str = "pipelining";
    const SECTION: &str = "RFC 9112 §9.3.2";
    let v = Version::V11;
    let three = "GET /1 HTTP/1.1\r\nHost: t\r\n\r\nGET /2 HTTP/1.1\r\nHost: t\r\n\r\nGET /3 HTTP/1.1\r\nHost: t\r\n\r\n";
    let one = |v: Version, body: &str| {
        format!("{v} 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let in_order = |outcome: &crate::outcome::Outcome| {
        let bodies: Vec<String> = outcome.responses.iter().map(|one| one.text()).collect();
        bodies == ["one", "second", "third one"]
    };
    cases.push(
        Case::client(RULE, SECTION, v, "three GETs in one write")
            .send(three)
            .methods(&["GET"; 3])
            .answer(one(v, "one"))
            .answer(one(v, "second"))
            .answer(one(v, "third one"))
            .holds("three answers in order", in_order)
            .requests(3)
            .open(),
    );
    cases.push(
        Case::client(RULE, SECTION, v, "bodies and requests in one write")
            .send("POST /1 HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhelloPOST /2 HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nworld\r\n0\r\n\r\nGET /3 HTTP/1.1\r\nHost: t\r\n\r\n")
            .methods(&["POST", "POST", "GET"])
            .answer(one(v, "one"))
            .answer(one(v, "second"))
            .answer(one(v, "third one"))
            .holds("three answers in order", in_order)
            .holds("each request has its body", |outcome| {
                let mut bodies: Vec<String> = outcome.requests.iter().map(|(_, one)| one.word(1).to_owned() + &one.text()).collect();
                bodies.sort();
                bodies == ["/1hello", "/2world", "/3"]
            })
            .open(),
    );
    cases.push(
        Case::client(RULE, SECTION, v, "the last of three closes")
            .send(three.replace("/3 HTTP/1.1\r\n", "/3 HTTP/1.1\r\nConnection: close\r\n"))
            .methods(&["GET"; 3])
            .answer(one(v, "one"))
            .answer(one(v, "second"))
            .answer(one(v, "third one"))
            .holds("three answers in order", in_order)
            .closed_in_order(),
    );
    cases.push(
        Case::client(RULE, SECTION, v, "a bad one behind a good one: the good one is answered")
            .send("GET /1 HTTP/1.1\r\nHost: t\r\n\r\nGET /2 HTTP/1.1\r\nHost : t\r\n\r\nGET /3 HTTP/1.1\r\nHost: t\r\n\r\n")
            .methods(&["GET"; 2])
            .answer(one(v, "one"))
            .delivers("one")
            .requests(1)
            .closed()
            .holds("then a 400", |outcome| {
                outcome.responses.get(1).is_some_and(|second| second.status() == 400)
            }),
    );
    cases.push(
        Case::client(
            RULE,
            SECTION,
            v,
            "an end behind the last: an abort, or all are answered",
        )
        .send(three)
        .half_close()
        .methods(&["GET"; 3])
        .answer(one(v, "one"))
        .answer(one(v, "second"))
        .answer(one(v, "third one"))
        .holds("answers are in order, as far as they go", |outcome| {
            let bodies: Vec<String> = outcome.responses.iter().map(Message::text).collect();
            let wanted = ["one", "second", "third one"];
            wanted
                .iter()
                .zip(&bodies)
                .all(|(wanted, body)| wanted.starts_with(body.as_str()))
        }),
    );
    cases.push(
        Case::client(RULE, SECTION, Version::V10, "kept alive: two in order, or one and a close")
            .send("GET /1 HTTP/1.0\r\nHost: t\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\nHost: t\r\n\r\n")
            .methods(&["GET"; 2])
            .answer(one(v, "one"))
            .answer(one(v, "second"))
            .delivers("one")
            .closed()
            .holds("the second is its own or none", |outcome| {
                outcome.responses.get(1).is_none_or(|second| second.text() == "second")
            }),
    );
    for v in BOTH {
        cases.push(
            Case::backend(
                RULE,
                SECTION,
                v,
                "answers of different sizes keep their order",
            )
            .send(three)
            .methods(&["GET"; 3])
            .answer_close(one(v, "one"))
            .answer_close(format!("{v} 200 OK\r\n\r\nsecond"))
            .answer_close(one(v, "third one"))
            .holds("the answers are in order, as far as they go", |outcome| {
                let bodies: Vec<String> = outcome.responses.iter().map(|one| one.text()).collect();
                bodies.len() >= 2
                    && ["one", "second", "third one"]
                        .starts_with(&bodies.iter().map(String::as_str).collect::<Vec<_>>())
            }),
        );
    }
}

fn persistence(cases: &mut Vec<Case>) {
    const RULE: &str = "persistence";
    const SECTION: &str = "RFC 9112 §9.3, §9.6";
    cases.push(
        Case::client(RULE, SECTION, Version::V11, "1.1 stays open")
            .delivers("ok")
            .open(),
    );
    for fields in [
        "Connection: close",
        "connection: CLOSE",
        "Connection: keep-alive, close",
        "Connection: a\r\nConnection: close",
    ] {
        cases.push(
            Case::client(
                RULE,
                SECTION,
                Version::V11,
                format!("{fields:?} is obeyed and told"),
            )
            .send(format!("GET / HTTP/1.1\r\nHost: t\r\n{fields}\r\n\r\n"))
            .delivers("ok")
            .response("it says so", |response| {
                response.lists("connection", "close")
            })
            .closed_in_order(),
        );
    }
    cases.push(
        Case::client(RULE, SECTION, Version::V10, "1.0 closes")
            .send("GET / HTTP/1.0\r\nHost: t\r\n\r\n")
            .delivers("ok")
            .closed_in_order(),
    );
    cases.push(
        Case::client(
            RULE,
            "RFC 9112 §C.2.2",
            Version::V10,
            "1.0 kept alive is told so, or closed",
        )
        .send("GET / HTTP/1.0\r\nHost: t\r\nConnection: keep-alive\r\n\r\n")
        .await_client("ok")
        .half_close()
        .delivers("ok")
        .closed()
        .response("it says what it does", |response| {
            response.lists("connection", "keep-alive") != response.lists("connection", "close")
                || response.all("connection").is_empty()
        }),
    );
    for (v, fields, kept) in [
        (Version::V11, "", true),
        (Version::V11, "Connection: keep-alive\r\n", true),
        (Version::V11, "Connection: close\r\n", false),
        (
            Version::V11,
            "Connection: a\r\nConnection: CLOSE\r\n",
            false,
        ),
        (Version::V10, "", false),
        (Version::V10, "Connection: close\r\n", false),
    ] {
        let name = match kept {
            true => format!("with {fields:?} it is used again"),
            false => format!("with {fields:?} it is not used again"),
        };
        cases.push(
            Case::backend(RULE, SECTION, v, name)
                .send("GET /1 HTTP/1.1\r\nHost: t\r\n\r\n")
                .await_client("ok")
                .send("GET /2 HTTP/1.1\r\nHost: t\r\n\r\n")
                .methods(&["GET"; 2])
                .answer(format!("{v} 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok"))
                .delivers("ok")
                .requests(2)
                .holds("so it is", move |outcome| {
                    matches!(&outcome.requests[..], [(a, _), (b, _)] if (a == b) == kept)
                })
                .open(),
        );
    }
}
