//! Members of any kind as processes, and the command lines that ask them.
//!
//! ```text
//! serf VERB, lb-agent VERB ─▶ RPC of a stock agent, an lb-agent or an lb ─▶ what was said
//! ```

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::common::{self, Running, bare};
use crate::peers::{LONG, PORT, address};

pub(crate) const KEY: &str = "tDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=";

/// A member of any kind, with an RPC.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) at: String,
    pub(crate) process: Running,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Stock,
    Agent,
    Front,
}

/// Which command line asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cli {
    Serf,
    Ours,
}

pub(crate) const BOTH: [Cli; 2] = [Cli::Serf, Cli::Ours];

/// What a verb printed.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    /// Of both streams, since Serf's faults are on stdout.
    pub(crate) all: String,
}

impl Said {
    /// Lines in an order of their own, tags too.
    pub(crate) fn sorted(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.stdout.lines().map(sorted_tags).collect();
        lines.sort();
        lines
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.all))
    }
}

/// `a  b=1,a=2` is `a  a=2,b=1`.
fn sorted_tags(line: &str) -> String {
    let words = line.split("  ").map(|word| {
        let mut tags: Vec<&str> = word.split(',').collect();
        if tags.iter().all(|tag| tag.contains('=')) {
            tags.sort_unstable();
        }
        tags.join(",")
    });
    words.collect::<Vec<_>>().join("  ")
}

impl Node {
    pub(crate) fn start(
        directory: &Path,
        kind: Kind,
        name: &'static str,
        at: &str,
        join: Option<&str>,
        more: &[&str],
    ) -> Self {
        let mut command = match kind {
            Kind::Stock => {
                let mut command = bare("serf");
                command.args(["agent", "-role=db", "-encrypt", KEY]);
                command
            }
            Kind::Agent => {
                let mut command = bare(env!("CARGO_BIN_EXE_lb-agent"));
                command.args(["--role", "web", "--port", "8081"]);
                command
            }
            Kind::Front => {
                let mut command = bare(env!("CARGO_BIN_EXE_lb"));
                command.args(["--cluster", "web"]);
                command.args(["--listen", &format!("{at}:8080")]);
                command.args(["--admin", &format!("{at}:9901")]);
                command
            }
        };
        if kind != Kind::Stock {
            let keys = directory.join("keys");
            std::fs::write(&keys, KEY).unwrap();
            command.arg("--encrypt-key-file").arg(keys);
            command.args(["--discover", "off", "--state-dir", "none"]);
        }
        let dashes = if kind == Kind::Stock { "-" } else { "--" };
        command.arg(format!("{dashes}node={name}"));
        command.arg(format!("{dashes}bind={at}:{PORT}"));
        command.arg(format!("{dashes}rpc-addr={at}:7373"));
        if let Some(join) = join {
            command.arg(format!("{dashes}join={join}:{PORT}"));
        }
        command.args(more);
        let process = Running::start(name, directory, &mut command);
        common::eventually("its RPC listens", LONG, || {
            TcpStream::connect(format!("{at}:7373")).ok()
        });
        Self {
            name,
            at: at.to_owned(),
            process,
        }
    }

    pub(crate) fn command(&self, cli: Cli, verb: &[&str]) -> Command {
        let mut command = match cli {
            Cli::Serf => bare("serf"),
            Cli::Ours => bare(env!("CARGO_BIN_EXE_lb-agent")),
        };
        command.args(verb);
        command.env("SERF_RPC_ADDR", format!("{}:7373", self.at));
        command
    }

    pub(crate) fn ask(&self, cli: Cli, verb: &[&str]) -> Said {
        let output = self.command(cli, verb).output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            code: output.status.code(),
            stdout: text(&output.stdout),
            all: text(&output.stdout) + &text(&output.stderr),
        }
    }

    /// By a verb that must work.
    pub(crate) fn done(&self, cli: Cli, verb: &[&str]) -> Said {
        let said = self.ask(cli, verb);
        assert_eq!(
            said.code,
            Some(0),
            "{cli:?} {verb:?} of {}: {}",
            self.name,
            said.all
        );
        said
    }

    /// Waits until it shows `name` with `status`; `-` for not at all.
    pub(crate) fn sees(&self, name: &str, status: &str) {
        common::eventually(
            &format!("{} shows {name} {status}", self.name),
            LONG,
            || {
                let said = self.ask(Cli::Serf, &["members", "-format=json", "-name", name]);
                let json: Value = serde_json::from_str(&said.stdout).ok()?;
                let found = json["members"][0]["status"]
                    .as_str()
                    .unwrap_or("-")
                    .to_owned();
                (found == status).then_some(())
            },
        );
    }

    pub(crate) fn monitor(&self, cli: Cli) -> (Child, impl FnMut(&str) -> String) {
        let mut child = self
            .command(cli, &["monitor", "-log-level=debug"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let until = move |part: &str| {
            for line in &mut lines {
                let line = line.expect("text");
                if line.contains(part) {
                    return line;
                }
            }
            panic!("the monitor ended before {part:?}");
        };
        (child, until)
    }
}

/// One of each kind, met.
pub(crate) fn three(directory: &Path, test: u8) -> [Node; 3] {
    let first = address(test, 1);
    let stock = Node::start(directory, Kind::Stock, "s1", &first, None, &[]);
    let agent = Node::start(
        directory,
        Kind::Agent,
        "l1",
        &address(test, 2),
        Some(&first),
        &[],
    );
    let front = Node::start(
        directory,
        Kind::Front,
        "f1",
        &address(test, 3),
        Some(&first),
        &[],
    );
    let all = [stock, agent, front];
    for node in &all {
        for name in ["s1", "l1", "f1"] {
            node.sees(name, "alive");
        }
    }
    all
}

/// Members by name, without what only one of several may have.
pub(crate) fn members(said: &Said) -> BTreeMap<String, Value> {
    let json = said.json();
    let members = json["members"].as_array().expect("a list");
    members
        .iter()
        .map(|member| {
            (
                member["name"].as_str().expect("a name").to_owned(),
                member.clone(),
            )
        })
        .collect()
}
