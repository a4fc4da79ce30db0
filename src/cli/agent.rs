//! The command line of `lb-agent`.

use std::ffi::OsString;
use std::process::ExitCode;

use super::{companion, complain, exit, serf, usage};
use crate::argv::help::Page;
use crate::config::serf::Arguments;
use crate::config::{self, Surroundings, flags};
use crate::log;

const ABOUT: &str = "\
Announces what this node serves, so that load balancers find it.

Joins the gossip cluster (Serf's protocol), tells role, port and weight, and leaves properly when stopped.";

const BEHIND: &str = "\
Examples:
  lb-agent --role web --port 80 --join 10.0.0.5   announce a web server
  lb-agent members                                show who is in the cluster
  lb-agent agent -role=web -tag port=80           all flags of `serf agent`, behind its verb
  lb-agent run --role web --port 80 -- COMMAND    start COMMAND, join when its port opens, leave before it is stopped
  lb-agent report pass                            renew the promise of --check ttl:30s; `report fail REASON` breaks it

Every flag has an environment variable, shown in brackets; lists are separated by commas there. A flag wins over the environment, that over --config FILE, that over the default.
Exit codes: 0 done; 1 failed while running; 2 usage or configuration; 3 partial answer; 4 name conflict at the start; 5 nobody answers; of run: the command's.";

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

/// Reads `argv` and the environment, and answers the verbs that need nothing else.
///
/// # Errors
/// The exit code, once everything was said.
pub fn parse(mut argv: Vec<OsString>) -> Result<Todo, ExitCode> {
    let around = Surroundings::of_process();
    let (mut variables, mut warnings, mut serf_s) = (around.clone(), Vec::new(), None);
    let mut service = None;
    let mut words = argv.split_off(argv.len().min(1));
    match words.first().and_then(|verb| verb.to_str()) {
        Some("report") => return Err(companion::report(words.split_off(1), &around)),
        Some("run") => {
            words.remove(0);
            service = companion::behind_dashes(&mut words)?;
        }
        Some("agent") => {
            let given = words.split_off(1);
            let ours = config::serf::translate(given.clone()).map_err(refused)?;
            variables.variables.extend(ours.variables);
            (words, warnings, serf_s) = (ours.words, ours.warnings, Some(Arguments(given)));
        }
        _ => {}
    }
    if let Some(verb) = usage::verb(&mut words) {
        let unknown = || usage::unknown_verb("lb-agent", &verb, serf::VERBS);
        return Err(serf::run("lb-agent", &verb, words).unwrap_or_else(unknown));
    }
    let page = Page {
        command: "lb-agent",
        about: ABOUT,
        verbs: serf::VERBS,
        note: &|row| flags::sources(row, false),
        behind: BEHIND,
    };
    let mut given = flags::Agent::default();
    usage::fill(&page, &mut given, words)?;
    given.serf = serf_s.is_some();
    let mut config = config::agent(&given, &variables).map_err(refused)?;
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
