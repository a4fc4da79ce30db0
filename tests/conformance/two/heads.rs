//! Heads of HTTP/2: what a request may not say, and how the rest reaches a backend.

use super::ask;
use crate::case::{Case, Version};
use crate::frames::{self, CONTINUATION, END_HEADERS, END_STREAM, HEADERS};
use crate::hpack;
use crate::subject::Profile;

const V: Version = Version::V20;

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    malformed_fields(cases);
    malformed_pseudo_fields(cases);
    targets(cases);
    hosts(cases);
    forwarded(cases);
    passed_on(cases);
    limits(cases);
}

/// A whole request of these fields.
fn raw(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    frames::frame(HEADERS, END_HEADERS | END_STREAM, 1, &hpack::block(fields))
}

const METHOD: (&[u8], &[u8]) = (b":method", b"GET");
const SCHEME: (&[u8], &[u8]) = (b":scheme", b"http");
const AUTHORITY: (&[u8], &[u8]) = (b":authority", b"test");
const PATH: (&[u8], &[u8]) = (b":path", b"/");
const ALL: [(&[u8], &[u8]); 4] = [METHOD, SCHEME, AUTHORITY, PATH];

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn malformed_fields(cases: &mut Vec<Case>) {
    const SECTION: &str = "RFC 9113 §8.2";
    let hop = "hop by hop";
    for (rule, name, value) in [
        ("fields", &b"X-Upper"[..], &b"1"[..]),
        ("fields", b"x\nname", b"1"),
        ("fields", b"x name", b"1"),
        ("fields", b"x\0name", b"1"),
        ("fields", b"x\"name", b"1"),
        ("fields", b"x(name)", b"1"),
        ("fields", b"x/name", b"1"),
        ("fields", b"x:name", b"1"),
        ("fields", b"x\x7f", b"1"),
        ("fields", b"x\xe4", b"1"),
        ("fields", b"", b"1"),
        ("fields", b"x", b"a\rb"),
        ("fields", b"x", b"a\nb"),
        ("fields", b"x", b"a\r\nhost: b"),
        ("fields", b"x", b"a\0b"),
        ("fields", b"x", b" a"),
        ("fields", b"x", b"a "),
        ("fields", b"x", b"\ta"),
        (hop, b"connection", b"close"),
        (hop, b"connection", b"x-hop"),
        (hop, b"keep-alive", b"timeout=5"),
        (hop, b"proxy-connection", b"keep-alive"),
        (hop, b"transfer-encoding", b"chunked"),
        (hop, b"transfer-encoding", b"identity"),
        (hop, b"upgrade", b"h2c"),
        (hop, b"te", b"gzip"),
        (hop, b"te", b"trailers, gzip"),
        ("length", b"content-length", b"1"),
        ("length", b"content-length", b"+0"),
        ("length", b"content-length", b"-0"),
        ("length", b"content-length", b"0,0"),
        ("length", b"content-length", b"0x0"),
        ("length", b"content-length", b"99999999999999999999"),
        ("length", b"content-length", b""),
    ] {
        let what = format!("refused: {}: {}", shown(name), shown(value));
        let request = raw(&[&ALL[..], &[(name, value)]].concat());
        cases.push(
            Case::client(rule, SECTION, V, what)
                .send(request)
                .malformed(),
        );
    }
    let twice = [
        (&b"content-length"[..], &b"0"[..]),
        (b"content-length", b"1"),
    ];
    cases.push(
        Case::client("length", SECTION, V, "refused: two that differ")
            .send(raw(&[&ALL[..], &twice].concat()))
            .malformed(),
    );
    cases.push(
        Case::client("hop by hop", SECTION, V, "te: trailers is taken")
            .send(ask("GET", "/", &[("te", "trailers")]))
            .delivers("ok"),
    );
}

fn malformed_pseudo_fields(cases: &mut Vec<Case>) {
    const RULE: &str = "start line";
    const SECTION: &str = "RFC 9113 §8.3";
    let mut push = |what: String, fields: &[(&[u8], &[u8])]| {
        cases.push(
            Case::client(RULE, SECTION, V, what)
                .send(raw(fields))
                .malformed(),
        );
    };
    for (at, (name, _)) in ALL.iter().enumerate() {
        let own = shown(name);
        let without: Vec<_> = ALL
            .iter()
            .copied()
            .filter(|field| field.0 != *name)
            .collect();
        push(format!("refused: no {own}"), &without);
        push(
            format!("refused: {own} twice"),
            &[&ALL[..], &[ALL[at]]].concat(),
        );
        let late = [&without[..], &[(&b"x"[..], &b"1"[..]), ALL[at]]].concat();
        push(format!("refused: {own} behind a field"), &late);
    }
    for (name, value) in [
        (&b":unknown"[..], &b"1"[..]),
        (b":status", b"200"),
        (b":", b"1"),
        (b":Method", b"GET"),
        (b":protocol", b"websocket"),
    ] {
        push(
            format!("refused: {}", shown(name)),
            &[&ALL[..], &[(name, value)]].concat(),
        );
    }
    for method in [&b""[..], b"GE T", b"G\0T", b"GET\r\nx: y", b"G:T"] {
        push(
            format!("refused: the method {:?}", shown(method)),
            &[(b":method", method), SCHEME, AUTHORITY, PATH],
        );
    }
}

fn targets(cases: &mut Vec<Case>) {
    const SECTION: &str = "RFC 9113 §8.3.1";
    for path in [
        &b""[..],
        b"admin",
        b"*",
        b"?a",
        b"/a b",
        b"/a\tb",
        b"/a\r\nb",
        b"/\0",
        b"/\x7f",
        b"http://other/",
        b"test:80",
    ] {
        cases.push(
            Case::client("target", SECTION, V, format!("refused: {:?}", shown(path)))
                .send(raw(&[METHOD, SCHEME, AUTHORITY, (b":path", path)]))
                .malformed(),
        );
    }
    for path in ["/", "//a", "/a?b=c&d", "/%41/..%2f", "/a;b=c"] {
        cases.push(
            Case::client("target", SECTION, V, format!("passed on: {path}"))
                .send(ask("GET", path, &[]))
                .delivers("ok")
                .request("it is the same", move |request| request.word(1) == path),
        );
    }
    cases.push(
        Case::client("target", SECTION, V, "OPTIONS may ask for *")
            .send(ask("OPTIONS", "*", &[]))
            .methods(&["OPTIONS"])
            .delivers("ok")
            .request("it is the same", |request| {
                request.start == "OPTIONS * HTTP/1.1"
            }),
    );
    let plain = [(&b":method"[..], &b"CONNECT"[..]), AUTHORITY];
    let odd = [(&b":method"[..], &b"CONNECT"[..]), SCHEME, AUTHORITY, PATH];
    let extended = [&odd[..], &[(&b":protocol"[..], &b"websocket"[..])]].concat();
    for (what, fields) in [
        ("CONNECT", &plain[..]),
        ("CONNECT with a path", &odd),
        ("extended CONNECT that was not offered", &extended),
    ] {
        cases.push(
            Case::client(
                "connect",
                "RFC 9113 §8.5, RFC 8441 §3",
                V,
                format!("refused: {what}"),
            )
            .send(raw(fields))
            .malformed(),
        );
    }
    cases.push(
        Case::client(
            "trace",
            "RFC 9110 §9.3.8",
            V,
            "TRACE does not carry credentials on",
        )
        .send(ask("TRACE", "/", &[("cookie", "secret=1")]))
        .methods(&["TRACE"])
        .holds("no secret reached the backend", |outcome| {
            !outcome
                .received()
                .windows(6)
                .any(|window| window == b"secret")
        }),
    );
    cases.push(
        Case::client(
            "trace",
            "RFC 9110 §7.6.2",
            V,
            "OPTIONS with Max-Forwards: 0 goes no further",
        )
        .send(ask("OPTIONS", "*", &[("max-forwards", "0")]))
        .methods(&["OPTIONS"])
        .rejected(&[200, 204, 405]),
    );
}

fn hosts(cases: &mut Vec<Case>) {
    const SECTION: &str = "RFC 9113 §8.3.1, RFC 9110 §7.2";
    for authority in [
        &b""[..],
        b"u@test",
        b"a b",
        b"a/b",
        b"a:b",
        b"[::1",
        b"a\r\nb",
        b"a#b",
        b"a?b",
    ] {
        cases.push(
            Case::client(
                "host",
                SECTION,
                V,
                format!("refused: the authority {:?}", shown(authority)),
            )
            .send(raw(&[METHOD, SCHEME, (b":authority", authority), PATH]))
            .malformed(),
        );
    }
    let host = |value: &'static [u8]| (&b"host"[..], value);
    let mut push = |what: &str, fields: &[(&[u8], &[u8])]| {
        cases.push(
            Case::client("host", SECTION, V, what)
                .send(raw(fields))
                .malformed(),
        );
    };
    push(
        "refused: Host and :authority differ",
        &[&ALL[..], &[host(b"other")]].concat(),
    );
    push("refused: neither", &[METHOD, SCHEME, PATH]);
    push(
        "refused: an invalid Host alone",
        &[METHOD, SCHEME, PATH, host(b"a b")],
    );
    push(
        "refused: two Hosts",
        &[METHOD, SCHEME, PATH, host(b"a"), host(b"b")],
    );
    cases.push(
        Case::client("host", SECTION, V, "Host alone is the host")
            .send(raw(&[METHOD, SCHEME, PATH, host(b"own")]))
            .delivers("ok")
            .request("the backend gets it", |request| {
                request.one("host") == Some("own")
            }),
    );
    cases.push(
        Case::client("host", SECTION, V, ":authority is the host, once")
            .send(raw(&[&ALL[..], &[host(b"test")]].concat()))
            .delivers("ok")
            .request("the backend gets it", |request| {
                request.one("host") == Some("test")
            }),
    );
}

fn forwarded(cases: &mut Vec<Case>) {
    let said = [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-real-ip", "192.0.2.7"),
        ("x-forwarded-host", "evil"),
        ("forwarded", "for=192.0.2.7"),
    ];
    cases.push(
        Case::client(
            "untrusted",
            "RFC 7239 §8.1",
            V,
            "what strangers say is replaced",
        )
        .send(ask("GET", "/", &said))
        .delivers("ok")
        .request("nothing of it is left", |request| {
            let fields = request.fields.iter();
            let own = [
                "x-forwarded-for",
                "x-real-ip",
                "x-forwarded-host",
                "forwarded",
            ];
            let mut kept =
                fields.filter(|(name, _)| own.contains(&name.to_ascii_lowercase().as_str()));
            kept.all(|(_, value)| !value.contains("192.0.2.7") && !value.contains("evil"))
        }),
    );
    cases.push(
        Case::client(
            "trusted",
            "RFC 7239 §5",
            V,
            "what trusted proxies say is kept, ours appended",
        )
        .profile(Profile::Trusting)
        .send(ask("GET", "/", &said))
        .delivers("ok")
        .request("both are there", |request| {
            let all = request.all("x-forwarded-for").join(", ");
            all.starts_with("192.0.2.7") && all.ends_with("127.0.0.1")
        }),
    );
}

fn passed_on(cases: &mut Vec<Case>) {
    cases.push(
        Case::client(
            "version",
            "RFC 9110 §2.5",
            V,
            "the backend is asked by HTTP/1.1",
        )
        .delivers("ok")
        .request("HTTP/1.1", |request| request.start == "GET / HTTP/1.1"),
    );
    cases.push(
        Case::client("via", "RFC 9110 §7.6.3", V, "Via says 2.0")
            .delivers("ok")
            .request("2.0", |request| {
                request
                    .all("via")
                    .iter()
                    .any(|via| via.starts_with("2.0 ") || via.starts_with("HTTP/2"))
            }),
    );
    cases.push(
        Case::client("date", "RFC 9110 §6.6.1", V, "an answer has a Date")
            .delivers("ok")
            .response("one", |response| response.one("date").is_some()),
    );
    cases.push(
        Case::client(
            "untouched",
            "RFC 9113 §8.2.3",
            V,
            "crumbs of a cookie are joined",
        )
        .send(ask(
            "GET",
            "/",
            &[
                ("cookie", "a=1"),
                ("x", "y"),
                ("cookie", "b=2"),
                ("cookie", "c=3"),
            ],
        ))
        .delivers("ok")
        .request("one, in order", |request| {
            request.one("cookie") == Some("a=1; b=2; c=3")
        }),
    );
    let odd = "\u{e4} !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    cases.push(
        Case::client("untouched", "RFC 9110 §5.5", V, "values pass as they are")
            .send(ask(
                "GET",
                "/",
                &[
                    ("x-odd", odd),
                    ("x-empty", ""),
                    ("x-two", "1"),
                    ("x-two", "2"),
                ],
            ))
            .delivers("ok")
            .request("all of them", |request| {
                request.all("x-two") == ["1", "2"]
                    && request.one("x-empty") == Some("")
                    && request
                        .one("x-odd")
                        .is_some_and(|value| value.ends_with("^_`{|}~"))
            }),
    );
    cases.push(
        Case::client("hop by hop", "RFC 9113 §8.2.2", V, "a backend's own stay there")
            .answer("HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nKeep-Alive: a\r\nX-Hop: 1\r\nProxy-Connection: a\r\nUpgrade: h2c\r\nX-End: 2\r\nContent-Length: 2\r\n\r\nok")
            .delivers("ok")
            .response("none is left", |response| {
                let gone = ["connection", "keep-alive", "x-hop", "proxy-connection", "upgrade"];
                gone.iter().all(|name| !response.has(name)) && response.one("x-end") == Some("2")
            }),
    );
    cases.push(
        Case::client(
            "hop by hop",
            "RFC 9113 §8.2.1",
            V,
            "names of a backend become small",
        )
        .answer("HTTP/1.1 200 OK\r\nX-BIG: 1\r\nCONTENT-LENGTH: 2\r\n\r\nok")
        .delivers("ok")
        .response("small", |response| {
            response
                .fields
                .iter()
                .all(|(name, _)| *name == name.to_ascii_lowercase())
        }),
    );
}

fn limits(cases: &mut Vec<Case>) {
    const RULE: &str = "limits";
    const SECTION: &str = "RFC 9110 §15.5.15, RFC 6585 §5, RFC 9113 §10.5.1";
    let long = "a".repeat(12_000);
    cases.push(
        Case::client(RULE, SECTION, V, "a long path: 414")
            .send(ask("GET", &format!("/{long}"), &[]))
            .check(|outcome| match outcome.response()?.status() {
                // Where a path may be that long, it is.
                200 | 414 | 431 => Ok(()),
                other => Err(format!("{other}")),
            }),
    );
    let many: Vec<(String, String)> = (0..1500)
        .map(|at| (format!("x{at}"), String::new()))
        .collect();
    let many: Vec<(&str, &str)> = many
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let wide: Vec<(&str, &str)> = vec![("x-wide", &long); 8];
    for (what, fields) in [("many fields", many), ("wide fields", wide)] {
        let fields = [&frames::pseudo("GET", "/")[..], &fields].concat();
        let fields: Vec<(&[u8], &[u8])> = fields
            .iter()
            .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
            .collect();
        let block = hpack::block(&fields);
        let pieces: Vec<&[u8]> = block.chunks(16_000).collect();
        let mut request = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            let last = if at + 1 == pieces.len() {
                END_HEADERS
            } else {
                0
            };
            request.extend(match at {
                0 => frames::frame(HEADERS, last | END_STREAM, 1, piece),
                _ => frames::frame(CONTINUATION, last, 1, piece),
            });
        }
        cases.push(
            Case::client(RULE, SECTION, V, format!("{what}: refused"))
                .send(request)
                .malformed(),
        );
    }
}
