//! The command line of `lb-agent`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use super::{companion, complain, exit, serf, usage};
use crate::config::serf::Arguments;
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
    after_help = "Examples:\n  lb-agent --role web --port 80 --join 10.0.0.5   announce a web server\n  lb-agent members                                show who is in the cluster\n  lb-agent agent -role=web -tag port=80           all flags of `serf agent`, behind its verb\n  lb-agent run --role web --port 80 -- COMMAND    start COMMAND, join when its port opens, leave before it is stopped\n  lb-agent report pass                            renew the promise of --check ttl:30s; `report fail REASON` breaks it\n\nEvery flag has an environment variable, shown in brackets; lists are separated by commas there. A flag wins over the environment, that over --config FILE, that over the default.\nExit codes: 0 done; 1 failed while running; 2 usage or configuration; 3 partial answer; 4 name conflict at the start; 5 nobody answers; of run: the command's."
)]
struct LbAgent {
    #[command(flatten)]
    flags: flags::Agent,
    #[command(subcommand)]
    verb: Option<serf::Verb>,
}

/// What remains to be done.
#[derive(Debug)]
pub struct Todo {
    /// Be an agent with these settings; the log has begun.
    pub config: config::Agent,
    /// For this service.
    pub command: Option<Vec<OsString>>,
}

/// Lines of the log that `monitor` shows first, in bytes: so few that they do not count in a heap of half a megabyte.
const LOG_KEPT_BYTES: usize = 16 << 10;

/// The command with its help as users see it.
pub fn command() -> clap::Command {
    flags::documented(LbAgent::command(), false)
}

/// Whether anything but an agent's flags stands in `argv`.
fn wants_more(argv: &[OsString]) -> bool {
    let word = argv.get(1).and_then(|word| word.to_str());
    let is_verb = word.is_some_and(|word| !word.starts_with('-'));
    let wants_help = |argument: &OsString| argument == "--help" || argument == "-h";
    is_verb || argv.iter().any(wants_help)
}

/// Reads `argv` and the environment, and answers the verbs that need nothing else.
///
/// # Errors
/// The exit code, once everything was said.
pub fn parse(mut argv: Vec<OsString>) -> Result<Todo, ExitCode> {
    let around = Surroundings::of_process();
    let (mut variables, mut warnings, mut serf_s) = (around.clone(), Vec::new(), None);
    let mut service = None;
    match argv.get(1).and_then(|verb| verb.to_str()) {
        Some("report") => return Err(companion::report(argv, &around)),
        Some("run") => {
            argv.remove(1);
            service = companion::behind_dashes(&mut argv)?;
        }
        Some("agent") => {
            let given = argv.split_off(2);
            let ours = config::serf::translate(given.clone(), &flags::agent()).map_err(refused)?;
            variables.variables.extend(ours.variables);
            (argv, warnings, serf_s) = (ours.argv, ours.warnings, Some(Arguments(given)));
        }
        _ => {}
    }
    let all = if wants_more(&argv) {
        command()
    } else {
        flags::agent()
    };
    let matches = usage::matches("lb-agent", all, argv)?;
    let given = LbAgent::from_arg_matches(&matches).map_err(refused)?;
    if let Some(verb) = given.verb {
        return Err(serf::run("lb-agent", verb));
    }
    let mut config = config::agent(&given.flags, &variables).map_err(refused)?;
    if serf_s.is_some() {
        config.given.serf = serf_s;
        config.given.around = around;
    }
    config.warnings.splice(0..0, warnings);
    log::init(config.log, crate::clock::wall, LOG_KEPT_BYTES);
    Ok(Todo {
        config,
        command: service,
    })
}

fn refused(what: impl std::fmt::Display) -> ExitCode {
    complain("lb-agent", what);
    exit::USAGE.into()
}
