//! The command line of `lb-agent`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueEnum};

use super::{complain, exit, usage};
use crate::config::{self, Surroundings, flags};
use crate::health::own::ttl;
use crate::log;

/// Announces what this node serves, so that load balancers find it.
///
/// Joins the gossip cluster (Serf's protocol), tells role, port and weight, and leaves
/// properly when stopped.
#[derive(Parser, Debug)]
#[command(
    name = "lb-agent",
    version,
    after_help = "Verbs:\n  lb-agent run [FLAGS] -- COMMAND…     start COMMAND, join when its port opens, leave before it is stopped, end with its exit code\n  lb-agent report pass|fail [REASON]   renew the promise of --check ttl:, or break it\n\nExample: lb-agent --role web --port 80 --join 10.0.0.5\n\nEvery flag has an environment variable, shown in brackets; lists are separated by commas there. A flag wins over the environment, that over --config FILE, that over the default.\nExit codes: 0 done; 1 failed while running; 2 usage or configuration; 4 name conflict at the start; of run: the command's."
)]
struct LbAgent {
    #[command(flatten)]
    flags: flags::Agent,
}

/// What `lb-agent report` takes.
#[derive(Args, Debug)]
struct Report {
    /// How the service is
    word: Word,
    /// Why it fails, for a person
    reason: Option<String>,
    /// Socket of the agent's ttl check; default: $NOTIFY_SOCKET, else the agent's default
    #[arg(long, value_name = "PATH")]
    check_socket: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    /// It works
    Pass,
    /// It does not
    Fail,
}

/// What remains to be done.
#[derive(Debug)]
pub struct Todo {
    /// Be an agent with these settings; the log has begun.
    pub config: config::Agent,
    /// For this service.
    pub command: Option<Vec<OsString>>,
}

/// The command with its help as users see it.
pub fn command() -> clap::Command {
    flags::documented(LbAgent::command(), false)
}

/// Reads `argv` and the environment, and answers the verbs that need nothing else.
///
/// # Errors
/// The exit code, once everything was said.
pub fn parse(mut argv: Vec<OsString>) -> Result<Todo, ExitCode> {
    let verb = argv.get(1).and_then(|verb| verb.to_str());
    let command = match verb {
        Some("report") => return Err(report(argv)),
        Some("run") => {
            argv.remove(1);
            behind_dashes(&mut argv)?
        }
        _ => None,
    };
    let matches = usage::matches("lb-agent", self::command(), argv)?;
    let flags = LbAgent::from_arg_matches(&matches).map_err(|error| {
        complain("lb-agent", error);
        ExitCode::from(exit::USAGE)
    })?;
    let config = config::agent(&flags.flags, &Surroundings::of_process()).map_err(|errors| {
        complain("lb-agent", errors);
        ExitCode::from(exit::USAGE)
    })?;
    log::init(config.log, crate::clock::wall);
    Ok(Todo { config, command })
}

/// The command behind `--`, cut off from the flags; `None` where only help is wanted.
fn behind_dashes(argv: &mut Vec<OsString>) -> Result<Option<Vec<OsString>>, ExitCode> {
    let Some(dashes) = argv.iter().position(|argument| argument == "--") else {
        let wants_help = |argument: &OsString| argument == "--help" || argument == "-h";
        if argv.iter().any(wants_help) {
            return Ok(None);
        }
        complain(
            "lb-agent",
            "run: the command is missing; write it behind --, like `lb-agent run --role web --port 80 -- nginx -g 'daemon off;'`",
        );
        return Err(exit::USAGE.into());
    };
    let command = argv.split_off(dashes).split_off(1);
    if command.is_empty() {
        complain("lb-agent", "run: the command is missing behind --");
        return Err(exit::USAGE.into());
    }
    Ok(Some(command))
}

/// Sends one report to the agent of this machine.
fn report(mut argv: Vec<OsString>) -> ExitCode {
    argv.remove(1);
    let command = clap::Command::new("lb-agent report")
        .about("Renews the promise of --check ttl:, or breaks it");
    let given = usage::matches("lb-agent report", Report::augment_args(command), argv);
    let given = match given {
        Ok(matches) => Report::from_arg_matches(&matches),
        Err(code) => return code,
    };
    let Report {
        word,
        reason,
        check_socket,
    } = match given {
        Ok(report) => report,
        Err(error) => {
            complain("lb-agent", error);
            return exit::USAGE.into();
        }
    };
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let socket = check_socket
        .or_else(|| variable("LB_CHECK_SOCKET").map(PathBuf::from))
        .or_else(|| variable("NOTIFY_SOCKET").map(PathBuf::from))
        .or_else(|| Surroundings::of_process().check_socket());
    let Some(socket) = socket else {
        complain(
            "lb-agent",
            "report: there is no default here; give --check-socket PATH",
        );
        return exit::USAGE.into();
    };
    let message = match (word, reason) {
        (Word::Pass, None) => ttl::PASS.to_owned(),
        (Word::Pass, Some(said)) => ttl::success(&said),
        (Word::Fail, reason) => {
            ttl::failure(&reason.unwrap_or_else(|| "reported as failing".to_owned()))
        }
    };
    match ttl::send(&socket, &message) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(
                "lb-agent",
                format_args!("report: nobody listens at {}: {error}", socket.display()),
            );
            exit::NOBODY.into()
        }
    }
}
