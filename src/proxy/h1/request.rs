//! A request's head: what it asks for, and how its body is framed.

use http::Method;

use super::field::Known;
use super::head::{self, Field};
use super::refusal::Refusal;

/// How a message's body is framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Length {
    /// There is none.
    #[default]
    None,
    /// Content-Length.
    Exactly(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
    /// A response that ends with its connection.
    UntilClose,
}

/// A request's head, as received.
#[derive(Debug)]
pub struct Request<'h> {
    /// All of it.
    pub head: &'h [u8],
    /// Any token.
    pub method: Method,
    /// Visible characters only.
    pub target: &'h [u8],
    /// HTTP/1.0.
    pub old: bool,
    /// All field lines, in order.
    pub fields: Vec<Field<'h>>,
}

/// What a request's fields say about its connection and body.
#[derive(Debug)]
pub struct Meaning<'h> {
    /// The one Host field.
    pub host: Option<&'h [u8]>,
    /// The body.
    pub length: Length,
    /// `Connection: close`.
    pub close: bool,
    /// `Connection: keep-alive`.
    pub keep_alive: bool,
    /// `Upgrade`, where `Connection` names it.
    pub upgrade: Option<&'h [u8]>,
    /// `Expect: 100-continue`.
    pub expects: bool,
    /// `TE: trailers`.
    pub trailers: bool,
    /// Other names that `Connection` lists: fields that end here.
    pub listed: Vec<&'h [u8]>,
}

/// Longest request method: longer ones only fill logs.
const METHOD_MAX: usize = 32;

/// Reads the head that `bytes` begin with, of up to `fields_max` fields.
///
/// What it takes is a whole head to [`head::scan`] too, of the same length: of what it refuses only that knows the end.
///
/// # Errors
/// Whatever RFC 9112 §3 and §5 call invalid.
pub fn read<'h>(
    bytes: &'h [u8],
    line_max: usize,
    fields_max: usize,
) -> Result<Request<'h>, Refusal> {
    let (line, lines) = head::split_first_line(bytes);
    if line.len() > line_max {
        return Err(Refusal::LineTooLong);
    }
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next())
    else {
        return Err(Refusal::Malformed("an invalid request line"));
    };
    if !head::is_token(method) || method.len() > METHOD_MAX {
        return Err(Refusal::Malformed("an invalid method"));
    }
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        // A higher minor version is to be taken as ours (RFC 9110 §2.5).
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => false,
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'0' | b'2'..=b'9',
            b'.',
            b'0'..=b'9',
        ] => {
            return Err(Refusal::Version);
        }
        _ => return Err(Refusal::Malformed("an invalid request line")),
    };
    if target.is_empty()
        || target.iter().fold(false, |bad, byte| {
            // Without a way out half way, so that several are looked at at a time.
            bad | (*byte <= b' ') | (*byte == b'#') | (*byte == 127)
        })
    {
        return Err(Refusal::Malformed("an invalid target"));
    }
    let method = Method::from_bytes(method).map_err(|_| Refusal::Malformed("an invalid method"))?;
    let (fields, length) = head::fields(lines, fields_max)?;
    Ok(Request {
        head: &bytes[..bytes.len() - lines.len() + length],
        method,
        target,
        old,
        fields,
    })
}

impl<'h> Request<'h> {
    /// What its fields say.
    ///
    /// # Errors
    /// Two lengths, a length that is none, a coding that would be lost, two hosts, `Connection` naming what must stay.
    pub fn meaning(&self) -> Result<Meaning<'h>, Refusal> {
        let mut meaning = Meaning {
            host: None,
            length: Length::None,
            close: false,
            keep_alive: false,
            upgrade: None,
            expects: false,
            trailers: false,
            listed: Vec::new(),
        };
        let (mut length, mut coding, mut upgrade, mut upgrades) = (None, None, None, false);
        for field in &self.fields {
            let value: &'h [u8] = field.value;
            match field.known {
                Known::Host if meaning.host.is_some() => {
                    return Err(Refusal::Malformed("two Host fields"));
                }
                Known::Host => meaning.host = Some(value.trim_ascii()),
                Known::ContentLength if length.is_some() => {
                    return Err(Refusal::Malformed("two Content-Length fields"));
                }
                Known::ContentLength => {
                    let bytes = head::length(value);
                    length = Some(bytes.ok_or(Refusal::Malformed("an invalid Content-Length"))?);
                }
                Known::TransferEncoding if coding.is_some() => {
                    return Err(Refusal::Malformed("two Transfer-Encoding fields"));
                }
                Known::TransferEncoding => coding = Some(value.trim_ascii()),
                Known::Upgrade if upgrade.is_some() => {
                    return Err(Refusal::Malformed("two Upgrade fields"));
                }
                Known::Upgrade => upgrade = Some(value.trim_ascii()),
                Known::Expect => {
                    if !value.trim_ascii().eq_ignore_ascii_case(b"100-continue") {
                        return Err(Refusal::Expectation);
                    }
                    // An HTTP/1.0 client could not read the interim answer.
                    meaning.expects = !self.old;
                }
                Known::Te => {
                    let mut codings = head::list(value);
                    meaning.trailers |= codings.any(|each| each.eq_ignore_ascii_case(b"trailers"));
                }
                Known::Connection => upgrades |= meaning.connection(value)?,
                _ => {}
            }
        }
        meaning.trailers &= !self.old;
        meaning.upgrade = upgrade.filter(|_| upgrades && !self.old);
        meaning.length = match (coding, length) {
            (Some(_), Some(_)) => {
                return Err(Refusal::Malformed(
                    "Content-Length beside Transfer-Encoding",
                ));
            }
            (Some(_), _) if self.old => {
                return Err(Refusal::Malformed("Transfer-Encoding in HTTP/1.0"));
            }
            (Some(coding), None) => chunked_only(coding)?,
            (None, Some(bytes)) => Length::Exactly(bytes),
            (None, None) => Length::None,
        };
        Ok(meaning)
    }
}

impl<'h> Meaning<'h> {
    /// One Connection line. True: it names Upgrade.
    fn connection(&mut self, value: &'h [u8]) -> Result<bool, Refusal> {
        let mut upgrades = false;
        for option in head::list(value) {
            match Known::of(option) {
                Known::Host | Known::ContentLength | Known::TransferEncoding => {
                    return Err(Refusal::Malformed(
                        "Connection names a field that must stay",
                    ));
                }
                Known::Upgrade => upgrades = true,
                Known::KeepAlive => self.keep_alive = true,
                Known::Other if option.eq_ignore_ascii_case(b"close") => self.close = true,
                known if known.is_hop_by_hop() => {}
                _ => self.listed.push(option),
            }
        }
        Ok(upgrades)
    }
}

/// `chunked`, once and alone. Any other coding would be lost on the way, since bodies are framed anew.
fn chunked_only(coding: &[u8]) -> Result<Length, Refusal> {
    if coding.eq_ignore_ascii_case(b"chunked") {
        return Ok(Length::Chunked);
    }
    let codings: Vec<&[u8]> = head::list(coding).collect();
    let is_chunked = |coding: &&&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let sound = codings.iter().all(|coding| head::is_token(coding))
        && codings.iter().filter(is_chunked).count() == 1
        && codings
            .last()
            .is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"))
        && codings.len() > 1;
    match sound {
        true => Err(Refusal::Coding),
        false => Err(Refusal::Malformed("an invalid Transfer-Encoding")),
    }
}
