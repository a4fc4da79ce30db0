//! Request lines, status lines, and what they say about the version.

use crate::backend::{Act, When};
use crate::case::{BOTH, Case, Version, quoted};

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    for v in BOTH {
        request_lines(cases, v);
        status_lines(cases, v);
        versions(cases, v);
    }
    odd_versions(cases);
}

const RULE: &str = "start line";

fn request_lines(cases: &mut Vec<Case>, v: Version) {
    for line in [
        "GET  / V",
        "GET /  V",
        "GET / V ",
        "GET / V\t",
        " GET / V",
        "\tGET / V",
        "GET\t/\tV",
        "GET\t/ V",
        "GET\u{b}/ V",
        "GET / V x",
        "GET /a b V",
        "GET V",
        "/ V",
        " / V",
        "G(T / V",
        "G\u{0}T / V",
        "\"GET\" / V",
        "GET: / V",
        "G\u{e4}T / V",
        "GET/ V",
        "GET /V",
    ] {
        let line = line.replace('V', &v.to_string());
        cases.push(
            Case::client(
                RULE,
                "RFC 9112 §3",
                v,
                format!("refused: {}", quoted(&line)),
            )
            .send(format!("{line}\r\nHost: t\r\n\r\n"))
            .half_close()
            .refused(&[400, 405, 501, 505]),
        );
    }
    cases.push(
        Case::client(
            RULE,
            "RFC 9112 §2.2",
            v,
            "empty lines before it are passed over",
        )
        .send(format!("\r\n\r\nGET / {v}\r\nHost: t\r\n\r\n"))
        .delivers("ok")
        .requests(1),
    );
    cases.push(
        Case::client(
            RULE,
            "RFC 9110 §9.1",
            v,
            "an unknown method is passed on, or said to be unknown",
        )
        .send(format!("BREW / {v}\r\nHost: t\r\n\r\n"))
        .status(&[200, 405, 501]),
    );
}

fn status_lines(cases: &mut Vec<Case>, v: Version) {
    for line in [
        "V",
        "V ",
        "V 20 OK",
        "V 2000 OK",
        "V 20x OK",
        "V abc OK",
        "V +20 OK",
        "V -20 OK",
        "V 0x1 OK",
        "V 099 Low",
        "V 000 Zero",
        "V  200 OK",
        "V\t200 OK",
        "V200 OK",
        " V 200 OK",
        "v 200 OK",
        "V 200\tOK",
        "V 200OK",
        "V 200 O\u{0}K",
        "V 200 O\u{1}K",
        "V:200 OK",
        "200 OK",
        "OK",
        "",
    ] {
        let lower = v.to_string().to_lowercase();
        let line = line.replace('V', &v.to_string()).replace('v', &lower);
        cases.push(
            Case::backend(RULE, "RFC 9112 §4", v, format!("a 502: {}", quoted(&line)))
                .answer_close(format!("{line}\r\nContent-Length: 2\r\n\r\nok"))
                .status(&[502]),
        );
    }
    for line in ["V 200 ", "V 200", "V 200 \u{e4} (fine)", "V 299 Unknown"] {
        let line = line.replace('V', &v.to_string());
        cases.push(
            Case::backend(RULE, "RFC 9112 §4", v, format!("taken: {}", quoted(&line)))
                .answer(format!("{line}\r\nContent-Length: 2\r\n\r\nok"))
                .delivers("ok"),
        );
    }
}

/// Of no version or another one: in the row of the version that would be guessed.
fn odd_versions(cases: &mut Vec<Case>) {
    for (v, line) in [
        (Version::V10, "GET /"),
        (Version::V10, "GET / "),
        (Version::V10, "GET"),
        (Version::V10, "GET / HTTP"),
        (Version::V10, "GET / HTTP/"),
        (Version::V10, "GET / HTTP/1"),
        (Version::V10, "GET / HTTP/1."),
        (Version::V10, "GET / HTTP/0.9"),
        (Version::V10, "GET / http/1.0"),
        (Version::V10, "GET / HTTP/1.00"),
        (Version::V10, "GET / HTTP/01.0"),
        (Version::V10, "GET / HTTP/1,0"),
        (Version::V11, "GET / http/1.1"),
        (Version::V11, "GET / Http/1.1"),
        (Version::V11, "GET / HTTP/11"),
        (Version::V11, "GET / HTTP/1.10"),
        (Version::V11, "GET / HTTP/1.1.1"),
        (Version::V11, "GET / HTTP/01.1"),
        (Version::V11, "GET / HTTP/ 1.1"),
        (Version::V11, "GET / HTTP/1.1\u{0}"),
        (Version::V11, "GET / HTTP/-1.1"),
        (Version::V11, "GET / HTTP/2.0"),
        (Version::V11, "GET / HTTP/2"),
        (Version::V11, "GET / HTTP/3.0"),
        (Version::V11, "GET / HTTP/10.1"),
        (Version::V11, "GET / XTTP/1.1"),
        (Version::V11, "GET / ICAP/1.0"),
        (Version::V11, "GET / HTTPS/1.1"),
    ] {
        cases.push(
            Case::client(
                RULE,
                "RFC 9112 §2.3",
                v,
                format!("refused: {}", quoted(line)),
            )
            .send(format!("{line}\r\nHost: t\r\n\r\n"))
            .half_close()
            .refused(&[400, 405, 505]),
        );
    }
    cases.push(
        Case::client(
            RULE,
            "RFC 9113 §3.4",
            Version::V11,
            "refused: the preface of HTTP/2, behind a request of HTTP/1",
        )
        .send(
            "GET / HTTP/1.1\r\nHost: t\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        )
        .methods(&["GET", "PRI"])
        .closed()
        .requests(1)
        .holds("it is refused", |outcome| {
            let second = outcome.responses.get(1);
            second.is_some_and(|answer| [400, 405, 505].contains(&answer.status()))
        }),
    );
    cases.push(
        Case::client(
            RULE,
            "RFC 9110 §2.5",
            Version::V11,
            "HTTP/1.2 is taken for 1.1",
        )
        .send("GET / HTTP/1.2\r\nHost: t\r\n\r\n")
        .status(&[200, 505])
        .holds("it goes on as 1.1", |outcome| {
            let mut all = outcome.requests.iter();
            all.all(|(_, request)| request.word(2) == "HTTP/1.1")
        }),
    );
    for (v, bytes) in [
        (Version::V10, "<html>hello</html>"),
        (Version::V10, "hello\r\n\r\nworld"),
        (
            Version::V10,
            "HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        (Version::V10, "HTTP/1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (Version::V10, "\0\0\0\0"),
        (Version::V10, "\n"),
        (
            Version::V11,
            "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        (Version::V11, "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (
            Version::V11,
            "HTTP/1.10 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        (
            Version::V11,
            "HTTX/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        (Version::V11, "ICY 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (Version::V11, "SSH-2.0-OpenSSH_9.2\r\n"),
        (Version::V11, "220 mail ESMTP\r\n"),
        (Version::V11, "\u{16}\u{3}\u{1}\0\u{5}hello"),
    ] {
        cases.push(
            Case::backend(
                RULE,
                "RFC 9112 §4, §2.3",
                v,
                format!("a 502: {}", quoted(bytes)),
            )
            .answer_close(bytes)
            .status(&[502]),
        );
    }
    for v in BOTH {
        cases.push(
            Case::backend(RULE, "RFC 9110 §15.6.3", v, "a 502: closed without a word")
                .acts(When::Whole, [Act::Close])
                .status(&[502]),
        );
        cases.push(
            Case::backend(RULE, "RFC 9110 §15.6.3", v, "a 502: reset without a word")
                .acts(When::Whole, [Act::Reset])
                .status(&[502]),
        );
    }
}

fn versions(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "version";
    const SECTION: &str = "RFC 9110 §6.2, RFC 9112 §2.3";
    cases.push(
        Case::client(RULE, SECTION, v, "the backend is asked in 1.1")
            .send(format!("GET / {v}\r\nHost: t\r\n\r\n"))
            .delivers("ok")
            .request("the version is ours", |request| {
                request.word(2) == "HTTP/1.1"
            }),
    );
    cases.push(
        Case::client(RULE, SECTION, v, "it is answered in 1.1")
            .send(format!("GET / {v}\r\nHost: t\r\n\r\n"))
            .delivers("ok")
            .response("the version is ours", |response| {
                response.word(0) == "HTTP/1.1"
            }),
    );
    cases.push(
        Case::backend(RULE, SECTION, v, "it is passed on as 1.1")
            .answer_close(format!("{v} 200 OK\r\nContent-Length: 2\r\n\r\nok"))
            .delivers("ok")
            .response("the version is ours", |response| {
                response.word(0) == "HTTP/1.1"
            }),
    );
}
