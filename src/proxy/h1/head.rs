//! Where a head ends, and its fields.

use memchr::memchr_iter;

use super::refusal::Refusal;

/// A field line as received: name (any case), value without the white space around it.
pub type Field<'h> = httparse::Header<'h>;

/// Fields that need no allocation.
const FEW_FIELDS: usize = 32;

/// Reads with room for up to `most` fields: few at first, since hardly any head has more.
///
/// # Errors
/// Those of `read`.
pub fn with_room<'h, T, E>(
    most: usize,
    is_too_many: impl Fn(&E) -> bool,
    mut read: impl FnMut(&mut [Field<'h>]) -> Result<T, E>,
) -> Result<T, E> {
    let mut few = [httparse::EMPTY_HEADER; FEW_FIELDS];
    match read(&mut few[..FEW_FIELDS.min(most)]) {
        Err(error) if most > FEW_FIELDS && is_too_many(&error) => {
            read(&mut vec![httparse::EMPTY_HEADER; most])
        }
        done => done,
    }
}

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

/// The first line without its end, and the rest. `head` is whole (see [`scan`]).
pub fn split_first_line(head: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'\n', head) {
        Some(lf) if lf > 0 => (&head[..lf - 1], &head[lf + 1..]),
        _ => (head, &[]),
    }
}

/// Reads field lines and the empty line into `room`.
///
/// # Errors
/// Anything but `name: value`, and more fields than there is room for.
pub fn fields<'h, 'r>(
    lines: &'h [u8],
    room: &'r mut [Field<'h>],
) -> Result<&'r [Field<'h>], Refusal> {
    match httparse::parse_headers(lines, room) {
        Ok(httparse::Status::Complete((_, fields))) => Ok(fields),
        Ok(httparse::Status::Partial) => Err(Refusal::Malformed("an incomplete head")),
        Err(httparse::Error::TooManyHeaders) => Err(Refusal::TooManyFields),
        Err(httparse::Error::HeaderName) => Err(Refusal::Malformed("an invalid field name")),
        Err(_) => Err(Refusal::Malformed("an invalid field value")),
    }
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
}
