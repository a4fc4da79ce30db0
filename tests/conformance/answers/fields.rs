//! Fields of answers over HTTP/2: what they may not hold, and how the rest reaches a client.

use super::{ASKED, behind, case, data, head, raw, text};
use crate::case::{Case, quoted};
use crate::frames::{self, END_HEADERS, HEADERS};
use crate::hpack;
use crate::wire::Message;

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    malformed(cases);
    lengths(cases);
    hop_by_hop(cases);
    added(cases);
    untouched(cases);
    coded(cases);
}

const STATUS: (&[u8], &[u8]) = (b":status", b"200");

fn malformed(cases: &mut Vec<Case>) {
    const RULE: &str = "fields";
    const SECTION: &str = "RFC 9113 §8.2.1";
    for (name, value) in [
        (&b"a"[..], &b"b\revil"[..]),
        (b"a", b"b\nevil: 1"),
        (b"a", b"b\r\nevil: 1"),
        (b"a", b"b\r\n\r\nevil"),
        (b"a", b"\nevil"),
        (b"a", b"evil\r\n"),
        (b"a", b"b\0evil"),
        (b"a", b"b\x01evil"),
        (b"a", b"b\x7fevil"),
        (b"Evil", b"1"),
        (b"e vil", b"1"),
        (b"evil ", b"1"),
        (b" evil", b"1"),
        (b"evil:", b"1"),
        (b"e:vil", b"1"),
        (b"e\tvil", b"1"),
        (b"a\nevil", b"1"),
        (b"a\r\nevil", b"1"),
        (b"evil\0", b"1"),
        (b"evil\x7f", b"1"),
        (b"evil\xe4", b"1"),
        (b"e\"vil\"", b"1"),
        (b"(evil)", b"1"),
        (b"", b"evil"),
    ] {
        let what = format!(
            "a 502: {}: {}",
            name.escape_ascii(),
            quoted(&value.escape_ascii().to_string())
        );
        cases.push(
            case(RULE, SECTION, what)
                .answer(behind(raw(&[STATUS, (name, value)], false)))
                .no_answer(),
        );
    }
    for value in [&b" a"[..], b"a ", b"\ta", b" \t a \t"] {
        cases.push(
            case(
                RULE,
                SECTION,
                format!(
                    "white space around a value is gone, or a 502: \"{}\"",
                    value.escape_ascii()
                ),
            )
            .answer([raw(&[STATUS, (b"x-odd", value)], false), data("ok", true)].concat())
            .check(|outcome| {
                let response = outcome.response()?;
                let whole = response.text() == "ok" && response.one("x-odd") == Some("a");
                match whole || response.status() == 502 {
                    true => Ok(()),
                    false => Err(format!("{response:?}")),
                }
            }),
        );
    }
    for (what, block) in [
        ("no index of any table", vec![0x88, 0xfe]),
        ("the index 0", vec![0x88, 0x80]),
        ("a number without end", [&[0x88][..], &[0xff; 12]].concat()),
        ("a text cut short", vec![0x88, 0, 4, b'e', b'v']),
        ("a value cut short", vec![0x88, 0, 1, b'a', 9, b'e']),
        ("bad Huffman padding", vec![0x88, 0, 1, b'a', 0x81, 0x18]),
        (
            "the end of Huffman",
            vec![0x88, 0, 1, b'a', 0x84, 0xff, 0xff, 0xff, 0xfc],
        ),
        (
            "a table larger than agreed",
            vec![0x3f, 0xe1, 0xff, 0x03, 0x88],
        ),
    ] {
        let frame = frames::frame(HEADERS, END_HEADERS, ASKED, &block);
        cases.push(
            case(RULE, "RFC 7541 §5, RFC 9113 §4.3", format!("a 502: {what}"))
                .answer(behind(frame))
                .no_answer(),
        );
    }
}

fn lengths(cases: &mut Vec<Case>) {
    const RULE: &str = "length";
    const SECTION: &str = "RFC 9113 §8.1.1, RFC 9110 §8.6";
    for values in [
        &["4", "5"][..],
        &["4", "4"],
        &["+4"],
        &["-4"],
        &["4, 4"],
        &["4,5"],
        &["0x4"],
        &["4 4"],
        &["4."],
        &["four"],
        &[""],
        &["99999999999999999999"],
        &["18446744073709551620"],
    ] {
        let fields: Vec<(&str, &str)> = values
            .iter()
            .map(|value| ("content-length", *value))
            .collect();
        cases.push(
            case(RULE, SECTION, format!("a 502: {values:?}"))
                .answer(behind(head("200", &fields, false)))
                .no_answer(),
        );
    }
}

fn hop_by_hop(cases: &mut Vec<Case>) {
    const RULE: &str = "hop by hop";
    const SECTION: &str = "RFC 9113 §8.2.2";
    for (name, value) in [
        ("connection", "evil"),
        ("connection", "close"),
        ("connection", "keep-alive"),
        ("keep-alive", "evil"),
        ("proxy-connection", "evil"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "evil"),
        ("upgrade", "evil"),
    ] {
        cases.push(
            case(RULE, SECTION, format!("a 502: {name}: {value}"))
                .answer(behind(head("200", &[(name, value)], false)))
                .no_answer(),
        );
    }
    cases.push(
        case(RULE, SECTION, "TE in an answer is gone, or a 502")
            .answer([head("200", &[("te", "trailers")], false), data("ok", true)].concat())
            .status(&[200, 502])
            .response("no TE", |response| !response.has("te")),
    );
    for (what, fields) in [
        ("one listed", "Connection: x-a\r\nX-A: 1\r\n"),
        (
            "over all lines",
            "Connection: x-a\r\nX-A: 1\r\nX-B: 2\r\nConnection: X-b, close\r\n",
        ),
        (
            "those of old",
            "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\n",
        ),
        ("TE", "TE: gzip, trailers\r\nConnection: TE\r\n"),
    ] {
        cases.push(
            case(
                RULE,
                SECTION,
                format!("a client's own do not become HTTP/2: {what}"),
            )
            .send(format!(
                "GET / HTTP/1.1\r\nHost: t\r\n{fields}X-Stays: 1\r\n\r\n"
            ))
            .delivers("ok")
            .request("they are gone, others are not", |request| {
                !request.has("x-a")
                    && !request.has("x-b")
                    && request.one("x-stays") == Some("1")
                    && request.all("te").iter().all(|te| *te == "trailers")
            }),
        );
    }
    cases.push(
        case(RULE, SECTION, "a client's coding does not become HTTP/2")
            .send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n")
            .methods(&["POST"])
            .delivers("ok")
            .request("its body is whole", |request| {
                request.text() == "hello" && !request.has("transfer-encoding")
            }),
    );
}

fn added(cases: &mut Vec<Case>) {
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const DATED: &str = "RFC 9110 §6.6.1";
    cases.push(
        case("date", DATED, "one is added where there is none")
            .delivers("ok")
            .response("one date", |response| response.all("date").len() == 1),
    );
    cases.push(
        case("date", DATED, "the backend's own stays")
            .answer([head("200", &[("date", DATE)], false), data("ok", true)].concat())
            .delivers("ok")
            .response("it is the same", |response| response.all("date") == [DATE]),
    );
    cases.push(
        case(
            "via",
            "RFC 9110 §7.6.3",
            "entries of an answer stay; one of ours is last and says 2",
        )
        .answer([head("200", &[("via", "1.0 a")], false), data("ok", true)].concat())
        .delivers("ok")
        .response("in order, ours last if at all", |response| {
            let all = response.all("via").join(", ");
            let ours = all.strip_prefix("1.0 a, ");
            all == "1.0 a" || ours.is_some_and(|ours| ours.starts_with('2'))
        }),
    );
    cases.push(
        case(
            "via",
            "RFC 9110 §7.6.3",
            "a request's says what its client spoke",
        )
        .delivers("ok")
        .request("1.1", |request| {
            let via = request.one("via");
            via.is_some_and(|via| via.starts_with("1.1 "))
        }),
    );
}

fn untouched(cases: &mut Vec<Case>) {
    const RULE: &str = "untouched";
    const SECTION: &str = "RFC 9110 §7.6, §5.3";
    const BACK: [(&str, &str); 12] = [
        ("server", "x"),
        ("set-cookie", "a=1; Path=/"),
        ("x-list", "1"),
        ("set-cookie", "b=2"),
        ("set-cookie", "c=3, d"),
        ("x-list", "2, 3"),
        ("etag", "\"a\""),
        ("content-encoding", "gzip"),
        ("age", "1"),
        ("www-authenticate", "Basic, Digest x=\"y\""),
        ("x-empty", ""),
        ("www-authenticate", "Z"),
    ];
    let has_all = |response: &Message| {
        BACK.iter().all(|(name, _)| {
            let wanted = BACK.iter().filter(|(other, _)| other == name);
            let wanted: Vec<&str> = wanted.map(|(_, value)| *value).collect();
            response.all(name) == wanted
        })
    };
    cases.push(
        case(RULE, SECTION, "fields of an answer, lines and order")
            .answer([head("200", &BACK, false), data("ok", true)].concat())
            .delivers("ok")
            .response("each has its lines in order", has_all),
    );
    let odd = "\u{e4} !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    cases.push(
        case(RULE, "RFC 9110 §5.5", "values of any visible bytes")
            .answer([head("200", &[("x-odd", odd)], false), data("ok", true)].concat())
            .delivers("ok")
            .holds("the same bytes", move |outcome| {
                crate::wire::find(&outcome.read, odd.as_bytes()).is_some()
            }),
    );
    cases.push(
        case(RULE, "RFC 9110 §5.5", "obs-text")
            .answer(
                [
                    raw(&[STATUS, (b"x-odd", b"\x80\xff")], false),
                    data("ok", true),
                ]
                .concat(),
            )
            .delivers("ok")
            .response("the same bytes", |response| {
                response.one("x-odd") == Some("\u{80}\u{ff}")
            }),
    );
    for status in ["201", "299", "404", "418", "500", "503", "599"] {
        cases.push(
            case(RULE, "RFC 9110 §15", format!("the status: {status}"))
                .answer([head(status, &[], false), data("body", true)].concat())
                .response("status and body are the same", move |response| {
                    response.word(1) == status && response.text() == "body"
                }),
        );
    }
    let fields = "User-Agent: x\r\nCookie: a=1; b=2\r\nCookie: c=3\r\nX-List: 1\r\nx-list: 2, 3\r\nAuthorization: Basic eDp5\r\nX-ODD: \u{e4}\r\n";
    cases.push(
        case(RULE, SECTION, "fields of a request, lines and order")
            .send(format!("GET / HTTP/1.1\r\nHost: t\r\n{fields}\r\n"))
            .delivers("ok")
            .request("each has its lines in order", |request| {
                request.one("user-agent") == Some("x")
                    && request.all("cookie").join("; ") == "a=1; b=2; c=3"
                    && request.all("x-list") == ["1", "2, 3"]
                    && request.one("authorization") == Some("Basic eDp5")
                    && request.one("x-odd") == Some("\u{c3}\u{a4}")
            }),
    );
}

/// Ways to say the same.
fn coded(cases: &mut Vec<Case>) {
    const SECTION: &str = "RFC 7541 §6";
    let literal = |first: u8| [&[first, 1, b'a', 2][..], b"bc"].concat();
    for (what, field) in [
        ("never indexed", literal(0x10)),
        ("indexed", literal(0x40)),
        (
            "indexed, and named again",
            [&literal(0x40)[..], &[0xbe]].concat(),
        ),
        (
            "of Huffman's code",
            // "bc": 100011 00100, and ones behind it.
            vec![0, 1, b'a', 0x82, 0b1000_1100, 0b1001_1111],
        ),
    ] {
        let block = [&hpack::block(&[STATUS])[..], &field].concat();
        let frame = frames::frame(HEADERS, END_HEADERS, ASKED, &block);
        cases.push(
            case("untouched", SECTION, format!("a field that is {what}"))
                .answer([frame, data("ok", true)].concat())
                .delivers("ok")
                .response("it is the same", |response| {
                    response.all("a").first() == Some(&"bc")
                }),
        );
    }
    let indexed = [&[0x88][..], &literal(0x40)].concat();
    let named = frames::frame(HEADERS, END_HEADERS, ASKED, &[0x88, 0xbe]);
    cases.push(
        case(
            "untouched",
            SECTION,
            "a field that an earlier answer has put into the table",
        )
        .send(super::GET)
        .await_client("ok")
        .send(super::GET)
        .methods(&["GET"; 2])
        .answer(
            [
                frames::frame(HEADERS, END_HEADERS, ASKED, &indexed),
                data("ok", true),
            ]
            .concat(),
        )
        .answer([named, data("second", true)].concat())
        .second_is_its_own()
        .holds("it has the field", |outcome| {
            let second = outcome.responses.get(1);
            second.is_some_and(|second| second.one("a") == Some("bc"))
        }),
    );
    cases.push(
        case("untouched", "RFC 9113 §8.2", "nothing is made up")
            .answer(text("ok"))
            .delivers("ok")
            .request("no such field", |request| {
                let made_up = ["user-agent", "accept-encoding", "accept", "cookie"];
                made_up.iter().all(|name| !request.has(name)) && !request.has("content-length")
            }),
    );
}
