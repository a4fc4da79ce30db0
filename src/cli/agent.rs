//! The command line of `lb-agent`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use super::{complain, exit, usage};
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
    after_help = "Example: lb-agent --role web --port 80 --join 10.0.0.5\n\nEvery flag has an environment variable, shown in brackets; lists are separated by commas there. A flag wins over the environment, that over --config FILE, that over the default.\nExit codes: 0 done; 1 failed while running; 2 usage or configuration; 4 name conflict at the start."
)]
struct LbAgent {
    #[command(flatten)]
    flags: flags::Agent,
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
    let matches = usage::matches("lb-agent", command(), argv)?;
    let flags = LbAgent::from_arg_matches(&matches).map_err(|error| {
        complain("lb-agent", error);
        ExitCode::from(exit::USAGE)
    })?;
    let agent = config::agent(&flags.flags, &Surroundings::of_process()).map_err(|errors| {
        complain("lb-agent", errors);
        ExitCode::from(exit::USAGE)
    })?;
    log::init(agent.log, crate::clock::wall, LOG_KEPT_BYTES);
    Ok(agent)
}
