//! Clap's opinion of argv, told in one line.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command};

use super::{complain, exit};

/// Verbs of the contract whose function is still to come.
const LATER: &[&str] = &[
    "join",
    "leave",
    "force-leave",
    "event",
    "query",
    "monitor",
    "tags",
    "keys",
    "keygen",
    "reachability",
    "rtt",
    "info",
    "drain",
    "undrain",
    "weight",
    "maintenance",
    "why",
    "timeline",
];

/// Matches `argv`, or tells what is wrong and how to exit. Help and version are no faults.
pub(super) fn matches(
    program: &str,
    command: Command,
    argv: Vec<OsString>,
) -> Result<ArgMatches, ExitCode> {
    if let Some(verb) = argv.get(1).and_then(|verb| verb.to_str())
        && LATER.contains(&verb)
    {
        complain(program, format_args!("{verb}: not built yet"));
        return Err(exit::USAGE.into());
    }
    command.try_get_matches_from(argv).map_err(|error| {
        if matches!(
            error.kind(),
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
        ) {
            // A closed stdout is no fault of ours.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        complain(
            program,
            format_args!("{}; `{program} --help` shows all", sentence(&error)),
        );
        exit::USAGE.into()
    })
}

/// What, and what was probably meant.
fn sentence(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let invalid = text(ContextKind::InvalidArg).unwrap_or_default();
    let meant = text(ContextKind::SuggestedArg).or_else(|| text(ContextKind::SuggestedSubcommand));
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    match error.kind() {
        ErrorKind::UnknownArgument => format!("{invalid}: unknown argument{meant}"),
        ErrorKind::InvalidSubcommand => {
            let verb = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("{verb}: unknown verb{meant}")
        }
        ErrorKind::ArgumentConflict if invalid.is_empty() => {
            "flags of the front and a verb don't go together".to_owned()
        }
        ErrorKind::ArgumentConflict => {
            format!("{invalid}: is given twice, or beside what excludes it")
        }
        ErrorKind::InvalidValue
            if text(ContextKind::InvalidValue).is_none_or(|value| value.is_empty()) =>
        {
            format!("{invalid}: a value is missing")
        }
        ErrorKind::MissingRequiredArgument => format!("{invalid}: is missing"),
        _ => {
            let rendered = error.to_string();
            let first = rendered.lines().next().unwrap_or_default();
            first.trim_start_matches("error: ").to_owned()
        }
    }
}
