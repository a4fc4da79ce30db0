//! What `--help` prints.
//!
//! ```text
//! about ─ Usage ─ Verbs ─ Arguments ─ Options ─ further headings, in the table's order ─ what is behind
//! ```

use super::{Row, Table};

/// What a help says beside the table's rows.
#[derive(Clone, Copy)]
pub struct Page<'p> {
    /// The program, and its verb where it is about one.
    pub command: &'p str,
    /// What it does: a sentence, and behind an empty line what only the long help says.
    pub about: &'p str,
    /// Name and purpose of each verb.
    pub verbs: &'p [(&'static str, &'static str)],
    /// Added to the help of a row.
    pub note: &'p dyn Fn(&Row) -> String,
    /// Examples, and what else there is to know.
    pub behind: &'p str,
}

/// Widest flag that leaves room for its help beside it.
const BESIDE_MAX: usize = 30;

const HELP: Row = said("-h, --help", "Print help (a summary with -h)");
const VERSION: Row = said("-V, --version", "Print version");

const fn said(usage: &'static str, help: &'static str) -> Row {
    Row {
        usage,
        help,
        heading: "",
        default: "",
        marks: "",
    }
}

/// The whole text, or a summary of it.
pub fn text(page: &Page<'_>, table: &mut dyn Table, long: bool) -> String {
    let mut bound = Vec::new();
    table.rows(&mut bound);
    let mut rows: Vec<&Row> = Vec::new();
    rows.extend(bound.iter().map(|(row, _)| *row));
    rows.retain(|row| !row.is("hidden"));
    rows.push(&HELP);
    if !page.verbs.is_empty() {
        rows.push(&VERSION);
    }
    let mut out = about(page.about, long);
    out.push_str(&usage(page, &rows));
    let verbs = page.verbs.iter();
    let verbs: Vec<Entry> = verbs
        .map(|(name, about)| (format!("  {name}"), (*about).to_owned()))
        .collect();
    section(&mut out, "Verbs", &verbs, false);

    let (places, flags): (Vec<&Row>, Vec<&Row>) =
        rows.iter().partition(|row| !row.usage.starts_with('-'));
    let entry = |row: &&Row| (indented(row.usage), explained(page, row));
    let arguments: Vec<Entry> = places.iter().map(entry).collect();
    section(&mut out, "Arguments", &arguments, long);
    let mut headings: Vec<&str> = vec![""];
    for row in &flags {
        if !headings.contains(&row.heading) {
            headings.push(row.heading);
        }
    }
    for heading in headings {
        let under = flags.iter().filter(|row| row.heading == heading);
        let entries: Vec<Entry> = under.map(entry).collect();
        let title = if heading.is_empty() {
            "Options"
        } else {
            heading
        };
        section(&mut out, title, &entries, long);
    }
    if !page.behind.is_empty() {
        out.push_str(&format!("\n{}\n", page.behind));
    }
    out
}

/// What stands left, and what right of it.
type Entry = (String, String);

fn about(text: &str, long: bool) -> String {
    match text.split_once("\n\n") {
        Some((first, _)) if !long => format!("{}\n\n", first.trim_end_matches('.')),
        _ => format!("{text}\n\n"),
    }
}

fn usage(page: &Page<'_>, rows: &[&Row]) -> String {
    let places = rows.iter().filter(|row| !row.usage.starts_with('-'));
    let places: String = places.map(|row| format!(" {}", row.usage)).collect();
    let mut out = format!("Usage: {} [OPTIONS]{places}\n", page.command);
    if !page.verbs.is_empty() {
        out.push_str(&format!("       {} <VERB>\n", page.command));
    }
    out
}

/// Flags stand in one column, whether they have a letter or not.
fn indented(usage: &str) -> String {
    let space = if usage.starts_with("--") {
        "      "
    } else {
        "  "
    };
    format!("{space}{usage}")
}

fn explained(page: &Page<'_>, row: &Row) -> String {
    let default = match row.default {
        "" => String::new(),
        default => format!(" [default: {default}]"),
    };
    format!("{}{default}{}", row.help.trim(), (page.note)(row))
}

/// Beside one another, or below one another where the left is too wide; with `air` between them then.
fn section(out: &mut String, title: &str, entries: &[Entry], air: bool) {
    let Some(widest) = entries.iter().map(|(left, _)| left.chars().count()).max() else {
        return;
    };
    out.push_str(&format!("\n{title}:\n"));
    let below = widest > BESIDE_MAX + "      ".len();
    for (at, (left, right)) in entries.iter().enumerate() {
        if below {
            let gap = if at > 0 && air { "\n" } else { "" };
            out.push_str(&format!("{gap}{left}\n          {right}\n"));
        } else {
            out.push_str(&format!("{left:widest$}  {right}\n"));
        }
    }
}
