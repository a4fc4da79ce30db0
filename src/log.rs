//! Logging: human lines on stderr, never on stdout.
//!
//! ```text
//! info!(address = %a, "joined") ─▶ Lines ─┬▶ 2026-11-21T12:49:01.123456Z  INFO joined address=10.0.0.1:7946
//!                                         └▶ tail: 2026/11/21 12:49:01 [INFO] joined address=10.0.0.1:7946
//! ```
//!
//! A subscriber of our own, since we have no spans: `tracing-subscriber` keeps a table for them that an agent pays for
//! with 60 kB of memory.

mod tail;

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

pub use self::tail::{Tail, follow};

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Someone must act.
    Error,
    /// We coped.
    Warn,
    /// State changed. The default.
    #[default]
    Info,
    /// Per decision.
    Debug,
    /// Per packet.
    Trace,
}

impl Level {
    /// How each is written.
    pub const WORDS: &[(&str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

/// Installs the process-wide subscriber, with lines timed by `wall`; the last ones are kept for [`follow`], in at most
/// `kept_bytes`. A second call changes nothing.
pub fn init(level: Level, wall: fn() -> SystemTime, kept_bytes: usize) {
    use std::io::IsTerminal;
    tail::TAIL.keep(kept_bytes);
    let _ = tracing::subscriber::set_global_default(Lines {
        max: level.into(),
        colours: std::io::stderr().is_terminal(),
        wall,
        tail: &tail::TAIL,
    });
}

/// One line for each event; spans are not taken.
#[derive(Debug)]
struct Lines {
    max: LevelFilter,
    colours: bool,
    wall: fn() -> SystemTime,
    tail: &'static tail::Shared,
}

impl Lines {
    /// Of those that are written, and those that somebody follows.
    fn widest(&self) -> LevelFilter {
        self.max.max(self.tail.wanted())
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.widest()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.widest())
    }

    fn event(&self, event: &Event<'_>) {
        let (now, level) = ((self.wall)(), *event.metadata().level());
        let written = level <= self.max;
        let mut line = Line::followed(now, level);
        event.record(&mut line);
        self.tail.push(&line.text, level, written);
        if !written {
            return;
        }
        let mut line = Line::begun(now, level, self.colours);
        event.record(&mut line);
        line.text.push('\n');
        // In one piece, so that lines of several threads do not mix. Nobody is left to hear of a closed stderr.
        let _ = std::io::stderr().write_all(line.text.as_bytes());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A line as it grows.
#[derive(Debug)]
struct Line {
    text: String,
    colours: bool,
}

impl Line {
    fn begun(at: SystemTime, level: tracing::Level, colours: bool) -> Self {
        let mut line = Self {
            text: String::new(),
            colours,
        };
        let time = humantime::format_rfc3339_micros(at).to_string();
        line.styled(DIM, &time);
        line.text.push(' ');
        let colour = match level {
            tracing::Level::ERROR => "31",
            tracing::Level::WARN => "33",
            tracing::Level::INFO => "32",
            tracing::Level::DEBUG => "34",
            tracing::Level::TRACE => "35",
        };
        line.styled(colour, &format!("{level:>5}"));
        line
    }

    /// As Serf's programs write them, whose tools look for the level in brackets; the time is UTC.
    fn followed(at: SystemTime, level: tracing::Level) -> Self {
        let time = humantime::format_rfc3339_seconds(at).to_string();
        let time = time.replace('-', "/").replace('T', " ");
        let time = time.trim_end_matches('Z');
        Self {
            text: format!("{time} [{}]", tail::name(level)),
            colours: false,
        }
    }

    fn styled(&mut self, style: &str, text: &str) {
        // Writing to a string cannot fail.
        let _ = if self.colours {
            write!(self.text, "\x1b[{style}m{text}\x1b[0m")
        } else {
            self.text.write_str(text)
        };
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text.push(' ');
        if field.name() != MESSAGE {
            self.styled(ITALIC, field.name());
            self.styled(DIM, "=");
        }
        let _ = write!(Tame(&mut self.text), "{value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }
}

/// Escapes what would move a terminal's cursor or begin another line: names come from the network.
struct Tame<'a>(&'a mut String);

impl fmt::Write for Tame<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for symbol in text.chars() {
            if symbol.is_control() {
                self.0.extend(symbol.escape_default());
            } else {
                self.0.push(symbol);
            }
        }
        Ok(())
    }
}

/// The field that is the sentence itself.
const MESSAGE: &str = "message";

const DIM: &str = "2";
const ITALIC: &str = "3";

#[cfg(test)]
mod tests {
    use super::*;

    /// What `tell` would have printed, without the time.
    fn lines(colours: bool, level: Level, tell: impl FnOnce()) -> Vec<String> {
        use std::sync::{Arc, Mutex};
        struct Kept(Lines, Arc<Mutex<Vec<String>>>);
        impl Subscriber for Kept {
            fn enabled(&self, metadata: &Metadata<'_>) -> bool {
                self.0.enabled(metadata)
            }
            fn event(&self, event: &Event<'_>) {
                let mut line =
                    Line::begun((self.0.wall)(), *event.metadata().level(), self.0.colours);
                let time = line.text.find("Z").expect("a time");
                line.text.drain(..=time);
                event.record(&mut line);
                self.1.lock().expect("no panic").push(line.text);
            }
            fn new_span(&self, span: &Attributes<'_>) -> Id {
                self.0.new_span(span)
            }
            fn record(&self, _: &Id, _: &Record<'_>) {}
            fn record_follows_from(&self, _: &Id, _: &Id) {}
            fn enter(&self, _: &Id) {}
            fn exit(&self, _: &Id) {}
        }
        let kept = Arc::default();
        let max = level.into();
        let subscriber = Kept(
            Lines {
                max,
                colours,
                wall: || SystemTime::UNIX_EPOCH,
                tail: &tail::TAIL,
            },
            Arc::clone(&kept),
        );
        tracing::subscriber::with_default(subscriber, tell);
        kept.lock().expect("no panic").clone()
    }

    #[test]
    fn a_line_has_its_level_its_sentence_and_its_fields() {
        let told = lines(false, Level::Info, || {
            tracing::info!(address = %"10.0.0.1:1", cause = "a b", count = 3, "web{} joined", 1);
            tracing::debug!("not told");
            tracing::warn!("plain");
        });

        assert_eq!(
            told,
            [
                "  INFO web1 joined address=10.0.0.1:1 cause=\"a b\" count=3",
                "  WARN plain",
            ]
        );
    }

    #[test]
    fn what_a_name_brings_along_moves_no_cursor_and_begins_no_line() {
        let told = lines(false, Level::Info, || {
            tracing::info!(name = %"a\nb", "x\u{1b}[2J joined");
        });

        assert_eq!(told, ["  INFO x\\u{1b}[2J joined name=a\\nb"]);
    }

    #[test]
    fn colours_are_for_terminals() {
        let told = lines(true, Level::Warn, || tracing::warn!(n = 1, "x"));

        assert_eq!(
            told,
            ["\u{1b}[0m \u{1b}[33m WARN\u{1b}[0m x \u{1b}[3mn\u{1b}[0m\u{1b}[2m=\u{1b}[0m1"]
        );
    }
}
