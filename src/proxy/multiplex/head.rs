//! Heads from one protocol to the other: HTTP/1 text as all of the proxy knows it, fields as HTTP/2 has them.
//!
//! ```text
//! RequestHead.wire ─▶ request ─▶ http::Request        ResponseHead.wire ◀─ response ◀─ http::Response
//!                                                     field lines       ◀─ trailers ◀─ http::HeaderMap
//! ```
//!
//! Names and values were checked where they came in, on both sides: no CR, LF or NUL is in any of them.
//!
//! Sources: RFC 9113 §8.2.2 (connection fields), §8.3 (pseudo-fields); gRPC over HTTP/2 (`grpc-timeout`).

use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, Uri, Version};

use super::super::forward::{RequestHead, ResponseHead};
use super::super::h1::field::Known;
use super::super::h1::head;
use super::super::h1::lines::put;
use super::super::h1::request::Length;

/// Fields of an answer, or of its trailers.
const FIELDS_MAX: usize = 256;

/// The content type of a gRPC call, or the beginning of it.
const CALL: &[u8] = b"application/grpc";

/// What a request's fields say about its pace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// A gRPC call: it may be silent for as long as it likes.
    pub(super) is_call: bool,
    /// It is of no use later, by its own word.
    pub(super) deadline: Option<Duration>,
}

/// A request for an HTTP/2 backend, from one that fits an HTTP/1.1 backend.
///
/// # Errors
/// Its target or host is none that HTTP/2 can carry.
pub(super) fn request(
    asked: &RequestHead,
    scheme: Scheme,
) -> Result<(Request<()>, Pace), &'static str> {
    let (line, lines) = head::split_first_line(&asked.wire);
    let path = line
        .get(asked.method.as_str().len() + 1..line.len().saturating_sub(" HTTP/1.1".len()))
        .ok_or("an invalid target")?;
    let path = PathAndQuery::try_from(path).map_err(|_| "a target that HTTP/2 can't carry")?;
    let (fields, _) = head::fields(lines, usize::MAX).map_err(|_| "an invalid field")?;
    let mut headers = HeaderMap::with_capacity(fields.len() + 1);
    let mut authority = None;
    for field in fields {
        let name = field.name;
        match field.known {
            Known::Host => authority = Some(field.value),
            Known::ContentLength => {
                let value = HeaderValue::from_bytes(field.value);
                headers.insert(CONTENT_LENGTH, value.map_err(|_| "an invalid length")?);
            }
            known if known.is_hop_by_hop() => {}
            _ => {
                let name = HeaderName::from_bytes(name).map_err(|_| "an invalid field name")?;
                let value =
                    HeaderValue::from_bytes(field.value).map_err(|_| "an invalid field value")?;
                headers.append(name, value);
            }
        }
    }
    if asked.te_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    let authority = authority.and_then(|host| Authority::try_from(host).ok());
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(authority.ok_or("a Host that HTTP/2 can't carry")?)
        .path_and_query(path)
        .build()
        .map_err(|_| "a target that HTTP/2 can't carry")?;
    let pace = pace(&headers);
    let mut request = Request::new(());
    *request.method_mut() = asked.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok((request, pace))
}

fn pace(headers: &HeaderMap) -> Pace {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    // `application/grpc-web` is another protocol.
    let (grpc, rest) = kind
        .unwrap_or_default()
        .split_at_checked(CALL.len())
        .unwrap_or_default();
    if !grpc.eq_ignore_ascii_case(CALL) || !matches!(rest, [] | [b'+' | b';' | b' ', ..]) {
        return Pace::default();
    }
    let timeout = headers.get("grpc-timeout").map(HeaderValue::as_bytes);
    Pace {
        is_call: true,
        deadline: timeout.and_then(timeout_of),
    }
}

/// Up to eight digits and a unit.
fn timeout_of(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let number = head::length(digits)?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// An answer, fit for any client once its front has framed it. `ended`: nothing comes behind the head.
///
/// # Errors
/// In a person's words.
pub(super) fn response<T>(
    response: &Response<T>,
    ended: bool,
    asked: &RequestHead,
    mut wire: Vec<u8>,
) -> Result<ResponseHead, &'static str> {
    let status = response.status();
    let headers = response.headers();
    if status.as_u16() == 101 || status.as_u16() > 599 {
        return Err("an invalid status");
    }
    if headers.len() > FIELDS_MAX {
        return Err("too many fields");
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let announced = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(length), None) => Some(head::length(length.as_bytes()).ok_or("an invalid length")?),
        _ => return Err("a response with two lengths"),
    };
    let bodiless = asked.method == Method::HEAD || matches!(status.as_u16(), 100..=199 | 204 | 304);
    let length = match announced {
        _ if bodiless => Length::None,
        _ if ended => Length::Exactly(0),
        Some(bytes) => Length::Exactly(bytes),
        None => Length::Chunked,
    };
    if ended && !bodiless && announced.is_some_and(|bytes| bytes > 0) {
        return Err("a response shorter than its length");
    }
    let phrase = status.canonical_reason().unwrap_or_default();
    put(
        &mut wire,
        &[
            b"HTTP/1.1 ",
            status.as_str().as_bytes(),
            b" ",
            phrase.as_bytes(),
            b"\r\n",
        ],
    );
    write(&mut wire, headers, |_| true)?;
    Ok(ResponseHead {
        status: status.as_u16(),
        wire,
        length,
        announced,
        dated: headers.contains_key(DATE),
        persistent: true,
        upgrade: false,
    })
}

/// Trailers as field lines. What belongs into a head is left out (RFC 9110 §6.5.1).
pub(super) fn trailers(trailers: &HeaderMap) -> Result<Box<[u8]>, &'static str> {
    if trailers.len() > FIELDS_MAX {
        return Err("too many trailers");
    }
    let mut wire = Vec::new();
    let belongs = |known| !matches!(known, Known::Host | Known::Expect | Known::MaxForwards);
    write(&mut wire, trailers, belongs)?;
    Ok(wire.into())
}

fn write(
    wire: &mut Vec<u8>,
    headers: &HeaderMap,
    belongs: impl Fn(Known) -> bool,
) -> Result<(), &'static str> {
    for (name, value) in headers {
        let name = name.as_str().as_bytes();
        // The http crate takes it for a character of a name, which it is not (RFC 9110 §5.6.2).
        if name.contains(&b'"') {
            return Err("an invalid field name");
        }
        let known = Known::of(name);
        if known.is_hop_by_hop() || !belongs(known) {
            continue;
        }
        let value = value.as_bytes().trim_ascii();
        if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err("an invalid field value");
        }
        put(wire, &[name, b": ", value, b"\r\n"]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(wire: &str, te_trailers: bool) -> RequestHead {
        RequestHead {
            method: Method::from_bytes(wire.split(' ').next().unwrap().as_bytes()).unwrap(),
            wire: wire.as_bytes().to_vec(),
            length: Length::None,
            old: false,
            persistent: true,
            te_trailers,
            upgrade: None,
        }
    }

    #[test]
    fn a_request_keeps_its_fields_but_those_of_its_connection() {
        let wire = "POST /a?b=c HTTP/1.1\r\nhost: test:81\r\nX-One: 1\r\nx-one: 2\r\n\
             transfer-encoding: chunked\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";

        let (request, pace) = request(&asked(wire, true), Scheme::HTTP).unwrap();

        assert_eq!(request.uri(), "http://test:81/a?b=c");
        let names: Vec<&str> = request.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-one", "te"]);
        assert_eq!(request.headers().get_all("x-one").iter().count(), 2);
        assert_eq!(request.headers()[TE], "trailers");
        assert_eq!(pace, Pace::default());
    }

    #[test]
    fn targets_and_hosts_that_http2_lacks_are_refused() {
        for wire in [
            "GET /a`b HTTP/1.1\r\nhost: test\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: \r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
        ] {
            assert!(
                request(&asked(wire, false), Scheme::HTTP).is_err(),
                "{wire}"
            );
        }
        let any = asked("OPTIONS * HTTP/1.1\r\nhost: test\r\n\r\n", false);
        assert_eq!(request(&any, Scheme::HTTP).unwrap().0.uri().path(), "*");
    }

    #[test]
    fn a_call_says_how_long_it_waits() {
        let call = |timeout: &str| {
            let wire = format!(
                "POST /s/m HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc+proto\r\ngrpc-timeout: {timeout}\r\n\r\n"
            );
            request(&asked(&wire, true), Scheme::HTTP).unwrap().1
        };

        assert_eq!(call("150m").deadline, Some(Duration::from_millis(150)));
        assert_eq!(
            call("99999999H").deadline.unwrap().as_secs(),
            99_999_999 * 3600
        );
        for bad in ["", "1", "S", "-1S", "123456789S", "1x"] {
            assert_eq!(
                (call(bad).is_call, call(bad).deadline),
                (true, None),
                "{bad}"
            );
        }
    }

    #[test]
    fn an_answer_is_framed_by_its_length_or_by_its_end() {
        let get = asked("GET / HTTP/1.1\r\nhost: a\r\n\r\n", false);
        let read = |answer: http::response::Builder, ended| {
            let answer = answer.body(()).unwrap();
            response(&answer, ended, &get, Vec::new())
        };
        let ok = || Response::builder().status(200);

        let plain = read(ok().header("a", " b "), false).unwrap();
        assert_eq!(plain.wire, b"HTTP/1.1 200 OK\r\na: b\r\n");
        assert_eq!((plain.length, plain.announced), (Length::Chunked, None));
        let sized = read(ok().header("content-length", "3"), false).unwrap();
        assert_eq!(
            (sized.length, sized.announced),
            (Length::Exactly(3), Some(3))
        );
        assert_eq!(read(ok(), true).unwrap().length, Length::Exactly(0));
        let none = read(Response::builder().status(204), false).unwrap();
        assert_eq!(none.length, Length::None);
        let quoted = HeaderName::from_lowercase(b"a\"b").unwrap();
        for bad in [
            read(Response::builder().status(101), false),
            read(Response::builder().status(600), false),
            read(ok().header("content-length", "3"), true),
            read(
                ok().header("content-length", "3")
                    .header("content-length", "3"),
                false,
            ),
            read(ok().header("content-length", "x"), false),
            read(ok().header(quoted, "x"), false),
        ] {
            assert!(bad.is_err(), "{bad:?}");
        }
    }

    #[test]
    fn trailers_are_field_lines_without_what_frames_a_message() {
        let mut fields = HeaderMap::new();
        fields.insert("grpc-status", HeaderValue::from_static("0"));
        fields.insert("content-length", HeaderValue::from_static("3"));
        fields.insert("host", HeaderValue::from_static("a"));

        assert_eq!(&*trailers(&fields).unwrap(), b"grpc-status: 0\r\n");
    }
}
