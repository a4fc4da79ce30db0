//! What was wrong with the settings, where it was written, and what to write instead.
//!
//! ```text
//! --weight 2000: is not …            a flag
//! LB_WEIGHT=2000: is not …           the environment
//! lb.toml:7:10: cluster.web.… = …: … a file
//! ```

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::announce;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// `--NAME`.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// A key of a file.
    File {
        /// As it was given.
        file: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// Full path of the key: `cluster.web.check.rise`.
        key: String,
    },
}

/// The place alone; a value goes after it, see [`Error::Value`].
impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Variable(name) => f.write_str(name),
            Self::File {
                file,
                line,
                column,
                key,
            } => write!(f, "{file}:{line}:{column}: {key}"),
        }
    }
}

impl At {
    /// Place and value in the notation of the place.
    fn with(&self, value: &str) -> String {
        match self {
            Self::Flag(_) => format!("{self} {value}"),
            Self::Variable(_) => format!("{self}={value}"),
            Self::File { .. } => format!("{self} = {value}"),
        }
    }

    /// Flags first, then the environment, then files from top to bottom.
    fn order(&self) -> (u8, usize, usize) {
        match self {
            Self::Flag(_) => (0, 0, 0),
            Self::Variable(_) => (1, 0, 0),
            Self::File { line, column, .. } => (2, *line, *column),
        }
    }
}

/// One thing that is wrong. All of them mean exit code 2: a restart does not help.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("reading {}: {}", path.display(), cause(source))]
    Unreadable {
        /// As it was given.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{file}:{line}:{column}: {message}")]
    Syntax {
        /// As it was given.
        file: String,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// The parser's words.
        message: String,
    },
    /// A value that can't be used.
    #[error("{}: {why}", at.with(value))]
    Value {
        /// Where.
        at: At,
        /// What was written there.
        value: String,
        /// Why it can't be used, and what to write instead.
        why: String,
    },
    /// A key nobody asks for.
    #[error("{at}: is not a key here; {fix}")]
    UnknownKey {
        /// Where.
        at: At,
        /// The nearest known key, or all there are.
        fix: String,
    },
    /// Two settings that can't both be.
    #[error("{0}")]
    Conflict(String),
    /// Something that has to be said is missing.
    #[error("{0}")]
    Missing(&'static str),
    /// Tags that don't fit.
    #[error(transparent)]
    Tags(#[from] announce::TooLong),
    /// A reload that would need a restart.
    #[error("{} changed, which needs a restart", .0.join(", "))]
    NeedsRestart(Vec<&'static str>),
}

/// `permission denied` rather than `Permission denied (os error 13)`.
pub(super) fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::InvalidData => "is not UTF-8 text".to_owned(),
        kind => kind.to_string(),
    }
}

/// Everything that was wrong, in the order of the places.
#[derive(Debug)]
pub struct Errors(pub Vec<Error>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

impl From<Error> for Errors {
    fn from(error: Error) -> Self {
        Self(vec![error])
    }
}

/// Collects errors while reading goes on.
#[derive(Debug, Default)]
pub(super) struct Faults(RefCell<Vec<Error>>);

impl Faults {
    /// Notes one; reading goes on.
    pub(super) fn push(&self, error: Error) {
        self.0.borrow_mut().push(error);
    }

    /// Notes a bad value.
    pub(super) fn value(&self, at: &At, value: &str, why: impl Into<String>) {
        self.push(Error::Value {
            at: at.clone(),
            value: value.to_owned(),
            why: why.into(),
        });
    }

    /// Whether something is wrong with a key of a file at or below `top`.
    pub(super) fn touch(&self, top: &str) -> bool {
        self.0.borrow().iter().any(|error| match error {
            Error::Value {
                at: At::File { key, .. },
                ..
            } => key.split('.').next() == Some(top),
            _ => false,
        })
    }

    /// `value` if nothing was wrong, else everything that was.
    pub(super) fn or<T>(self, value: T) -> Result<T, Errors> {
        let mut errors = self.0.into_inner();
        if errors.is_empty() {
            return Ok(value);
        }
        errors.sort_by_key(|error| match error {
            Error::Value { at, .. } | Error::UnknownKey { at, .. } => at.order(),
            _ => (3, 0, 0),
        });
        Err(Errors(errors))
    }
}
