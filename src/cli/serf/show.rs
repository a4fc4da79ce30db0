//! Text as `serf` prints it.

use std::ffi::OsStr;
use std::io::Write;

use serde::Serialize;

use crate::argv::Value;

/// What `--format` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shape {
    #[default]
    Text,
    Json,
}

impl Value for Shape {
    fn read(text: &OsStr) -> Result<Self, String> {
        match text.to_str() {
            Some("text") => Ok(Self::Text),
            Some("json") => Ok(Self::Json),
            _ => Err("is neither text nor json".to_owned()),
        }
    }
}

/// A line, or several, on stdout. A reader that has seen enough, like head, is content.
pub(super) fn put(text: impl std::fmt::Display) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}");
    let _ = stdout.flush();
}

/// A line on stderr that is no fault.
pub(super) fn note(program: &str, text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{program}: {text}");
}

/// Go's `MarshalIndent` with two spaces.
pub(super) fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    // Go escapes these in strings, and nowhere else can they be.
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Columns as wide as their widest cell, two spaces apart; the last cell of a row is not filled up, and cells are
/// trimmed. As Serf's `columnize`, but for `|`, which does not part cells here.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.trim().chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let lines = rows.iter().map(|row| {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let cell = cell.trim();
            if at + 1 == row.len() {
                line.push_str(cell);
            } else {
                line.push_str(&format!("{cell:<width$}  "));
            }
        }
        line
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// An answer as it is, lines and all; on a terminal without what that would obey.
pub(super) fn data(text: &str) -> String {
    use std::io::IsTerminal;
    if !std::io::stdout().is_terminal() {
        return text.to_owned();
    }
    let obeyed = |letter: char| letter.is_control() && !"\n\t".contains(letter);
    text.chars()
        .map(|letter| if obeyed(letter) { '?' } else { letter })
        .collect()
}

/// Without what a terminal would obey: names and payloads come from the network.
pub(super) fn tame(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_serf_s() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
        let rows: [Vec<String>; 2] = [
            row(&["a", "127.0.0.1:7946", "alive", ""]),
            row(&["long-name", "10.0.0.1:1", "failed", "role=web"]),
        ];

        assert_eq!(
            columns(&rows),
            "a          127.0.0.1:7946  alive   \nlong-name  10.0.0.1:1      failed  role=web"
        );
        assert_eq!(columns(&[]), "");
    }

    #[test]
    fn json_is_escaped_as_go_does() {
        assert_eq!(
            json(&serde_json::json!({"a": "<&>"})),
            "{\n  \"a\": \"\\u003c\\u0026\\u003e\"\n}"
        );
    }
}
