//! Exchanges: bodies that are none, bodies of odd methods, interim and early answers.

use crate::backend::{Act, When};
use crate::case::{BOTH, Case, OK, Version};

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    for v in BOTH {
        bodiless(cases, v);
        interim(cases, v);
        early(cases, v);
    }
    expect(cases);
    request_bodies(cases);
}

fn bodiless(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "bodiless";
    const SECTION: &str = "RFC 9112 §6.3, RFC 9110 §6.4.1";
    let head = "HEAD / HTTP/1.1\r\nHost: t\r\n\r\n";
    cases.push(
        Case::client(
            RULE,
            SECTION,
            v,
            "the answer to its HEAD has no body, and keeps its length",
        )
        .send(format!("HEAD / {v}\r\nHost: t\r\n\r\n"))
        .methods(&["HEAD"])
        .answer("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        .delivers("")
        .response("its length is told", |response| {
            response.one("content-length") == Some("6")
        }),
    );
    let whole = Case::client(
        RULE,
        SECTION,
        v,
        "an answer of ours to its HEAD has no body",
    )
    .send(format!("HEAD / {v}\r\nHost: a b\r\n\r\n"))
    .methods(&["HEAD"])
    .rejected(&[400])
    .holds("nothing behind the head", |outcome| {
        outcome.read.ends_with(b"\r\n\r\n")
    });
    cases.push(whole);
    for (name, status, field) in [
        ("204 with a length", "204 No Content", "Content-Length: 6"),
        (
            "204 with a coding",
            "204 No Content",
            "Transfer-Encoding: chunked",
        ),
        ("304 with a length", "304 Not Modified", "Content-Length: 6"),
        (
            "304 with a coding",
            "304 Not Modified",
            "Transfer-Encoding: chunked",
        ),
    ] {
        // A coding in 1.0 may be refused outright.
        let coded_in_1_0 = v == Version::V10 && field.starts_with('T');
        let case = Case::backend(RULE, SECTION, v, format!("{name} has no body"))
            .answer(format!(
                "{v} {status}\r\nConnection: keep-alive\r\n{field}\r\n\r\n"
            ))
            .response("it has no coding", |response| {
                !response.has("transfer-encoding")
            })
            .response("a 204 has no length", |response| {
                response.status() != 204 || !response.has("content-length")
            });
        cases.push(match coded_in_1_0 {
            true => case.status(&[204, 304, 502]),
            false => case.status(&[204, 304]).open(),
        });
    }
    cases.push(
        Case::backend(RULE, SECTION, v, "HEAD with a coding has no body")
            .send(head)
            .methods(&["HEAD"])
            .answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .delivers("")
            .open(),
    );
    cases.push(
        Case::backend(RULE, SECTION, v, "HEAD without a length has no body")
            .send(head)
            .methods(&["HEAD"])
            .answer(format!("{v} 200 OK\r\nConnection: keep-alive\r\n\r\n"))
            .delivers("")
            .open(),
    );
    cases.push(
        Case::backend(RULE, SECTION, v, "1xx with a length has no body")
            .answer(format!("{v} 103 Early Hints\r\nContent-Length: 6\r\n\r\n{v} 200 OK\r\nContent-Length: 2\r\n\r\nok"))
            .delivers("ok"),
    );
}

fn interim(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "interim";
    const SECTION: &str = "RFC 9110 §15.2";
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let case = Case::client(
        RULE,
        SECTION,
        v,
        "several before the answer, in the same read",
    )
    .send(format!("GET / {v}\r\nHost: t\r\n\r\n"))
    .answer(format!("{hints}HTTP/1.1 102 Processing\r\n\r\n{hints}{OK}"))
    .delivers("ok");
    cases.push(match v {
        Version::V10 => case.holds("none of them reaches 1.0", |outcome| {
            outcome.interim.is_empty()
        }),
        _ => case
            .holds("hints reach 1.1, fields and all", |outcome| {
                let mut hints = outcome.interim.iter().filter(|one| one.status() == 103);
                hints.clone().count() == 2 && hints.all(|one| one.one("link") == Some("</a>"))
            })
            .open(),
    });
    if v == Version::V11 {
        cases.push(
            Case::client(
                RULE,
                SECTION,
                v,
                "one is passed on before the answer is there",
            )
            .acts(
                When::Whole,
                [
                    Act::Send(hints.into()),
                    Act::AwaitClient("103"),
                    Act::Send(OK.into()),
                ],
            )
            .delivers("ok")
            .holds("it came", |outcome| outcome.interim.len() == 1),
        );
    }
    let many = format!("{v} 103 Early Hints\r\n\r\n").repeat(8);
    cases.push(
        Case::backend(
            RULE,
            SECTION,
            v,
            "eight before the answer, in the same read",
        )
        .answer(format!("{many}{v} 200 OK\r\nContent-Length: 2\r\n\r\nok"))
        .delivers("ok"),
    );
    cases.push(
        Case::backend(RULE, SECTION, v, "a 100 that nobody asked for")
            .answer(format!(
                "{v} 100 Continue\r\n\r\n{v} 200 OK\r\nContent-Length: 2\r\n\r\nok"
            ))
            .delivers("ok"),
    );
    cases.push(
        Case::backend(RULE, SECTION, v, "a 100, then an end: a 502")
            .answer_close(format!("{v} 100 Continue\r\n\r\n"))
            .status(&[502]),
    );
    cases.push(
        Case::backend(RULE, SECTION, v, "a 103, then garbage: a 502")
            .answer_close(format!("{v} 103 Early Hints\r\n\r\nhello\r\n\r\n"))
            .status(&[502]),
    );
}

fn expect(cases: &mut Vec<Case>) {
    const RULE: &str = "expect";
    const SECTION: &str = "RFC 9110 §10.1.1";
    let head = "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let go = || Act::Send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec());
    cases.push(
        Case::client(
            RULE,
            SECTION,
            Version::V11,
            "the body is sent only after a 100",
        )
        .send(head)
        .await_client("100 Continue\r\n\r\n")
        .send("hello")
        .acts(
            When::Head,
            [go(), Act::AwaitReceived("hello"), Act::Send(OK.into())],
        )
        .delivers("ok")
        .request("it asked the backend, and the body arrived", |request| {
            request.one("expect") == Some("100-continue") && request.text() == "hello"
        })
        .holds("exactly one 100", |outcome| outcome.interim.len() == 1)
        .open(),
    );
    cases.push(
        Case::client(
            RULE,
            SECTION,
            Version::V11,
            "the body comes without waiting",
        )
        .send(format!("{head}hello"))
        .delivers("ok")
        .request("the body arrived", |request| request.text() == "hello"),
    );
    cases.push(
        Case::client(
            RULE,
            SECTION,
            Version::V10,
            "from 1.0 it is ignored: no 100 goes back",
        )
        .send(
            "POST / HTTP/1.0\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        )
        .acts(
            When::Head,
            [go(), Act::AwaitReceived("hello"), Act::Send(OK.into())],
        )
        .delivers("ok")
        .holds("no interim answer", |outcome| outcome.interim.is_empty())
        .request("the body arrived", |request| request.text() == "hello"),
    );
    for v in BOTH {
        cases.push(
            Case::backend(RULE, SECTION, v, "a final answer instead of the 100")
                .send(head)
                .acts(
                    When::Head,
                    [
                        Act::Send(format!("{v} 417 Expectation Failed\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno").into()),
                        Act::HalfClose,
                    ],
                )
                .status(&[417])
                .requests(0),
        );
        cases.push(
            Case::backend(
                RULE,
                SECTION,
                v,
                "no 100 at all: the client gives up waiting",
            )
            .send(head)
            .await_backend("\r\n\r\n")
            .send("hello")
            .answer(format!("{v} 200 OK\r\nContent-Length: 2\r\n\r\nok"))
            .delivers("ok")
            .request("the body arrived", |request| request.text() == "hello"),
        );
    }
}

fn early(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "early";
    const SECTION: &str = "RFC 9112 §9.5";
    let no = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno";
    cases.push(
        Case::client(
            RULE,
            SECTION,
            v,
            "it has sent a part of its body, and waits",
        )
        .send(format!(
            "POST / {v}\r\nHost: t\r\nContent-Length: 100000\r\n\r\nhello"
        ))
        .acts(When::Head, [Act::Send(no.into())])
        .status(&[413])
        .requests(0),
    );
    cases.push(
        Case::client(
            RULE,
            SECTION,
            v,
            "it has sent nothing of its body, and waits",
        )
        .send(format!(
            "POST / {v}\r\nHost: t\r\nContent-Length: 100000\r\n\r\n"
        ))
        .acts(When::Head, [Act::Send(no.into())])
        .status(&[413])
        .requests(0),
    );
    if v == Version::V11 {
        cases.push(
            Case::client(RULE, SECTION, v, "it has sent one chunk, and waits")
                .send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
                .acts(When::Head, [Act::Send(no.into())])
                .status(&[413])
                .requests(0),
        );
    }
    let refusal =
        format!("{v} 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
    cases.push(
        Case::backend(
            RULE,
            SECTION,
            v,
            "it answers before a large body, and says that it will close",
        )
        .send(
            [
                b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3000000\r\n\r\n".to_vec(),
                vec![b'x'; 3_000_000],
            ]
            .concat(),
        )
        .acts(
            When::Head,
            [Act::Send(refusal.clone().into()), Act::HalfClose],
        )
        .status(&[413])
        .response("the whole answer", |response| response.text() == "no"),
    );
    cases.push(
        Case::backend(
            RULE,
            SECTION,
            v,
            "it answers before the body and closes; the client goes on sending",
        )
        .send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\nhello")
        .await_client("\r\n\r\nno")
        .send("x".repeat(1000))
        .acts(
            When::Head,
            [
                Act::AwaitReceived("hello"),
                Act::Send(refusal.into()),
                Act::Close,
            ],
        )
        .status(&[413])
        .response("the whole answer", |response| response.text() == "no"),
    );
}

fn request_bodies(cases: &mut Vec<Case>) {
    const RULE: &str = "request body";
    const SECTION: &str = "RFC 9110 §9.3.1, RFC 9112 §6.3";
    for v in BOTH {
        for method in ["GET", "DELETE", "OPTIONS", "PUT", "PATCH", "QUERY"] {
            cases.push(
                Case::client(RULE, SECTION, v, format!("{method} with a length"))
                    .send(format!(
                        "{method} / {v}\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello"
                    ))
                    .delivers("ok")
                    .request("the body arrived", |request| request.text() == "hello"),
            );
            if v == Version::V11 {
                cases.push(
                    Case::client(RULE, SECTION, v, format!("{method} with chunks"))
                        .send(format!("{method} / {v}\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"))
                        .delivers("ok")
                        .request("the body arrived", |request| request.text() == "hello")
                        .open(),
                );
            }
        }
    }
}
