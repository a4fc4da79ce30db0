//! Where a head ends, and its fields.

use memchr::memchr_iter;

use super::field::Known;
use super::refusal::Refusal;

/// A field as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'h> {
    /// A token, in any case.
    pub name: &'h [u8],
    /// Without the white space around it.
    pub value: &'h [u8],
    /// By its name.
    pub known: Known,
    /// Its line is `name: value` and CRLF, to the byte.
    pub plain: bool,
}

impl<'h> Field<'h> {
    /// One that did not come as a line.
    pub fn new(name: &'h [u8], value: &'h [u8]) -> Self {
        Self {
            name,
            value,
            known: Known::of(name),
            plain: false,
        }
    }
}

/// Fields that there is room for at first; browsers send up to twenty.
const FEW_FIELDS: usize = 24;

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// A head of this many bytes, the empty line included.
    Whole(usize),
    /// The beginning of one.
    Partial,
    /// There is a line that ends in LF alone.
    BareLf,
}

/// What [`Scan::BareLf`] is to people.
pub const BARE_LF: &str = "a line that ends in LF alone";

/// Whether a head's last line may be here: the empty one, where nothing follows. Then [`scan`] finds a whole head, or
/// [`Scan::BareLf`], and who reads it finds out which.
pub fn is_whole(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n\r\n")
}

/// Looks for the end of a head in `bytes`, which begin with its first line.
pub fn scan(bytes: &[u8]) -> Scan {
    let mut line = 0;
    for lf in memchr_iter(b'\n', bytes) {
        if lf == line || bytes[lf - 1] != b'\r' {
            return Scan::BareLf;
        }
        if lf == line + 1 {
            return Scan::Whole(lf + 1);
        }
        line = lf + 1;
    }
    Scan::Partial
}

/// The first line without its CRLF, and the rest. Without one it is all there is.
pub fn split_first_line(head: &[u8]) -> (&[u8], &[u8]) {
    let lf = memchr::memchr(b'\n', head).unwrap_or_default();
    match head.split_at(lf) {
        ([line @ .., b'\r'], [_, rest @ ..]) => (line, rest),
        _ => (head, &[]),
    }
}

/// Reads up to `most` field lines and the empty line; the rest is not looked at. The fields, and the bytes they took.
///
/// # Errors
/// Anything but `name: value`, and more fields than that.
pub fn fields(lines: &[u8], most: usize) -> Result<(Vec<Field<'_>>, usize), Refusal> {
    let mut fields = Vec::with_capacity(FEW_FIELDS.min(most));
    let mut start = 0;
    loop {
        let colon = start + token(&lines[start..]);
        match lines.get(colon) {
            Some(b':') if colon > start => {}
            Some(b'\r') if colon == start => break,
            Some(_) => return Err(Refusal::Malformed("an invalid field name")),
            None => return Err(INCOMPLETE),
        }
        let (mut from, mut plain) = match lines.get(colon + 1) {
            Some(b' ') => (colon + 2, true),
            _ => (colon + 1, false),
        };
        while let Some(b' ' | b'\t') = lines.get(from) {
            (from, plain) = (from + 1, false);
        }
        let end = from + text(&lines[from..]);
        let mut value = &lines[from..end];
        while let [before @ .., b' ' | b'\t'] = value {
            (value, plain) = (before, false);
        }
        let next = end_of_line(lines, end)?;
        if fields.len() == most {
            return Err(Refusal::TooManyFields);
        }
        let name = &lines[start..colon];
        fields.push(Field {
            name,
            value,
            known: Known::of(name),
            plain,
        });
        start = next;
    }
    Ok((fields, end_of_line(lines, start)?))
}

const INCOMPLETE: Refusal = Refusal::Malformed("an incomplete head");

/// What follows the CRLF at `at`.
fn end_of_line(lines: &[u8], at: usize) -> Result<usize, Refusal> {
    match lines[at..] {
        [b'\r', b'\n', ..] => Ok(at + 2),
        [] | [b'\r'] => Err(INCOMPLETE),
        _ => Err(Refusal::Malformed("an invalid field value")),
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = ONES << 7;

/// How many bytes from the first on may stand in a token.
fn token(bytes: &[u8]) -> usize {
    let mut at = 0;
    // Eight at a time, up to the first that is neither a letter nor `-`: the colon, usually. Each byte's upper bit is
    // exact, as no carry leaves a byte.
    for word in bytes.as_chunks::<8>().0 {
        let word = u64::from_le_bytes(*word);
        let letter = word | (ONES * 0x20);
        let below = !((letter | HIGH) - ONES * u64::from(b'a'));
        let above = (letter & !HIGH) + ONES * (0x7f - u64::from(b'z'));
        let dash = word ^ (ONES * u64::from(b'-'));
        let no_dash = ((dash & !HIGH) + (HIGH - ONES)) | dash;
        let others = (below | above | letter) & no_dash & HIGH;
        if others != 0 {
            at += others.trailing_zeros() as usize / 8;
            break;
        }
        at += 8;
    }
    match bytes.get(at) {
        Some(b':') => at,
        _ => at + TOKEN.run(&bytes[at..]),
    }
}

/// How many bytes from the first on may stand in a value: visible ones, spaces, tabs, and all above ASCII.
fn text(bytes: &[u8]) -> usize {
    let mut at = 0;
    // Eight at a time, up to the first that is below a space, DEL or above: the end, usually. In `odd` only that first one
    // is certain, as carries go up.
    for word in bytes.as_chunks::<8>().0 {
        let word = u64::from_le_bytes(*word);
        let odd = word.wrapping_sub(ONES * 0x20) | word.wrapping_add(ONES) | word;
        if odd & HIGH != 0 {
            at += (odd & HIGH).trailing_zeros() as usize / 8;
            break;
        }
        at += 8;
    }
    if let Some(b'\r') = bytes.get(at) {
        return at;
    }
    let rest = bytes[at..].iter();
    let legal = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 128..);
    at + rest.take_while(|byte| legal(byte)).count()
}

/// The one number of a Content-Length; `None` for anything else.
pub fn length(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    // 19 digits always fit.
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0, |number: u64, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(number * 10 + digit)
    })
}

/// The elements of a comma-separated list, trimmed, empty ones left out.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let elements = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    elements.filter(|element| !element.is_empty())
}

/// A set of bytes, looked up in one load each.
pub struct Bytes([bool; 256]);

impl Bytes {
    /// Letters and digits, and these.
    pub const fn alphanumeric_and(others: &[u8]) -> Self {
        let mut set = [false; 256];
        let mut byte = 0;
        while byte < set.len() {
            set[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut at = 0;
        while at < others.len() {
            set[others[at] as usize] = true;
            at += 1;
        }
        Self(set)
    }

    /// How many bytes from the first on are in the set.
    pub fn run(&self, bytes: &[u8]) -> usize {
        let outside = bytes.iter().position(|byte| !self.0[usize::from(*byte)]);
        outside.unwrap_or(bytes.len())
    }

    /// No byte is outside of the set.
    pub fn has_all(&self, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| self.0[usize::from(*byte)])
    }
}

static TOKEN: Bytes = Bytes::alphanumeric_and(b"!#$%&'*+-.^_`|~");

/// The characters of a token (RFC 9110 §5.6.2).
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && TOKEN.has_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_with_its_empty_line() {
        assert_eq!(scan(b"GET / HTTP/1.1\r\na: b\r\n\r\nrest"), Scan::Whole(24));
        assert_eq!(scan(b"GET / HTTP/1.1\r\na: b\r\n\r"), Scan::Partial);
        assert_eq!(scan(b""), Scan::Partial);
    }

    #[test]
    fn what_ends_with_an_empty_line_is_whole_or_has_a_line_feed_alone() {
        for head in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"GET / HTTP/1.1\n\r\n\r\n",
            b"\r\n\r\n",
            b"a\r\n\r\nb\r\n\r\n",
            b"a\n\nb\r\n\r\n",
        ] {
            assert!(is_whole(head) && scan(head) != Scan::Partial, "{head:?}");
        }
        assert!(!is_whole(b"a\r\n\r\nb") && !is_whole(b"\n\r\n"));
    }

    #[test]
    fn a_first_line_ends_with_both_of_its_characters() {
        assert_eq!(split_first_line(b"a\r\nb\r\n"), (&b"a"[..], &b"b\r\n"[..]));
        for line in [&b"ab\nc\r\n"[..], b"\nc\r\n", b"ab\r", b""] {
            assert_eq!(split_first_line(line), (line, &b""[..]));
        }
    }

    #[test]
    fn a_line_feed_alone_is_found_wherever_it_stands() {
        for head in [
            &b"GET / HTTP/1.1\n"[..],
            b"GET / HTTP/1.1\r\na: b\n\r\n",
            b"GET / HTTP/1.1\r\na: b\r\n\n",
            b"\n",
            b"a\nb\r\n",
        ] {
            assert_eq!(scan(head), Scan::BareLf, "{head:?}");
        }
    }

    #[test]
    fn lengths_are_digits_only() {
        assert_eq!(length(b"0"), Some(0));
        assert_eq!(length(b" 42 "), Some(42));
        assert_eq!(
            length(b"9999999999999999999"),
            Some(9_999_999_999_999_999_999)
        );
        for bad in [
            "",
            "+1",
            "-1",
            "1,1",
            "1 1",
            "0x1",
            "1.0",
            "18446744073709551616",
            "\u{661}",
        ] {
            assert_eq!(length(bad.as_bytes()), None, "{bad}");
        }
    }

    /// Names and values, and the bytes that they took.
    type Told = (Vec<(Vec<u8>, Vec<u8>)>, usize);

    /// What the reader before this one made of the same lines.
    fn as_httparse(lines: &[u8]) -> Option<Told> {
        let mut room = [httparse::EMPTY_HEADER; 8];
        let Ok(httparse::Status::Complete((length, fields))) =
            httparse::parse_headers(lines, &mut room)
        else {
            return None;
        };
        let pair = |field: &httparse::Header<'_>| (field.name.into(), field.value.into());
        Some((fields.iter().map(pair).collect(), length))
    }

    fn as_ours(lines: &[u8]) -> Option<Told> {
        let (fields, length) = fields(lines, 8).ok()?;
        let pair = |field: &Field<'_>| (field.name.into(), field.value.into());
        Some((fields.iter().map(pair).collect(), length))
    }

    /// Both readers, where no LF stands alone: that is refused before.
    fn compare(lines: &[u8]) {
        if scan(lines) == Scan::BareLf {
            assert!(fields(lines, 8).is_err(), "{lines:?}");
            return;
        }
        let (ours, theirs) = (as_ours(lines), as_httparse(lines));
        assert_eq!(ours, theirs, "{:?}", String::from_utf8_lossy(lines));
    }

    const LINES: &[u8] = b"Host: a\r\nAccept-Encoding: gzip, deflate\r\nx-y:\tb c \r\ne:\r\nf: \xc3\xa4\tz\r\n\r\nrest";

    #[test]
    fn any_byte_anywhere_is_read_as_another_reader_reads_it() {
        for at in 0..LINES.len() {
            for byte in 0..=255 {
                let mut lines = LINES.to_vec();
                lines[at] = byte;
                compare(&lines);
                lines.insert(at, byte);
                compare(&lines);
            }
            let mut lines = LINES.to_vec();
            lines.remove(at);
            compare(&lines);
            compare(&LINES[..at]);
        }
    }

    #[test]
    fn names_of_any_length_end_at_the_first_byte_that_is_none() {
        for length in 0..20 {
            for byte in 0..=255 {
                for at in 0..=length {
                    let mut lines = b"Ab-Cd-xyZa-A-bcdefgh"[..length].to_vec();
                    lines.insert(at, byte);
                    lines.extend_from_slice(b": value\r\n\r\n");
                    compare(&lines);
                }
            }
        }
    }

    #[test]
    fn values_of_any_length_end_at_the_first_byte_that_is_none() {
        for length in 0..40 {
            for bad in [0, 9, 10, 13, 31, 32, 126, 127, 128, 255] {
                let mut lines = b"n: ".to_vec();
                lines.resize(3 + length, b'v');
                lines.push(bad);
                lines.extend_from_slice(b"\r\n\r\n");
                compare(&lines);
                lines.splice(4 + length..4 + length, [0x20, 0x1f, 0x80]);
                compare(&lines);
            }
        }
    }

    #[test]
    fn only_lines_that_stand_as_they_are_written_are_plain() {
        let lines = b"a: 1\r\nb:2\r\nc: 3 \r\nd:  4\r\ne:\t5\r\nf: \r\ng:\r\n\r\n";
        let (fields, length) = fields(lines, 8).unwrap();

        let plain = fields.iter().filter(|field| field.plain);
        let names: Vec<&[u8]> = plain.map(|field| field.name).collect();
        assert_eq!(names, [b"a", b"f"]);
        assert_eq!(length, lines.len());
    }
}
