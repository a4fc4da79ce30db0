//! Lines of a head: their ends, folds, names and values.

use crate::case::{BOTH, Case, Version, quoted};

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    for v in BOTH {
        line_ends(cases, v);
        folds(cases, v);
        bad_fields(cases, v);
        good_fields(cases, v);
    }
}

fn line_ends(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "line ends";
    const SECTION: &str = "RFC 9112 §2.2";
    let heads = [
        (
            "LF behind the start line",
            "{}\nHost: t\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "LF behind a field",
            "{}\r\nHost: t\nContent-Length: 0\r\n\r\n",
        ),
        (
            "LF behind the last field",
            "{}\r\nHost: t\r\nContent-Length: 0\n\r\n",
        ),
        (
            "LF as the empty line",
            "{}\r\nHost: t\r\nContent-Length: 0\r\n\n",
        ),
        ("LF twice", "{}\r\nHost: t\r\nContent-Length: 0\n\n"),
        ("LF everywhere", "{}\nHost: t\nContent-Length: 0\n\n"),
        (
            "LF in the middle of a field",
            "{}\r\nHost: t\r\nContent-Length: 0\r\nA: b\nX: c\r\n\r\n",
        ),
        (
            "LF begins a value",
            "{}\r\nHost: t\r\nContent-Length: 0\r\nA:\nb\r\n\r\n",
        ),
        (
            "CR alone behind a field",
            "{}\r\nHost: t\r\nContent-Length: 0\r\nA: b\rX: c\r\n\r\n",
        ),
        (
            "CR alone behind the start line",
            "{}\rHost: t\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "CR alone as the empty line",
            "{}\r\nHost: t\r\nContent-Length: 0\r\n\rX\r\n\r\n",
        ),
        (
            "CR before CRLF",
            "{}\r\nHost: t\r\nContent-Length: 0\r\nA: b\r\r\n\r\n",
        ),
        (
            "CR CR LF as the empty line",
            "{}\r\nHost: t\r\nContent-Length: 0\r\n\r\r\n\r\n",
        ),
        (
            "LF CR",
            "{}\n\rHost: t\n\rContent-Length: 0\n\r\n\r\r\n\r\n",
        ),
        (
            "CR in a name",
            "{}\r\nHost: t\r\nContent-Length: 0\r\nA\rB: c\r\n\r\n",
        ),
        (
            "LF in a name",
            "{}\r\nHost: t\r\nContent-Length: 0\r\nA\nB: c\r\n\r\n",
        ),
        (
            "CR begins a name",
            "{}\r\n\rHost: t\r\nContent-Length: 0\r\n\r\n",
        ),
    ];
    for (name, head) in heads {
        cases.push(
            Case::client(RULE, SECTION, v, name)
                .send(head.replace("{}", &format!("GET / {v}")))
                .half_close()
                .refused(&[400]),
        );
        cases.push(
            Case::backend(RULE, SECTION, v, name)
                .answer_close(head.replace("{}", &format!("{v} 200 OK")))
                .status(&[502]),
        );
    }
    cases.push(
        Case::client(RULE, SECTION, v, "CR in the target")
            .send(format!("GET /a\rb {v}\r\nHost: t\r\n\r\n"))
            .refused(&[400]),
    );
    cases.push(
        Case::client(RULE, SECTION, v, "LF before the request")
            .send(format!("\nGET / {v}\r\nHost: t\r\n\r\n"))
            .refused(&[400]),
    );
    cases.push(
        Case::backend(RULE, SECTION, v, "CR in the reason")
            .answer_close(format!("{v} 200 O\rK\r\nContent-Length: 0\r\n\r\n"))
            .status(&[502]),
    );
}

fn folds(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "folds";
    const SECTION: &str = "RFC 9112 §5.2";
    for (name, fields) in [
        ("by a space", "A: b\r\n c: d\r\n"),
        ("by a tab", "A: b\r\n\tc\r\n"),
        ("of an empty value", "A:\r\n b\r\n"),
        ("by a line of white space", "A: b\r\n \r\n"),
        ("of Content-Length", "Content-Length:\r\n 0\r\n"),
    ] {
        cases.push(
            Case::client(RULE, SECTION, v, name)
                .send(format!("GET / {v}\r\nHost: t\r\n{fields}\r\n"))
                .refused(&[400]),
        );
        cases.push(
            Case::backend(RULE, SECTION, v, format!("{name}: a 502, or unfolded"))
                .answer_close(format!("{v} 200 OK\r\nContent-Type: x\r\n{fields}\r\n"))
                .status(&[502, 200]),
        );
    }
    cases.push(
        Case::client(RULE, "RFC 9112 §2.2", v, "of the request line")
            .send(format!("GET / {v}\r\n Host: t\r\nHost: t\r\n\r\n"))
            .refused(&[400]),
    );
    cases.push(
        Case::backend(RULE, "RFC 9112 §2.2", v, "of the status line")
            .answer_close(format!(
                "{v} 200 OK\r\n Content-Length: 3\r\nContent-Length: 0\r\n\r\n"
            ))
            .status(&[502]),
    );
}

/// Lines that are no field.
const NO_FIELD: &[&str] = &[
    "A : b",
    "A\t: b",
    "A B: c",
    ": b",
    " : b",
    "A",
    "A b",
    "A\u{0}: b",
    "A\u{1}: b",
    "A\u{7f}: b",
    "A\u{b}: b",
    "A(b): c",
    "A/b: c",
    "A[b]: c",
    "A@b: c",
    "\"A\": b",
    "{A}: b",
    "A,b: c",
    "A;b: c",
    "A=b: c",
    "\u{e4}: b",
];

/// Values that are none.
const NO_VALUE: &[&str] = &[
    "a\u{0}b", "\u{0}", "a\u{1}b", "a\u{8}b", "a\u{b}b", "a\u{c}b", "a\u{1b}b", "a\u{1f}b",
    "a\u{7f}b",
];

fn bad_fields(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "fields";
    for line in NO_FIELD {
        let section = "RFC 9110 §5.1, RFC 9112 §5.1";
        cases.push(
            Case::client(RULE, section, v, format!("refused: {}", quoted(line)))
                .send(format!("GET / {v}\r\nHost: t\r\n{line}\r\n\r\n"))
                .refused(&[400]),
        );
        // White space before the colon may be removed from a response; nothing else may be mended.
        let mended: &'static [u16] = match *line {
            "A : b" | "A\t: b" => &[502, 200],
            _ => &[502],
        };
        cases.push(
            Case::backend(RULE, section, v, format!("a 502: {}", quoted(line)))
                .answer_close(format!(
                    "{v} 200 OK\r\nContent-Length: 2\r\n{line}\r\n\r\nok"
                ))
                .status(mended),
        );
    }
    for value in NO_VALUE {
        let section = "RFC 9110 §5.5";
        cases.push(
            Case::client(
                RULE,
                section,
                v,
                format!("refused value: {}", quoted(value)),
            )
            .send(format!("GET / {v}\r\nHost: t\r\nA: {value}\r\n\r\n"))
            .refused(&[400]),
        );
        cases.push(
            Case::backend(
                RULE,
                section,
                v,
                format!("a 502, or mended: {}", quoted(value)),
            )
            .answer_close(format!(
                "{v} 200 OK\r\nContent-Length: 2\r\nA: {value}\r\n\r\nok"
            ))
            .status(&[502, 200]),
        );
    }
    cases.push(
        Case::client(
            RULE,
            "RFC 9112 §5.1",
            v,
            "refused: Host with a space before its colon",
        )
        .send(format!("GET / {v}\r\nHost : t\r\n\r\n"))
        .refused(&[400]),
    );
}

fn good_fields(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "fields";
    const SECTION: &str = "RFC 9110 §5.5";
    let bytes = b"\r\nHost: t\r\nA:b\tc  d\r\n!#$%&'*+-.^_`|~9z: x\r\nO: \xe4\xff\x80\r\nE:\r\nContent-Length: 2\r\n\r\n";
    let good = |start: String, body: &[u8]| [start.as_bytes(), bytes, body].concat();
    cases.push(
        Case::client(
            RULE,
            SECTION,
            v,
            "tabs, odd tokens, obs-text and empty values pass",
        )
        .send(good(format!("POST / {v}"), b"hi"))
        .delivers("ok")
        .request("values are the same", |request| {
            request.one("a") == Some("b\tc  d")
                && request.one("!#$%&'*+-.^_`|~9z") == Some("x")
                && request.one("o") == Some("\u{e4}\u{ff}\u{80}")
                && request.one("e") == Some("")
        }),
    );
    cases.push(
        Case::backend(
            RULE,
            SECTION,
            v,
            "tabs, odd tokens, obs-text and empty values pass",
        )
        .answer(good(format!("{v} 200 OK"), b"hi"))
        .delivers("hi")
        .response("values are the same", |response| {
            response.one("a") == Some("b\tc  d")
                && response.one("!#$%&'*+-.^_`|~9z") == Some("x")
                && response.one("o") == Some("\u{e4}\u{ff}\u{80}")
                && response.one("e") == Some("")
        }),
    );
}
