//! Command lines: one table for each, of which flags are read, `--help` is printed and tests are fed.
//!
//! ```text
//! table! { struct … } ─▶ rows ─┬─▶ read ◀── argv      ─▶ the struct, or Stop: help, version, what is wrong
//!                              └─▶ help::text          ─▶ what --help shows
//! ```
//!
//! A row says how it is written, as its help shows it: `--bind <IP[:PORT]>`, `--json`, `--backup[=<BOOL>]` for flags, with `<NAME>`,
//! `[PAYLOAD]`, `<HOST>...` for what stands in its place. Reading derives its rules from that text, so that none can differ from
//! what is shown. Flags may have one dash, as Go's and so Serf's have.
//!
//! Not clap, which is the usual answer: it takes 180 kB of an agent that has 3 MB in all.

pub mod help;
mod read;
mod value;

pub use read::{Stop, Wrong, meant, read};
pub use value::{Field, Value};

/// One flag, or one argument in its place.
#[derive(Debug)]
pub struct Row {
    /// As it is shown, and so how it is read.
    pub usage: &'static str,
    /// What it is for, in one line; may begin with a space.
    pub help: &'static str,
    /// Under which title it is shown; empty: the usual one.
    pub heading: &'static str,
    /// Taken where nothing is given; empty: nothing is.
    pub default: &'static str,
    /// `hidden`: not shown. `raw`: may begin with a dash.
    pub marks: &'static str,
}

/// A row, and the field that it fills.
pub type Bound<'t> = (&'static Row, &'t mut dyn Field);

/// Whatever a command line fills.
pub trait Table {
    /// Adds its rows, in the order in which they are shown.
    fn rows<'t>(&'t mut self, rows: &mut Vec<Bound<'t>>);
}

/// What a flag does with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// It has none: `--json`.
    Nothing,
    /// It may have one, behind `=`: `--backup[=<BOOL>]`.
    Attached,
    /// It has one: `--bind <IP[:PORT]>`.
    One,
}

impl Row {
    /// The flag's name without dashes; `None` for an argument in its place.
    pub fn flag(&self) -> Option<&'static str> {
        let text = self.usage.strip_prefix("--")?;
        text.split([' ', '[']).next()
    }

    fn takes(&self) -> Takes {
        if self.usage.contains("[=") {
            Takes::Attached
        } else if self.usage.contains(' ') {
            Takes::One
        } else {
            Takes::Nothing
        }
    }

    fn is_required(&self) -> bool {
        self.usage.starts_with('<')
    }

    fn is(&self, mark: &str) -> bool {
        self.marks.contains(mark)
    }
}

/// The names of all flags.
pub fn names(table: &mut dyn Table) -> Vec<&'static str> {
    let mut rows = Vec::new();
    table.rows(&mut rows);
    rows.iter().filter_map(|(row, _)| row.flag()).collect()
}

/// A struct whose fields a command line fills.
///
/// Each field's doc comment is its help. Behind `=>` stands how it is written; then, where wanted, `or` and its default,
/// `under` and a heading, and marks in brackets. `with` adds the rows of another table; a field that is no row stands behind `besides`.
macro_rules! table {
    (
        $(#[$about:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $help:literal])+
                $shown:vis $field:ident: $type:ty => $usage:literal
                $(or $default:literal)? $(under $heading:literal)? $([$($mark:ident)+])?,
            )*
            $(with $with_shown:vis $with:ident: $with_type:ty,)?
            $(besides $(#[$besides_about:meta])* $besides_shown:vis $besides:ident: $besides_type:ty,)?
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        $vis struct $name {
            $($(#[doc = $help])+ $shown $field: $type,)*
            $(
                /// Shared with others.
                $with_shown $with: $with_type,
            )?
            $($(#[$besides_about])* $besides_shown $besides: $besides_type,)?
        }

        impl $crate::argv::Table for $name {
            fn rows<'t>(&'t mut self, rows: &mut Vec<$crate::argv::Bound<'t>>) {
                let own: Vec<$crate::argv::Bound<'t>> = vec![$((
                    const {
                        &$crate::argv::Row {
                            usage: $usage,
                            help: concat!($($help),+),
                            heading: concat!($($heading)?),
                            default: concat!($($default)?),
                            marks: concat!($($(stringify!($mark), " "),+)?),
                        }
                    },
                    &mut self.$field,
                )),*];
                rows.extend(own);
                $(self.$with.rows(rows);)?
            }
        }
    };
}

pub(crate) use table;

#[cfg(test)]
mod tests;
