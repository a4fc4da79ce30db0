//! Bodies of HTTP/2, and what is cut short.

use super::{ask, get, open};
use crate::backend::{Act, When};
use crate::case::{Case, OK, Version};
use crate::frames;

const V: Version = Version::V20;

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    lengths(cases);
    cut_requests(cases);
    cut_answers(cases);
    bodiless(cases);
    interim(cases);
    whole(cases);
}

fn post(length: Option<&str>, pieces: &[(&str, bool)]) -> Vec<u8> {
    let length: Vec<(&str, &str)> = length
        .map(|length| ("content-length", length))
        .into_iter()
        .collect();
    let mut bytes = open("POST", &length);
    for (piece, end) in pieces {
        bytes.extend(frames::data(1, piece, *end));
    }
    bytes
}

fn lengths(cases: &mut Vec<Case>) {
    for (what, length, pieces) in [
        (
            "less than Content-Length says",
            "10",
            &[("hello", true)][..],
        ),
        (
            "less, ended by an empty frame",
            "10",
            &[("hello", false), ("", true)],
        ),
        ("more than Content-Length says", "3", &[("hello", true)]),
        (
            "more, in a second frame",
            "3",
            &[("hel", false), ("lo", true)],
        ),
        ("anything where it says 0", "0", &[("hello", true)]),
    ] {
        cases.push(
            Case::client("length", "RFC 9113 §8.1.1", V, format!("refused: {what}"))
                .send(post(Some(length), pieces))
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
    cases.push(
        Case::client(
            "length",
            "RFC 9113 §8.1.1",
            V,
            "a body as long as it says is passed on",
        )
        .send(post(
            Some("5"),
            &[("hel", false), ("", false), ("lo", true)],
        ))
        .methods(&["POST"])
        .delivers("ok")
        .request("whole", |request| request.text() == "hello"),
    );
    cases.push(
        Case::client(
            "surplus",
            "RFC 9113 §5.1",
            V,
            "DATA behind the end of a request goes nowhere",
        )
        .send(
            [
                post(Some("2"), &[("hi", true)]),
                frames::data(1, "GET /evil HTTP/1.1\r\n\r\n", true),
            ]
            .concat(),
        )
        .methods(&["POST"])
        .holds("nothing of it reached the backend", |outcome| {
            !outcome
                .received()
                .windows(4)
                .any(|window| window == b"evil")
        }),
    );
}

fn cut_requests(cases: &mut Vec<Case>) {
    const RULE: &str = "truncation";
    const SECTION: &str = "RFC 9113 §8.1";
    for (what, length) in [("with a length", Some("10")), ("without a length", None)] {
        let begun = |end: &str| {
            Case::client(
                RULE,
                SECTION,
                V,
                format!("a body {what}, cut by {end}, never becomes whole"),
            )
            .methods(&["POST"])
            .send(post(length, &[("hello", false)]))
            .await_backend("hello")
            .requests(0)
        };
        cases.push(
            begun("a reset stream")
                .send(frames::reset(1, 8))
                .methods(&[])
                .pause(std::time::Duration::from_millis(50)),
        );
        cases.push(begun("the end of the connection").half_close().closed());
        cases.push(begun("a reset connection").reset().closed());
        cases.push(begun("trailers that do not end it").send(frames::headers(
            1,
            &[("x", "y")],
            false,
        )));
    }
}

fn cut_answers(cases: &mut Vec<Case>) {
    const RULE: &str = "truncation";
    const SECTION: &str = "RFC 9113 §8.1";
    for (what, head) in [
        (
            "with a length",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun",
        ),
        (
            "in chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n",
        ),
        (
            "within a chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nbegun",
        ),
    ] {
        for (how, act) in [("an end", Act::Close), ("a reset", Act::Reset)] {
            cases.push(
                Case::client(
                    RULE,
                    SECTION,
                    V,
                    format!("an answer {what}, cut by {how}, is seen as cut"),
                )
                .acts(
                    When::Whole,
                    vec![Act::Send(head.into()), Act::AwaitClient("begun"), act],
                )
                .broken(),
            );
        }
    }
    cases.push(
        Case::client(
            "close-delimited",
            "RFC 9112 §6.3",
            V,
            "a body up to the close ends its stream",
        )
        .answer_close("HTTP/1.1 200 OK\r\n\r\nall of it")
        .delivers("all of it"),
    );
}

fn bodiless(cases: &mut Vec<Case>) {
    const RULE: &str = "bodiless";
    const SECTION: &str = "RFC 9110 §6.4.1";
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        ),
    ] {
        let first = answer.lines().next().unwrap_or_default();
        let second = answer.lines().nth(1).unwrap_or_default();
        cases.push(
            Case::client(
                RULE,
                SECTION,
                V,
                format!("{method} → {first} {second} ends its stream"),
            )
            .send(ask(method, "/", &[]))
            .methods(if method == "HEAD" {
                &["HEAD"]
            } else {
                &["GET"]
            })
            .answer(answer)
            .response("whole and empty", |response| {
                response.complete && response.body.is_empty()
            })
            .open(),
        );
    }
}

fn interim(cases: &mut Vec<Case>) {
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    cases.push(
        Case::client("interim", "RFC 9110 §15.2", V, "103 in front of an answer")
            .answer(answer)
            .delivers("ok"),
    );
    cases.push(
        Case::client(
            "expect",
            "RFC 9110 §10.1.1",
            V,
            "100 is passed on before the body is sent",
        )
        .send(open(
            "POST",
            &[("content-length", "4"), ("expect", "100-continue")],
        ))
        .acts(
            When::Head,
            vec![
                Act::Send("HTTP/1.1 100 Continue\r\n\r\n".into()),
                Act::AwaitReceived("body"),
                Act::Send(OK.into()),
            ],
        )
        .methods(&["POST"])
        // The backend's word comes once it has the head, and nobody has to have read it for the body to go on.
        .await_backend("content-length: 4")
        .send(frames::data(1, "body", true))
        .delivers("ok"),
    );
    cases.push(
        Case::client(
            "early",
            "RFC 9113 §8.1",
            V,
            "a final answer comes before the body has ended",
        )
        .send(post(Some("1000"), &[("beginning", false)]))
        .acts(
            When::Head,
            vec![Act::Send(
                "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".into(),
            )],
        )
        .methods(&["POST"])
        .status(&[403])
        .response("all of it", |response| {
            response.text() == "no" && response.complete
        }),
    );
}

fn whole(cases: &mut Vec<Case>) {
    cases.push(
        Case::client("request body", "RFC 9110 §9.3.1", V, "a GET keeps its body")
            .send([open("GET", &[]), frames::data(1, "body", true)].concat())
            .delivers("ok")
            .request("whole", |request| {
                request.text() == "body" && request.complete
            }),
    );
    cases.push(
        Case::client(
            "extensions",
            "RFC 9110 §6.5.1",
            V,
            "trailers of a request never become its fields",
        )
        .send(
            [
                open("POST", &[]),
                frames::data(1, "body", false),
                frames::headers(1, &[("x-late", "1")], true),
            ]
            .concat(),
        )
        .methods(&["POST"])
        .delivers("ok")
        .request("no such field", |request| {
            request.text() == "body" && !request.has("x-late")
        }),
    );
    cases.push(
        Case::client(
            "extensions",
            "RFC 9113 §8.1",
            V,
            "pseudo-fields in trailers go nowhere",
        )
        .send(
            [
                open("POST", &[]),
                frames::data(1, "body", false),
                frames::headers(1, &[(":path", "/late")], true),
            ]
            .concat(),
        )
        .methods(&["POST"])
        .holds("nothing of them reached the backend", |outcome| {
            !outcome
                .received()
                .windows(4)
                .any(|window| window == b"late")
        }),
    );
    cases.push(
        Case::client("extensions", "RFC 9112 §7.1.1", V, "chunks of an answer become DATA")
            .send(get("/"))
            .answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n1\r\nd\r\n0\r\nX: y\r\n\r\n")
            .delivers("abcd")
            .response("no coding", |response| !response.has("transfer-encoding")),
    );
}
