//! How long a body is: Content-Length and Transfer-Encoding.

use crate::case::{BOTH, Case, Version, quoted};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n";

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    both_lengths(cases);
    length(cases);
    coding(cases);
}

fn both_lengths(cases: &mut Vec<Case>) {
    const RULE: &str = "both lengths";
    const SECTION: &str = "RFC 9112 §6.1";
    let pairs = [
        (
            "length first",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
        ),
        (
            "coding first",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
        ),
        (
            "length 0",
            "Content-Length: 0\r\nTransfer-Encoding: chunked",
        ),
        (
            "identity",
            "Content-Length: 5\r\nTransfer-Encoding: identity",
        ),
        (
            "far apart",
            "Content-Length: 5\r\nA: b\r\nTransfer-Encoding: Chunked",
        ),
    ];
    for v in BOTH {
        for (name, fields) in pairs {
            cases.push(
                Case::client(RULE, SECTION, v, name)
                    .send(format!(
                        "POST / {v}\r\nHost: t\r\n{fields}\r\n\r\n0\r\n\r\n{SMUGGLED}"
                    ))
                    .refused(&[400, 501]),
            );
            cases.push(
                Case::backend(RULE, SECTION, v, name)
                    .answer_close(format!(
                        "{v} 200 OK\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                    ))
                    .status(&[502]),
            );
        }
        cases.push(
            Case::client(RULE, SECTION, v, "in a GET")
                .send(format!(
                    "GET / {v}\r\nHost: t\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                ))
                .refused(&[400, 501]),
        );
    }
}

/// Values that are no length.
const NO_LENGTH: &[&str] = &[
    "+5",
    "-5",
    "-0",
    "5, 5",
    "5,5",
    "5, 6",
    "5,",
    ",5",
    "5 5",
    "0x5",
    "5h",
    "5;",
    "5.0",
    "1e1",
    "1_0",
    "\"5\"",
    "",
    "five",
    "5\u{b}",
    "\u{b}5",
    "5\u{c}",
    "18446744073709551616",
    "18446744073709551621",
    "9223372036854775808000",
    "99999999999999999999999999999999999999",
];

fn length(cases: &mut Vec<Case>) {
    const RULE: &str = "length";
    const SECTION: &str = "RFC 9110 §8.6, RFC 9112 §6.3";
    let lines = NO_LENGTH
        .iter()
        .map(|value| (quoted(value), format!("Content-Length: {value}")));
    let twice = [
        ("two that differ", "Content-Length: 5\r\nContent-Length: 6"),
        (
            "two that differ, the other way",
            "Content-Length: 6\r\nContent-Length: 5",
        ),
        ("the same twice", "Content-Length: 5\r\nContent-Length: 5"),
        (
            "twice, apart",
            "Content-Length: 5\r\nA: b\r\nCONTENT-LENGTH: 5",
        ),
    ]
    .map(|(name, lines)| (name.to_owned(), lines.to_owned()));
    let bad: Vec<(String, String)> = lines.chain(twice).collect();
    for v in BOTH {
        for (name, fields) in &bad {
            cases.push(
                Case::client(RULE, SECTION, v, format!("refused: {name}"))
                    .send(format!(
                        "POST / {v}\r\nHost: t\r\n{fields}\r\n\r\nhello{SMUGGLED}"
                    ))
                    .refused(&[400, 413]),
            );
            cases.push(
                Case::backend(RULE, SECTION, v, format!("a 502: {name}"))
                    .answer_close(format!("{v} 200 OK\r\n{fields}\r\n\r\nhello"))
                    .status(&[502]),
            );
        }
        cases.push(
            Case::client(RULE, SECTION, v, "white space around it is none of it")
                .send(format!(
                    "POST / {v}\r\nHost: t\r\nContent-Length:\t 5 \t\r\n\r\nhello"
                ))
                .delivers("ok")
                .request("its body is 5 bytes", |request| request.text() == "hello"),
        );
        cases.push(
            Case::client(RULE, SECTION, v, "010 is ten, or refused")
                .send(format!(
                    "POST / {v}\r\nHost: t\r\nContent-Length: 010\r\n\r\nhellohello"
                ))
                .holds("ten bytes or nothing", |outcome| {
                    let mut requests = outcome.requests.iter();
                    requests.all(|(_, request)| request.text() == "hellohello")
                })
                .status(&[200, 400]),
        );
        cases.push(
            Case::client(RULE, SECTION, v, "a name with underscore is no length")
                .send(format!(
                    "POST / {v}\r\nHost: t\r\nContent_Length: 3\r\nContent-Length: 5\r\n\r\nhello"
                ))
                .request("its body is 5 bytes", |request| request.text() == "hello"),
        );
        cases.push(
            Case::client(RULE, SECTION, v, "a body that is announced empty")
                .send(format!(
                    "POST / {v}\r\nHost: t\r\nContent-Length: 0\r\n\r\n"
                ))
                .delivers("ok")
                .request("it has no body", |request| request.body.is_empty()),
        );
        cases.push(
            Case::backend(RULE, SECTION, v, "white space around it is none of it")
                .answer(format!("{v} 200 OK\r\ncontent-length:\t 5 \t\r\n\r\nhello"))
                .delivers("hello"),
        );
        cases.push(
            Case::backend(RULE, SECTION, v, "an empty body is whole")
                .answer(format!("{v} 200 OK\r\nContent-Length: 0\r\n\r\n"))
                .delivers(""),
        );
    }
}

/// Codings that nobody may frame a body with.
const NO_CODING: &[&str] = &[
    "gzip",
    "gzip, chunked",
    "chunked, gzip",
    "chunked, chunked",
    "chunked, identity",
    "identity",
    "identity, chunked",
    "xchunked",
    "chunkedx",
    "x chunked",
    "chunked x",
    "\"chunked\"",
    "'chunked'",
    "chunked;a=b",
    "chunked;",
    "",
    "\u{b}chunked",
    "chunked\u{b}",
    "chunked\u{c}",
    "\u{0}chunked",
    "chunked\u{0}",
    "chun\tked",
    "\u{a0}chunked",
    "chunKed\u{212a}",
];

/// Lines that are no better.
const NO_CODINGS: &[&str] = &[
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    " Transfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",
    "A: b\r\n Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\n , identity",
    "\u{0}Transfer-Encoding: chunked",
    "Transfer-Encoding\u{0}: chunked",
    "Transfer-Encoding: chunked\rA: b",
    "A: b\rTransfer-Encoding: chunked",
    "A: b\nTransfer-Encoding: chunked",
];

fn coding(cases: &mut Vec<Case>) {
    const RULE: &str = "coding";
    const SECTION: &str = "RFC 9112 §6.1, §7";
    let values = NO_CODING
        .iter()
        .map(|value| format!("Transfer-Encoding: {value}"));
    let lines = NO_CODINGS.iter().map(|lines| (*lines).to_owned());
    let bad: Vec<String> = values.chain(lines).collect();
    for v in BOTH {
        for fields in &bad {
            cases.push(
                Case::client(RULE, SECTION, v, format!("refused: {}", quoted(fields)))
                    .send(format!(
                        "POST / {v}\r\nHost: t\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n{SMUGGLED}"
                    ))
                    .refused(&[400, 501]),
            );
            cases.push(
                Case::backend(RULE, SECTION, v, format!("a 502: {}", quoted(fields)))
                    .answer_close(format!(
                        "{v} 200 OK\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                    ))
                    .status(&[502]),
            );
        }
    }
    for coding in ["chunked", "CHUNKED", "chUnkeD", "\t chunked \t"] {
        let fields = format!("tRANSFER-eNCODING: {coding}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        cases.push(
            Case::client(
                RULE,
                SECTION,
                Version::V11,
                format!("taken: {}", quoted(coding)),
            )
            .send(format!("POST / HTTP/1.1\r\nHost: t\r\n{fields}"))
            .delivers("ok")
            .request("its body is unwrapped", |request| request.text() == "hello")
            .open(),
        );
        cases.push(
            Case::backend(
                RULE,
                SECTION,
                Version::V11,
                format!("taken: {}", quoted(coding)),
            )
            .answer(format!("HTTP/1.1 200 OK\r\n{fields}"))
            .delivers("hello")
            .open(),
        );
    }
    for fields in [
        "Transfer-Encoding: , chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding:\r\nTransfer-Encoding: chunked",
    ] {
        // Empty elements of a list count for nothing (RFC 9110 §5.6.1), but nobody honest sends them here.
        cases.push(
            Case::client(
                RULE,
                SECTION,
                Version::V11,
                format!("refused or one chunked: {fields:?}"),
            )
            .send(format!(
                "POST / HTTP/1.1\r\nHost: t\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            ))
            .status(&[200, 400, 501])
            .holds("unwrapped if taken", |outcome| {
                let mut requests = outcome.requests.iter();
                requests.all(|(_, request)| request.text() == "hello")
            }),
        );
        cases.push(
            Case::backend(
                RULE,
                SECTION,
                Version::V11,
                format!("a 502 or one chunked: {fields:?}"),
            )
            .answer_close(format!(
                "HTTP/1.1 200 OK\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            ))
            .status(&[200, 502])
            .response("unwrapped if taken", |response| {
                response.status() == 502 || (response.complete && response.text() == "hello")
            }),
        );
    }
    for coding in ["chunked", "identity", "gzip"] {
        let fields = format!("Transfer-Encoding: {coding}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        let name = format!("none in 1.0: {coding}, kept alive");
        cases.push(
            Case::client(RULE, SECTION, Version::V10, name.clone())
                .send(format!(
                    "POST / HTTP/1.0\r\nHost: t\r\nConnection: keep-alive\r\n{fields}{SMUGGLED}"
                ))
                .refused(&[400, 501]),
        );
        cases.push(
            Case::backend(RULE, SECTION, Version::V10, name)
                .answer_close(format!(
                    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n{fields}"
                ))
                .status(&[502]),
        );
    }
    cases.push(
        Case::client(RULE, SECTION, Version::V11, "a name with underscore is no coding")
            .send("POST / HTTP/1.1\r\nHost: t\r\nTransfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello")
            .request("its body is 5 bytes", |request| request.text() == "hello"),
    );
}
