//! What of the access log is set: where it goes, and how a line looks.

use std::path::PathBuf;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One object a line, with everything that is known.
    #[default]
    Json,
    /// Apache's and nginx's `combined`, and nothing else, so that what reads those reads it.
    Combined,
}

impl Format {
    /// How each is written.
    pub const WORDS: &[(&str, Self)] = &[("json", Self::Json), ("combined", Self::Combined)];
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// Appended to.
    File(PathBuf),
    /// Stdout.
    Stdout,
}

/// Keys `access` and `access_format` of `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where.
    pub to: To,
    /// How.
    pub format: Format,
}
