//! HTTP/2 on the backend's side: answers as frames, to a client of HTTP/1.
//!
//! Frames say `ASKED` for the stream that the subject asked on.

pub(crate) mod bodies;
pub(crate) mod connections;
pub(crate) mod exchanges;
pub(crate) mod fields;
pub(crate) mod heads;
pub(crate) mod waits;

use crate::backend::Act;
use crate::case::{Case, Version};
use crate::frames::{self, END_HEADERS, END_STREAM, HEADERS};
use crate::hpack;
use crate::wire;

/// The placeholder for the stream that was asked on.
pub(crate) const ASKED: u32 = 0x7abc_def1;

/// A plain request for a client to begin with.
pub(crate) const GET: &str = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";

/// One that must not be sent twice.
pub(crate) const POST: &str = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello";

/// A case of a backend that speaks HTTP/2.
pub(crate) fn case(rule: &'static str, section: &'static str, name: impl Into<String>) -> Case {
    Case::backend(rule, section, Version::V20, name)
}

/// A head of any fields; `end`: nothing comes behind it.
pub(crate) fn raw(fields: &[(&[u8], &[u8])], end: bool) -> Vec<u8> {
    let flags = END_HEADERS | if end { END_STREAM } else { 0 };
    frames::frame(HEADERS, flags, ASKED, &hpack::block(fields))
}

/// A head of this status.
pub(crate) fn head(status: &str, fields: &[(&str, &str)], end: bool) -> Vec<u8> {
    frames::headers(ASKED, &[&[(":status", status)], fields].concat(), end)
}

/// Fields alone: trailers.
pub(crate) fn trailers(fields: &[(&str, &str)]) -> Vec<u8> {
    frames::headers(ASKED, fields, true)
}

/// Some of a body.
pub(crate) fn data(bytes: impl AsRef<[u8]>, end: bool) -> Vec<u8> {
    frames::data(ASKED, bytes, end)
}

/// A whole answer.
pub(crate) fn text(body: &str) -> Vec<u8> {
    [head("200", &[], false), data(body, true)].concat()
}

/// A head that is followed by "evil", where the head itself should be refused.
pub(crate) fn behind(head: Vec<u8>) -> Vec<u8> {
    [head, data("evil", true)].concat()
}

/// Ends the stream that was asked on.
pub(crate) fn reset(code: u32) -> Vec<u8> {
    frames::reset(ASKED, code)
}

/// Sends frames.
pub(crate) fn send(bytes: impl Into<Vec<u8>>) -> Act {
    Act::Send(bytes.into())
}

impl Case {
    /// Nothing that calls itself evil reaches the client.
    pub(crate) fn without_evil(self) -> Self {
        self.holds("nothing evil reached the client", |outcome| {
            wire::find(&outcome.read.to_ascii_lowercase(), b"evil").is_none()
        })
    }

    /// No answer: a 502, and nothing of what was sent.
    pub(crate) fn no_answer(self) -> Self {
        self.status(&[502]).without_evil()
    }

    /// The second response is that to the second request.
    pub(crate) fn second_is_its_own(self) -> Self {
        self.holds("the second request has its own answer", |outcome| {
            let second = outcome.responses.get(1);
            second.is_some_and(|second| second.complete && second.text() == "second")
        })
    }
}
