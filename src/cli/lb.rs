//! The command line of `lb`: without a verb it serves.

use std::ffi::OsString;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{ask, complain, exit, serf, upgrade, usage};
use crate::argv::help::Page;
use crate::argv::{Table, table};
use crate::config::{self, Errors, Surroundings, flags};
use crate::log;

const ABOUT: &str = "\
A load balancer that finds its own backends.

Joins the web servers' gossip cluster (Serf's protocol), checks every backend itself, balances HTTP over those that answer, and relays TCP.";

const BEHIND: &str = "\
Examples:
  lb demo                                    see it work on this machine
  lb --cluster web --join 10.0.0.11          balance over the members with role web
  lb --backend 10.0.0.11:80 --listen :8080   balance over fixed backends

Every flag has an environment variable, shown in brackets; lists are separated by commas there. A flag wins over the environment, that over --config FILE, that over the default.
Exit codes: 0 done; 1 failed while running; 2 usage or configuration; 3 partial answer or failed check; 4 name conflict at the start; 5 nobody answers.";

/// Verbs that Serf does not have; `demo-child`, which the demo starts, is for nobody else.
const VERBS: &[(&str, &str)] = &[
    (
        "demo",
        "Show it on loopback: toy web servers, agents and a front, without root",
    ),
    (
        "check-config",
        "Say whether a configuration file is right, or everything that is wrong with it",
    ),
    (
        "pools",
        "Show the pools of a running lb: who is in, who is out, and why",
    ),
    ("upgrade", UPGRADE),
];

const UPGRADE: &str = "\
Have the program, as it is on disk now, take over from a running lb, without a request lost

The new process reads the configuration again, gets all sockets, and serves when it is ready; the old one finishes \
its requests and ends. If the new one fails, nothing changes. SIGUSR2 does the same.";

table! {
    /// What `lb check-config` takes.
    struct CheckConfig {
        /// The file
        file: PathBuf => "<FILE>",
        /// It is lb-agent's
        agent: bool => "--agent",
    }
}

table! {
    /// What `lb demo` takes.
    pub struct Demo {
        /// How many web servers
        pub nodes: usize => "--nodes <N>" or "3",
        /// Answer on https too (port 8443 or the next free one), by a certificate that nobody signed
        pub tls: bool => "--tls",
        /// Kill and restart nodes while failed requests are counted
        pub chaos: bool => "--chaos",
        /// Address to serve on; the next free port if it is taken
        pub listen: Option<SocketAddr> => "--listen <IP:PORT>" or "127.0.0.1:8080",
        /// Address of metrics, health and API; the next free port if it is taken
        pub admin: Option<SocketAddr> => "--admin <IP:PORT>" or "127.0.0.1:9901",
        /// End by itself after so many seconds
        pub seconds: Option<u64> => "--seconds <N>",
        /// Decides whom chaos kills
        pub seed: Option<u64> => "--seed <N>",
    }
}

table! {
    /// Flags of the verbs that read.
    struct Ask {
        /// Address of the running lb [default: 127.0.0.1:9901] [LB_ADMIN]
        admin: Option<SocketAddr> => "--admin <IP:PORT>",
        /// The answer as JSON
        json: bool => "--json",
    }
}

/// Where the demo serves, unless told otherwise.
pub const DEMO: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// What remains to be done.
#[derive(Debug)]
pub enum Todo {
    /// Run the front; the log has begun.
    Serve(Box<config::Front>),
    /// Run the demo.
    Demo(Demo),
    /// Be one of its processes.
    DemoChild(Vec<String>),
    /// Nothing.
    Exit(ExitCode),
}

/// Lines of the log that `monitor` shows first, in bytes.
const LOG_KEPT_BYTES: usize = 64 << 10;

/// Reads `argv` and the environment, and answers the verbs that need nothing else.
pub fn parse(mut argv: Vec<OsString>) -> Todo {
    let mut words = argv.split_off(argv.len().min(1));
    let todo = match usage::verb(&mut words) {
        Some(verb) => obeyed(&verb, words),
        None => served(words),
    };
    todo.unwrap_or_else(Todo::Exit)
}

fn served(words: Vec<OsString>) -> Result<Todo, ExitCode> {
    let verbs = verbs();
    let page = Page {
        command: "lb",
        about: ABOUT,
        verbs: &verbs,
        note: &|row| flags::sources(row, true),
        behind: BEHIND,
    };
    let mut flags = flags::Front::default();
    usage::fill(&page, &mut flags, words)?;
    Ok(serve(&flags))
}

fn verbs() -> Vec<(&'static str, &'static str)> {
    let first_line = |about: &'static str| about.lines().next().unwrap_or_default();
    let all = VERBS.iter().chain(serf::VERBS);
    all.map(|(name, about)| (*name, first_line(about)))
        .collect()
}

fn obeyed(verb: &str, words: Vec<OsString>) -> Result<Todo, ExitCode> {
    let fill = |table: &mut dyn Table, words| {
        let about = VERBS.iter().find(|(name, _)| *name == verb);
        let page = Page {
            command: &format!("lb {verb}"),
            about: about.map_or("", |(_, about)| about),
            verbs: &[],
            note: &|_| String::new(),
            behind: "",
        };
        usage::fill(&page, table, words)
    };
    match verb {
        "demo" => {
            let mut demo = Demo::default();
            fill(&mut demo, words)?;
            Ok(Todo::Demo(demo))
        }
        "demo-child" => {
            let role = words.iter().map(|word| word.to_string_lossy().into_owned());
            Ok(Todo::DemoChild(role.collect()))
        }
        "check-config" => {
            let mut with = CheckConfig::default();
            fill(&mut with, words)?;
            Ok(Todo::Exit(check_config(&with.file, with.agent)))
        }
        "pools" => {
            let mut with = Ask::default();
            fill(&mut with, words)?;
            Ok(asked("pools", &with, ask::pools))
        }
        "upgrade" => {
            let mut with = upgrade::Upgrade::default();
            fill(&mut with, words)?;
            Ok(Todo::Exit(upgrade::run(&with)))
        }
        _ => Err(serf::run("lb", verb, words)
            .unwrap_or_else(|| usage::unknown_verb("lb", verb, &verbs()))),
    }
}

fn serve(flags: &flags::Front) -> Todo {
    match config::front(flags, &Surroundings::of_process()) {
        Ok(front) => {
            log::init(front.log, crate::clock::wall, LOG_KEPT_BYTES);
            for warning in &front.warnings {
                tracing::warn!("{warning}");
            }
            Todo::Serve(Box::new(front))
        }
        Err(errors) => refused(errors),
    }
}

fn refused(what: impl std::fmt::Display) -> Todo {
    complain("lb", what);
    Todo::Exit(exit::USAGE.into())
}

fn check_config(file: &Path, agent: bool) -> ExitCode {
    let summary = if agent {
        config::check_agent(file).map(|agent| {
            let services = count(agent.services.len(), "service");
            (services, agent.warnings)
        })
    } else {
        config::check_front(file).map(|front| {
            let pools = count(front.clusters.len(), "pool");
            let listeners = count(front.proxy.listeners.len(), "listener");
            (format!("{pools}, {listeners}"), front.warnings)
        })
    };
    match summary {
        Ok((summary, warnings)) => {
            for warning in warnings {
                let _ = writeln!(std::io::stderr(), "{warning}");
            }
            let _ = writeln!(std::io::stdout(), "{}: ok: {summary}", file.display());
            ExitCode::SUCCESS
        }
        Err(Errors(errors)) => {
            for error in errors {
                // Without the program's name: editors find the place by a line's beginning.
                let _ = writeln!(std::io::stderr(), "{error}");
            }
            exit::USAGE.into()
        }
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn asked(what: &str, with: &Ask, show: fn(&serde_json::Value) -> String) -> Todo {
    let address = match (with.admin, std::env::var("LB_ADMIN")) {
        (Some(address), _) => address,
        (None, Ok(text)) if !text.is_empty() => match text.parse() {
            Ok(address) => address,
            Err(_) => {
                return refused(format_args!(
                    "LB_ADMIN={text}: is not IP:PORT; give --admin"
                ));
            }
        },
        _ => config::ADMIN,
    };
    Todo::Exit(ask::run(address, what, with.json, show))
}
