//! One script as the event handler of a stock agent and of ours: it must not be able to tell them apart.
//!
//! ```text
//! stock ◀─gossip─▶ lb-agent       serf event, serf query ─▶ stock's RPC
//!   └─ script ─▶ stock.log   └─ the same script ─▶ ours.log     compared, own names aside
//! ```

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;

use crate::common::{self, Running};
use crate::peers::{Agent, LONG, address, member_at};

/// Writes what it finds into one line: the environment, and stdin with its tags in order, as Serf's are in any.
const SCRIPT: &str = r#"#!/bin/sh
stdin=$(cat | while IFS= read -r line; do
    tags=$(printf '%s' "$line" | cut -sf4 | tr ',' '\n' | sort | tr '\n' ',')
    case "$SERF_EVENT" in
    member-*) printf '%s|%s;' "$(printf '%s' "$line" | cut -f1-3 | tr '\t' ' ')" "$tags" ;;
    *) printf '%s;' "$line" ;;
    esac
done)
env=$(env | grep ^SERF_ | sort | tr '\n' ' ')
printf '%s stdin=%s\n' "$env" "$stdin" >> "$(dirname "$0")/$SERF_SELF_NAME.seen"
"#;

struct Pair {
    stock: Agent,
    _ours: Running,
    directory: tempfile::TempDir,
}

/// A stock agent and ours, in one cluster, with `script` for everything and `queries` for queries.
fn start(test: u8, queries: &[&str]) -> Pair {
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("script");
    std::fs::write(&script, SCRIPT).expect("it is written");
    let handlers: Vec<String> = std::iter::once(format!("*=/bin/sh {}", script.display()))
        .chain(queries.iter().map(|query| (*query).to_owned()))
        .collect();
    let stock_flags: Vec<String> = handlers
        .iter()
        .map(|handler| format!("-event-handler={handler}"))
        .chain([
            "-tag".to_owned(),
            "v=1".to_owned(),
            "-tag".to_owned(),
            "svc.api=81".to_owned(),
        ])
        .collect();
    let stock_flags: Vec<&str> = stock_flags.iter().map(String::as_str).collect();
    let stock = Agent::start(directory.path(), "stock", &address(test, 1), &stock_flags);
    let mut command = agent(test, 2, "ours");
    command.args(["--tag", "svc.api=81"]);
    for handler in &handlers {
        command.args(["--event-handler", handler]);
    }
    let ours = Running::start("ours", directory.path(), &mut command);
    stock.sees("ours", "alive");
    Pair {
        stock,
        _ours: ours,
        directory,
    }
}

/// Ours, joining through the first.
fn agent(test: u8, host: u8, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-agent"));
    command.args([
        "--node",
        name,
        "--bind",
        &member_at(test, host),
        "--join",
        &member_at(test, 1),
    ]);
    command.args(["--role", "web", "--port", "8081", "--rpc-addr", "off"]);
    command.args(["--state-dir", "none", "--discover", "off"]);
    command
}

impl Pair {
    /// Lines that `name`'s script has written, with our own name replaced.
    fn seen(&self, name: &str) -> Vec<String> {
        let path = self.directory.path().join(format!("{name}.seen"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let own = format!("SERF_SELF_NAME={name} ");
        text.lines()
            .map(|line| line.replace(&own, "SERF_SELF_NAME=SELF "))
            .collect()
    }

    /// Waits until both have a line with `word`.
    fn told(&self, word: &str) {
        common::eventually(&format!("both are told of {word}"), LONG, || {
            ["stock", "ours"]
                .iter()
                .all(|name| self.seen(name).iter().any(|line| line.contains(word)))
                .then_some(())
        });
    }

    /// Lines with `word`, in order.
    fn with(&self, name: &str, word: &str) -> Vec<String> {
        let lines = self.seen(name).into_iter();
        lines.filter(|line| line.contains(word)).collect()
    }
}

#[test]
fn a_script_is_told_the_same_by_both() {
    if !common::system_tests(&["serf"]) {
        return;
    }
    let pair = start(138, &[]);
    pair.told("SERF_EVENT=member-join");

    for (name, payload) in [
        ("hoge", "1234567890"),
        ("empty", ""),
        ("lines", "a\nb\n"),
        ("odd", "a b'\"$x\\"),
    ] {
        let sent = pair.stock.run(&["event", "-coalesce=false", name, payload]);
        assert!(sent.status.success(), "{sent:?}");
        pair.told(&format!("SERF_USER_EVENT={name} "));
    }
    let mut third = Running::start("third", pair.directory.path(), &mut agent(138, 3, "third"));
    pair.told("third ");
    assert!(third.terminate().success());
    pair.told("SERF_EVENT=member-leave");

    for kind in ["SERF_EVENT=user", "SERF_EVENT=member-leave"] {
        let (stock, ours) = (pair.with("stock", kind), pair.with("ours", kind));
        println!("{}", ours.join("\n"));
        assert_eq!(ours, stock);
    }
    assert_eq!(pair.with("ours", "SERF_EVENT=user").len(), 4);
    // Who joined when differs; the lines about each member do not.
    let joins = |name: &str| -> BTreeSet<String> {
        let lines = pair.with(name, "SERF_EVENT=member-join");
        let stdin = lines.iter().filter_map(|line| line.split_once("stdin="));
        stdin
            .flat_map(|(_, stdin)| {
                stdin
                    .split_terminator(';')
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect()
    };
    assert_eq!(joins("ours"), joins("stock"));
    assert!(joins("ours").len() >= 3, "{:?}", joins("ours"));
}

#[test]
fn a_query_is_answered_the_same_by_both() {
    if !common::system_tests(&["serf"]) {
        return;
    }
    let pair = start(
        139,
        &[
            "query:uptime=echo up",
            "query:cat=cat",
            "query:fails=echo no; exit 1",
            "query:both=echo one; echo two >&2; echo three",
            "query:silent=true",
            "query:long=head -c 900 /dev/zero | tr '\\0' x",
            "query:too-long=head -c 3000 /dev/zero | tr '\\0' x",
        ],
    );
    let names = [
        "uptime", "cat", "fails", "both", "silent", "long", "too-long",
    ];
    let ask = |name: &str| -> serde_json::Value {
        let flags = ["query", "-format=json", "-timeout=10s", name, "the payload"];
        let asked = pair.stock.run(&flags);
        serde_json::from_slice(&asked.stdout).expect("JSON")
    };
    // Side by side, since each takes its whole time; one after the other begins, since a stock agent that is asked two
    // things at the same moment may give both the same time, and one of them then gets no answer.
    let answers: Vec<serde_json::Value> = thread::scope(|scope| {
        let (ask, pair) = (&ask, &pair);
        let asked: Vec<_> = names
            .map(|name| {
                let asked = scope.spawn(move || ask(name));
                pair.told(&format!("SERF_QUERY_NAME={name} "));
                asked
            })
            .into();
        let answers = asked
            .into_iter()
            .map(|asked| asked.join().expect("it is asked"));
        answers.collect()
    });
    for (name, answers) in names.into_iter().zip(answers) {
        let of = |node: &str| answers["Responses"][node].clone();
        assert_eq!(of("ours"), of("stock"), "{name}: {answers}");
        let expected = match name {
            "uptime" => Some("up\n".to_owned()),
            "cat" => Some("the payload\n".to_owned()),
            "both" => Some("one\ntwo\nthree\n".to_owned()),
            "long" => Some("x".repeat(900)),
            _ => None,
        };
        assert_eq!(
            of("ours").as_str().map(str::to_owned),
            expected,
            "{name}: {answers}"
        );
    }
    let queries = |name: &str| -> BTreeSet<String> {
        pair.with(name, "SERF_EVENT=query").into_iter().collect()
    };
    assert_eq!(queries("ours"), queries("stock"));
}
