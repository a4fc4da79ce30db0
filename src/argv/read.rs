//! Words of a command line become fields of a table.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::{Bound, Row, Table, Takes};

/// Why a table is not filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Help is wanted: all of it, or in short.
    Help {
        /// All.
        long: bool,
    },
    /// The version is.
    Version,
    /// A fault.
    Wrong(Wrong),
}

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// No such flag here.
    #[error("{flag}: unknown flag{}", meant(.near.map(|name| format!("--{name}"))))]
    UnknownFlag {
        /// As it was written.
        flag: String,
        /// What was probably meant.
        near: Option<&'static str>,
    },
    /// No argument has its place there.
    #[error("{0}: unexpected argument")]
    Unexpected(String),
    /// Something is missing behind a flag.
    #[error("{0}: a value is missing")]
    NoValue(&'static str),
    /// What must be given is not.
    #[error("{0}: is missing")]
    Missing(&'static str),
    /// One value, given again.
    #[error("{0}: is given twice, or beside what excludes it")]
    Twice(&'static str),
    /// A value that is none.
    #[error("invalid value '{value}' for '{usage}': {why}")]
    Invalid {
        /// As it was written.
        value: String,
        /// Its row.
        usage: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// Likeness from which a name is suggested: takes "clutser" for "cluster" and "rol" for "role", but not "cluster" for "role".
const NEAR: f64 = 0.7;

/// How a suggestion ends a sentence.
pub fn meant(word: Option<impl std::fmt::Display>) -> String {
    word.map_or_else(String::new, |word| format!("; did you mean {word}?"))
}

/// Fills `table` by `words`, the program's name and verb not among them.
///
/// # Errors
/// Help or the version is wanted, or the first fault.
pub fn read(table: &mut dyn Table, words: Vec<OsString>) -> Result<(), Stop> {
    let mut rows = Vec::new();
    table.rows(&mut rows);
    let given = vec![false; rows.len()];
    let mut reading = Reading { rows, given };
    let mut words = words.into_iter().peekable();
    let mut literal = false;
    while let Some(word) = words.next() {
        if literal || !is_dashed(&word) {
            reading.place(&word)?;
            continue;
        }
        if word == "--" {
            literal = true;
            continue;
        }
        let (name, attached) = split(&word);
        let Some(at) = reading.named(name) else {
            reading.unknown(&word, name)?;
            continue;
        };
        let value = match (attached, reading.rows[at].0.takes()) {
            (Some(value), _) => value.to_owned(),
            (None, Takes::Nothing | Takes::Attached) => "true".into(),
            (None, Takes::One) => words
                .next_if(|next| !is_dashed(next))
                .ok_or(Wrong::NoValue(reading.rows[at].0.usage))?,
        };
        reading.take(at, &value)?;
    }
    reading.end()
}

/// Begins as a flag does; a negative number does not, so that "--weight -1" is told about weight, nor the "-" for stdin.
fn is_dashed(word: &OsStr) -> bool {
    match word.as_bytes() {
        [b'-', second, ..] => !second.is_ascii_digit(),
        _ => false,
    }
}

/// Name, and what is behind `=`.
fn split(word: &OsStr) -> (&OsStr, Option<&OsStr>) {
    let bytes = word.as_bytes();
    let bytes = &bytes[bytes
        .iter()
        .take(2)
        .take_while(|byte| **byte == b'-')
        .count()..];
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (
            OsStr::from_bytes(&bytes[..at]),
            Some(OsStr::from_bytes(&bytes[at + 1..])),
        ),
        None => (OsStr::from_bytes(bytes), None),
    }
}

/// A table on its way.
struct Reading<'t> {
    rows: Vec<Bound<'t>>,
    given: Vec<bool>,
}

impl Reading<'_> {
    fn named(&self, name: &OsStr) -> Option<usize> {
        let is_named = |row: &Row| row.flag().is_some_and(|flag| name == flag);
        self.rows.iter().position(|(row, _)| is_named(row))
    }

    /// The next argument that has no name.
    fn next_place(&self) -> Option<usize> {
        let rows = self.rows.iter().zip(&self.given);
        let mut rows =
            rows.map(|((row, field), given)| row.flag().is_none() && (!given || field.is_many()));
        rows.position(|is_next| is_next)
    }

    fn place(&mut self, word: &OsStr) -> Result<(), Stop> {
        match self.next_place() {
            Some(at) => self.take(at, word),
            None => Err(Wrong::Unexpected(word.to_string_lossy().into_owned()).into()),
        }
    }

    /// A word with a dash that is no flag of the table.
    fn unknown(&mut self, word: &OsStr, name: &OsStr) -> Result<(), Stop> {
        match word.to_str() {
            Some("-h") => return Err(Stop::Help { long: false }),
            Some("--help" | "-help") => return Err(Stop::Help { long: true }),
            Some("--version" | "-version" | "-V") => return Err(Stop::Version),
            _ => {}
        }
        if self
            .next_place()
            .is_some_and(|at| self.rows[at].0.is("raw"))
        {
            return self.place(word);
        }
        let flag = word.to_string_lossy();
        let flag = flag.split('=').next().unwrap_or_default().to_owned();
        let near = self.nearest(&name.to_string_lossy());
        Err(Wrong::UnknownFlag { flag, near }.into())
    }

    fn nearest(&self, name: &str) -> Option<&'static str> {
        let shown = self.rows.iter().filter(|(row, _)| !row.is("hidden"));
        shown
            .filter_map(|(row, _)| row.flag())
            .map(|flag| (strsim::jaro(name, flag), flag))
            .filter(|(likeness, _)| *likeness > NEAR)
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .map(|(_, flag)| flag)
    }

    fn take(&mut self, at: usize, value: &OsStr) -> Result<(), Stop> {
        let (row, field) = &mut self.rows[at];
        if std::mem::replace(&mut self.given[at], true) && !field.is_many() {
            return Err(Wrong::Twice(row.usage).into());
        }
        field.take(value).map_err(|why| {
            let (value, usage) = (value.to_string_lossy().into_owned(), row.usage);
            Wrong::Invalid { value, usage, why }.into()
        })
    }

    /// What must be given was, and what was not gets its default.
    fn end(mut self) -> Result<(), Stop> {
        for at in 0..self.rows.len() {
            let row = self.rows[at].0;
            if self.given[at] {
                continue;
            }
            if row.is_required() {
                return Err(Wrong::Missing(row.usage).into());
            }
            if !row.default.is_empty() {
                self.take(at, OsStr::new(row.default))?;
            }
        }
        Ok(())
    }
}

impl From<Wrong> for Stop {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}
