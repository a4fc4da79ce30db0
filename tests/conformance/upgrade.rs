//! Tunnels, and a kept connection that ends under a request.

use crate::backend::{Act, When};
use crate::case::{BOTH, Case, OK, Version};
use crate::wire::Message;

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    websocket(cases);
    h2c(cases);
    unasked(cases);
    retry(cases);
}

const SECTION: &str = "RFC 9110 §7.8, RFC 6455 §4";
pub(crate) const ASK: &str = "GET /chat HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
pub(crate) const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn tunnel(name: &str, side: fn(&'static str, &'static str, Version, String) -> Case) -> Case {
    side("websocket", SECTION, Version::V11, name.to_owned())
        .holds("it is a 101 of the backend's", |outcome| {
            outcome.responses.first().is_some_and(|response| {
                response.status() == 101
                    && response.has("sec-websocket-accept")
                    && response.lists("connection", "upgrade")
                    && response.one("upgrade") == Some("websocket")
            })
        })
        .request("the backend was asked for it", |request| {
            request
                .one("upgrade")
                .is_some_and(|one| one.eq_ignore_ascii_case("websocket"))
                && request.lists("connection", "upgrade")
                && request.has("sec-websocket-key")
        })
}

fn websocket(cases: &mut Vec<Case>) {
    const RULE: &str = "websocket";
    cases.push(
        tunnel("bytes go both ways behind the 101", Case::client)
            .send(ASK)
            .await_client("\r\n\r\n")
            .send("\0ping\n")
            .await_client("\0pong\n")
            .send("bye")
            .acts(
                When::Whole,
                [
                    Act::Send(AGREED.into()),
                    Act::AwaitReceived("\0ping\n"),
                    Act::Send(b"\0pong\n".to_vec()),
                    Act::AwaitReceived("bye"),
                    Act::Close,
                ],
            )
            .closed(),
    );
    cases.push(
        tunnel(
            "bytes that the client sends at once arrive behind the head",
            Case::client,
        )
        .send(format!("{ASK}early"))
        .await_client("late")
        .acts(
            When::Whole,
            [
                Act::Send(AGREED.into()),
                Act::AwaitReceived("early"),
                Act::Send(b"late".to_vec()),
                Act::Close,
            ],
        )
        .closed(),
    );
    cases.push(
        tunnel("other cases, among other items", Case::client)
            .send(
                ASK.replace(
                    "Connection: Upgrade",
                    "connection: keep-alive\r\nCONNECTION: upgrade",
                )
                .replace("Upgrade: websocket", "upgrade: WebSocket"),
            )
            .await_client("late")
            .acts(
                When::Whole,
                [
                    Act::Send(AGREED.into()),
                    Act::Send(b"late".to_vec()),
                    Act::Close,
                ],
            )
            .closed(),
    );
    cases.push(
        tunnel("when the client ends, the backend sees it", Case::client)
            .send(ASK)
            .await_client("\r\n\r\n")
            .send("bye")
            .half_close()
            .await_plays(1)
            .acts(
                When::Whole,
                [
                    Act::Send(AGREED.into()),
                    Act::AwaitReceived("bye"),
                    Act::Close,
                ],
            )
            .closed(),
    );
    cases.push(
        tunnel("bytes in the same read as the 101 arrive", Case::backend)
            .send(ASK)
            .await_client("hello")
            .acts(
                When::Whole,
                [Act::Send(format!("{AGREED}hello").into()), Act::Close],
            )
            .closed(),
    );
    cases.push(
        tunnel("interim answers before the 101", Case::backend)
            .send(ASK)
            .await_client("hello")
            .acts(
                When::Whole,
                [
                    Act::Send(format!("HTTP/1.1 103 Early Hints\r\n\r\n{AGREED}hello").into()),
                    Act::Close,
                ],
            )
            .closed(),
    );
    cases.push(
        Case::backend(
            RULE,
            SECTION,
            Version::V11,
            "a refusal is an answer like any other",
        )
        .send(ASK)
        .answer("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        .status(&[403])
        .response("its body came", |response| response.text() == "no")
        .open(),
    );
    cases.push(
        Case::client(
            RULE,
            SECTION,
            Version::V11,
            "Upgrade without Connection is not passed on",
        )
        .send("GET / HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\n\r\n")
        .delivers("ok")
        .request("no upgrade is asked for", |request| !request.has("upgrade"))
        .open(),
    );
    cases.push(
        Case::client(RULE, SECTION, Version::V10, "from 1.0 it is ignored")
            .send(ASK.replace("HTTP/1.1", "HTTP/1.0"))
            .delivers("ok")
            .request("no upgrade is asked for", |request| !request.has("upgrade")),
    );
    cases.push(
        Case::client(
            RULE,
            SECTION,
            Version::V11,
            "no answer but a 101 opens a tunnel",
        )
        .send(format!("{ASK}GET /2 HTTP/1.1\r\nHost: t\r\n\r\n"))
        .methods(&["GET", "GET"])
        .answer(OK)
        .answer("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond")
        .delivers("ok")
        .holds("what follows is no part of a tunnel", |outcome| {
            outcome
                .responses
                .get(1)
                .is_none_or(|second| second.text() == "second" || second.status() == 400)
        }),
    );
}

fn h2c(cases: &mut Vec<Case>) {
    for v in BOTH {
        for (name, lines) in [
            (
                "h2c",
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            ),
            (
                "H2C",
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: H2C\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            ),
            (
                "h2c, settings unlisted",
                "Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            ),
            ("h2", "Connection: Upgrade\r\nUpgrade: h2"),
            (
                "h2c among others",
                "Connection: Upgrade\r\nUpgrade: foo, h2c",
            ),
            (
                "h2c on a line of its own",
                "Connection: Upgrade\r\nUpgrade: foo\r\nUpgrade: h2c",
            ),
            (
                "h2c behind websocket",
                "Connection: Upgrade\r\nUpgrade: websocket, h2c",
            ),
            ("something else", "Connection: Upgrade\r\nUpgrade: TLS/1.0"),
        ] {
            cases.push(
                Case::client("h2c", "RFC 9110 §7.8, RFC 9113 §3.1", v, name)
                    .send(format!("GET / {v}\r\nHost: t\r\n{lines}\r\n\r\n"))
                    .status(&[200, 400])
                    .holds("it is not asked for", |outcome| {
                        let asked = |request: &Message| {
                            let text = request.all("upgrade").join(",").to_lowercase();
                            text.contains("h2") || text.contains("tls") || text.contains("foo")
                        };
                        !outcome.requests.iter().any(|(_, request)| asked(request))
                    }),
            );
        }
    }
}

fn unasked(cases: &mut Vec<Case>) {
    const RULE: &str = "unasked 101";
    let plain = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
    for v in BOTH {
        let agreed = AGREED.replace("HTTP/1.1", &v.to_string());
        for (name, request, answer) in [
            ("to a plain GET", plain, agreed.clone()),
            ("with an answer behind it", plain, format!("{agreed}{OK}")),
            (
                "behind a 103",
                plain,
                format!("{v} 103 Early Hints\r\n\r\n{agreed}"),
            ),
            (
                "to another protocol",
                ASK,
                agreed.replace("websocket", "h2c"),
            ),
            (
                "to no protocol",
                ASK,
                agreed.replace("Upgrade: websocket\r\n", ""),
            ),
            (
                "to a POST",
                "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi",
                agreed.clone(),
            ),
            (
                "to h2c that was asked for",
                "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
                agreed.replace("websocket", "h2c"),
            ),
        ] {
            cases.push(
                Case::backend(RULE, "RFC 9110 §15.2.2, §7.8", v, name)
                    .send(request)
                    .answer(answer)
                    .status(&[502]),
            );
        }
    }
}

fn retry(cases: &mut Vec<Case>) {
    const RULE: &str = "retry";
    const AGAIN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain";
    const SECTION: &str = "RFC 9110 §9.2.2, RFC 9112 §9.3.1";
    let first = "GET /1 HTTP/1.1\r\nHost: t\r\n\r\n";
    let end = |act: &Act| match act {
        Act::Close => "closes",
        _ => "is reset",
    };
    for act in [Act::Close, Act::Reset] {
        cases.push(
            Case::backend(
                RULE,
                SECTION,
                Version::V11,
                format!("kept, and {} under a GET: asked again", end(&act)),
            )
            .send(first)
            .await_client("ok")
            .send("GET /2 HTTP/1.1\r\nHost: t\r\n\r\n")
            .methods(&["GET"; 2])
            .answer(OK)
            .acts(When::Head, [act.clone()])
            .answer(AGAIN)
            .holds("the second is answered", |outcome| {
                outcome
                    .responses
                    .get(1)
                    .is_some_and(|second| second.text() == "again")
            })
            .open(),
        );
        for (version, body) in [
            ("a length", "Content-Length: 5\r\n\r\nhello"),
            (
                "chunks",
                "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            ),
            ("no body", "Content-Length: 0\r\n\r\n"),
        ] {
            cases.push(
                Case::backend(
                    RULE,
                    SECTION,
                    Version::V11,
                    format!(
                        "kept, and {} under a POST with {version}: 502, never twice",
                        end(&act)
                    ),
                )
                .send(first)
                .await_client("ok")
                .send(format!("POST /2 HTTP/1.1\r\nHost: t\r\n{body}"))
                .methods(&["GET", "POST"])
                .answer(OK)
                .acts(When::Whole, [act.clone()])
                .answer(AGAIN)
                .holds("the second is a 502", |outcome| {
                    outcome
                        .responses
                        .get(1)
                        .is_some_and(|second| second.status() == 502)
                })
                .holds("it was sent once", |outcome| {
                    let posts = outcome
                        .requests
                        .iter()
                        .filter(|(_, one)| one.word(0) == "POST");
                    posts.count() == 1
                }),
            );
        }
        for v in BOTH {
            cases.push(
                Case::backend(
                    RULE,
                    SECTION,
                    v,
                    format!("fresh, and {} under a POST: 502, never twice", end(&act)),
                )
                .send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello")
                .acts(When::Whole, [act.clone()])
                .answer(AGAIN)
                .status(&[502])
                .requests(1),
            );
            cases.push(
                Case::backend(
                    RULE,
                    SECTION,
                    v,
                    format!("{} within its answer: never asked again", end(&act)),
                )
                .acts(
                    When::Whole,
                    [
                        Act::Send(format!("{v} 200 OK\r\nContent-Length: 10\r\n\r\nhello").into()),
                        Act::AwaitClient("hello"),
                        act.clone(),
                    ],
                )
                .answer(AGAIN)
                .broken()
                .requests(1),
            );
        }
    }
}
