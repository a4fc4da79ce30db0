//! Who is asked for: Host and target; methods that end here.

use crate::case::{BOTH, Case, Version, quoted};

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    for v in BOTH {
        host(cases, v);
        absolute(cases, v);
        targets(cases, v);
        connect(cases, v);
        trace(cases, v);
    }
}

fn host(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "host";
    const SECTION: &str = "RFC 9112 §3.2, RFC 9110 §7.2";
    let absent = Case::client(RULE, SECTION, v, "none").send(format!("GET / {v}\r\nA: b\r\n\r\n"));
    cases.push(match v {
        Version::V10 => absent
            .delivers("ok")
            .request("the backend has one all the same", |request| {
                request.all("host").len() == 1
            }),
        _ => absent.rejected(&[400]),
    });
    for fields in [
        "Host: t\r\nHost: t",
        "Host: t\r\nHost: u",
        "Host: t\r\nA: b\r\nhOST: t",
        "Host:\r\nHost: t",
    ] {
        cases.push(
            Case::client(RULE, SECTION, v, format!("twice: {fields:?}"))
                .send(format!("GET / {v}\r\n{fields}\r\n\r\n"))
                .rejected(&[400]),
        );
    }
    for host in [
        "a b", "a\tb", "a, b", "a/b", "a/", "a?b", "a#b", "u@a", "u:p@a", "a\\b", "a<b>", "a\"b",
        "a|b", "a^b", "a`b", "a:b", "a:80x", "a:8 0", "a:-80", "a:80:80", "a:999999", "http://a",
        "[::1", "::1]", "[::1]x", "[::1]:x", "[a b]", "[x]", "[]", ":80", "\u{e4}",
    ] {
        cases.push(
            Case::client(RULE, SECTION, v, format!("invalid: {}", quoted(host)))
                .send(format!("GET / {v}\r\nHost: {host}\r\n\r\n"))
                .rejected(&[400]),
        );
    }
    for host in [
        "t",
        "t:8080",
        "127.0.0.1",
        "[::1]",
        "[::1]:80",
        "a.example",
        "a-b_c.example",
        "xn--a",
    ] {
        cases.push(
            Case::client(RULE, SECTION, v, format!("passed on: {host}"))
                .send(format!("GET / {v}\r\nHost: {host}\r\n\r\n"))
                .delivers("ok")
                .request("it is the same", move |request| {
                    request.one("host") == Some(host)
                }),
        );
    }
}

fn absolute(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "absolute";
    const SECTION: &str = "RFC 9112 §3.2.2";
    for (line, path) in [
        ("GET http://real/a?b", "/a?b"),
        ("GET http://real", "/"),
        ("GET http://real?b", "/?b"),
        ("GET HTTP://real/", "/"),
        ("OPTIONS http://real", "*"),
    ] {
        for (name, host) in [
            ("another Host", "Host: other\r\n"),
            ("the same Host", "Host: real\r\n"),
        ] {
            cases.push(
                Case::client(RULE, SECTION, v, format!("{line} with {name}"))
                    .send(format!("{line} {v}\r\n{host}\r\n"))
                    .delivers("ok")
                    .request("the Host is the target's", |request| {
                        request.all("host") == ["real"]
                    })
                    .request("the target is a path", move |request| {
                        request.word(1) == path
                    }),
            );
        }
    }
    cases.push(
        Case::client(RULE, SECTION, v, "with a port")
            .send(format!("GET http://real:8080/a {v}\r\nHost: other\r\n\r\n"))
            .delivers("ok")
            .request("the Host is the target's", |request| {
                request.all("host") == ["real:8080"]
            }),
    );
    let alone = Case::client(RULE, SECTION, v, "without a Host")
        .send(format!("GET http://real/a {v}\r\n\r\n"));
    cases.push(match v {
        Version::V10 => alone
            .delivers("ok")
            .request("the Host is the target's", |request| {
                request.all("host") == ["real"]
            }),
        _ => alone.rejected(&[400]),
    });
    for target in [
        "http://user@real/",
        "http://user:word@real/",
        "http:///a",
        "http://",
        "http:/a",
        "http:a",
        "http://:80/",
        "http://a b/",
        "http://real:x/",
        "http://real\\/",
        "http://[::1/",
        "http://real/#a",
    ] {
        cases.push(
            Case::client(RULE, "RFC 9110 §4.2", v, format!("refused: {target}"))
                .send(format!("GET {target} {v}\r\nHost: real\r\n\r\n"))
                .rejected(&[400]),
        );
    }
    cases.push(
        Case::client(RULE, SECTION, v, "two Hosts are no better for it")
            .send(format!(
                "GET http://real/ {v}\r\nHost: real\r\nHost: real\r\n\r\n"
            ))
            .rejected(&[400]),
    );
    cases.push(
        Case::client(RULE, SECTION, v, "an invalid Host is no better for it")
            .send(format!("GET http://real/ {v}\r\nHost: a b\r\n\r\n"))
            .rejected(&[400]),
    );
}

fn targets(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "target";
    const SECTION: &str = "RFC 9112 §3.2";
    for target in [
        "admin",
        "host:80",
        "127.0.0.1:80",
        "?a=b",
        "#a",
        "/a#b",
        "/#",
        "/a b",
        "*",
        "*/a",
        "\\a",
        "@a",
        "/a\u{0}",
        "/a\u{1}b",
        "/a\u{7f}",
        "/a\tb",
        "/a\u{b}b",
        "/\"a\"",
        "/<a>",
        "/a\\b",
        "/a^b",
        "/a`b",
        "/{a}",
        "/a|b",
    ] {
        let case = Case::client(RULE, SECTION, v, format!("refused: {}", quoted(target)))
            .send(format!("GET {target} {v}\r\nHost: t\r\n\r\n"));
        // Sloppy clients send these in paths; RFC 9112 §3.2 allows to refuse and forbids to mend them.
        let sloppy =
            target.starts_with('/') && target.contains(['"', '<', '\\', '^', '`', '{', '|']);
        cases.push(match sloppy {
            false => case.rejected(&[400]),
            true => {
                let case = case.named(format!("refused or passed unchanged: {}", quoted(target)));
                case.status(&[200, 400])
                    .holds("it is unchanged", move |outcome| {
                        let mut all = outcome.requests.iter();
                        all.all(|(_, request)| request.word(1) == target)
                    })
            }
        });
    }
    for target in [
        "/",
        "//a//b/",
        "/a/../b/./c",
        "/%2e%2E/%2f%00?x=%20&y=+&z=%zz",
        "/?",
        "/a;b=c,d:e@f!$&'()*+-._~",
        "/?a=/b?c",
    ] {
        cases.push(
            Case::client(RULE, SECTION, v, format!("passed on unchanged: {target}"))
                .send(format!("GET {target} {v}\r\nHost: t\r\n\r\n"))
                .delivers("ok")
                .request("it is the same", move |request| request.word(1) == target),
        );
    }
    cases.push(
        Case::client(RULE, "RFC 9112 §3.2.4", v, "OPTIONS * is passed on")
            .send(format!("OPTIONS * {v}\r\nHost: t\r\n\r\n"))
            .delivers("ok")
            .request("it is the same", |request| request.word(1) == "*"),
    );
}

fn connect(cases: &mut Vec<Case>, v: Version) {
    const SECTION: &str = "RFC 9110 §9.3.6";
    for target in ["t:80", "t:443", "127.0.0.1:22", "/", "http://t/", "t"] {
        cases.push(
            Case::client("connect", SECTION, v, format!("CONNECT {target}"))
                .send(format!("CONNECT {target} {v}\r\nHost: t\r\n\r\n"))
                .methods(&["CONNECT"])
                .status(&[400, 403, 405, 501])
                .unseen(),
        );
    }
}

fn trace(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "trace";
    cases.push(
        Case::client(
            RULE,
            "RFC 9110 §9.3.8",
            v,
            "TRACE does not carry credentials on, nor back",
        )
        .send(format!(
            "TRACE / {v}\r\nHost: t\r\nCookie: secret\r\nAuthorization: secret\r\n\r\n"
        ))
        .status(&[200, 405, 501])
        .holds("nobody sees them", |outcome| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            !text(&outcome.received()).contains("secret") && !text(&outcome.read).contains("secret")
        }),
    );
    cases.push(
        Case::client(RULE, "RFC 9110 §9.3.8", v, "TRACE with a body is refused")
            .send(format!(
                "TRACE / {v}\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello"
            ))
            .status(&[400, 405, 501])
            .unseen(),
    );
    const SECTION: &str = "RFC 9110 §7.6.2";
    for (method, target) in [("OPTIONS", "*"), ("OPTIONS", "/"), ("TRACE", "/")] {
        cases.push(
            Case::client(
                RULE,
                SECTION,
                v,
                format!("{method} {target} with Max-Forwards 0 ends here"),
            )
            .send(format!(
                "{method} {target} {v}\r\nHost: t\r\nMax-Forwards: 0\r\n\r\n"
            ))
            .unseen()
            .holds("it is answered", |outcome| outcome.responses.len() == 1),
        );
    }
    cases.push(
        Case::client(RULE, SECTION, v, "Max-Forwards of OPTIONS is counted down")
            .send(format!(
                "OPTIONS * {v}\r\nHost: t\r\nMax-Forwards: 5\r\n\r\n"
            ))
            .delivers("ok")
            .request("one less", |request| request.all("max-forwards") == ["4"]),
    );
    cases.push(
        Case::client(
            RULE,
            SECTION,
            v,
            "Max-Forwards of other methods counts for nothing",
        )
        .send(format!("GET / {v}\r\nHost: t\r\nMax-Forwards: 0\r\n\r\n"))
        .delivers("ok"),
    );
}
