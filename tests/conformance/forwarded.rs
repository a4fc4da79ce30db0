//! Who the client is: told by us, or by proxies that we trust.

use crate::case::{BOTH, Case, Version};
use crate::subject::Profile;
use crate::wire::Message;

const SECTION: &str = "RFC 7239 §4–§7";
const US: &str = "127.0.0.1";

/// The cases of this theme.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    for v in BOTH {
        untrusted(cases, v);
        trusted(cases, v);
    }
}

/// What a stranger may write to be somebody else.
const LIES: &[(&str, &str)] = &[
    ("X-Forwarded-For", "X-Forwarded-For: 6.6.6.6"),
    (
        "X-Forwarded-For twice",
        "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 6.6.6.6, 6.6.6.6",
    ),
    ("X-Forwarded-Host", "X-Forwarded-Host: evil"),
    ("X-Forwarded-Proto", "X-Forwarded-Proto: evil"),
    ("X-Forwarded-Port", "X-Forwarded-Port: evil"),
    ("X-Forwarded-Server", "X-Forwarded-Server: evil"),
    ("X-Forwarded-Prefix", "X-Forwarded-Prefix: /evil"),
    ("X-Real-IP", "X-Real-IP: 6.6.6.6"),
    ("Forwarded", "Forwarded: for=6.6.6.6;host=evil"),
    (
        "Forwarded twice",
        "Forwarded: for=6.6.6.6\r\nforwarded: for=\"[::6.6.6.6]\"",
    ),
    ("underscores", "X_Forwarded_For: 6.6.6.6"),
];

fn untrusted(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "untrusted";
    for (name, lines) in LIES {
        cases.push(
            Case::client(RULE, SECTION, v, format!("{name} is not believed"))
                .send(format!("GET / {v}\r\nHost: t\r\n{lines}\r\n\r\n"))
                .delivers("ok")
                .holds("nothing of it goes on", |outcome| {
                    let text = String::from_utf8_lossy(&outcome.received()).into_owned();
                    !text.contains("6.6.6.6") && !text.contains("evil")
                })
                .request("the client's address is told once", |request| {
                    request.all("x-forwarded-for") == [US]
                }),
        );
    }
    cases.push(
        Case::client(RULE, SECTION, v, "scheme and host are told as they are")
            .send(format!("GET / {v}\r\nHost: t\r\n\r\n"))
            .delivers("ok")
            .request("X-Forwarded-Proto and X-Forwarded-Host", |request| {
                request.all("x-forwarded-proto") == ["http"]
                    && request.all("x-forwarded-host") == ["t"]
            }),
    );
    cases.push(
        Case::client(RULE, SECTION, v, "Forwarded tells address, host and scheme")
            .send(format!("GET / {v}\r\nHost: t\r\n\r\n"))
            .delivers("ok")
            .request("one element", |request| {
                let Some(one) = request.one("forwarded") else {
                    return false;
                };
                let one = one.to_lowercase().replace('"', "");
                let pairs: Vec<&str> = one.split(';').map(str::trim).collect();
                ["for=127.0.0.1", "host=t", "proto=http"]
                    .iter()
                    .all(|pair| pairs.contains(pair))
            }),
    );
    cases.push(
        Case::client(RULE, "RFC 9110 §7.6.1", v, "Connection cannot take ours away")
            .send(format!("GET / {v}\r\nHost: t\r\nConnection: X-Forwarded-For, Forwarded, Via, X-Forwarded-Proto\r\n\r\n"))
            .status(&[200, 400])
            .holds("they are there", |outcome| {
                let there = |request: &Message| {
                    request.all("x-forwarded-for") == [US] && request.has("x-forwarded-proto")
                };
                outcome.requests.iter().all(|(_, request)| there(request))
            }),
    );
}

fn trusted(cases: &mut Vec<Case>, v: Version) {
    const RULE: &str = "trusted";
    let case = |name: &str, lines: &str| {
        Case::client(RULE, SECTION, v, name)
            .profile(Profile::Trusting)
            .send(format!("GET / {v}\r\nHost: t\r\n{lines}\r\n"))
            .delivers("ok")
    };
    let listed = |request: &Message, name: &str| -> Vec<String> {
        let all = request.all(name).join(",");
        all.split(',').map(|item| item.trim().to_owned()).collect()
    };
    cases.push(
        case(
            "X-Forwarded-For is continued",
            "X-Forwarded-For: 1.2.3.4\r\n",
        )
        .request("theirs, then the proxy", move |request| {
            listed(request, "x-forwarded-for") == ["1.2.3.4", US]
        }),
    );
    cases.push(
        case(
            "over all lines",
            "X-Forwarded-For: 1.2.3.4, 1.2.3.5\r\nA: b\r\nx-forwarded-for: 1.2.3.6\r\n",
        )
        .request("in order, then the proxy", move |request| {
            listed(request, "x-forwarded-for") == ["1.2.3.4", "1.2.3.5", "1.2.3.6", US]
        }),
    );
    cases.push(
        case(
            "Forwarded is continued",
            "Forwarded: for=1.2.3.4;proto=https\r\nForwarded: for=1.2.3.5\r\n",
        )
        .request("theirs, then the proxy", move |request| {
            let all = listed(request, "forwarded");
            all.len() == 3
                && all[0] == "for=1.2.3.4;proto=https"
                && all[1] == "for=1.2.3.5"
                && all[2]
                    .to_lowercase()
                    .replace('"', "")
                    .contains("for=127.0.0.1")
        }),
    );
    cases.push(
        case(
            "scheme and host that it tells are kept",
            "X-Forwarded-Proto: https\r\nX-Forwarded-Host: outside\r\n",
        )
        .request("they are the same", |request| {
            request.all("x-forwarded-proto") == ["https"]
                && request.all("x-forwarded-host") == ["outside"]
        }),
    );
    cases.push(
        case("a proxy that tells nothing is the client", "")
            .request("its own address", move |request| {
                listed(request, "x-forwarded-for") == [US]
            }),
    );
}
