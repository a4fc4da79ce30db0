//! Reads a TOML document key by key, and knows in the end which keys nobody asked for.
//!
//! ```text
//! text ──toml──▶ tables with spans ──Table::text(key)──▶ Found { place, text } ──▶ `sources`
//!                                        │ asked
//!                                        ▼ when a Table is dropped
//!                              unknown keys, each with the nearest asked one
//! ```
//!
//! A misspelt key is read in a second pass as if it had been spelled right, so that faults
//! behind it are found in the same run. No judgement of values here: see `parse`.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{At, Error, Errors, Faults};
use super::parse::nearest;

/// What others call our keys; each is a hint only where the key it stands for is known.
const SYNONYMS: &[(&str, &str)] = &[("priority", "tier"), ("bind", "listen")];

/// Characters of a value repeated in an error.
const SHOWN_MAX: usize = 60;

/// A file's text and what was learned while reading it.
#[derive(Debug)]
pub(super) struct Document<'t> {
    file: String,
    text: &'t str,
    root: Spanned<DeTable<'t>>,
    /// Full path of a known key → the spelling found in the file.
    misspelt: RefCell<BTreeMap<String, String>>,
    /// Every key asked for, names replaced: `cluster.NAME.lost_keep`.
    known: RefCell<BTreeSet<String>>,
}

/// A value as written, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Place.
    pub(super) at: At,
    /// What a parser takes.
    pub(super) text: String,
    /// As it stands in the file.
    pub(super) shown: String,
}

impl Found {
    pub(super) fn place(&self) -> Place {
        Place {
            at: self.at.clone(),
            shown: self.shown.clone(),
        }
    }
}

/// Where something was written, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: At,
    /// As it stands there.
    pub(super) shown: String,
}

impl<'t> Document<'t> {
    /// Parses `text`, which came from `file`.
    ///
    /// # Errors
    /// The first syntax error; nothing behind it could be trusted.
    pub(super) fn parse(file: &str, text: &'t str) -> Result<Self, Errors> {
        let root = DeTable::parse(text).map_err(|error| {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            Error::Syntax {
                file: file.to_owned(),
                line,
                column,
                message: error.message().replace('\n', ", "),
            }
        })?;
        Ok(Self {
            file: file.to_owned(),
            text,
            root,
            misspelt: RefCell::default(),
            known: RefCell::default(),
        })
    }

    /// Runs `read` until every misspelling is known; the last run's outcome and faults.
    pub(super) fn read<T>(&self, read: impl Fn(Table<'_>, &Faults) -> T) -> (T, Faults) {
        // Each pass but the last learns a spelling, and a file has finitely many keys.
        loop {
            let faults = Faults::default();
            let before = self.misspelt.borrow().len();
            let outcome = read(self.root(&faults), &faults);
            if self.misspelt.borrow().len() == before {
                return (outcome, faults);
            }
        }
    }

    fn root<'d>(&'d self, faults: &'d Faults) -> Table<'d> {
        Table {
            document: Some(self),
            faults,
            path: String::new(),
            shape: String::new(),
            entries: Some(self.root.get_ref()),
            asked: Vec::new(),
        }
    }

    /// Every key asked for so far.
    #[cfg(test)]
    pub(super) fn known(&self) -> BTreeSet<String> {
        self.known.borrow().clone()
    }

    /// The value as it stands in the file, cut where it gets long.
    fn shown(&self, value: &Spanned<DeValue<'_>>) -> String {
        let written = self.text.get(value.span()).unwrap_or_default();
        let line = written.lines().next().unwrap_or_default();
        let mut shown: String = line.chars().take(SHOWN_MAX).collect();
        if shown.len() < written.len() {
            shown.push('…');
        }
        shown
    }

    fn at(&self, offset: usize, key: &str) -> At {
        let (line, column) = position(self.text, offset);
        At::File {
            file: self.file.clone(),
            line,
            column,
            key: key.to_owned(),
        }
    }
}

/// Line and column of a byte offset, both from 1, the column in characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = String::from_utf8_lossy(&before[line_start..])
        .chars()
        .count()
        + 1;
    (line, column)
}

/// One table of the document, or the absence of one: then every key is absent.
#[derive(Debug)]
pub(super) struct Table<'d> {
    document: Option<&'d Document<'d>>,
    faults: &'d Faults,
    path: String,
    shape: String,
    entries: Option<&'d DeTable<'d>>,
    asked: Vec<&'static str>,
}

impl<'d> Table<'d> {
    /// Without a file.
    pub(super) fn absent(faults: &'d Faults) -> Self {
        Self {
            document: None,
            faults,
            path: String::new(),
            shape: String::new(),
            entries: None,
            asked: Vec::new(),
        }
    }

    /// A string.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Found> {
        self.scalar(key, "text in quotes", text_of)
    }

    /// A whole number.
    pub(super) fn integer(&mut self, key: &'static str) -> Option<Found> {
        self.scalar(key, "a whole number without quotes", |value| match value {
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
                .ok()
                .map(|number| number.to_string()),
            _ => None,
        })
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<Found> {
        self.scalar(key, "true or false, without quotes", |value| {
            value.as_bool().map(|choice| choice.to_string())
        })
    }

    /// `true`, `false`, or a whole number.
    pub(super) fn boolean_or_integer(&mut self, key: &'static str) -> Option<Found> {
        let kind = "true, false or a whole number, without quotes";
        self.scalar(key, kind, |value| match value {
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
                .ok()
                .map(|number| number.to_string()),
            other => other.as_bool().map(|choice| choice.to_string()),
        })
    }

    /// Where a list without any item stands.
    pub(super) fn empty_list(&self, key: &str) -> Option<Place> {
        let value = self.entries?.get(key)?;
        let document = self.document?;
        value
            .get_ref()
            .as_array()
            .filter(|items| items.is_empty())?;
        let at = document.at(value.span().start, &join(&self.path, key));
        Some(Place {
            at,
            shown: document.shown(value),
        })
    }

    /// The file's name, as it was given.
    pub(super) fn file(&self) -> Option<&'d str> {
        self.document.map(|document| document.file.as_str())
    }

    /// It stands in the file.
    pub(super) fn is_there(&self) -> bool {
        self.entries.is_some()
    }

    /// A string, or a list of strings.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<Found>> {
        let value = self.ask(key)?;
        let items = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        };
        let path = join(&self.path, key);
        Some(
            items
                .into_iter()
                .filter_map(|item| self.found(&path, item, "a list of texts in quotes", text_of))
                .collect(),
        )
    }

    /// A table; where there is none, one in which every key is absent.
    pub(super) fn table(&mut self, key: &'static str) -> Self {
        let entries = self
            .ask(key)
            .and_then(|value| self.entries_of(&join(&self.path, key), value));
        self.below(join(&self.path, key), join(&self.shape, key), entries)
    }

    /// The tables of a table whose keys are names, from top to bottom of the file.
    pub(super) fn named(&mut self, key: &'static str) -> Vec<(Found, Self)> {
        let entries = self
            .ask(key)
            .and_then(|value| self.entries_of(&join(&self.path, key), value));
        let mut all: Vec<_> = entries
            .into_iter()
            .flat_map(|entries| entries.iter())
            .collect();
        all.sort_by_key(|(name, _)| name.span().start);
        all.into_iter()
            .filter_map(|(name, value)| {
                let text = name.get_ref().to_string();
                let path = join(&join(&self.path, key), &text);
                let found = Found {
                    at: self.document?.at(name.span().start, &join(&self.path, key)),
                    shown: text.clone(),
                    text,
                };
                let entries = self.entries_of(&path, value)?;
                let shape = join(&join(&self.shape, key), "NAME");
                Some((found, self.below(path, shape, Some(entries))))
            })
            .collect()
    }

    /// The tables of `[[key]]`.
    pub(super) fn each(&mut self, key: &'static str) -> Vec<(At, Self)> {
        let Some(value) = self.ask(key) else {
            return Vec::new();
        };
        let path = join(&self.path, key);
        let Some(items) = value.get_ref().as_array() else {
            self.wrong(&path, value, &format!("one or more tables [[{path}]]"));
            return Vec::new();
        };
        let shape = join(&self.shape, key);
        items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| {
                let path = format!("{path}[{index}]");
                let Some(entries) = item.get_ref().as_table() else {
                    self.wrong(&path, item, "a table");
                    return None;
                };
                let at = self.document?.at(item.span().start, &path);
                Some((at, self.below(path, shape.clone(), Some(entries))))
            })
            .collect()
    }

    /// A table of texts under keys of the user's choice.
    pub(super) fn pairs(&mut self, key: &'static str) -> Vec<(String, Found)> {
        let entries = self
            .ask(key)
            .and_then(|value| self.entries_of(&join(&self.path, key), value));
        let path = join(&self.path, key);
        entries
            .into_iter()
            .flat_map(|entries| entries.iter())
            .filter_map(|(name, value)| {
                let name: &str = name.borrow();
                let found = self.found(&join(&path, name), value, "text in quotes", text_of)?;
                Some((name.to_owned(), found))
            })
            .collect()
    }

    /// The value of `key` or of its misspelling; remembers that it is known.
    fn ask(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.asked.push(key);
        let document = self.document?;
        document.known.borrow_mut().insert(join(&self.shape, key));
        let entries = self.entries?;
        entries.get(key).or_else(|| {
            let misspelt = document.misspelt.borrow();
            entries.get(misspelt.get(&join(&self.path, key))?.as_str())
        })
    }

    fn scalar(
        &mut self,
        key: &'static str,
        kind: &str,
        read: impl Fn(&DeValue<'_>) -> Option<String>,
    ) -> Option<Found> {
        let value = self.ask(key)?;
        self.found(&join(&self.path, key), value, kind, read)
    }

    fn found(
        &self,
        path: &str,
        value: &Spanned<DeValue<'_>>,
        kind: &str,
        read: impl Fn(&DeValue<'_>) -> Option<String>,
    ) -> Option<Found> {
        let Some(text) = read(value.get_ref()) else {
            self.wrong(path, value, kind);
            return None;
        };
        let document = self.document?;
        Some(Found {
            at: document.at(value.span().start, path),
            text,
            shown: document.shown(value),
        })
    }

    fn entries_of(&self, path: &str, value: &'d Spanned<DeValue<'d>>) -> Option<&'d DeTable<'d>> {
        let entries = value.get_ref().as_table();
        if entries.is_none() {
            self.wrong(path, value, &format!("a table [{path}]"));
        }
        entries
    }

    /// Notes a value of the wrong kind.
    fn wrong(&self, path: &str, value: &Spanned<DeValue<'_>>, kind: &str) {
        if let Some(document) = self.document {
            let why = format!("is {}; write {kind}", kind_of(value.get_ref()));
            let at = document.at(value.span().start, path);
            self.faults.value(&at, &document.shown(value), why);
        }
    }

    fn below(&self, path: String, shape: String, entries: Option<&'d DeTable<'d>>) -> Self {
        Self {
            document: self.document,
            faults: self.faults,
            path,
            shape,
            entries,
            asked: Vec::new(),
        }
    }
}

/// A table that was read is a table whose other keys are unknown.
impl Drop for Table<'_> {
    fn drop(&mut self) {
        let (Some(document), Some(entries)) = (self.document, self.entries) else {
            return;
        };
        for key in entries.keys() {
            let written: &str = key.borrow();
            // Nobody asked a table of free names: it has no keys to be unknown among.
            if self.asked.is_empty() || self.asked.contains(&written) {
                continue;
            }
            let synonym = SYNONYMS
                .iter()
                .find(|(theirs, ours)| *theirs == written && self.asked.contains(ours))
                .map(|(_, ours)| *ours);
            let fix = match synonym.or_else(|| nearest(written, self.asked.iter().copied())) {
                Some(meant) => {
                    if !entries.contains_key(meant) {
                        let mut misspelt = document.misspelt.borrow_mut();
                        misspelt
                            .entry(join(&self.path, meant))
                            .or_insert_with(|| written.to_owned());
                    }
                    format!("did you mean {meant}?")
                }
                None => format!("known here: {}", self.asked.join(", ")),
            };
            self.faults.push(Error::UnknownKey {
                at: document.at(key.span().start, &join(&self.path, written)),
                fix,
            });
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn text_of(value: &DeValue<'_>) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
