//! A request as HTTP/2 says it, made fit for a backend.
//!
//! ```text
//! :method :path :authority, fields ─▶ field lines as HTTP/1 has them ─▶ forward::fit ─▶ RequestHead
//! ```
//!
//! The h2 crate has refused what no HTTP/2 message may have: names in upper case, CR, LF and NUL in values, unknown,
//! repeated and late pseudo-fields, fields of the connection, `te` other than `trailers`, lengths that contradict. It
//! also cuts a fragment off `:path`. The rest is judged by the rules of HTTP/1, in the same place.
//!
//! Source: RFC 9113 §8.

use http::header::{COOKIE, HOST};
use http::{HeaderMap, Method, request};

use super::super::doorman;
use super::super::fault::Fault;
use super::super::forward::{self, RequestHead};
use super::super::h1::head::Field;
use super::super::h1::refusal::Refusal;
use super::super::h1::request::{Length, Request};
use super::super::record::Record;
use super::grpc;
use super::hub::Hub;

/// Longest request method, as in HTTP/1.
const METHOD_MAX: usize = 32;

/// Makes a request fit for a backend. `ended`: it has no body.
pub(super) fn read(
    hub: &Hub,
    parts: &request::Parts,
    ended: bool,
    record: &mut Record,
) -> Result<RequestHead, Fault> {
    let (worker, limits) = (&hub.worker, &hub.worker.settings.limits);
    let listener = worker.listener(hub.peer.listener());
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    record.note(|entry, _| {
        let line = format!("{} {path} HTTP/2.0", parts.method);
        entry.came(line.as_bytes(), None);
    });
    if path.len() + parts.method.as_str().len() > limits.request_line_bytes {
        return Err(Refusal::LineTooLong.into());
    }
    let fields = &parts.headers;
    if fields.len() > limits.header_fields {
        return Err(Refusal::TooManyFields.into());
    }
    let cookies = cookies(fields);
    let lines = as_lines(parts, cookies.as_deref())?;
    let bytes = lines.iter().map(|line| line.name.len() + line.value.len());
    if bytes.sum::<usize>() + path.len() > limits.head_bytes {
        return Err(Refusal::HeadTooLarge.into());
    }
    let request = Request {
        head: &[],
        method: parts.method.clone(),
        target: path.as_bytes(),
        old: false,
        fields: lines,
    };
    record.note(|entry, _| entry.said(&request, |peer| listener.trusts(peer)));
    if parts.method.as_str().len() > METHOD_MAX {
        return Err(Refusal::Malformed("an invalid method").into());
    }
    if let Some(fault) = doorman::answer(listener, &request) {
        return Err(fault);
    }
    if forward::goes_no_further(&request) {
        return Err(Fault::EndsHere);
    }
    let mut meaning = request.meaning()?;
    meaning.length = match meaning.length {
        Length::None if !ended => Length::Chunked,
        // There could be one, and then nobody should have to guess.
        Length::None if may_have_body(&parts.method) => Length::Exactly(0),
        length => length,
    };
    let address = hub.peer.text();
    let trusted = listener.trusts(hub.peer.address().ip());
    let origin = forward::Origin {
        address: &address,
        secured: hub.secured,
        trusted,
        client: match &hub.told {
            Some(lines) => forward::Client::Told(lines),
            None if !trusted && worker.asks_clients() => forward::Client::Hidden,
            None => forward::Client::Unknown,
        },
        local: &|| match hub.local {
            Some(local) => local.to_string(),
            None => "unknown".to_owned(),
        },
    };
    let wire = worker.buffers.take_head();
    let mut dice = worker.dice.borrow_mut();
    forward::fit(
        &request,
        &meaning,
        b"via: 2.0 lb\r\n",
        &origin,
        &[],
        &mut *dice,
        wire,
    )
}

/// Whether it is gRPC that asks.
pub(super) fn is_grpc(fields: &HeaderMap) -> bool {
    let content_type = fields.get(http::header::CONTENT_TYPE);
    content_type.is_some_and(|value| grpc::is_grpc(value.as_bytes()))
}

fn may_have_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Cookies that came in several fields, as one (RFC 9113 §8.2.3).
fn cookies(fields: &HeaderMap) -> Option<Vec<u8>> {
    let mut crumbs = fields.get_all(COOKIE).iter();
    let (first, second) = (crumbs.next()?, crumbs.next()?);
    let mut all = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        all.extend_from_slice(b"; ");
        all.extend_from_slice(crumb.as_bytes());
    }
    Some(all)
}

/// All fields, `Host` among them, as lines.
fn as_lines<'p>(
    parts: &'p request::Parts,
    cookies: Option<&'p [u8]>,
) -> Result<Vec<Field<'p>>, Refusal> {
    // One more than there are: `Host`.
    let mut lines = Vec::with_capacity(parts.headers.len() + 1);
    let mut put = |name: &'p str, value: &'p [u8]| lines.push(Field::new(name.as_bytes(), value));
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    if let Some(authority) = authority {
        put("host", authority.as_bytes());
    }
    let mut crumbs = cookies;
    for (name, value) in &parts.headers {
        let value = value.as_bytes();
        if value.trim_ascii().len() < value.len() {
            return Err(Refusal::Malformed("an invalid field value"));
        }
        // The http crate takes it for a character of a name, which it is not (RFC 9110 §5.6.2).
        if name.as_str().contains('"') {
            return Err(Refusal::Malformed("an invalid field name"));
        }
        if *name == HOST
            && let Some(authority) = authority
        {
            if !authority.as_bytes().eq_ignore_ascii_case(value) {
                return Err(Refusal::Malformed("Host differs from :authority"));
            }
            continue;
        }
        match crumbs {
            _ if *name != COOKIE => put(name.as_str(), value),
            Some(all) => {
                put(name.as_str(), all);
                crumbs = None;
            }
            // Joined already, or the only one.
            None if cookies.is_some() => {}
            None => put(name.as_str(), value),
        }
    }
    Ok(lines)
}
