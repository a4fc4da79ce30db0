//! HAProxy's agent-check line: how a node says by itself what share of the requests it wants.
//!
//! ```text
//! "75%"  "drain"  "maint"  "ready"  "up 50%"  "down#disk full" ──▶ Line ──▶ Wish (what was said before stays)
//! ```

use std::str::FromStr;

/// Longest share that is taken, in percent: HAProxy's own weights end there too.
const PERCENT_MAX: u16 = 256;

/// One answer: each `None` leaves as it is what was said before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// `75%`: share of the configured weight.
    pub percent: Option<u16>,
    /// `ready`, `drain`, `maint`.
    pub mode: Option<Mode>,
    /// `up` is `Ok`; `down`, `fail` and `stopped` are errors, with the text behind `#`.
    pub health: Option<Result<(), String>>,
}

/// What an operator would order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Takes requests.
    #[default]
    Ready,
    /// No new ones.
    Drain,
    /// None at all.
    Maint,
}

/// A text that is no such line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not of HAProxy's agent-check; words are N%, ready, drain, maint, up, down, fail, stopped"
)]
pub struct BadLine(pub String);

impl FromStr for Line {
    type Err = BadLine;

    /// Words are separated by spaces, tabs and commas; letters of either case. `maxconn:N` is read over, since a front
    /// has its own limit.
    fn from_str(text: &str) -> Result<Self, BadLine> {
        let text = text.trim();
        let (words, reason) = match text.split_once('#') {
            Some((words, reason)) => (words, reason.trim()),
            None => (text, ""),
        };
        let mut line = Self::default();
        let words = words
            .split([' ', '\t', ','])
            .filter(|word| !word.is_empty());
        let mut none = true;
        for word in words {
            none = false;
            line.take(word, reason)
                .ok_or_else(|| BadLine(word.to_owned()))?;
        }
        match none {
            true => Err(BadLine(text.to_owned())),
            false => Ok(line),
        }
    }
}

impl Line {
    fn take(&mut self, word: &str, reason: &str) -> Option<()> {
        let word = word.to_ascii_lowercase();
        match word.as_str() {
            "ready" => self.mode = Some(Mode::Ready),
            "drain" => self.mode = Some(Mode::Drain),
            "maint" => self.mode = Some(Mode::Maint),
            "up" => self.health = Some(Ok(())),
            "down" | "fail" | "stopped" => {
                let why = if reason.is_empty() { &word } else { reason };
                self.health = Some(Err(why.to_owned()));
            }
            _ if word.starts_with("maxconn:") => {}
            _ => self.percent = Some(percent(word.strip_suffix('%')?)?),
        }
        Some(())
    }
}

fn percent(digits: &str) -> Option<u16> {
    let only = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // More digits than a number holds are more than enough.
    only.then(|| digits.parse().unwrap_or(PERCENT_MAX).min(PERCENT_MAX))
}

/// All that was said so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Share of the configured weight, in percent.
    pub percent: u16,
    /// Mode.
    pub mode: Mode,
    /// Why it is down, if so.
    pub down: Option<String>,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            percent: 100,
            mode: Mode::Ready,
            down: None,
        }
    }
}

impl Wish {
    /// Takes over what `line` says.
    pub fn hear(&mut self, line: Line) {
        self.percent = line.percent.unwrap_or(self.percent);
        self.mode = line.mode.unwrap_or(self.mode);
        match line.health {
            Some(Ok(())) => self.down = None,
            Some(Err(why)) => self.down = Some(why),
            None => {}
        }
    }

    /// The share of `weight`, 1–1000: nothing at all is a drain, not a weight.
    pub fn weight(&self, weight: u16) -> u16 {
        let share = (u32::from(weight) * u32::from(self.percent) + 50) / 100;
        u16::try_from(share.clamp(1, 1000)).unwrap_or(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Line, String> {
        text.parse().map_err(|error: BadLine| error.to_string())
    }

    #[test]
    fn every_word_of_haproxy_is_understood() {
        let mode = |mode| Line {
            mode: Some(mode),
            ..Line::default()
        };
        let down = |why: &str| Line {
            health: Some(Err(why.to_owned())),
            ..Line::default()
        };
        let percent = |percent| Line {
            percent: Some(percent),
            ..Line::default()
        };
        for (text, expected) in [
            ("75%", percent(75)),
            ("0%\r\n", percent(0)),
            ("99999999%", percent(256)),
            ("ready", mode(Mode::Ready)),
            ("drain", mode(Mode::Drain)),
            ("MAINT", mode(Mode::Maint)),
            ("down", down("down")),
            ("fail", down("fail")),
            ("stopped#for the night", down("for the night")),
            ("down # disk full, 3 of 3", down("disk full, 3 of 3")),
            ("maxconn:30", Line::default()),
        ] {
            assert_eq!(line(text), Ok(expected), "{text:?}");
        }
        let both = line("up, ready\t50%").expect("three words");
        assert_eq!(both.health, Some(Ok(())));
        assert_eq!((both.mode, both.percent), (Some(Mode::Ready), Some(50)));
    }

    #[test]
    fn what_is_not_understood_changes_nothing() {
        for text in [
            "",
            "#only a reason",
            "75",
            "%",
            "-1%",
            "up 5x%",
            "500 Internal Server Error",
        ] {
            assert!(line(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_a_line_leaves_out_stays_as_it_was() {
        let mut wish = Wish::default();
        for text in ["drain", "30%", "down#full", "50%"] {
            wish.hear(line(text).expect("a line"));
        }

        assert_eq!(wish.mode, Mode::Drain);
        assert_eq!(wish.percent, 50);
        assert_eq!(wish.down.as_deref(), Some("full"));
        wish.hear(line("up ready 100%").expect("a line"));
        assert_eq!(wish, Wish::default());
    }

    #[test]
    fn a_share_is_rounded_and_never_nothing() {
        for (percent, weight, expected) in [
            (100, 1, 1),
            (75, 100, 75),
            (75, 10, 8),
            (1, 10, 1),
            (0, 10, 1),
            (256, 1000, 1000),
            (200, 3, 6),
        ] {
            let wish = Wish {
                percent,
                ..Wish::default()
            };
            assert_eq!(wish.weight(weight), expected, "{percent} % of {weight}");
        }
    }
}
