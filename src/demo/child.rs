//! What this program does when the demo started it again.
//!
//! ```text
//! lb demo-child PARENT web NAME ADDRESS    toy web server
//! lb demo-child PARENT agent FLAGS…        lb-agent FLAGS…, so that its binary is not needed
//! lb demo-child PARENT front FLAGS…        becomes `lb FLAGS…`
//! ```

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::web::run_web;
use crate::argv::{self, Stop};
use crate::config::{self, Surroundings, flags};
use crate::{agent, log};

/// Plays the role that follows the hidden verb `demo-child`; returns when it ends.
///
/// The process dies with `PARENT`, however that ends.
pub fn run_child(args: &[String]) -> ExitCode {
    let [parent, kind, rest @ ..] = args else {
        return refuse(args);
    };
    let Ok(parent) = parent.parse::<i32>() else {
        return refuse(args);
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("lb demo: cannot be bound to the demo's life: {error}");
        return ExitCode::from(1);
    }
    // It may have died before we were bound to it; then nobody would ever end us.
    if getppid().is_none_or(|now| now.as_raw_nonzero().get() != parent) {
        return ExitCode::from(1);
    }
    match (kind.as_str(), rest) {
        ("web", [name, address]) => match address.parse() {
            Ok(address) => run_web(name.clone(), address),
            Err(_) => refuse(args),
        },
        ("agent", flags) => agent(flags),
        ("front", flags) => front(flags),
        _ => refuse(args),
    }
}

/// The same flags and the same code as `lb-agent`'s.
fn agent(given: &[String]) -> ExitCode {
    let mut flags = flags::Agent::default();
    let words = given.iter().map(Into::into).collect();
    let config = match argv::read(&mut flags, words) {
        Ok(()) => {
            config::agent(&flags, &Surroundings::of_process()).map_err(|errors| errors.to_string())
        }
        Err(Stop::Wrong(wrong)) => Err(wrong.to_string()),
        Err(Stop::Help { .. } | Stop::Version) => Err("see lb-agent --help".to_owned()),
    };
    match config {
        Ok(config) => {
            log::init(config.log, crate::clock::wall, 0);
            agent::run(config)
        }
        Err(errors) => {
            eprintln!("lb demo: {errors}");
            ExitCode::from(2)
        }
    }
}

/// The same process, so the bond to the parent holds, as `ps` would show any other front.
fn front(flags: &[String]) -> ExitCode {
    let error = match std::env::current_exe() {
        Ok(own) => Command::new(own).args(flags).exec(),
        Err(error) => error,
    };
    eprintln!("lb demo: becoming the front: {error}");
    ExitCode::from(1)
}

fn refuse(args: &[String]) -> ExitCode {
    eprintln!("lb demo-child {args:?}: this verb is for `lb demo` alone");
    ExitCode::from(2)
}
