//! An entry as text. Whatever a client sends, it stays within its own quotes and its own line.
//!
//! ```text
//! json      {"time":"2026-01-02T03:04:05.678Z","client":"192.0.2.1", …}
//! combined  192.0.2.1 - - [02/Jan/2026:03:04:05 +0000] "GET / HTTP/1.1" 200 5 "-" "curl/8.0"
//! ```

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::entry::{End, Entry, Failed, Text};
use super::settings::Format;
use crate::clock;

/// The status of a request whose client left before an answer, as nginx writes it.
const CLIENT_LEFT: u16 = 499;

/// Makes lines; remembers how the current second is written.
#[derive(Debug)]
pub(super) struct Lines {
    format: Format,
    second: Option<u64>,
    stamp: String,
}

impl Lines {
    /// In this format.
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            second: None,
            stamp: String::new(),
        }
    }

    /// Adds a line with its end.
    pub(super) fn put(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        let since = entry.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            self.stamp = match self.format {
                Format::Json => rfc3339_second(entry.at),
                Format::Combined => clf(entry.at),
            };
        }
        match self.format {
            Format::Json if entry.relayed => {
                relayed(entry, &self.stamp, since.subsec_millis(), out)
            }
            Format::Json => json(entry, &self.stamp, since.subsec_millis(), out),
            Format::Combined => combined(entry, &self.stamp, out),
        }
        out.push(b'\n');
    }
}

/// `2026-01-02T03:04:05`.
fn rfc3339_second(at: SystemTime) -> String {
    let mut text = clock::rfc3339(at);
    text.truncate("2026-01-02T03:04:05".len());
    text
}

/// `02/Jan/2026:03:04:05 +0000`.
fn clf(at: SystemTime) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let text = rfc3339_second(at);
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let month = part(5, 7).parse::<usize>().unwrap_or(1);
    let month = MONTHS.get(month.wrapping_sub(1)).copied();
    format!(
        "{}/{}/{}:{} +0000",
        part(8, 10),
        month.unwrap_or_default(),
        part(0, 4),
        part(11, 19)
    )
}

/// Method, target and version of a request line that has all three.
fn words(line: &[u8]) -> Option<[&[u8]; 3]> {
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let [method, target, version] = [words.next()?, words.next()?, words.next()?];
    let version = version.strip_prefix(b"HTTP/")?;
    let sound = !method.is_empty() && !target.is_empty() && !version.contains(&b' ');
    sound.then_some([method, target, version])
}

fn json(entry: &Entry, stamp: &str, millis: u32, out: &mut Vec<u8>) {
    let line = entry.text(Text::Line);
    let words = line.and_then(words);
    let word = |at: usize| words.map(|words| words[at]);
    let mut object = Object { out, lead: b'{' };
    object.shown("time", Some(format_args!("{stamp}.{millis:03}Z")));
    object.shown("client", Some(entry.client));
    object.shown("peer", Some(entry.peer));
    object.text("forwarded_for", entry.text(Text::ForwardedFor));
    object.text("method", word(0));
    object.text("target", word(1));
    object.text("version", word(2));
    if words.is_none() {
        object.text("line", line);
    }
    object.text("host", entry.text(Text::Host));
    object.number("status", entry.status.map(u64::from));
    object.number("sent", Some(entry.sent));
    object.number("received", Some(entry.received));
    object.text("referer", entry.text(Text::Referer));
    object.text("user_agent", entry.text(Text::UserAgent));
    object.text("pool", entry.text(Text::Pool));
    object.text("node", entry.text(Text::Node));
    object.shown("backend", entry.backend);
    object.number("attempts", Some(u64::from(entry.attempts)));
    object.number("retries", Some(u64::from(entry.retries)));
    object.failed(&entry.failed);
    object.boolean("reused", entry.reused());
    object.boolean("kept", Some(entry.kept));
    object.ms("head_ms", Some(entry.head));
    object.ms("hold_ms", entry.hold);
    object.ms("connect_ms", entry.connect());
    object.ms("first_byte_ms", entry.first_byte());
    object.ms("total_ms", Some(entry.total));
    object.text("trace_id", entry.text(Text::Trace));
    object.end(entry);
}

/// A connection that was relayed as it was: what can be said of it without understanding it.
fn relayed(entry: &Entry, stamp: &str, millis: u32, out: &mut Vec<u8>) {
    let mut object = Object { out, lead: b'{' };
    object.shown("time", Some(format_args!("{stamp}.{millis:03}Z")));
    object.text("protocol", Some(b"tcp"));
    object.shown("client", Some(entry.client));
    object.shown("peer", Some(entry.peer));
    object.number("sent", Some(entry.sent));
    object.number("received", Some(entry.received));
    object.text("pool", entry.text(Text::Pool));
    object.text("node", entry.text(Text::Node));
    object.shown("backend", entry.backend);
    object.number("attempts", Some(u64::from(entry.attempts)));
    object.number("retries", Some(u64::from(entry.retries)));
    object.failed(&entry.failed);
    object.ms("hold_ms", entry.hold);
    object.ms("connect_ms", entry.connect());
    object.ms("total_ms", Some(entry.total));
    object.end(entry);
}

/// An object under way: `{` before its first key, `,` before others.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    lead: u8,
}

impl Object<'_> {
    /// `"key":`; keys need no escapes.
    fn key(&mut self, key: &str) {
        self.out.extend_from_slice(&[self.lead, b'"']);
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.lead = b',';
    }

    /// The key, and a value if there is none.
    fn key_of<T>(&mut self, key: &str, value: Option<T>) -> Option<T> {
        self.key(key);
        if value.is_none() {
            self.out.extend_from_slice(b"null");
        }
        value
    }

    fn text(&mut self, key: &str, value: Option<&[u8]>) {
        if let Some(value) = self.key_of(key, value) {
            quote(value, self.out);
        }
    }

    /// For values whose text needs no escapes.
    fn shown(&mut self, key: &str, value: Option<impl fmt::Display>) {
        if let Some(value) = self.key_of(key, value) {
            let _ = write!(Plain(self.out), "\"{value}\"");
        }
    }

    fn number(&mut self, key: &str, value: Option<u64>) {
        if let Some(value) = self.key_of(key, value) {
            let mut digits = itoa::Buffer::new();
            self.out.extend_from_slice(digits.format(value).as_bytes());
        }
    }

    fn boolean(&mut self, key: &str, value: Option<bool>) {
        if let Some(value) = self.key_of(key, value) {
            let word: &[u8] = if value { b"true" } else { b"false" };
            self.out.extend_from_slice(word);
        }
    }

    /// Milliseconds with three decimals.
    fn ms(&mut self, key: &str, value: Option<Duration>) {
        if let Some(value) = self.key_of(key, value) {
            let us = value.as_micros() as u64;
            let mut digits = itoa::Buffer::new();
            self.out
                .extend_from_slice(digits.format(us / 1000).as_bytes());
            let rest = (us % 1000) as u16;
            let digit = |of: u16| b'0' + (rest / of % 10) as u8;
            self.out
                .extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
        }
    }

    /// Who ended it and why, and the object's own end.
    fn end(mut self, entry: &Entry) {
        let ended = match entry.end {
            End::Done => "done",
            End::Client => "client",
            End::Backend => "backend",
            End::Lb => "lb",
        };
        self.text("ended", Some(ended.as_bytes()));
        let stopped = || (entry.end == End::Lb).then_some("lb stopped");
        let why = entry.why.as_deref().or_else(stopped);
        self.text("reason", why.map(str::as_bytes));
        self.out.push(b'}');
    }

    fn failed(&mut self, failed: &[Failed]) {
        self.key("failed");
        self.out.push(b'[');
        for (at, failed) in failed.iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            let mut each = Object {
                out: self.out,
                lead: b'{',
            };
            each.text("node", Some(failed.node.as_bytes()));
            each.shown("backend", Some(failed.backend));
            each.text("why", Some(failed.why.as_bytes()));
            each.ms("ms", Some(failed.took));
            self.out.push(b'}');
        }
        self.out.push(b']');
    }
}

/// Text that is harmless as it is.
struct Plain<'o>(&'o mut Vec<u8>);

impl Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// A JSON string. What is no UTF-8 becomes `\xff`, as text.
fn quote(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if bytes.iter().all(plain) {
        out.extend_from_slice(bytes);
    } else {
        let mut text = Plain(out);
        for chunk in bytes.utf8_chunks() {
            for letter in chunk.valid().chars() {
                let _ = match letter {
                    '"' | '\\' => write!(text, "\\{letter}"),
                    _ if is_tricky(letter) => write!(text, "\\u{:04x}", u32::from(letter)),
                    _ => text.write_char(letter),
                };
            }
            for byte in chunk.invalid() {
                let _ = write!(text, "\\\\x{byte:02x}");
            }
        }
    }
    out.push(b'"');
}

/// What a terminal or a reader of lines might take for more than a letter. All of them have four digits.
fn is_tricky(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn combined(entry: &Entry, stamp: &str, out: &mut Vec<u8>) {
    let status = entry.status.unwrap_or(match entry.end {
        End::Client => CLIENT_LEFT,
        _ => 0,
    });
    let _ = write!(Plain(out), "{} - - [{stamp}] ", entry.client);
    quote_ascii(entry.text(Text::Line), out);
    let _ = write!(Plain(out), " {status:03} {} ", entry.sent);
    quote_ascii(entry.text(Text::Referer), out);
    out.push(b' ');
    quote_ascii(entry.text(Text::UserAgent), out);
}

/// As nginx does: what is not plain ASCII, quotes and backslashes become `\x22`.
fn quote_ascii(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in bytes.unwrap_or(b"-") {
        match byte {
            b' '..=b'~' if !matches!(byte, b'"' | b'\\') => out.push(*byte),
            _ => {
                let _ = write!(Plain(out), "\\x{byte:02X}");
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        quote(bytes, &mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    fn entry(line: &[u8]) -> Entry {
        let at = UNIX_EPOCH + Duration::from_millis(1_767_323_045_678);
        let mut entry = Entry::new(at, clock::now(), "192.0.2.1:1000".parse().unwrap());
        entry.came(line, None);
        entry
    }

    fn line(format: Format, entry: &Entry) -> String {
        let mut out = Vec::new();
        Lines::new(format).put(entry, &mut out);
        String::from_utf8(out).expect("lines are UTF-8")
    }

    #[test]
    fn no_byte_gets_out_of_its_quotes() {
        for byte in 0..=255_u8 {
            let text = [b'a', byte, b'b'];

            let json = quoted(&text);
            let decoded: String = serde_json::from_str(&json).expect("a JSON string");
            if byte < 128 {
                assert_eq!(decoded.as_bytes(), text);
            } else {
                assert_eq!(decoded, format!("a\\x{byte:02x}b"));
            }
            assert!(!json.chars().any(char::is_control), "{json}");

            let mut out = Vec::new();
            quote_ascii(Some(&text), &mut out);
            let inner = &out[1..out.len() - 1];
            assert!(inner.iter().all(|byte| matches!(byte, b' '..=b'~')));
            assert!(!inner.contains(&b'"'), "{out:?}");
        }
    }

    #[test]
    fn letters_stay_and_tricks_do_not() {
        assert_eq!(quoted("grüße €".as_bytes()), "\"grüße €\"");
        // Ends of lines in the eyes of some, and the start of a terminal's command in eight bits.
        assert_eq!(
            quoted("\u{2028}\u{85}\u{9b}\u{202e}\u{7f}".as_bytes()),
            "\"\\u2028\\u0085\\u009b\\u202e\\u007f\""
        );
        assert_eq!(quoted(b"\xe2\x82"), "\"\\\\xe2\\\\x82\"");
    }

    #[test]
    fn the_combined_line_is_the_well_known_one() {
        let mut entry = entry(b"GET /a\"b HTTP/1.1\r\nrest");
        entry.answered(200);
        entry.sent(5);

        assert_eq!(
            line(Format::Combined, &entry),
            "192.0.2.1 - - [02/Jan/2026:03:04:05 +0000] \"GET /a\\x22b HTTP/1.1\" 200 5 \"-\" \"-\"\n"
        );
    }

    #[test]
    fn a_line_that_is_no_request_line_is_shown_as_it_came() {
        let json = line(Format::Json, &entry(b"\x16\x03\x01 hello\r\n"));

        let value: serde_json::Value = serde_json::from_str(&json).expect("an object");
        assert_eq!(value["line"], "\u{16}\u{3}\u{1} hello");
        assert_eq!(value["method"], serde_json::Value::Null);
        assert_eq!(value["time"], "2026-01-02T03:04:05.678Z");
        assert_eq!(json.lines().count(), 1);
    }

    #[test]
    fn times_have_microseconds() {
        let mut entry = entry(b"GET / HTTP/1.1\r\n");
        entry.total = Duration::from_nanos(12_003_040_999);

        let json = line(Format::Json, &entry);

        assert!(json.contains("\"total_ms\":12003.040,"), "{json}");
    }
}
