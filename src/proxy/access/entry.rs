//! What one request's line will say, collected while the request is under way.
//!
//! Bytes of clients are copied as they came and cut at 8 KiB; `line` makes them harmless.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::h1::field::Known;
use super::super::h1::request::Request;
use super::super::stats::Counts;

/// Of one text; a longer one is cut.
const TEXT_MAX: usize = 8 * 1024;

/// What an entry weighs besides its texts, roughly.
const WEIGHT: usize = 512;

/// Who ended a request, or a relayed connection; in the order of `stats::ENDS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum End {
    /// Nobody: its answer is whole.
    Done,
    Client,
    Backend,
    /// This proxy: it had nobody to ask, or it stopped.
    Lb,
}

/// Texts of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text {
    /// The request line, as it came.
    Line,
    Host,
    Referer,
    UserAgent,
    /// All `X-Forwarded-For` of a trusted proxy.
    ForwardedFor,
    /// 32 hexadecimal digits.
    Trace,
    Pool,
    Node,
}

const TEXTS: usize = 8;

/// A try's times; none of what did not happen.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    begun: Option<Instant>,
    connected: Option<Instant>,
    /// On a kept connection.
    reused: bool,
    head: Option<Instant>,
}

/// A try that gave no answer to pass on.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) node: Arc<str>,
    pub(super) backend: SocketAddr,
    pub(super) why: String,
    pub(super) took: Duration,
    times: Times,
}

/// One request's line.
#[derive(Debug)]
pub(in crate::proxy) struct Entry {
    pub(super) at: SystemTime,
    begun: Instant,
    /// From the head's first byte to its last.
    pub(super) head: Duration,
    pub(super) hold: Option<Duration>,
    pub(super) total: Duration,
    times: Times,
    pub(super) peer: SocketAddr,
    /// Who asked: the peer, or on whose behalf it says to ask where that is believed.
    pub(super) client: IpAddr,
    bytes: Vec<u8>,
    places: [(u32, u32); TEXTS],
    pub(super) status: Option<u16>,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) backend: Option<SocketAddr>,
    pub(super) attempts: u32,
    pub(super) retries: u32,
    pub(super) failed: Vec<Failed>,
    pub(super) kept: bool,
    pub(super) end: End,
    pub(super) why: Option<String>,
    /// A connection that was relayed as it was, and no request.
    pub(super) relayed: bool,
}

impl Entry {
    /// A request's head has come, or what shall not become one.
    pub(in crate::proxy) fn new(at: SystemTime, begun: Instant, peer: SocketAddr) -> Self {
        Self {
            at,
            begun,
            head: Duration::ZERO,
            hold: None,
            total: Duration::ZERO,
            times: Times::default(),
            peer,
            client: peer.ip().to_canonical(),
            bytes: Vec::with_capacity(256),
            places: [(0, 0); TEXTS],
            status: None,
            sent: 0,
            received: 0,
            backend: None,
            attempts: 0,
            retries: 0,
            failed: Vec::new(),
            kept: false,
            // Who is dropped unheard was cut by our stop.
            end: End::Lb,
            why: None,
            relayed: false,
        }
    }

    /// It is no request, but a connection that is relayed as it is.
    pub(in crate::proxy) fn is_relayed(&mut self) {
        self.relayed = true;
        self.put(Text::Line, b"TCP");
    }

    /// `head` begins with the request line; its first byte came at `since`, if not all at once.
    pub(in crate::proxy) fn came(&mut self, head: &[u8], since: Option<Instant>) {
        let line = &head[..head.len().min(TEXT_MAX)];
        let line = match memchr::memchr(b'\n', line) {
            Some(lf) => &line[..lf],
            None => line,
        };
        self.put(Text::Line, line.strip_suffix(b"\r").unwrap_or(line));
        if let Some(since) = since {
            self.head = self.begun.saturating_duration_since(since);
        }
    }

    /// What its fields say. `trusted`: whether that address may say on whose behalf it asks.
    pub(in crate::proxy) fn said(
        &mut self,
        request: &Request<'_>,
        trusted: impl Fn(IpAddr) -> bool,
    ) {
        for field in &request.fields {
            let name = field.name;
            let text = match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => Text::Host,
                7 if name.eq_ignore_ascii_case(b"referer") => Text::Referer,
                10 if name.eq_ignore_ascii_case(b"user-agent") => Text::UserAgent,
                _ => continue,
            };
            if self.text(text).is_none() {
                self.put(text, field.value);
            }
        }
        if trusted(self.peer.ip()) {
            self.forwarded(request, trusted);
        }
    }

    /// The nearest address that is not a trusted proxy's own is who asked.
    fn forwarded(&mut self, request: &Request<'_>, trusted: impl Fn(IpAddr) -> bool) {
        let lines = request
            .fields
            .iter()
            .filter(|field| field.known == Known::XForwardedFor)
            .map(|field| field.value);
        let all = lines.collect::<Vec<_>>().join(&b", "[..]);
        for address in all.rsplit(|byte| *byte == b',') {
            let text = std::str::from_utf8(address).unwrap_or_default().trim();
            let with_port = |text: &str| text.parse().map(|address: SocketAddr| address.ip());
            let bare = text.trim_matches(['[', ']']);
            let Ok(address) = bare.parse().or_else(|_| with_port(text)) else {
                break;
            };
            self.client = address.to_canonical();
            if !trusted(address) {
                break;
            }
        }
        self.put(Text::ForwardedFor, &all);
    }

    /// It goes to backends as `wire`: whose host and trace that names.
    pub(in crate::proxy) fn sends(&mut self, wire: &[u8]) {
        const HOST: &[u8] = b"\r\nhost: ";
        const TRACE: &[u8] = b"\r\ntraceparent: ";
        let line_at = |start: usize| {
            let rest = &wire[start..];
            let end = memchr::memchr(b'\r', rest).unwrap_or(rest.len());
            &rest[..end]
        };
        if let Some(at) = memchr::memmem::find(wire, HOST) {
            let host = line_at(at + HOST.len());
            if self.text(Text::Host) != Some(host) {
                self.put(Text::Host, host);
            }
        }
        // One of ours is in small letters and far behind; a client's may be in any.
        let found = memchr::memmem::rfind(wire, TRACE).or_else(|| {
            let mut lines = memchr::memchr_iter(b'\r', wire);
            lines.find(|at| {
                let name = wire.get(*at..at + TRACE.len());
                name.is_some_and(|name| name.eq_ignore_ascii_case(TRACE))
            })
        });
        if let Some(at) = found
            && let Some(id) = trace_id(line_at(at + TRACE.len()))
        {
            self.put(Text::Trace, id);
        }
    }

    /// A try begins.
    pub(in crate::proxy) fn tries(&mut self, now: Instant) {
        self.attempts += 1;
        if self.hold.is_none() {
            self.hold = Some(now.saturating_duration_since(self.begun));
        }
        self.times = Times {
            begun: Some(now),
            ..Times::default()
        };
    }

    /// It has a connection.
    pub(in crate::proxy) fn connected(&mut self, reused: bool, now: Instant) {
        self.times.connected = Some(now);
        self.times.reused = reused;
    }

    /// Its answer's head has come.
    pub(in crate::proxy) fn head_came(&mut self, now: Instant) {
        self.times.head = Some(now);
    }

    /// It gave no answer to pass on.
    pub(in crate::proxy) fn failed(
        &mut self,
        node: &Arc<str>,
        backend: SocketAddr,
        why: &dyn Display,
        now: Instant,
    ) {
        let begun = self.times.begun.unwrap_or(now);
        self.failed.push(Failed {
            node: node.clone(),
            backend,
            why: why.to_string(),
            took: now.saturating_duration_since(begun),
            times: self.times,
        });
    }

    /// One more backend is asked than before.
    pub(in crate::proxy) fn repeats(&mut self) {
        self.retries += 1;
    }

    /// Nobody did better: the answer of `backend` is passed on after all.
    pub(in crate::proxy) fn falls_back(&mut self, backend: SocketAddr) {
        let mut failed = self.failed.iter();
        if let Some(at) = failed.position(|failed| failed.backend == backend) {
            self.times = self.failed.remove(at).times;
        }
    }

    /// The client has bytes of an answer's body.
    pub(in crate::proxy) fn sent(&mut self, bytes: u64) {
        self.sent = bytes;
    }

    /// So much of the request's body has come.
    pub(in crate::proxy) fn received(&mut self, bytes: u64) {
        self.received = bytes;
    }

    /// This is what the client is told.
    pub(in crate::proxy) fn answered(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// Its connection goes on.
    pub(in crate::proxy) fn kept(&mut self) {
        self.kept = true;
    }

    /// How it ended.
    pub(in crate::proxy) fn ended(&mut self, end: End, why: Option<&dyn Display>) {
        self.end = end;
        self.why = why.map(ToString::to_string);
    }

    /// All is known: it ended now, and was counted with `counts`.
    pub(in crate::proxy) fn finish(&mut self, counts: Option<&Counts>, now: Instant) {
        self.total = now.saturating_duration_since(self.begun);
        let Some(counts) = counts else {
            return;
        };
        self.put(Text::Pool, counts.pool().as_bytes());
        if let Some((id, address)) = counts.backend() {
            self.put(Text::Node, id.node.as_bytes());
            self.backend = Some(*address);
        }
    }

    /// Memory it takes, roughly.
    pub(super) fn weight(&self) -> usize {
        WEIGHT + self.bytes.len() + self.failed.len() * WEIGHT
    }

    /// `None`: absent or empty.
    pub(super) fn text(&self, text: Text) -> Option<&[u8]> {
        let (start, end) = self.places[text as usize];
        (start < end).then(|| &self.bytes[start as usize..end as usize])
    }

    /// To the last try's connection; `None` where one was there already.
    pub(super) fn connect(&self) -> Option<Duration> {
        let Times { begun, reused, .. } = self.times;
        let connected = self.times.connected.filter(|_| !reused)?;
        Some(connected.saturating_duration_since(begun?))
    }

    /// From there to the head of its answer.
    pub(super) fn first_byte(&self) -> Option<Duration> {
        let Times {
            connected, head, ..
        } = self.times;
        Some(head?.saturating_duration_since(connected?))
    }

    /// The last try was made on a kept connection.
    pub(super) fn reused(&self) -> Option<bool> {
        self.times.connected.map(|_| self.times.reused)
    }

    fn put(&mut self, text: Text, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(TEXT_MAX)];
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        // A few texts of 8 KiB.
        self.places[text as usize] = (start as u32, self.bytes.len() as u32);
    }
}

/// Of a `traceparent` (W3C Trace Context §3.2), whatever its version.
fn trace_id(value: &[u8]) -> Option<&[u8]> {
    let mut parts = value.split(|byte| *byte == b'-');
    let (_, id) = (parts.next()?, parts.next()?);
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (id.len() == 32 && id.iter().all(hex)).then_some(id)
}
