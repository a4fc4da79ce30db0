//! The tags as Serf's `-tags-file` keeps them: one JSON object of texts.
//!
//! ```text
//! tags ─▶ without what the node's own check says ─▶ FILE.tmp ─ fsync ─▶ rename
//! ```
//!
//! Read by `crate::config`, since at the start they are settings like others.

use std::io;
use std::path::Path;

use super::file;
use crate::announce::{State, Tags};

/// Replaces the file. What a check found out is not kept: the next life finds out by itself.
///
/// # Errors
/// The system's.
pub fn write(path: &Path, tags: &Tags) -> io::Result<()> {
    let mut kept = tags.clone();
    let is_verdict = |text: &String| matches!(text.parse(), Ok(State::Fail(_)));
    if kept.get("state").is_some_and(is_verdict) {
        kept.remove("state");
    }
    let text = serde_json::to_string_pretty(&kept).map_err(io::Error::from)?;
    file::replace(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_as_serf_writes_it_and_holds_no_verdict() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("tags.json");
        let written = |state: &str| {
            let tags = [("role", "web"), ("dc", "eu"), ("state", state)];
            let owned = tags.map(|(name, value)| (name.to_owned(), value.to_owned()));
            write(&path, &Tags::from(owned)).expect("it is written");
            std::fs::read_to_string(&path).expect("text")
        };

        assert_eq!(
            written("fail:disk full"),
            "{\n  \"dc\": \"eu\",\n  \"role\": \"web\"\n}"
        );
        assert!(written("drain").contains("\"state\": \"drain\""));
    }
}
