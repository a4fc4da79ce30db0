//! Clap's opinion of argv, told in one line.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command};

use super::{complain, dashes, exit};

/// Verbs of the contract whose function is still to come.
const LATER: &[&str] = &[
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
    let argv = dashes::doubled(&command, argv);
    let verbs: Vec<String> = command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .map(|verb| verb.get_name().to_owned())
        .collect();
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
            format_args!("{}; `{program} --help` shows all", sentence(&error, &verbs)),
        );
        exit::USAGE.into()
    })
}

/// What, and what was probably meant.
fn sentence(error: &clap::Error, verbs: &[String]) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let invalid = text(ContextKind::InvalidArg).unwrap_or_default();
    let meant = |meant: Option<String>| match meant {
        Some(meant) => format!("; did you mean {meant}?"),
        None => String::new(),
    };
    match error.kind() {
        ErrorKind::UnknownArgument if invalid.starts_with('-') => {
            let meant = meant(text(ContextKind::SuggestedArg));
            format!("{invalid}: unknown flag{meant}")
        }
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => {
            let verb = text(ContextKind::InvalidSubcommand).unwrap_or(invalid);
            let near = verbs
                .iter()
                .find(|known| strsim::osa_distance(&verb, known) <= 2);
            format!("{verb}: unknown verb{}", meant(near.cloned()))
        }
        // Which verb it was, clap does not say.
        ErrorKind::ArgumentConflict if invalid.is_empty() => {
            "a verb takes no flags of the front".to_owned()
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
