//! The command line of `lb-agent`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueEnum};

use super::{complain, exit, serf, serf_agent, usage};
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
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs",
    after_help = "More verbs:\n  run [FLAGS] -- COMMAND…     start COMMAND, join when its port opens, leave before it is stopped, end with its exit code\n  report pass|fail [REASON]   renew the promise of --check ttl:, or break it\n  agent [FLAGS]               the same as without a verb, with the flags of `serf agent`\n\nExamples:\n  lb-agent --role web --port 80 --join 10.0.0.5   announce a web server\n  lb-agent members                                show who is in the cluster\n\nEvery flag has an environment variable, shown in brackets; lists are separated by commas there. A flag wins over the environment, that over --config FILE, that over the default.\nExit codes: 0 done; 1 failed while running; 2 usage or configuration; 3 partial answer; 4 name conflict at the start; 5 nobody answers; of run: the command's."
)]
struct LbAgent {
    #[command(flatten)]
    flags: flags::Agent,
    #[command(subcommand)]
    verb: Option<serf::Verb>,
}

/// Lines of the log that `monitor` shows first, in bytes: so few that they do not count in a heap of half a megabyte.
const LOG_KEPT_BYTES: usize = 16 << 10;

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
    let mut around = Surroundings::of_process();
    let mut warnings = Vec::new();
    let verb = argv.get(1).and_then(|verb| verb.to_str());
    let command = match verb {
        Some("report") => return Err(report(argv)),
        Some("run") => {
            argv.remove(1);
            behind_dashes(&mut argv)?
        }
        Some("agent") => {
            let serf = serf_agent::translate(argv.split_off(2), &command()).map_err(refused)?;
            around.variables.extend(serf.variables);
            (argv, warnings) = (serf.argv, serf.warnings);
            None
        }
        _ => None,
    };
    let matches = usage::matches("lb-agent", self::command(), argv)?;
    let given = LbAgent::from_arg_matches(&matches).map_err(refused)?;
    if let Some(verb) = given.verb {
        return Err(serf::run("lb-agent", verb));
    }
    let mut config = config::agent(&given.flags, &around).map_err(refused)?;
    config.warnings.splice(0..0, warnings);
    log::init(config.log, crate::clock::wall, LOG_KEPT_BYTES);
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

fn refused(what: impl std::fmt::Display) -> ExitCode {
    complain("lb-agent", what);
    exit::USAGE.into()
}
