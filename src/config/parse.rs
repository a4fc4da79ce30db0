//! From one text to one typed value, or to why not and what to write instead.
//!
//! ```text
//! flag, variable, TOML string or number ──text──▶ parser ──▶ T | "weight is 1 to 1000"
//! ```
//!
//! The same parser serves all three sources, so a value means the same wherever it is written.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::announce::{CheckSpec, Proto};
use crate::argv::meant;
use crate::pool::hop::OnDown;
use crate::proxy_header::Version;

/// Longest duration: longer is a slip of the unit.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// A value, or why not.
pub(super) type Parsed<T> = Result<T, String>;

/// A whole number from `min` to `max`, called `what` in errors.
pub(super) fn number<T>(what: &'static str, min: T, max: T) -> impl Fn(&str) -> Parsed<T>
where
    T: FromStr + PartialOrd + Display + Copy,
{
    move |text| match text.trim().parse::<T>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("{what} is a whole number from {min} to {max}")),
    }
}

/// 1–1000.
pub(super) fn weight(text: &str) -> Parsed<u16> {
    number("weight", 1, 1000)(text).map_err(|_| {
        "weight is 1 to 1000; a backend of weight 2 gets twice the requests of one of weight 1"
            .to_owned()
    })
}

/// 1–65535.
pub(super) fn port(text: &str) -> Parsed<u16> {
    number("port", 1, u16::MAX)(text)
}

/// `true` or `false`.
pub(super) fn boolean(text: &str) -> Parsed<bool> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

/// Any text but none.
pub(super) fn text(given: &str) -> Parsed<String> {
    if given.trim().is_empty() {
        return Err("is empty; leave it out for the default".to_owned());
    }
    Ok(given.to_owned())
}

/// `250ms`, `5s`, `1h 30m`; zero is allowed.
pub(super) fn duration_or_zero(text: &str) -> Parsed<Duration> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        Ok(_) => Err("is more than a year; check the unit (ms, s, m, h)".to_owned()),
        Err(_) => Err(
            "is not a duration; write a number with its unit, like \"250ms\", \"5s\" or \"1h\""
                .to_owned(),
        ),
    }
}

/// A duration of at least 1 ms.
pub(super) fn duration(text: &str) -> Parsed<Duration> {
    match duration_or_zero(text)? {
        short if short < Duration::from_millis(1) => {
            Err("must be at least 1ms, since a wait of nothing always ends too soon".to_owned())
        }
        duration => Ok(duration),
    }
}

/// One of `words`, in capitals or not.
pub(super) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&str) -> Parsed<T> {
    move |text| {
        let found = words
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text));
        found.map(|(_, meant)| *meant).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let fix = meant(nearest(text, words.iter().copied()));
            format!("is not one of {}{fix}", words.join(", "))
        })
    }
}

/// The member of `known` that was probably meant.
pub(super) fn nearest<'k>(written: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let likeness = |word: &str| {
        if word.split('_').any(|part| part == written) {
            // "port" is half of "default_port".
            return 0.99;
        }
        strsim::jaro_winkler(written, word)
    };
    known
        .map(|word| (likeness(word), word))
        // 0.8 takes "prot" for "port" and "intervall" for "interval", but not "rise" for "fall".
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// The items of a list written in one text: split at commas.
pub(super) fn split(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

/// `KEY=VALUE`.
pub(super) fn pair(text: &str) -> Parsed<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("is not KEY=VALUE, like zone=eu-1".to_owned()),
    }
}

/// Name of a pool or service: what fits in a tag, a metric and a URL.
pub(super) fn name(text: &str) -> Parsed<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !text.is_empty() && text.len() <= 63 && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err("is not a name; 1 to 63 letters, digits, '-', '.' or '_'".to_owned())
}

/// A protocol that a connection may change to. `h2c` would carry requests past all rules.
pub(super) fn upgrade(text: &str) -> Parsed<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    match text.to_ascii_lowercase() {
        name if name.starts_with("h2") => {
            Err("is never passed on: HTTP/2 inside it would not be looked at".to_owned())
        }
        name if !name.is_empty() && name.bytes().all(fits) => Ok(name),
        _ => Err("is not the name of a protocol, like websocket".to_owned()),
    }
}

/// Where https is, for who is sent there: a port, or whether at all.
pub(super) fn https_port(text: &str) -> Parsed<Option<u16>> {
    match text {
        "true" => Ok(Some(443)),
        "false" => Ok(None),
        port => self::port(port).map(Some),
    }
}

/// A directory that is there.
pub(super) fn directory_there(text: &str) -> Parsed<PathBuf> {
    let path = PathBuf::from(self::text(text)?);
    match path.is_dir() {
        true => Ok(path),
        false => Err("is not a directory; create it, or name one that is there".to_owned()),
    }
}

/// Name of a node: at most 128 bytes, as Serf has it.
pub(super) fn node(text: &str) -> Parsed<String> {
    let fits = |letter: char| !letter.is_whitespace() && !letter.is_control();
    if !text.is_empty() && text.len() <= 128 && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("is not a node name; 1 to 128 bytes without spaces, like web1".to_owned())
}

/// A directory, or `none`.
pub(super) fn directory(text: &str) -> Parsed<Option<PathBuf>> {
    match text {
        "" => Err("is not a directory; give one, or none".to_owned()),
        "none" => Ok(None),
        path => Ok(Some(PathBuf::from(path))),
    }
}

/// A discovery name, or `off`.
pub(super) fn discover(text: &str) -> Parsed<Option<String>> {
    if text == "off" {
        Ok(None)
    } else {
        name(text).map(Some)
    }
}

/// See [`CheckSpec`].
pub(super) fn check(text: &str) -> Parsed<CheckSpec> {
    text.parse().map_err(|_| {
        "is not a check; write http:[PORT]/path, https:[PORT]/path, tcp[:PORT], grpc[:SERVICE] or none".to_owned()
    })
}

/// A pool's protocol.
pub(super) fn proto(text: &str) -> Parsed<Proto> {
    let wrong =
        |_| "is not a protocol; write \"http\", \"https\", \"h2c\", \"h2\" or \"tcp\"".to_owned();
    text.parse().map_err(wrong)
}

/// What a connection to a backend begins with.
pub(super) fn send_proxy(text: &str) -> Parsed<Option<Version>> {
    match text {
        "off" => Ok(None),
        "v1" => Ok(Some(Version::V1)),
        "v2" => Ok(Some(Version::V2)),
        _ => Err(
            "is not a version of the PROXY protocol; write \"v1\", \"v2\" or \"off\"".to_owned(),
        ),
    }
}

/// What becomes of relayed connections to a backend that is found down.
pub(super) fn on_down(text: &str) -> Parsed<OnDown> {
    match text {
        "close" => Ok(OnDown::Close),
        "keep" => Ok(OnDown::Keep),
        _ => Err("is neither \"close\" nor \"keep\"".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        let known = ["port", "rise", "fall", "interval", "timeout"];

        assert_eq!(nearest("prot", known.into_iter()), Some("port"));
        assert_eq!(nearest("intervall", known.into_iter()), Some("interval"));
        assert_eq!(nearest("colour", known.into_iter()), None);
        assert_eq!(
            nearest("port", ["proto", "default_port"].into_iter()),
            Some("default_port")
        );
    }
}
