//! Chunked bodies: sizes, line ends, extensions and trailers.
//!
//! A head may have been passed on before its body turns out to be wrong, so what counts is that the other side never sees the
//! message whole.

use crate::case::{Case, Version, quoted};

const V: Version = Version::V11;
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n";

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    sizes(cases);
    ends(cases);
    extensions(cases);
    bounds(cases);
}

/// A chunked body that nobody may take for whole, from both sides.
fn wrong(cases: &mut Vec<Case>, rule: &'static str, section: &'static str, name: &str, body: &str) {
    cases.push(
        Case::client(rule, section, V, format!("refused: {name}"))
            .send(format!(
                "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{body}{SMUGGLED}"
            ))
            .never_whole(&[400, 413]),
    );
    cases.push(
        Case::backend(rule, section, V, format!("seen as broken: {name}"))
            .answer_close(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
            ))
            .broken(),
    );
}

fn sizes(cases: &mut Vec<Case>) {
    const RULE: &str = "chunk size";
    const SECTION: &str = "RFC 9112 §7.1";
    for size in [
        "",
        " 5",
        "5 ",
        "\t5",
        "5\t",
        "+5",
        "-5",
        "-0",
        "0x5",
        "0X5",
        "x5",
        "5h",
        "g",
        "5,",
        "5.",
        "1_0",
        "\"5\"",
        "5 5",
        "5\u{0}",
        "\u{b}5",
        ";a=b",
        "10000000000000000",
        "10000000000000005",
        "100000005FFFFFFFFFFFFFFFFFFFFF5",
    ] {
        let body = format!("{size}\r\nhello\r\n0\r\n\r\n");
        wrong(cases, RULE, SECTION, &quoted(size), &body);
    }
    // These could be honest, so a subject may wait for their data; they must not wrap around.
    for size in ["FFFFFFFFFFFFFFFF", "FFFFFFFFFFFFFFFE", "7FFFFFFFFFFFFFFF"] {
        let body = format!("{size}\r\nhello\r\n0\r\n\r\n");
        cases.push(
            Case::client(RULE, SECTION, V, format!("never whole: {size}"))
                .send(format!(
                    "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{body}{SMUGGLED}"
                ))
                .half_close()
                .closed()
                .requests(0),
        );
        cases.push(
            Case::backend(RULE, SECTION, V, format!("seen as broken: {size}"))
                .answer_close(format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
                ))
                .broken(),
        );
    }
    for (size, data) in [
        ("5", "hello"),
        ("05", "hello"),
        ("a", "hellohello"),
        ("A", "hellohello"),
    ] {
        let body = format!("{size}\r\n{data}\r\n0\r\n\r\n");
        cases.push(
            Case::client(RULE, SECTION, V, format!("taken: {}", quoted(size)))
                .send(format!(
                    "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
                ))
                .delivers("ok")
                .request("its body is unwrapped", move |request| {
                    request.text() == data
                })
                .open(),
        );
        cases.push(
            Case::backend(RULE, SECTION, V, format!("taken: {}", quoted(size)))
                .answer(format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
                ))
                .delivers(data)
                .open(),
        );
    }
}

fn ends(cases: &mut Vec<Case>) {
    const RULE: &str = "chunk ends";
    const SECTION: &str = "RFC 9112 §7.1, §2.2";
    for (name, body) in [
        ("LF behind the size", "5\nhello\r\n0\r\n\r\n"),
        ("LF behind the data", "5\r\nhello\n0\r\n\r\n"),
        ("LF behind the last size", "5\r\nhello\r\n0\n\r\n"),
        ("LF as the empty line", "5\r\nhello\r\n0\r\n\n"),
        ("LF everywhere", "5\nhello\n0\n\n"),
        ("CR alone behind the size", "5\rhello\r\n0\r\n\r\n"),
        ("CR alone behind the data", "5\r\nhello\r0\r\n\r\n"),
        ("CR CR LF behind the size", "5\r\r\nhello\r\n0\r\n\r\n"),
        ("CR X behind the size", "5\rX\r\nhello\r\n0\r\n\r\n"),
        ("no end behind the data", "5\r\nhello0\r\n\r\n"),
        (
            "two letters for the end of the data",
            "5\r\nhelloXX0\r\n\r\n",
        ),
        ("more data than the size", "5\r\nhelloworld\r\n0\r\n\r\n"),
        ("less data than the size", "7\r\nhello\r\n0\r\n\r\n"),
        (
            "an empty line behind the data",
            "5\r\nhello\r\n\r\n0\r\n\r\n",
        ),
        (
            "an empty line before the size",
            "\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        ("LF in an extension", "5;a\nhello\r\n0\r\n\r\n"),
        ("LF in the last extension", "5\r\nhello\r\n0;a\n\r\n"),
        (
            "LF inside a quoted extension",
            "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n",
        ),
        ("CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("CR ends an extension", "5;\rhello\r\n0\r\n\r\n"),
        (
            "CR CR LF behind an extension",
            "5;a\r\r\nhello\r\n0\r\n\r\n",
        ),
        ("NUL in an extension", "5;a\u{0}b\r\nhello\r\n0\r\n\r\n"),
        ("LF behind a trailer", "5\r\nhello\r\n0\r\nA: b\n\r\n"),
        ("LF in a trailer", "5\r\nhello\r\n0\r\nA: b\nX: c\r\n\r\n"),
        ("CR in a trailer", "5\r\nhello\r\n0\r\nA: b\rX: c\r\n\r\n"),
        ("NUL in a trailer", "5\r\nhello\r\n0\r\nA: b\u{0}c\r\n\r\n"),
        ("a folded trailer", "5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n"),
        ("a trailer without a colon", "5\r\nhello\r\n0\r\nA\r\n\r\n"),
        (
            "a trailer with a space before its colon",
            "5\r\nhello\r\n0\r\nA : b\r\n\r\n",
        ),
    ] {
        wrong(cases, RULE, SECTION, name, body);
    }
}

fn extensions(cases: &mut Vec<Case>) {
    const RULE: &str = "extensions";
    const SECTION: &str = "RFC 9112 §7.1.1, §7.1.2";
    for (name, body) in [
        ("a name", "5;secret\r\nhello\r\n0\r\n\r\n"),
        (
            "name and value",
            "5;secret=1\r\nhello\r\n0;secret=2\r\n\r\n",
        ),
        ("a quoted value", "5;a=\"secret\";b\r\nhello\r\n0\r\n\r\n"),
        ("a trailer", "5\r\nhello\r\n0\r\nX-Secret: 1\r\n\r\n"),
        (
            "trailers that frame",
            "5\r\nhello\r\n0\r\nContent-Length: 3\r\nTransfer-Encoding: secret\r\nHost: secret\r\n\r\n",
        ),
    ] {
        cases.push(
            Case::client(RULE, SECTION, V, format!("dropped: {name}"))
                .send(format!(
                    "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
                ))
                .delivers("ok")
                .request("its body is unwrapped, its head is its own", |request| {
                    request.text() == "hello"
                        && request.all("host") == ["t"]
                        && !request.has("x-secret")
                })
                .holds("no extension and no forbidden trailer went on", |outcome| {
                    let text = String::from_utf8_lossy(&outcome.received()).to_lowercase();
                    !text.replace("x-secret", "").contains("secret")
                })
                .open(),
        );
        cases.push(
            Case::backend(RULE, SECTION, V, format!("dropped: {name}"))
                .answer(format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
                ))
                .delivers("hello")
                .response("its head is its own", |response| {
                    !response.has("x-secret") && !response.has("host")
                })
                .holds("no extension and no forbidden trailer went on", |outcome| {
                    let text = String::from_utf8_lossy(&outcome.read).to_lowercase();
                    !text.replace("x-secret", "").contains("secret")
                })
                .open(),
        );
    }
    let odd = "5 ; a=b\r\nhello\r\n0\r\n\r\n";
    cases.push(
        Case::client(
            RULE,
            SECTION,
            V,
            "white space around an extension: dropped or refused",
        )
        .send(format!(
            "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{odd}"
        ))
        .status(&[200, 400])
        .holds("nothing of it went on", |outcome| {
            !String::from_utf8_lossy(&outcome.received()).contains("a=b")
        }),
    );
}

/// What would grow without end.
fn bounds(cases: &mut Vec<Case>) {
    const RULE: &str = "extensions";
    const SECTION: &str = "RFC 9112 §7.1.1, §7.1.2";
    let long = "a".repeat(256 * 1024);
    let trailers = "X-Trailer: 0123456789abcdef0123456789abcdef\r\n".repeat(4000);
    let zeros = "0".repeat(256 * 1024);
    for (name, body) in [
        (
            "a long extension",
            format!("5;{long}\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "a long extension of the last chunk",
            format!("5\r\nhello\r\n0;{long}\r\n\r\n"),
        ),
        (
            "a long trailer",
            format!("5\r\nhello\r\n0\r\nX: {long}\r\n\r\n"),
        ),
        (
            "many trailers",
            format!("5\r\nhello\r\n0\r\n{trailers}\r\n"),
        ),
        ("a long size", format!("{zeros}5\r\nhello\r\n0\r\n\r\n")),
        ("an extension without end", format!("5;{long}")),
    ] {
        cases.push(
            Case::client(RULE, SECTION, V, format!("bounded: {name}"))
                .send(format!(
                    "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
                ))
                .never_whole(&[400, 413, 431]),
        );
        cases.push(
            Case::backend(RULE, SECTION, V, format!("bounded: {name}"))
                .answer(format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
                ))
                .broken(),
        );
    }
}
