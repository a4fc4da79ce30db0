//! Fields that end at a hop, fields that are added, and all others.

use crate::case::{BOTH, Case, Version};

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    for v in BOTH {
        hop_by_hop(cases, v);
        connection_lists(cases, v);
        via(cases, v);
        date(cases, v);
        untouched(cases, v);
    }
}

/// Lines that end here, and the names that must not be seen behind it.
const HOPS: &[(&str, &str, &[&str])] = &[
    ("one listed", "Connection: x-a\r\nX-A: 1", &["x-a"]),
    (
        "several listed",
        "Connection: x-a, X-B ,x-c\r\nX-A: 1\r\nx-b: 2\r\nX-C: 3",
        &["x-a", "x-b", "x-c"],
    ),
    (
        "over all lines",
        "Connection: x-a\r\nX-A: 1\r\nX-B: 2\r\nConnection: X-b",
        &["x-a", "x-b"],
    ),
    ("behind close", "Connection: close, x-a\r\nX-A: 1", &["x-a"]),
    (
        "behind keep-alive",
        "Connection: keep-alive\r\nConnection: x-a\r\nX-A: 1",
        &["x-a"],
    ),
    (
        "all of one name",
        "X-A: 1\r\nConnection: x-a\r\nX-A: 2\r\nx-a: 3",
        &["x-a"],
    ),
    (
        "odd commas",
        "Connection: ,, x-a ,\t, x-b,\r\nX-A: 1\r\nX-B: 2",
        &["x-a", "x-b"],
    ),
    ("listed but absent", "Connection: x-a", &["x-a"]),
    (
        "Keep-Alive, unlisted",
        "Keep-Alive: timeout=5",
        &["keep-alive"],
    ),
    (
        "Proxy-Connection, unlisted",
        "Proxy-Connection: keep-alive",
        &["proxy-connection"],
    ),
    ("TE, unlisted", "TE: trailers", &["te"]),
    (
        "TE, listed",
        "Connection: TE\r\nTE: trailers, chunked",
        &["te"],
    ),
    ("Upgrade, unlisted", "Upgrade: h2c", &["upgrade"]),
];

fn hop_by_hop(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "hop by hop";
    const SECTION: &str = "RFC 9110 §7.6.1";
    for (name, lines, gone) in HOPS {
        let ours = ["close", "keep-alive"];
        cases.push(
            Case::client(RULE, SECTION, v, *name)
                .send(format!(
                    "GET / {v}\r\nHost: t\r\n{lines}\r\nX-Stays: 1\r\n\r\n"
                ))
                .delivers("ok")
                .request("what is listed is gone", |request| {
                    gone.iter().all(|name| !request.has(name))
                })
                .request("what is not listed stays", |request| {
                    request.one("x-stays") == Some("1")
                })
                .request("Connection is the proxy's own", move |request| {
                    let all = request.all("connection");
                    all.iter().all(|value| {
                        value.is_empty() || ours.contains(&value.to_lowercase().as_str())
                    })
                }),
        );
        // A response has no TE, and keeps what only a 101 may use from the client.
        cases.push(
            Case::backend(RULE, SECTION, v, *name)
                .answer(format!(
                    "{v} 200 OK\r\n{lines}\r\nX-Stays: 1\r\nContent-Length: 2\r\n\r\nok"
                ))
                .delivers("ok")
                .response("what is listed is gone", |response| {
                    // Ours may say how long it keeps the connection.
                    gone.iter().all(|name| {
                        !response.has(name)
                            || (*name == "keep-alive" && response.one(name) != Some("timeout=5"))
                    })
                })
                .response("what is not listed stays", |response| {
                    response.one("x-stays") == Some("1")
                })
                .response("Connection is the proxy's own", move |response| {
                    let all = response.all("connection");
                    all.iter()
                        .all(|value| ours.contains(&value.to_lowercase().as_str()))
                }),
        );
    }
}

fn connection_lists(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "connection lists";
    const SECTION: &str = "RFC 9110 §7.6.1";
    for lines in [
        "Connection: Host",
        "Connection: host",
        "Connection: close, HOST",
        "Connection: Content-Length",
        "Connection: keep-alive,content-length",
        "Connection: a\r\nConnection: Content-Length",
        "Connection: Transfer-Encoding",
        "Connection: \ttransfer-encoding ,",
    ] {
        cases.push(
            Case::client(RULE, SECTION, v, format!("refused: {lines:?}"))
                .send(format!(
                    "POST / {v}\r\nHost: t\r\n{lines}\r\nContent-Length: 5\r\n\r\nhello"
                ))
                .rejected(&[400]),
        );
        cases.push(
            Case::backend(
                RULE,
                SECTION,
                v,
                format!("framing stands, or a 502: {lines:?}"),
            )
            .answer(format!(
                "{v} 200 OK\r\n{lines}\r\nContent-Length: 2\r\n\r\nok"
            ))
            .check(|outcome| {
                let response = outcome.response()?;
                let whole = response.complete && response.text() == "ok";
                match whole || response.status() == 502 {
                    true => Ok(()),
                    false => Err(format!("{:?} {:?}", response.start, response.text())),
                }
            }),
        );
    }
}

fn via(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "via";
    const SECTION: &str = "RFC 9110 §7.6.3";
    let number = &v.to_string()["HTTP/".len()..];
    let ours = format!("{number} ");
    let own = ours.clone();
    cases.push(
        Case::client(RULE, SECTION, v, "its version and a name")
            .send(format!("GET / {v}\r\nHost: t\r\n\r\n"))
            .delivers("ok")
            .request("one entry, of its version", move |request| {
                request
                    .one("via")
                    .is_some_and(|via| via.starts_with(&own) && via.len() > own.len())
            }),
    );
    let own = ours.clone();
    cases.push(
        Case::client(
            RULE,
            SECTION,
            v,
            "behind the entries that are there, over all lines",
        )
        .send(format!(
            "GET / {v}\r\nHost: t\r\nVia: 1.0 a\r\nVia: 1.1 b, 2 c\r\n\r\n"
        ))
        .delivers("ok")
        .request("in order, ours last", move |request| {
            let all = request.all("via").join(", ");
            all.strip_prefix("1.0 a, 1.1 b, 2 c, ")
                .is_some_and(|last| last.starts_with(&own))
        }),
    );
    cases.push(
        Case::backend(
            RULE,
            SECTION,
            v,
            "entries of a response stay; one of ours is its version's and last",
        )
        .answer(format!(
            "{v} 200 OK\r\nVia: 1.0 a\r\nContent-Length: 2\r\n\r\nok"
        ))
        .delivers("ok")
        .response("in order, ours last if at all", move |response| {
            let all = response.all("via").join(", ");
            all == "1.0 a"
                || all
                    .strip_prefix("1.0 a, ")
                    .is_some_and(|last| last.starts_with(&ours))
        }),
    );
}

fn is_date(value: &str) -> bool {
    value.len() == 29 && value.ends_with(" GMT") && value.as_bytes()[3] == b','
}

fn date(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "date";
    const SECTION: &str = "RFC 9110 §6.6.1";
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let dated = |response: &crate::wire::Message| response.one("date").is_some_and(is_date);
    cases.push(
        Case::client(RULE, SECTION, v, "an answer of ours has one")
            .send(format!("GET / {v}\r\nHost: a b\r\n\r\n"))
            .rejected(&[400])
            .response("one date", dated),
    );
    cases.push(
        Case::backend(RULE, SECTION, v, "one is added where there is none")
            .answer(format!("{v} 200 OK\r\nContent-Length: 2\r\n\r\nok"))
            .delivers("ok")
            .response("one date", dated),
    );
    cases.push(
        Case::backend(RULE, SECTION, v, "the backend's own stays")
            .answer(format!(
                "{v} 200 OK\r\nDate: {DATE}\r\nContent-Length: 2\r\n\r\nok"
            ))
            .delivers("ok")
            .response("it is the same", |response| response.all("date") == [DATE]),
    );
}

fn untouched(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "untouched";
    const SECTION: &str = "RFC 9110 §7.6, §5.3";
    const LINES: &str = "User-Agent: x\r\nCookie: a=1; b=2\r\nCookie: c=3\r\nAccept-Encoding: gzip;q=0, br\r\nAuthorization: Basic eDp5\r\nRange: bytes=0-1\r\nIf-None-Match: \"a\", W/\"b\"\r\nX-List: 1\r\nx-list: 2, 3\r\nX-LIST: 4\r\nTrace-Id: 1";
    const BACK: &str = "Server: x\r\nSet-Cookie: a=1; Path=/\r\nX: y\r\nSet-Cookie: b=2\r\nset-cookie: c=3, d\r\nETag: \"a\"\r\nContent-Encoding: gzip\r\nContent-Range: bytes 0-1/2\r\nAge: 1\r\nWWW-Authenticate: Basic, Digest x=\"y\"\r\nWWW-Authenticate: Z";
    let has_all = |message: &crate::wire::Message, lines: &str| {
        let mut wanted: Vec<(String, Vec<String>)> = Vec::new();
        for (name, value) in lines.split("\r\n").filter_map(|line| line.split_once(": ")) {
            let name = name.to_lowercase();
            match wanted.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.push(value.to_owned()),
                None => wanted.push((name, vec![value.to_owned()])),
            }
        }
        wanted
            .iter()
            .all(|(name, values)| message.all(name) == *values)
    };
    cases.push(
        Case::client(RULE, SECTION, v, "fields of a request, lines and order")
            .send(format!("GET / {v}\r\nHost: t\r\n{LINES}\r\n\r\n"))
            .delivers("ok")
            .request("each has its lines in order", move |request| {
                has_all(request, LINES)
            }),
    );
    cases.push(
        Case::client(RULE, SECTION, v, "nothing is made up")
            .send(format!("GET / {v}\r\nHost: t\r\n\r\n"))
            .delivers("ok")
            .request("no such field", |request| {
                [
                    "user-agent",
                    "accept-encoding",
                    "accept",
                    "cookie",
                    "content-length",
                ]
                .iter()
                .all(|name| !request.has(name))
            }),
    );
    cases.push(
        Case::backend(RULE, SECTION, v, "fields of a response, lines and order")
            .answer(format!(
                "{v} 206 Partial Content\r\n{BACK}\r\nContent-Length: 2\r\n\r\nok"
            ))
            .delivers("ok")
            .response("each has its lines in order", move |response| {
                has_all(response, BACK)
            }),
    );
    for line in [
        "404 Not Found",
        "500 Internal Server Error",
        "299 Odd",
        "418 I'm a teapot",
    ] {
        cases.push(
            Case::backend(RULE, "RFC 9110 §15", v, format!("the status: {line}"))
                .answer(format!("{v} {line}\r\nContent-Length: 2\r\n\r\nok"))
                .response("status and body are the same", move |response| {
                    line.starts_with(&response.status().to_string()) && response.text() == "ok"
                }),
        );
    }
}
