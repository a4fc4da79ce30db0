//! The command line of `lb`: without a verb it serves.

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use super::{ask, complain, exit, serf, upgrade, usage};
use crate::config::{self, Errors, Surroundings, flags};
use crate::log;

/// A load balancer that finds its own backends.
///
/// Joins the web servers' gossip cluster (Serf's protocol), checks every backend itself,
/// balances HTTP over those that answer, and relays TCP.
#[derive(Parser, Debug)]
#[command(
    name = "lb",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs",
    after_help = "Examples:\n  lb demo                                    see it work on this machine\n  lb --cluster web --join 10.0.0.11          balance over the members with role web\n  lb --backend 10.0.0.11:80 --listen :8080   balance over fixed backends\n\nEvery flag has an environment variable, shown in brackets; lists are separated by commas there. A flag wins over the environment, that over --config FILE, that over the default.\nExit codes: 0 done; 1 failed while running; 2 usage or configuration; 3 partial answer or failed check; 4 name conflict at the start; 5 nobody answers."
)]
struct Lb {
    #[command(flatten)]
    flags: flags::Front,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Show it on loopback: toy web servers, agents and a front, without root
    Demo(Demo),
    /// What the demo starts
    #[command(hide = true)]
    DemoChild {
        /// See `demo::run_child`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        role: Vec<String>,
    },
    /// Say whether a configuration file is right, or everything that is wrong with it
    CheckConfig {
        /// The file
        file: PathBuf,
        /// It is lb-agent's
        #[arg(long)]
        agent: bool,
    },
    /// Show the pools of a running lb: who is in, who is out, and why
    Pools(Ask),
    /// Have the program, as it is on disk now, take over from a running lb, without a request lost
    ///
    /// The new process reads the configuration again, gets all sockets, and serves when it is ready; the old one finishes
    /// its requests and ends. If the new one fails, nothing changes. SIGUSR2 does the same.
    Upgrade(upgrade::Upgrade),
    #[command(flatten)]
    Serf(serf::Verb),
}

/// What `lb demo` takes.
#[derive(clap::Args, Clone, Debug, PartialEq, Eq)]
pub struct Demo {
    /// How many web servers
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub nodes: usize,
    /// Answer on https too (port 8443 or the next free one), by a certificate that nobody signed
    #[arg(long)]
    pub tls: bool,
    /// Kill and restart nodes while failed requests are counted
    #[arg(long)]
    pub chaos: bool,
    /// Address to serve on; the next free port if it is taken
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address of metrics, health and API; the next free port if it is taken
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9901")]
    pub admin: SocketAddr,
    /// End by itself after so many seconds
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// Decides whom chaos kills
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Flags of the verbs that read.
#[derive(clap::Args, Debug)]
struct Ask {
    /// Address of the running lb [default: 127.0.0.1:9901] [LB_ADMIN]
    #[arg(long, value_name = "IP:PORT")]
    admin: Option<SocketAddr>,
    /// The answer as JSON
    #[arg(long)]
    json: bool,
}

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

/// The command with its help as users see it.
pub fn command() -> clap::Command {
    flags::documented(Lb::command(), true)
}

/// Reads `argv` and the environment, and answers the verbs that need nothing else.
pub fn parse(argv: Vec<OsString>) -> Todo {
    let matches = match usage::matches("lb", command(), argv) {
        Ok(matches) => matches,
        Err(code) => return Todo::Exit(code),
    };
    let lb = match Lb::from_arg_matches(&matches) {
        Ok(lb) => lb,
        Err(error) => return refused(error),
    };
    match lb.verb {
        None => serve(&lb.flags),
        Some(Verb::Demo(demo)) => Todo::Demo(demo),
        Some(Verb::DemoChild { role }) => Todo::DemoChild(role),
        Some(Verb::CheckConfig { file, agent }) => Todo::Exit(check_config(&file, agent)),
        Some(Verb::Pools(with)) => asked("pools", &with, ask::pools),
        Some(Verb::Upgrade(with)) => Todo::Exit(upgrade::run(&with)),
        Some(Verb::Serf(verb)) => Todo::Exit(serf::run("lb", verb)),
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
