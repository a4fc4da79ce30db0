//! Exchanges with a backend of HTTP/2: what comes before an answer, before its time, or behind it.

use super::{ASKED, GET, behind, case, data, head, reset, send, text, trailers};
use crate::backend::{Act, When};
use crate::case::{BOTH, Case};
use crate::frames::{self, END_HEADERS, PUSH_PROMISE};
use crate::hpack;

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    interim(cases);
    expect(cases);
    early(cases);
    pipelining(cases);
    surplus(cases);
    unasked(cases);
}

fn hints() -> Vec<u8> {
    head("103", &[("link", "</a>")], false)
}

fn interim(cases: &mut Vec<Case>) {
    const RULE: &str = "interim";
    const SECTION: &str = "RFC 9110 §15.2, RFC 9113 §8.1";
    let several = [hints(), head("102", &[], false), hints(), text("ok")].concat();
    cases.push(
        case(RULE, SECTION, "several before the answer, at once")
            .answer(several.clone())
            .delivers("ok")
            .holds("hints arrive, fields and all", |outcome| {
                let mut hints = outcome.interim.iter().filter(|one| one.status() == 103);
                hints.clone().count() == 2 && hints.all(|one| one.one("link") == Some("</a>"))
            })
            .open(),
    );
    cases.push(
        case(RULE, SECTION, "none of them reaches 1.0")
            .send("GET / HTTP/1.0\r\nHost: t\r\n\r\n")
            .answer(several)
            .delivers("ok")
            .holds("none", |outcome| outcome.interim.is_empty()),
    );
    cases.push(
        case(RULE, SECTION, "one is passed on before the answer is there")
            .acts(
                When::Whole,
                [send(hints()), Act::AwaitClient("103"), send(text("ok"))],
            )
            .delivers("ok")
            .holds("it came", |outcome| outcome.interim.len() == 1),
    );
    cases.push(
        case(RULE, SECTION, "eight before the answer")
            .answer([hints().repeat(8), text("ok")].concat())
            .delivers("ok"),
    );
    for (what, status, fields) in [
        ("a 100 that nobody asked for", "100", &[][..]),
        ("an interim answer that nobody knows", "199", &[]),
    ] {
        cases.push(
            case(RULE, SECTION, what)
                .answer([head(status, fields, false), text("ok")].concat())
                .delivers("ok"),
        );
    }
    cases.push(
        case(
            RULE,
            "RFC 9110 §8.6",
            "a 103 with a length: it is not told, or a 502",
        )
        .answer([head("103", &[("content-length", "6")], false), text("ok")].concat())
        .status(&[200, 502])
        .holds("no such length", |outcome| {
            outcome.interim.iter().all(|one| !one.has("content-length"))
        }),
    );
    for status in ["100", "103"] {
        cases.push(
            case(RULE, SECTION, format!("a {status} that is the end: a 502"))
                .answer(head(status, &[], true))
                .no_answer(),
        );
        cases.push(
            case(RULE, SECTION, format!("a {status} with a body: a 502"))
                .answer(behind(head(status, &[], false)))
                .no_answer(),
        );
        cases.push(
            case(RULE, SECTION, format!("a {status}, then a reset: a 502"))
                .answer([head(status, &[], false), reset(2)].concat())
                .status(&[502]),
        );
        cases.push(
            case(RULE, SECTION, format!("a {status}, then an end: a 502"))
                .answer_close(head(status, &[], false))
                .status(&[502]),
        );
        cases.push(
            case(
                RULE,
                SECTION,
                format!("a {status}, then a head that is none: a 502"),
            )
            .answer(behind(
                [head(status, &[], false), head("", &[], false)].concat(),
            ))
            .no_answer(),
        );
    }
    let malformed = head("103", &[("connection", "evil")], false);
    cases.push(
        case(RULE, SECTION, "a malformed 103: a 502")
            .answer([malformed, text("evil")].concat())
            .no_answer(),
    );
}

fn expect(cases: &mut Vec<Case>) {
    const RULE: &str = "expect";
    const SECTION: &str = "RFC 9110 §10.1.1";
    let head_of = "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    cases.push(
        case(RULE, SECTION, "the body is sent only after a 100")
            .send(head_of)
            .await_client("100 Continue\r\n\r\n")
            .send("hello")
            .methods(&["POST"])
            .acts(
                When::Head,
                [
                    send(head("100", &[], false)),
                    Act::AwaitReceived("hello"),
                    send(text("ok")),
                ],
            )
            .delivers("ok")
            .request("it asked the backend, and the body arrived", |request| {
                request.one("expect") == Some("100-continue") && request.text() == "hello"
            })
            .holds("exactly one 100", |outcome| outcome.interim.len() == 1)
            .open(),
    );
    for (how, more) in [("and no more", Vec::new()), ("and wants no more", reset(0))] {
        cases.push(
            case(
                RULE,
                SECTION,
                format!("a final answer instead of the 100, {how}"),
            )
            .send(head_of)
            .methods(&["POST"])
            .acts(
                When::Head,
                [send(
                    [head("417", &[], false), data("no", true), more].concat(),
                )],
            )
            .status(&[417])
            .requests(0),
        );
    }
    cases.push(
        case(RULE, SECTION, "no 100 at all: the client gives up waiting")
            .send(head_of)
            .await_backend("expect: 100-continue")
            .send("hello")
            .methods(&["POST"])
            .delivers("ok")
            .request("the body arrived", |request| request.text() == "hello"),
    );
}

fn early(cases: &mut Vec<Case>) {
    const RULE: &str = "early";
    const SECTION: &str = "RFC 9113 §8.1";
    let no = [head("413", &[], false), data("no", true)].concat();
    let large = [
        b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3000000\r\n\r\n".to_vec(),
        vec![b'x'; 3_000_000],
    ]
    .concat();
    let part = b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\nhello".to_vec();
    let bare = b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n".to_vec();
    for (what, request) in [
        ("a large body", large),
        ("the rest of a body", part),
        ("a body that has not begun", bare),
    ] {
        for (how, acts) in [
            ("", vec![send(no.clone())]),
            (
                ", and wants no more of it",
                vec![send([no.clone(), reset(0)].concat())],
            ),
            (
                ", and says goodbye",
                vec![send([no.clone(), frames::goaway(ASKED, 0)].concat())],
            ),
        ] {
            cases.push(
                case(RULE, SECTION, format!("it answers before {what}{how}"))
                    .send(request.clone())
                    .methods(&["POST"])
                    .acts(When::Head, acts)
                    .status(&[413])
                    .response("the whole answer", |response| {
                        response.complete && response.text() == "no"
                    }),
            );
        }
    }
    cases.push(
        case(
            RULE,
            SECTION,
            "an answer begins, the body goes on, and so does the answer",
        )
        .send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhello")
        .await_client("begun")
        .send("world")
        .methods(&["POST"])
        .acts(
            When::Head,
            [
                send([head("200", &[], false), data("begun", false)].concat()),
                Act::AwaitReceived("helloworld"),
                send(data(", done", true)),
            ],
        )
        .delivers("begun, done")
        .requests(1),
    );
    cases.push(
        case(
            RULE,
            SECTION,
            "a reset without an error behind a whole answer harms nobody",
        )
        .answer([text("ok"), reset(0)].concat())
        .delivers("ok")
        .open(),
    );
}

fn pipelining(cases: &mut Vec<Case>) {
    const RULE: &str = "pipelining";
    const SECTION: &str = "RFC 9112 §9.3.2, RFC 9113 §5";
    let three: String = (1..4)
        .map(|at| format!("GET /{at} HTTP/1.1\r\nHost: t\r\n\r\n"))
        .collect();
    let sized = |body: &str| {
        let length = body.len().to_string();
        let head = head("200", &[("content-length", &length)], false);
        [head, data(body, true)].concat()
    };
    for (how, answers) in [
        (
            "with lengths",
            [sized("one"), sized("second"), sized("third one")],
        ),
        (
            "without lengths",
            [text("one"), text("second"), text("third one")],
        ),
    ] {
        let [one, second, third] = answers;
        cases.push(
            case(
                RULE,
                SECTION,
                format!("answers of different sizes {how} keep their order"),
            )
            .send(three.clone())
            .methods(&["GET"; 3])
            .answer(one)
            .answer(second)
            .answer(third)
            .requests(3)
            .holds("three answers in order", |outcome| {
                let bodies: Vec<String> = outcome.responses.iter().map(|one| one.text()).collect();
                bodies == ["one", "second", "third one"]
            }),
        );
    }
}

/// What comes on the stream behind its end.
fn surplus(cases: &mut Vec<Case>) {
    const SECTION: &str = "RFC 9113 §5.1";
    let ok = || text("ok");
    for (what, more) in [
        ("DATA", data("evil", true)),
        ("DATA that is not the end", data("evil", false)),
        ("another answer", text("evil")),
        ("another head", head("200", &[("evil", "1")], true)),
        ("trailers", trailers(&[("evil", "1")])),
        ("an interim head", head("103", &[("evil", "1")], false)),
        ("a window", frames::window_update(ASKED, 1)),
        ("a reset", reset(2)),
        ("garbage", b"HTTP/1.1 200 OK\r\n\r\nevil".to_vec()),
    ] {
        let followed = |name: String, acts: Vec<Act>| {
            case("surplus", SECTION, name)
                .send(GET)
                .await_client("\r\n\r\n")
                .await_plays(1)
                .send("GET /2 HTTP/1.1\r\nHost: t\r\n\r\n")
                .methods(&["GET"; 2])
                .acts(When::Whole, acts)
                .answer(text("second"))
                .without_evil()
                .second_is_its_own()
        };
        cases.push(followed(
            format!("{what} behind an answer, in the same bytes"),
            vec![send([ok(), more.clone()].concat()), Act::AwaitPing],
        ));
        cases.push(
            followed(
                format!("{what} behind an answer, later"),
                vec![
                    send(ok()),
                    Act::AwaitClient("ok"),
                    send(more),
                    Act::AwaitPing,
                ],
            )
            .delivers("ok"),
        );
    }
}

/// What comes on other streams than the one that was asked on.
fn unasked(cases: &mut Vec<Case>) {
    const SECTION: &str = "RFC 9113 §5.1, §8.4";
    let on = |stream: u32| {
        let head = frames::headers(stream, &[(":status", "200")], false);
        [head, frames::data(stream, "evil", true)].concat()
    };
    let promise = [
        &2u32.to_be_bytes()[..],
        &hpack::block(&[
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":authority", b"t"),
            (b":path", b"/2"),
        ]),
    ]
    .concat();
    let push = frames::frame(PUSH_PROMISE, END_HEADERS, ASKED, &promise);
    for (what, bytes) in [
        ("an answer on the next stream", on(3)),
        ("an answer on a stream far ahead", on(0x7fff_ffff)),
        ("an answer on a stream of the backend's own", on(2)),
        ("an answer on no stream", on(0)),
        ("a push", [push, on(2)].concat()),
    ] {
        for (when, answer) in [
            ("before", [bytes.clone(), text("ok")].concat()),
            ("behind", [text("ok"), bytes].concat()),
        ] {
            cases.push(
                case(
                    "surplus",
                    SECTION,
                    format!("{what} {when} its own: it goes nowhere"),
                )
                .send(GET)
                .await_client("\r\n\r\n")
                .await_plays(1)
                .send("GET /2 HTTP/1.1\r\nHost: t\r\n\r\n")
                .methods(&["GET"; 2])
                .answer_read(answer)
                .answer(text("second"))
                .without_evil()
                .second_is_its_own(),
            );
        }
    }
    for v in BOTH {
        cases.push(
            case(
                "surplus",
                SECTION,
                format!("an answer that comes once its client of {v} has left goes nowhere"),
            )
            .send(format!("GET / {v}\r\nHost: t\r\n\r\n"))
            .await_client("half")
            .reset()
            .await_plays(1)
            .closed()
            .acts(
                When::Whole,
                [
                    send([head("200", &[], false), data("half", false)].concat()),
                    Act::AwaitReset,
                    send(data("evil", true)),
                    Act::AwaitPing,
                ],
            )
            .without_evil(),
        );
    }
}
