//! Heads that are too long, on both sides.

use crate::case::{BOTH, Case};

const SECTION: &str = "RFC 9110 §15.5.15, RFC 6585 §5";

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    const RULE: &str = "limits";
    let long = "a".repeat(256 * 1024);
    let many = "X-Field: 1\r\n".repeat(5000);
    let several = "X-Field: 0123456789abcdef0123456789abcdef\r\n".repeat(80);
    let wide: String = format!("X-Wide: {}\r\n", "b".repeat(4000)).repeat(60);
    for v in BOTH {
        cases.push(
            Case::client(RULE, SECTION, v, "a long target: 414")
                .send(format!("GET /{long} {v}\r\nHost: t\r\n\r\n"))
                .refused(&[414]),
        );
        cases.push(
            Case::client(RULE, SECTION, v, "a target without end: 414")
                .send(format!("GET /{long}"))
                .refused(&[414]),
        );
        cases.push(
            Case::client(RULE, SECTION, v, "a long method: refused")
                .send(format!("{long} / {v}\r\nHost: t\r\n\r\n"))
                .refused(&[400, 414, 431, 501]),
        );
        for (name, fields) in [
            ("a long value", format!("A: {long}\r\n")),
            ("a long name", format!("{long}: a\r\n")),
            ("many fields", many.clone()),
            ("many wide fields", wide.clone()),
            ("a field without end", format!("A: {long}")),
        ] {
            cases.push(
                Case::client(RULE, SECTION, v, format!("{name}: 431"))
                    .send(format!("GET / {v}\r\nHost: t\r\n{fields}\r\n"))
                    .refused(&[431]),
            );
            cases.push(
                Case::backend(RULE, "RFC 9110 §15.6.3", v, format!("{name}: 502"))
                    .answer_close(format!("{v} 200 OK\r\nContent-Length: 0\r\n{fields}\r\n"))
                    .status(&[502]),
            );
        }
        cases.push(
            Case::client(
                RULE,
                SECTION,
                v,
                "an empty line without end before the request: bounded",
            )
            .send("\r\n".repeat(64 * 1024))
            .status(&[400, 414, 431])
            .closed()
            .unseen(),
        );
        cases.push(
            Case::backend(RULE, "RFC 9110 §15.6.3", v, "a reason without end: 502")
                .answer_close(format!("{v} 200 {long}"))
                .status(&[502]),
        );
        cases.push(
            Case::client(
                RULE,
                "RFC 9110 §5.4",
                v,
                "80 fields and a cookie of 4 KiB pass",
            )
            .send(format!(
                "GET / {v}\r\nHost: t\r\nCookie: {}\r\n{several}\r\n",
                "c".repeat(4096)
            ))
            .delivers("ok")
            .request("all are there", |request| {
                request.all("x-field").len() == 80
            }),
        );
        cases.push(
            Case::client(RULE, "RFC 9112 §3", v, "a target of 7,000 bytes passes")
                .send(format!("GET /{} {v}\r\nHost: t\r\n\r\n", "a".repeat(7000)))
                .delivers("ok"),
        );
        cases.push(
            Case::backend(RULE, "RFC 9110 §5.4", v, "80 fields pass")
                .answer(format!(
                    "{v} 200 OK\r\nContent-Length: 2\r\n{several}\r\nok"
                ))
                .delivers("ok")
                .response("all are there", |response| {
                    response.all("x-field").len() == 80
                }),
        );
    }
}
