//! Chunked bodies, decoded in place (RFC 9112 §7.1).
//!
//! Every CRLF is checked, sizes are bounded, extensions and trailers are read over within a bound
//! and dropped. Any split of the same bytes gives the same result.

/// Bytes of one size line, its extensions included.
const LINE_MAX: u32 = 1024;

/// Bytes of all trailers.
const TRAILERS_MAX: u32 = 8 * 1024;

/// Hexadecimal digits of a size: 15 can't overflow.
const DIGITS_MAX: u32 = 15;

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a trailer line, or of the empty one.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    Done,
}

/// It is no chunked body; in a person's words.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// One body's decoder.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    state: State,
    /// Of the current chunk.
    left: u64,
    digits: u32,
    /// Bytes of the current size line, or of all trailers.
    line: u32,
}

/// What [`Decoder::decode`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the body, now at the beginning.
    pub data: usize,
    /// Bytes read; less than all only at the end of the body.
    pub read: usize,
}

impl Decoder {
    /// At the beginning of a body.
    pub fn new() -> Self {
        Self::default()
    }

    /// The body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads `bytes` and moves the body's own to their beginning.
    ///
    /// # Errors
    /// From then on the decoder is of no use.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<Decoded, Malformed> {
        let (mut data, mut at) = (0, 0);
        while at < bytes.len() && self.state != State::Done {
            if self.state == State::Data {
                let left = usize::try_from(self.left).unwrap_or(usize::MAX);
                let run = left.min(bytes.len() - at);
                if data != at {
                    bytes.copy_within(at..at + run, data);
                }
                data += run;
                at += run;
                self.left -= run as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.state = self.step(bytes[at])?;
            at += 1;
        }
        Ok(Decoded { data, read: at })
    }

    /// One byte outside of data.
    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        let malformed = |what| Err(Malformed(what));
        Ok(match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                self.digits += 1;
                if self.digits > DIGITS_MAX {
                    return malformed("a chunk size that is too large");
                }
                self.left = self.left << 4 | u64::from(digit);
                State::Size
            }
            (State::Size, _) if self.digits == 0 => return malformed("an invalid chunk size"),
            (State::Size | State::Extension, b'\r') => State::SizeLf,
            (State::Size, b';') => self.count(State::Extension)?,
            (State::Extension, b'\t' | b' '..=b'~' | 128..) => self.count(State::Extension)?,
            (State::SizeLf, b'\n') => {
                (self.line, self.digits) = (0, 0);
                match self.left {
                    0 => State::Trailer,
                    _ => State::Data,
                }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::Trailer, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Done,
            (State::Trailer | State::TrailerName, byte) if super::head::is_token(&[byte]) => {
                self.count(State::TrailerName)?
            }
            (State::TrailerName, b':') => self.count(State::TrailerValue)?,
            (State::TrailerValue, b'\t' | b' '..=b'~' | 128..) => {
                self.count(State::TrailerValue)?
            }
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerLf, b'\n') => State::Trailer,
            (State::Size | State::Extension | State::SizeLf, _) => {
                return malformed("an invalid chunk size");
            }
            (State::Data | State::DataCr | State::DataLf | State::Done, _) => {
                return malformed("a chunk that is longer than its size");
            }
            _ => return malformed("an invalid trailer"),
        })
    }

    fn count(&mut self, next: State) -> Result<State, Malformed> {
        self.line += 1;
        let trailer = matches!(next, State::TrailerName | State::TrailerValue);
        match self.line > if trailer { TRAILERS_MAX } else { LINE_MAX } {
            true if trailer => Err(Malformed("trailers that are too long")),
            true => Err(Malformed("a chunk extension that is too long")),
            false => Ok(next),
        }
    }
}

/// The line in front of a chunk of `bytes`, which are not 0.
pub fn size_line(bytes: usize) -> ([u8; 18], usize) {
    let mut line = [0; 18];
    let digits = (usize::BITS - bytes.leading_zeros()).div_ceil(4).max(1) as usize;
    for (at, byte) in line[..digits].iter_mut().enumerate() {
        let digit = (bytes >> (4 * (digits - 1 - at))) & 15;
        *byte = b"0123456789abcdef"[digit];
    }
    line[digits..digits + 2].copy_from_slice(b"\r\n");
    (line, digits + 2)
}

/// Behind the last chunk.
pub const LAST: &[u8] = b"0\r\n\r\n";

/// Its beginning, where trailers follow.
pub const LAST_SIZE: &[u8] = b"0\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool, usize), Malformed> {
        let mut decoder = Decoder::new();
        let (mut body, mut left) = (Vec::new(), 0);
        for piece in pieces {
            let mut bytes = piece.to_vec();
            let decoded = decoder.decode(&mut bytes)?;
            body.extend_from_slice(&bytes[..decoded.data]);
            left += bytes.len() - decoded.read;
        }
        Ok((body, decoder.is_done(), left))
    }

    const BODY: &[u8] = b"5;a=b\r\nhello\r\n1\r\n \r\n00A\r\n0123456789\r\n0\r\nx: y\r\nz:\r\n\r\n";

    #[test]
    fn any_split_gives_the_same_body() {
        let whole = decode(&[BODY]).unwrap();
        assert_eq!(whole, (b"hello 0123456789".to_vec(), true, 0));

        for at in 0..BODY.len() {
            let (a, b) = BODY.split_at(at);
            assert_eq!(decode(&[a, b]).unwrap(), whole, "{at}");
        }
        let bytes: Vec<&[u8]> = BODY.chunks(1).collect();
        assert_eq!(decode(&bytes).unwrap(), whole);
    }

    #[test]
    fn what_follows_the_end_is_not_read() {
        assert_eq!(
            decode(&[b"1\r\na\r\n0\r\n\r\nGET /"]).unwrap(),
            (b"a".to_vec(), true, 5)
        );
    }

    #[test]
    fn everything_but_the_grammar_is_refused() {
        for bad in [
            &b"\r\n"[..],
            b";a\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"1 \r\n",
            b"1\n",
            b"1\r\r\n",
            b"1;a\n",
            b"1;a\x00\r\n",
            b"1\r\nab\r\n",
            b"1\r\na\n",
            b"1\r\na\rb",
            b"g\r\n",
            b"1000000000000000\r\n",
            b"0\r\n\n",
            b"0\r\n: x\r\n\r\n",
            b"0\r\nx y: z\r\n\r\n",
            b"0\r\nx: y\n\r\n",
            b"0\r\n x: y\r\n\r\n",
        ] {
            assert!(
                decode(&[bad]).is_err(),
                "{:?}",
                String::from_utf8_lossy(bad)
            );
        }
        let long = [b"1;".to_vec(), vec![b'a'; 2000]].concat();
        assert!(decode(&[&long]).is_err());
        let trailers = [b"0\r\n".to_vec(), b"a: b\r\n".repeat(4000)].concat();
        assert!(decode(&[&trailers]).is_err());
    }

    #[test]
    fn size_lines_are_hexadecimal() {
        for bytes in [1, 15, 16, 255, 4096, 262_144, usize::MAX] {
            let (line, length) = size_line(bytes);
            assert_eq!(&line[..length], format!("{bytes:x}\r\n").as_bytes());
        }
    }
}
