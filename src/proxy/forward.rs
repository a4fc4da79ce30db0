//! What is changed between the two hops: admissible targets, `Host`, hop-by-hop fields, who asked by which way.
//!
//! ```text
//! client's head ─▶ request ─▶ RequestHead.wire ─▶ backend
//! client ◀─ (framed by its front) ◀─ ResponseHead.wire ◀─ response ◀─ backend's head
//! ```
//!
//! Heads are written anew field by field, never copied raw.
//!
//! Sources: RFC 9110 §7.2 (Host), §7.6 (Connection, Max-Forwards, Via), §9.3.8 (TRACE); RFC 9112 §3.2
//! (targets); RFC 7239 (Forwarded).

use std::borrow::Cow;

use http::Method;
use rand::Rng;

use super::fault::Fault;
use super::h1::field::Known;
use super::h1::head::{self, Field};
use super::h1::lines::{Lines, put};
use super::h1::refusal::Refusal;
use super::h1::request::{Length, Request};
use super::h1::{request, response};
use super::peer::Text;
use super::target::{self, Host};

/// Who asks, as a backend is told.
pub(super) struct Origin<'a> {
    /// The client's address.
    pub(super) address: &'a Text,
    /// It came within TLS.
    pub(super) secured: bool,
    /// It may say on whose behalf it asks.
    pub(super) trusted: bool,
    /// What is known of its certificate.
    pub(super) client: Client<'a>,
    /// The address it connected to: the host of a request that names none.
    pub(super) local: &'a dyn Fn() -> String,
}

/// What backends are told of the client's certificate. What a client says of its own is believed by none of ours.
#[derive(Clone, Copy, Debug)]
pub(super) enum Client<'a> {
    /// Nobody here asks for certificates: such fields are like all others.
    Unknown,
    /// Not asked for one, while others are: nothing it says of it goes on.
    Hidden,
    /// These field lines.
    Told(&'a [u8]),
}

/// A request, fit for a backend.
#[derive(Debug, Default)]
pub(super) struct RequestHead {
    pub(super) method: Method,
    /// The whole head for an HTTP/1.1 backend.
    pub(super) wire: Vec<u8>,
    /// How its body is framed, on both sides.
    pub(super) length: Length,
    /// HTTP/1.0.
    pub(super) old: bool,
    /// The client wants the connection kept.
    pub(super) persistent: bool,
    /// The client takes trailers (`TE: trailers`).
    pub(super) te_trailers: bool,
    /// The protocol that a change is asked to.
    pub(super) upgrade: Option<Box<[u8]>>,
}

/// A backend's response, fit for any client once its front has framed it.
#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    /// Status line and field lines, without framing and without the empty line.
    pub(super) wire: Vec<u8>,
    pub(super) length: Length,
    /// Content-Length, also where there is no body.
    pub(super) announced: Option<u64>,
    /// There is a Date field.
    pub(super) dated: bool,
    /// The backend's connection can be used again afterwards.
    pub(super) persistent: bool,
    /// It changes the protocol.
    pub(super) upgrade: bool,
}

/// Makes a client's request fit for a backend, or says what is wrong with it.
///
/// `upgrades`: protocols that may be changed to, in lower case.
pub(super) fn request(
    request: &Request<'_>,
    origin: &Origin<'_>,
    upgrades: &[String],
    dice: &mut impl Rng,
    wire: Vec<u8>,
) -> Result<RequestHead, Fault> {
    let meaning = request.meaning()?;
    let via = match request.old {
        true => b"via: 1.0 lb\r\n",
        false => b"via: 1.1 lb\r\n",
    };
    fit(request, &meaning, via, origin, upgrades, dice, wire)
}

/// The same, with what its fields mean and a `Via` line for the HTTP version that it came by.
pub(super) fn fit(
    request: &Request<'_>,
    meaning: &request::Meaning<'_>,
    via: &[u8],
    origin: &Origin<'_>,
    upgrades: &[String],
    dice: &mut impl Rng,
    mut wire: Vec<u8>,
) -> Result<RequestHead, Fault> {
    if request.method == Method::CONNECT || request.method == Method::TRACE {
        return Err(Fault::Method);
    }
    let target = target::read(request.target, &request.method)?;
    let host = host(meaning, &target, request.old, origin)?;
    let upgrade = meaning
        .upgrade
        .filter(|_| meaning.length == Length::None && request.method == Method::GET)
        .filter(|wanted| {
            upgrades
                .iter()
                .any(|known| wanted.eq_ignore_ascii_case(known.as_bytes()))
        });

    put(&mut wire, &[request.method.as_str().as_bytes(), b" "]);
    if !target.path.starts_with(b"/") && target.path != b"*" {
        wire.push(b'/');
    }
    let host = &*host;
    put(
        &mut wire,
        &[target.path, b" HTTP/1.1\r\nhost: ", host, b"\r\n"],
    );
    let traced = fields(&mut wire, request, meaning, origin, host);
    wire.extend_from_slice(via);
    if !traced {
        trace(&mut wire, dice);
    }
    frame(&mut wire, meaning.length);
    if let Some(wanted) = upgrade {
        put(
            &mut wire,
            &[b"connection: upgrade\r\nupgrade: ", wanted, b"\r\n"],
        );
    }
    wire.extend_from_slice(b"\r\n");
    Ok(RequestHead {
        method: request.method.clone(),
        wire,
        length: meaning.length,
        old: request.old,
        persistent: !meaning.close && (!request.old || meaning.keep_alive),
        te_trailers: meaning.trailers,
        upgrade: upgrade.map(Box::from),
    })
}

/// The client's own fields, as far as they go on, and who asked by which way. True: there is a trace context.
fn fields(
    wire: &mut Vec<u8>,
    request: &Request<'_>,
    meaning: &request::Meaning<'_>,
    origin: &Origin<'_>,
    host: &[u8],
) -> bool {
    let mut traced = false;
    let mut way = Way::default();
    let mut lines = Lines::of(request.head);
    for field in &request.fields {
        let known = field.known;
        if known.is_hop_by_hop() || known == Known::Host || is_listed(field, &meaning.listed) {
            continue;
        }
        match known {
            Known::XForwardedFor
            | Known::XForwardedHost
            | Known::XForwardedProto
            | Known::XForwarded
            | Known::Forwarded
            | Known::Lookalike
            | Known::XRealIp
                if !origin.trusted || way.note(known, field.value) =>
            {
                continue;
            }
            Known::XClient if !matches!(origin.client, Client::Unknown) => continue,
            Known::MaxForwards if request.method == Method::OPTIONS => {
                // 0 was answered before it came here.
                let left = head::length(field.value).unwrap_or(u64::MAX);
                let left = left.saturating_sub(1).to_string();
                lines.flush(wire);
                put(wire, &[b"max-forwards: ", left.as_bytes(), b"\r\n"]);
                continue;
            }
            // Without a body there is nothing to wait for.
            Known::Expect if !meaning.expects || is_empty(meaning.length) => continue,
            Known::TraceParent => traced = true,
            _ => {}
        }
        lines.keep(wire, field);
    }
    lines.flush(wire);
    way.write(wire, origin, host);
    if let Client::Told(told) = origin.client {
        wire.extend_from_slice(told);
    }
    traced
}

/// Whether this request ends here by its own wish (RFC 9110 §7.6.2).
pub(super) fn goes_no_further(request: &Request<'_>) -> bool {
    request.method == Method::OPTIONS
        && request
            .fields
            .iter()
            .any(|field| field.known == Known::MaxForwards && head::length(field.value) == Some(0))
}

fn is_empty(length: Length) -> bool {
    matches!(length, Length::None | Length::Exactly(0))
}

fn is_listed(field: &Field<'_>, listed: &[&[u8]]) -> bool {
    listed
        .iter()
        .any(|listed| field.name.eq_ignore_ascii_case(listed))
}

/// The `Host` for the backend: the target's own, else the field's, else the address that was asked.
fn host<'h>(
    meaning: &request::Meaning<'h>,
    target: &target::Target<'h>,
    old: bool,
    origin: &Origin<'_>,
) -> Result<Cow<'h, [u8]>, Fault> {
    let given = match meaning.host {
        Some(host) => Some(Host::read(host).ok_or(Refusal::Malformed("an invalid Host field"))?),
        None if old => None,
        None => return Err(Refusal::Malformed("no Host field").into()),
    };
    match target.host.or(given) {
        Some(host) => Ok(host.0.into()),
        None => Ok((origin.local)().into_bytes().into()),
    }
}

/// Who was asked before us, where that is believed.
#[derive(Default)]
struct Way {
    addresses: Vec<u8>,
    forwarded: Vec<u8>,
    /// Said by a trusted proxy, and kept as it is.
    proto: bool,
    host: bool,
    real: bool,
}

impl Way {
    /// True: the line is written anew at the end, together with ours.
    fn note(&mut self, known: Known, value: &[u8]) -> bool {
        let list = match known {
            Known::XForwardedFor => &mut self.addresses,
            Known::Forwarded => &mut self.forwarded,
            Known::XForwardedProto => {
                self.proto = true;
                return false;
            }
            Known::XForwardedHost => {
                self.host = true;
                return false;
            }
            Known::XRealIp => {
                self.real = true;
                return false;
            }
            _ => return false,
        };
        if !value.is_empty() {
            list.extend_from_slice(value);
            list.extend_from_slice(b", ");
        }
        true
    }

    fn write(&self, wire: &mut Vec<u8>, origin: &Origin<'_>, host: &[u8]) {
        let address = origin.address.as_bytes();
        // Each line's end goes with the beginning of the next: copies are what this costs.
        let (proto_line, proto_end) = match origin.secured {
            true => (
                &b"\r\nx-forwarded-proto: https"[..],
                &b"\";proto=https\r\n"[..],
            ),
            false => (
                &b"\r\nx-forwarded-proto: http"[..],
                &b"\";proto=http\r\n"[..],
            ),
        };
        wire.extend_from_slice(b"x-forwarded-for: ");
        if !self.addresses.is_empty() {
            wire.extend_from_slice(&self.addresses);
        }
        wire.extend_from_slice(address);
        if !self.proto {
            wire.extend_from_slice(proto_line);
        }
        if !self.host {
            put(wire, &[b"\r\nx-forwarded-host: ", host]);
        }
        if !self.real {
            put(wire, &[b"\r\nx-real-ip: ", address]);
        }
        wire.extend_from_slice(b"\r\nforwarded: ");
        if !self.forwarded.is_empty() {
            wire.extend_from_slice(&self.forwarded);
        }
        match origin.address.is_v6() {
            true => put(wire, &[b"for=\"[", address, b"]\";host=\""]),
            false => put(wire, &[b"for=", address, b";host=\""]),
        }
        put(wire, &[host, proto_end]);
    }
}

/// A W3C trace context of its own: not sampled, since nothing is recorded here.
fn trace(wire: &mut Vec<u8>, dice: &mut impl Rng) {
    let mut ids = [0; 24];
    dice.fill_bytes(&mut ids);
    // All zeroes would be invalid.
    ids[0] |= 1;
    ids[16] |= 1;
    let mut line = *b"traceparent: 00-00000000000000000000000000000000-0000000000000000-00\r\n";
    let (trace, span) = ids.split_at(16);
    for (at, ids) in [(16, trace), (49, span)] {
        let places = line[at..].as_chunks_mut::<8>().0.iter_mut();
        for (place, bytes) in places.zip(ids.as_chunks::<4>().0) {
            *place = hex(*bytes);
        }
    }
    wire.extend_from_slice(&line);
}

/// Four bytes as eight digits, all at once.
fn hex(bytes: [u8; 4]) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut digits = u64::from(u32::from_be_bytes(bytes));
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (digits + ONES * 6) >> 4 & ONES;
    (digits + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// Says how a body is framed.
pub(super) fn frame(wire: &mut Vec<u8>, length: Length) {
    match length {
        Length::Exactly(bytes) => {
            let mut digits = itoa::Buffer::new();
            wire.extend_from_slice(b"content-length: ");
            wire.extend_from_slice(digits.format(bytes).as_bytes());
            wire.extend_from_slice(b"\r\n");
        }
        Length::Chunked => wire.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Length::None | Length::UntilClose => {}
    }
}

/// As `HTTP/1.1`; copied where it came so.
fn status_line(wire: &mut Vec<u8>, response: &response::Response<'_>) {
    let length = b"HTTP/1.1 200 \r\n".len() + response.reason.len();
    match response.head.split_at_checked(length) {
        Some((line, _)) if line.starts_with(b"HTTP/1.1 ") && line.ends_with(b"\r\n") => {
            wire.extend_from_slice(line);
        }
        _ => {
            let mut digits = itoa::Buffer::new();
            let status = digits.format(response.status).as_bytes();
            put(
                wire,
                &[b"HTTP/1.1 ", status, b" ", response.reason, b"\r\n"],
            );
        }
    }
}

/// Makes a backend's response fit for a client, or says why it is none.
pub(super) fn response(
    response: &response::Response<'_>,
    asked: &RequestHead,
    mut wire: Vec<u8>,
) -> Result<ResponseHead, &'static str> {
    let meaning = response.meaning(asked.method == Method::HEAD)?;
    let switches = response.status == 101;
    let agreed = |asked: &[u8]| {
        let to = meaning.upgrade;
        to.is_some_and(|to| to.eq_ignore_ascii_case(asked))
    };
    if switches && !asked.upgrade.as_deref().is_some_and(agreed) {
        return Err("a change of protocol that nobody asked for");
    }
    status_line(&mut wire, response);
    let mut lines = Lines::of(response.head);
    for field in &response.fields {
        let known = field.known;
        if !known.is_hop_by_hop() && !is_listed(field, &meaning.listed) {
            lines.keep(&mut wire, field);
        }
    }
    lines.flush(&mut wire);
    if let (true, Some(protocol)) = (switches, meaning.upgrade) {
        put(
            &mut wire,
            &[b"connection: upgrade\r\nupgrade: ", protocol, b"\r\n"],
        );
    }
    Ok(ResponseHead {
        status: response.status,
        wire,
        length: meaning.length,
        announced: meaning.announced,
        dated: meaning.dated,
        persistent: meaning.persistent,
        upgrade: switches,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_the_same_whether_copied_or_written() {
        for (came, goes) in [
            ("HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n"),
            (
                "HTTP/1.1 404 Not Found\r\na: b\r\n\r\n",
                "HTTP/1.1 404 Not Found\r\n",
            ),
            ("HTTP/1.1 200 \r\n\r\n", "HTTP/1.1 200 \r\n"),
            ("HTTP/1.1 200\r\n\r\n", "HTTP/1.1 200 \r\n"),
            ("HTTP/1.1 200\r\na: b\r\n\r\n", "HTTP/1.1 200 \r\n"),
            ("HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n"),
            ("HTTP/1.9 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n"),
        ] {
            let response = response::read(came.as_bytes(), 10).unwrap();
            let mut wire = Vec::new();

            status_line(&mut wire, &response);

            assert_eq!(String::from_utf8(wire).unwrap(), goes, "{came:?}");
        }
    }

    #[test]
    fn bytes_are_written_as_hexadecimal_digits() {
        for bytes in [
            [0, 1, 0x23, 0xff],
            [0x9a, 0xbc, 0xde, 0xf0],
            [0xa9, 0x09, 0x90, 0x0a],
        ] {
            let [a, b, c, d] = bytes;
            let expected = format!("{a:02x}{b:02x}{c:02x}{d:02x}");
            assert_eq!(hex(bytes), expected.as_bytes());
        }
    }
}
