//! Messages that end too early, and bytes behind their end.

use crate::backend::{Act, When};
use crate::case::{BOTH, Case, OK, Version};
use crate::outcome::Ended;

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    for v in BOTH {
        cut_requests(cases, v);
        cut_responses(cases, v);
        surplus_of_responses(cases, v);
    }
    cut_chunks(cases);
    surplus_of_requests(cases);
}

const CUT: &str = "truncation";
const SURPLUS: &str = "surplus";

fn cut_requests(cases: &mut Vec<Case>, v: Version) {
    const SECTION: &str = "RFC 9112 §8";
    let request = format!("POST / {v}\r\nHost: t\r\nContent-Length: 10\r\n\r\nhello");
    cases.push(
        Case::client(CUT, SECTION, v, "a body cut by an end never becomes whole")
            .send(request.clone())
            .half_close()
            .closed()
            .requests(0),
    );
    cases.push(
        Case::client(
            CUT,
            SECTION,
            v,
            "a body cut by an end when the backend has its beginning",
        )
        .send(request.clone())
        .await_backend("hello")
        .half_close()
        .closed()
        .requests(0),
    );
    cases.push(
        Case::client(
            CUT,
            SECTION,
            v,
            "a body cut by a reset when the backend has its beginning",
        )
        .send(request)
        .await_backend("hello")
        .reset()
        .closed()
        .requests(0),
    );
    cases.push(
        Case::client(CUT, SECTION, v, "a head cut by an end goes nowhere")
            .send(format!("GET / {v}\r\nHost: t\r\nA: b\r\n"))
            .half_close()
            .closed()
            .unseen(),
    );
}

fn cut_responses(cases: &mut Vec<Case>, v: Version) {
    const SECTION: &str = "RFC 9112 §8";
    let lengthy = format!("{v} 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    let endless = format!("{v} 200 OK\r\n\r\nhello");
    for (name, bytes) in [("a length", &lengthy), ("no length", &endless)] {
        for client in BOTH {
            let request = format!("GET / {client}\r\nHost: t\r\n\r\n");
            cases.push(
                Case::backend(
                    CUT,
                    SECTION,
                    v,
                    format!("{name}, reset before a client of {client}"),
                )
                .send(request.clone())
                .acts(
                    When::Whole,
                    [
                        Act::Send(bytes.clone().into()),
                        Act::AwaitClient("hello"),
                        Act::Reset,
                    ],
                )
                .broken(),
            );
        }
    }
    for client in BOTH {
        cases.push(
            Case::backend(
                CUT,
                SECTION,
                v,
                format!("a length, closed before a client of {client}"),
            )
            .send(format!("GET / {client}\r\nHost: t\r\n\r\n"))
            .answer_close(lengthy.clone())
            .broken(),
        );
    }
    for head in [
        format!("{v} 20"),
        format!("{v} 200 OK\r\n"),
        format!("{v} 200 OK\r\nContent-Le"),
        format!("{v} 200 OK\r\nContent-Length: 2\r\n"),
    ] {
        cases.push(
            Case::backend(
                CUT,
                SECTION,
                v,
                format!("a head cut after {} bytes is a 502", head.len()),
            )
            .answer_close(head)
            .status(&[502]),
        );
    }
}

fn cut_chunks(cases: &mut Vec<Case>) {
    const SECTION: &str = "RFC 9112 §8, §7.1";
    let v = Version::V11;
    for (name, body) in [
        ("within a size", "5\r\nhello\r\n1"),
        ("within data", "a\r\nhello"),
        ("before the last chunk", "5\r\nhello\r\n"),
        ("within the last chunk", "5\r\nhello\r\n0"),
        ("behind the last size", "5\r\nhello\r\n0\r\n"),
        ("within the last line", "5\r\nhello\r\n0\r\n\r"),
        ("within the trailers", "5\r\nhello\r\n0\r\nA: b\r\n"),
    ] {
        cases.push(
            Case::client(CUT, SECTION, v, format!("chunks cut {name}"))
                .send(format!(
                    "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
                ))
                .await_backend("hello")
                .half_close()
                .closed()
                .requests(0),
        );
        for client in BOTH {
            let response = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            let name = format!("chunks cut {name} before a client of {client}");
            cases.push(
                Case::backend(CUT, SECTION, v, name)
                    .send(format!("GET / {client}\r\nHost: t\r\n\r\n"))
                    .answer_close(response)
                    .broken(),
            );
        }
    }
}

fn surplus_of_requests(cases: &mut Vec<Case>) {
    cases.push(
        Case::client(SURPLUS, "RFC 9112 §9.3", Version::V10, "bytes behind a 1.0 request are no request")
            .send("POST / HTTP/1.0\r\nHost: t\r\nContent-Length: 5\r\n\r\nhelloGET /2 HTTP/1.0\r\nHost: t\r\n\r\n")
            .delivers("ok")
            .closed()
            .requests(1),
    );
    cases.push(
        Case::client(
            SURPLUS,
            "RFC 9112 §9.3",
            Version::V10,
            "a body without a length is none",
        )
        .send("POST / HTTP/1.0\r\nHost: t\r\n\r\nGET /2 HTTP/1.0\r\nHost: t\r\n\r\n")
        .closed()
        .holds("at most one request, without a body", |outcome| {
            outcome.requests.len() < 2
                && outcome
                    .requests
                    .iter()
                    .all(|(_, request)| request.body.is_empty())
        }),
    );
    cases.push(
        Case::client(SURPLUS, "RFC 9112 §9.3", Version::V11, "bytes behind a request that closes are no request")
            .send("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: t\r\n\r\n")
            .delivers("ok")
            .closed()
            .requests(1),
    );
    cases.push(
        Case::client(
            SURPLUS,
            "RFC 9112 §3",
            Version::V11,
            "garbage behind a body is refused by itself",
        )
        .send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello, world\r\n\r\n")
        .methods(&["POST", "GET"])
        .delivers("ok")
        .closed()
        .requests(1)
        .holds("the second answer is a 400", |outcome| {
            outcome
                .responses
                .get(1)
                .is_some_and(|second| second.status() == 400)
        }),
    );
    cases.push(
        Case::client(SURPLUS, "RFC 9112 §6.3", Version::V11, "an extra CRLF behind a body is passed over")
            .send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello\r\nGET /2 HTTP/1.1\r\nHost: t\r\n\r\n")
            .methods(&["POST", "GET"])
            .delivers("ok")
            .requests(2),
    );
}

fn surplus_of_responses(cases: &mut Vec<Case>, v: Version) {
    const SECTION: &str = "RFC 9112 §6.3, §9.2";
    const SECOND: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond";
    const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let alive = format!("{v} 200 OK\r\nConnection: keep-alive\r\n");
    let get = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
    let head = "HEAD / HTTP/1.1\r\nHost: t\r\n\r\n";
    for (name, request, method, first) in [
        (
            "a second answer",
            get,
            "GET",
            format!("{alive}Content-Length: 2\r\n\r\nok{POISON}"),
        ),
        (
            "garbage",
            get,
            "GET",
            format!("{alive}Content-Length: 2\r\n\r\nokxyz"),
        ),
        (
            "a CRLF",
            get,
            "GET",
            format!("{alive}Content-Length: 2\r\n\r\nok\r\n"),
        ),
        (
            "an answer behind an empty one",
            get,
            "GET",
            format!("{alive}Content-Length: 0\r\n\r\n{POISON}"),
        ),
        (
            "a body of a HEAD",
            head,
            "HEAD",
            format!("{alive}Content-Length: 6\r\n\r\npoison"),
        ),
        (
            "an answer behind a 204",
            get,
            "GET",
            format!("{v} 204 No Content\r\nConnection: keep-alive\r\n\r\n{POISON}"),
        ),
        (
            "a body of a 304",
            get,
            "GET",
            format!(
                "{v} 304 Not Modified\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok{POISON}"
            ),
        ),
    ] {
        let methods: &[&'static str] = match method {
            "HEAD" => &["HEAD", "GET"],
            _ => &["GET", "GET"],
        };
        cases.push(
            Case::backend(SURPLUS, SECTION, v, format!("{name} in the same bytes"))
                .send(request)
                .await_client("\r\n\r\n")
                .await_plays(1)
                .send("GET /2 HTTP/1.1\r\nHost: t\r\n\r\n")
                .methods(methods)
                .answer(first)
                .answer(SECOND)
                .holds("the second request has its own answer", |outcome| {
                    outcome
                        .responses
                        .get(1)
                        .is_some_and(|second| second.text() == "second")
                })
                .holds(
                    "it came by another connection",
                    |outcome| matches!(&outcome.requests[..], [(a, _), (b, _)] if a != b),
                ),
        );
    }
    cases.push(
        // A busy machine may bring the second request before the surplus that was sent earlier.
        Case::backend(SURPLUS, SECTION, v, "an answer that comes after the answer")
            .races()
            .send(get)
            .await_client("ok")
            .await_plays(1)
            .send("GET /2 HTTP/1.1\r\nHost: t\r\n\r\n")
            .methods(&["GET", "GET"])
            .acts(
                When::Whole,
                [
                    Act::Send(format!("{alive}Content-Length: 2\r\n\r\nok").into()),
                    Act::AwaitClient("ok"),
                    Act::Send(POISON.into()),
                ],
            )
            .answer(SECOND)
            .holds("the second request has its own answer", |outcome| {
                outcome
                    .responses
                    .get(1)
                    .is_some_and(|second| second.text() == "second")
            }),
    );
    cases.push(
        Case::backend(
            SURPLUS,
            SECTION,
            v,
            "the first answer is whole all the same",
        )
        .answer(format!("{alive}Content-Length: 2\r\n\r\nok{POISON}"))
        .answer(OK)
        .delivers("ok")
        .holds("and no more was read", |outcome| {
            outcome.responses.len() == 1 && outcome.ended != Ended::Reset
        }),
    );
}
