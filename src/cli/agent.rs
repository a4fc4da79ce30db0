//! The command line of `lb-agent`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use super::{complain, exit, serf, serf_agent, usage};
use crate::config::{self, Surroundings, flags};
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
    after_help = "Examples:\n  lb-agent --role web --port 80 --join 10.0.0.5   announce a web server\n  lb-agent members                                show who is in the cluster\n  lb-agent agent -role=web -tag port=80           all flags of `serf agent`, behind its verb\n\nEvery flag has an environment variable, shown in brackets; lists are separated by commas there. A flag wins over the environment, that over --config FILE, that over the default.\nExit codes: 0 done; 1 failed while running; 2 usage or configuration; 3 partial answer; 4 name conflict at the start; 5 nobody answers."
)]
struct LbAgent {
    #[command(flatten)]
    flags: flags::Agent,
    #[command(subcommand)]
    verb: Option<serf::Verb>,
}

/// Lines of the log that `monitor` shows first, in bytes: so few that they do not count in a heap of half a megabyte.
const LOG_KEPT_BYTES: usize = 16 << 10;

/// The command with its help as users see it.
pub fn command() -> clap::Command {
    flags::documented(LbAgent::command(), false)
}

/// Reads `argv` and the environment; the log has begun when it returns settings.
///
/// # Errors
/// The exit code, once everything was said.
pub fn parse(argv: Vec<OsString>) -> Result<config::Agent, ExitCode> {
    let mut around = Surroundings::of_process();
    let (argv, warnings) = match argv.get(1) {
        Some(verb) if verb == "agent" => {
            let flags = argv.into_iter().skip(2).collect();
            let serf = serf_agent::translate(flags, &command()).map_err(refused)?;
            around.variables.extend(serf.variables);
            (serf.argv, serf.warnings)
        }
        _ => (argv, Vec::new()),
    };
    let matches = usage::matches("lb-agent", command(), argv)?;
    let given = LbAgent::from_arg_matches(&matches).map_err(refused)?;
    if let Some(verb) = given.verb {
        return Err(serf::run("lb-agent", verb));
    }
    let mut agent = config::agent(&given.flags, &around).map_err(refused)?;
    agent.warnings.splice(0..0, warnings);
    log::init(agent.log, crate::clock::wall, LOG_KEPT_BYTES);
    Ok(agent)
}

fn refused(what: impl std::fmt::Display) -> ExitCode {
    complain("lb-agent", what);
    exit::USAGE.into()
}
