//! A command line is read, or told about in one line.

use std::ffi::OsString;
use std::process::ExitCode;

use super::{complain, exit};
use crate::argv::help::{self, Page};
use crate::argv::{self, Stop, Table, Wrong};

/// Verbs of the contract whose function is still to come.
const LATER: &[&str] = &[
    "drain",
    "undrain",
    "weight",
    "maintenance",
    "why",
    "timeline",
];

/// Fills `table` by `words`, or tells what is wrong and how to exit. Help and version are no faults.
pub(super) fn fill(
    page: &Page<'_>,
    table: &mut dyn Table,
    words: Vec<OsString>,
) -> Result<(), ExitCode> {
    let program = program(page.command);
    let said = match argv::read(table, words) {
        Ok(()) => return Ok(()),
        Err(Stop::Help { long }) => help::text(page, table, long),
        Err(Stop::Version) => format!("{program} {}\n", env!("CARGO_PKG_VERSION")),
        Err(Stop::Wrong(Wrong::Unexpected(word))) if !page.verbs.is_empty() => {
            return Err(unknown_verb(program, &word, page.verbs));
        }
        Err(Stop::Wrong(wrong)) => return Err(refused(program, wrong)),
    };
    // A closed stdout is no fault of ours.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), said.as_bytes());
    Err(ExitCode::SUCCESS)
}

/// The verb that `words` begin with, taken out of them.
pub(super) fn verb(words: &mut Vec<OsString>) -> Option<String> {
    let word = words.first()?.to_str()?;
    if word.is_empty() || word.starts_with('-') {
        return None;
    }
    let word = word.to_owned();
    words.remove(0);
    Some(word)
}

/// No such verb, or none in that place.
pub(super) fn unknown_verb(
    program: &str,
    word: &str,
    verbs: &[(&'static str, &'static str)],
) -> ExitCode {
    if LATER.contains(&word) {
        complain(program, format_args!("{word}: not built yet"));
        return exit::USAGE.into();
    }
    let mut names = verbs.iter().map(|(name, _)| *name);
    if names.clone().any(|name| name == word) {
        return refused(program, "a verb takes no flags of the front");
    }
    let near = names.find(|name| strsim::osa_distance(word, name) <= 2);
    refused(
        program,
        format_args!("{word}: unknown verb{}", argv::meant(near)),
    )
}

/// What is wrong, and where to read what is right.
pub(super) fn refused(program: &str, what: impl std::fmt::Display) -> ExitCode {
    complain(
        program,
        format_args!("{what}; `{program} --help` shows all"),
    );
    exit::USAGE.into()
}

/// Without the verb.
fn program(command: &str) -> &str {
    command.split(' ').next().unwrap_or_default()
}
