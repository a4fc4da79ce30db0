//! The rules, and why some of their cells are empty.

use crate::case::{CELLS, Case, Side, Version};

/// One rule; a cell for each side and version.
pub(crate) struct Rule {
    /// As cases name it.
    pub(crate) id: &'static str,
    /// What it demands.
    pub(crate) says: &'static str,
    /// Cells without cases.
    empty: &'static [Empty],
}

/// No case: where, and why.
struct Empty {
    side: Side,
    /// Both if not said.
    version: Option<Version>,
    why: &'static str,
}

impl Rule {
    /// Why a cell is empty; nothing if it must have cases.
    pub(crate) fn why_empty(&self, side: Side, version: Version) -> Option<&'static str> {
        let here =
            |empty: &&Empty| empty.side == side && empty.version.is_none_or(|only| only == version);
        let why = self.empty.iter().find(here).map(|empty| empty.why);
        match version {
            Version::V20 => why.or_else(|| why_not_in_two(self.id, side)),
            _ => why,
        }
    }
}

const fn none(side: Side, why: &'static str) -> Empty {
    Empty {
        side,
        version: None,
        why,
    }
}

const fn not_in(side: Side, version: Version, why: &'static str) -> Empty {
    Empty {
        side,
        version: Some(version),
        why,
    }
}

const fn rule(id: &'static str, says: &'static str, empty: &'static [Empty]) -> Rule {
    Rule { id, says, empty }
}

const CODED_IN_1_0: &[Empty] = &[
    not_in(
        Side::Client,
        Version::V10,
        "no coding in 1.0: see Transfer-Encoding",
    ),
    not_in(
        Side::Backend,
        Version::V10,
        "no coding in 1.0: see Transfer-Encoding",
    ),
];
const IN_EXHAUSTION: &str = "no frames in HTTP/1: see tests/exhaustion";
const FRAMES_IN_2: &[Empty] = &[
    not_in(Side::Client, Version::V10, "no frames in HTTP/1"),
    not_in(Side::Client, Version::V11, "no frames in HTTP/1"),
    not_in(Side::Backend, Version::V10, "no frames in HTTP/1"),
    not_in(Side::Backend, Version::V11, "no frames in HTTP/1"),
];
const OF_REQUESTS: &[Empty] = &[none(Side::Backend, "about requests only")];
const OF_RESPONSES: &[Empty] = &[none(Side::Client, "about responses only")];

/// Why HTTP/2 has no cell of this rule.
fn why_not_in_two(rule: &str, side: Side) -> Option<&'static str> {
    Some(match rule {
        "both lengths" | "coding" => "no transfer coding in HTTP/2: see hop by hop",
        "line ends" | "folds" => "no lines in HTTP/2: see fields",
        "chunk size" | "chunk ends" => "frames, not chunks: see frames",
        "unchunked" if side == Side::Client => "frames, not chunks",
        "absolute" => ":scheme, :authority and :path are apart: see host",
        "connection lists" => "no Connection in HTTP/2: see hop by hop",
        "websocket" if side == Side::Client => "no upgrade in HTTP/2, and CONNECT is refused",
        "upgrade idle" => "no upgrade in HTTP/2: see websocket, connect",
        "h2c" => "it is HTTP/2 already",
        _ => return None,
    })
}

/// All of them, in the order of the table.
pub(crate) const RULES: &[Rule] = &[
    rule(
        "both lengths",
        "Content-Length with Transfer-Encoding is refused",
        &[],
    ),
    rule("length", "Content-Length is one plain number, once", &[]),
    rule(
        "coding",
        "Transfer-Encoding is exactly one final `chunked`, and never in 1.0",
        &[],
    ),
    rule(
        "line ends",
        "every line ends with CRLF: no bare LF, no CR alone",
        &[],
    ),
    rule("folds", "no folded lines", &[]),
    rule(
        "fields",
        "no space before the colon, no NUL or control, names are tokens",
        &[],
    ),
    rule(
        "chunk size",
        "chunk sizes are plain and bounded hex",
        CODED_IN_1_0,
    ),
    rule(
        "chunk ends",
        "every CRLF of a chunked body is checked",
        CODED_IN_1_0,
    ),
    rule(
        "extensions",
        "chunk extensions are dropped, trailers dropped or filtered, both bounded",
        CODED_IN_1_0,
    ),
    rule(
        "frames",
        "what is no frame of HTTP/2 ends its stream or connection, what is only odd does not",
        FRAMES_IN_2,
    ),
    rule(
        "start line",
        "a bad start line is refused, nothing is HTTP/0.9",
        &[],
    ),
    rule(
        "surplus",
        "bytes behind a message never become part of another exchange",
        &[],
    ),
    rule("truncation", "a message cut short is seen as cut", &[]),
    rule(
        "bodiless",
        "HEAD, 204, 304 and 1xx have no body whatever they claim",
        &[],
    ),
    rule("interim", "any number of 1xx may precede the answer", &[]),
    rule("expect", "`Expect: 100-continue` is passed on", &[]),
    rule("early", "an early answer is delivered at once", &[]),
    rule("request body", "a GET keeps its body", OF_REQUESTS),
    rule(
        "unchunked",
        "1.0 clients get unchunked bodies",
        &[not_in(
            Side::Backend,
            Version::V10,
            "no coding in 1.0: see Transfer-Encoding",
        )],
    ),
    rule(
        "close-delimited",
        "a body up to the close is whole, and its end is seen",
        &[],
    ),
    rule(
        "pipelining",
        "pipelined requests keep order and leftover bytes",
        &[],
    ),
    rule(
        "persistence",
        "connections are kept, and closed, as both ends say",
        &[],
    ),
    rule("version", "each hop speaks its own version", &[]),
    rule(
        "host",
        "Host missing in 1.1, twice, or invalid is refused",
        OF_REQUESTS,
    ),
    rule(
        "absolute",
        "for an absolute target the Host is rebuilt",
        OF_REQUESTS,
    ),
    rule("target", "targets of other forms are refused", OF_REQUESTS),
    rule("connect", "CONNECT is refused", OF_REQUESTS),
    rule(
        "trace",
        "TRACE never carries credentials on; Max-Forwards is obeyed",
        OF_REQUESTS,
    ),
    rule(
        "hop by hop",
        "hop-by-hop fields are dropped, over all Connection lines",
        &[],
    ),
    rule(
        "connection lists",
        "Connection cannot list Host or the framing",
        &[],
    ),
    rule(
        "untrusted",
        "forwarded fields of strangers are replaced",
        OF_REQUESTS,
    ),
    rule(
        "trusted",
        "forwarded fields of trusted proxies are kept, ours appended",
        OF_REQUESTS,
    ),
    rule(
        "limits",
        "line, field count and head are bounded: 414, 431, 502",
        &[],
    ),
    rule("via", "Via is added", &[]),
    rule("date", "an answer has a Date", &[]),
    rule("untouched", "all other fields pass as they are", &[]),
    rule(
        "websocket",
        "a tunnel only for websocket, only when asked, only after the 101",
        &[not_in(
            Side::Backend,
            Version::V10,
            "1.0 knows no 101: see unasked 101",
        )],
    ),
    rule("h2c", "an upgrade to h2c is never passed on", OF_REQUESTS),
    rule(
        "unasked 101",
        "a 101 that nobody asked for is a 502",
        OF_RESPONSES,
    ),
    rule(
        "retry",
        "a kept connection that closes under a GET: asked again; under a POST: 502",
        &[none(
            Side::Client,
            "the method and the backend's connection decide, not the client's version",
        )],
    ),
    rule("slow head", "a head has a limit: 408, 504", &[]),
    rule(
        "slow body",
        "a body that stands still has a limit, a slow one has none",
        &[],
    ),
    rule("first byte", "a silent backend is a 504", OF_RESPONSES),
    rule(
        "slow connect",
        "a backend that does not take a connection is given up in time",
        &[
            none(Side::Client, "about the way to backends"),
            not_in(
                Side::Backend,
                Version::V10,
                "no version is spoken yet: see 1.1",
            ),
        ],
    ),
    rule(
        "upgrade idle",
        "a tunnel in which nothing moves is ended, a slow one is not",
        &[
            not_in(Side::Client, Version::V10, "1.0 knows no upgrade"),
            not_in(Side::Backend, Version::V10, "1.0 knows no 101"),
        ],
    ),
    rule(
        "idle",
        "an idle connection is closed without a word",
        &[not_in(
            Side::Backend,
            Version::V10,
            "a 1.0 backend's connection is not kept: see persistence",
        )],
    ),
    rule(
        "linger",
        "an error answer is not eaten by a reset",
        &[none(Side::Backend, "about answers of our own")],
    ),
    rule(
        "floods",
        "frames that cost their sender nothing are bounded, or harm nobody else",
        &[
            not_in(Side::Client, Version::V10, IN_EXHAUSTION),
            not_in(Side::Client, Version::V11, IN_EXHAUSTION),
            not_in(Side::Backend, Version::V10, "no frames in HTTP/1"),
            not_in(Side::Backend, Version::V11, "no frames in HTTP/1"),
        ],
    ),
];

/// Cells with neither cases nor a reason, with both, and cases of no rule.
pub(crate) fn holes(cases: &[Case]) -> Vec<String> {
    let mut holes = Vec::new();
    for rule in RULES {
        for (side, version) in CELLS {
            {
                let has = cases.iter().any(|case| {
                    case.rule == rule.id && case.side == side && case.version == version
                });
                if has == rule.why_empty(side, version).is_some() {
                    let which = if has {
                        "both cases and a reason to have none"
                    } else {
                        "neither"
                    };
                    holes.push(format!("{}: {side:?} {version}: {which}", rule.id));
                }
            }
        }
    }
    let known = |case: &&Case| !RULES.iter().any(|rule| rule.id == case.rule);
    let strangers = cases.iter().filter(known);
    holes.extend(strangers.map(|case| format!("no such rule: {}", case.title())));
    holes
}
