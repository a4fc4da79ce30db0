//! A response's head. Whatever could be understood in two ways is not passed on.

use super::field::Known;
use super::head::{self, Field};
use super::refusal::Refusal;
use super::request::Length;

/// A response's head, as received.
#[derive(Debug)]
pub struct Response<'h> {
    /// All of it.
    pub head: &'h [u8],
    /// 100–599.
    pub status: u16,
    /// May be empty.
    pub reason: &'h [u8],
    /// HTTP/1.0.
    pub old: bool,
    /// All field lines, in order.
    pub fields: Vec<Field<'h>>,
}

/// What a response's fields say about its connection and body.
#[derive(Debug)]
pub struct Meaning<'h> {
    /// The body, if the status and the method allow one.
    pub length: Length,
    /// Content-Length, whether or not there is a body.
    pub announced: Option<u64>,
    /// The connection can carry another request afterwards.
    pub persistent: bool,
    /// `Upgrade`, where `Connection` names it.
    pub upgrade: Option<&'h [u8]>,
    /// There is a Date field.
    pub dated: bool,
    /// Other names that `Connection` lists: fields that end here.
    pub listed: Vec<&'h [u8]>,
}

/// There was no room for all fields.
pub const TOO_MANY_FIELDS: &str = "too many fields";

/// Reads the head that `bytes` begin with, of up to `fields_max` fields.
///
/// What it takes is a whole head to [`head::scan`] too, of the same length: of what it refuses only that knows the end.
///
/// # Errors
/// In a person's words.
pub fn read<'h>(bytes: &'h [u8], fields_max: usize) -> Result<Response<'h>, &'static str> {
    let (line, lines) = head::split_first_line(bytes);
    let old = match line.get(..9) {
        Some(b"HTTP/1.0 ") => true,
        Some([b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9', b' ']) => false,
        _ => return Err("an invalid status line"),
    };
    let (code, reason) = match line[9..] {
        [a, b, c] => ([a, b, c], &b""[..]),
        [a, b, c, b' ', ref reason @ ..] => ([a, b, c], reason),
        _ => return Err("an invalid status line"),
    };
    if !code.iter().all(u8::is_ascii_digit) || !(b'1'..=b'5').contains(&code[0]) {
        return Err("an invalid status");
    }
    if reason
        .iter()
        .any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 127)
    {
        return Err("an invalid status line");
    }
    let [hundreds, tens, ones] = code.map(|digit| u16::from(digit - b'0'));
    let (fields, length) = head::fields(lines, fields_max).map_err(|refusal| match refusal {
        Refusal::TooManyFields => TOO_MANY_FIELDS,
        _ => "an invalid field",
    })?;
    Ok(Response {
        head: &bytes[..bytes.len() - lines.len() + length],
        status: hundreds * 100 + tens * 10 + ones,
        reason,
        old,
        fields,
    })
}

impl<'h> Response<'h> {
    /// What its fields say; `to_head`: the request was HEAD, so there is no body.
    ///
    /// # Errors
    /// In a person's words.
    pub fn meaning(&self, to_head: bool) -> Result<Meaning<'h>, &'static str> {
        let (mut length, mut coding, mut upgrade) = (None, None, None);
        let (mut close, mut keep_alive, mut upgrades, mut dated) = (false, false, false, false);
        let mut listed = Vec::new();
        for field in &self.fields {
            let value: &'h [u8] = field.value;
            match field.known {
                Known::ContentLength if length.is_some() => {
                    return Err("a response with two lengths");
                }
                Known::ContentLength => {
                    length = Some(head::length(value).ok_or("an invalid length")?);
                }
                Known::TransferEncoding if coding.is_some() => {
                    return Err("a response with two transfer codings");
                }
                Known::TransferEncoding => coding = Some(value.trim_ascii()),
                Known::Upgrade => upgrade = Some(value.trim_ascii()),
                Known::Date => dated = true,
                Known::Connection => {
                    for option in head::list(value) {
                        match Known::of(option) {
                            Known::KeepAlive => keep_alive = true,
                            Known::Upgrade => upgrades = true,
                            Known::Other if option.eq_ignore_ascii_case(b"close") => close = true,
                            known if known.is_hop_by_hop() => {}
                            _ => listed.push(option),
                        }
                    }
                }
                _ => {}
            }
        }
        if coding.is_some() && length.is_some() {
            return Err("a response with two lengths");
        }
        if coding.is_some_and(|coding| self.old || !coding.eq_ignore_ascii_case(b"chunked")) {
            return Err("a response with an unknown transfer coding");
        }
        let bodiless = to_head || matches!(self.status, 100..=199 | 204 | 304);
        let body = match (coding, length) {
            _ if bodiless => Length::None,
            (Some(_), _) => Length::Chunked,
            (None, Some(bytes)) => Length::Exactly(bytes),
            (None, None) => Length::UntilClose,
        };
        Ok(Meaning {
            length: body,
            announced: length,
            persistent: !close && (keep_alive || !self.old) && body != Length::UntilClose,
            upgrade: upgrade.filter(|_| upgrades),
            dated,
            listed,
        })
    }
}
