//! Verbs of `lb-agent` that concern the service beside it.
//!
//! ```text
//! run [FLAGS] -- COMMAND…     ─▶ flags as always, and the command
//! report pass|fail [REASON]   ─▶ one datagram to the socket of the ttl check
//! ```

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

use super::{complain, exit, usage};
use crate::argv::help::Page;
use crate::argv::{Value, table};
use crate::config::Surroundings;
use crate::health::own::ttl;

table! {
    /// What `lb-agent report` takes.
    struct Report {
        /// How the service is
        word: Word => "<pass|fail>",
        /// Why it fails, for a person
        reason: Option<String> => "[REASON]",
        /// Socket of the agent's ttl check; default: $NOTIFY_SOCKET, else the agent's default
        check_socket: Option<PathBuf> => "--check-socket <PATH>",
    }
}

/// How the service is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Word {
    #[default]
    Pass,
    Fail,
}

impl Value for Word {
    fn read(text: &OsStr) -> Result<Self, String> {
        match text.to_str() {
            Some("pass") => Ok(Self::Pass),
            Some("fail") => Ok(Self::Fail),
            _ => Err("is neither pass nor fail".to_owned()),
        }
    }
}

/// The command behind `--`, cut off from the flags; `None` where only help is wanted.
pub(super) fn behind_dashes(argv: &mut Vec<OsString>) -> Result<Option<Vec<OsString>>, ExitCode> {
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
pub(super) fn report(words: Vec<OsString>, around: &Surroundings) -> ExitCode {
    let page = Page {
        command: "lb-agent report",
        about: "Renews the promise of --check ttl:, or breaks it",
        verbs: &[],
        note: &|_| String::new(),
        behind: "",
    };
    let mut given = Report::default();
    if let Err(code) = usage::fill(&page, &mut given, words) {
        return code;
    }
    let Report {
        word,
        reason,
        check_socket,
    } = given;
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let socket = check_socket
        .or_else(|| variable("LB_CHECK_SOCKET").map(PathBuf::from))
        .or_else(|| variable("NOTIFY_SOCKET").map(PathBuf::from))
        .or_else(|| around.check_socket());
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
