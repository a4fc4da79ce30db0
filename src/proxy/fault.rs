//! Why there is no response of a backend, and the one place where that becomes a status.
//!
//! Each fault knows whose it is. Ours to keep: 502 refused or broken, 503 nobody to ask, 504 too
//! slow; 4xx is the client's.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::access::entry::End;
use super::h1::refusal::Refusal;
use super::stats::Reason;

/// A body that ended before its end.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum BodyError {
    #[error("the request body is malformed: {0}")]
    Malformed(&'static str),
    #[error("the client's body broke off: {0}")]
    Client(String),
    #[error("the backend's body broke off: {0}")]
    Upstream(String),
    #[error("the backend's body made no progress in time")]
    UpstreamSlow,
}

/// Where a request is sent instead.
#[derive(Clone, Debug)]
pub(super) struct Moved {
    /// 301 or 308.
    pub(super) status: u16,
    /// Visible characters only.
    pub(super) location: String,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.location)
    }
}

/// Why there is no response of a backend. `Display` is the body the client reads.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    // The client's.
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("method not allowed")]
    Method,
    #[error("the request head came too slowly")]
    HeadSlow,
    #[error("the request body came too slowly")]
    ClientSlow,
    #[error("{0}")]
    ClientBody(BodyError),
    /// By its own word nobody waits any more.
    #[error("the call's own deadline has passed")]
    Deadline,
    /// It left, so nobody reads this.
    #[error("the client closed the connection")]
    ClientGone,
    /// `Max-Forwards: 0`: what the last on the way answers is no fault.
    #[error("this proxy is the last on the way")]
    EndsHere,
    /// To https, or, of a listener that speaks TLS, to a client that does not.
    #[error("{0} is where this is")]
    Moved(Box<Moved>),
    /// The answer to an ACME challenge.
    #[error("a challenge")]
    Challenge(Box<[u8]>),
    #[error("no such challenge")]
    NoChallenge,
    // The backend's.
    #[error("the backend could not be reached: {0}")]
    Connect(String),
    #[error("the backend gave no response: {why}")]
    Reset {
        why: String,
        /// On a kept connection: it may have closed before it saw the request.
        stale: bool,
    },
    /// Its answer ended so early that nothing of it was passed on.
    #[error("{0}")]
    Broken(BodyError),
    #[error("the backend closed the connection before the request was written")]
    Unsent { stale: bool },
    /// By its own word it did nothing with the request.
    #[error("the backend did not take the request: {0}")]
    Unprocessed(String),
    #[error("the backend did not answer in time")]
    FirstByte,
    /// It moves on.
    #[error("it waited where packets are lost")]
    Lossy,
    #[error("the backend took no more of the request")]
    Stalled,
    #[error("the backend sent no valid response: {0}")]
    Garbage(String),
    // Ours.
    #[error("the request can't be put to a backend that speaks HTTP/2: it has {0}")]
    Untranslatable(&'static str),
    #[error("the backend speaks HTTP/2: no change of protocol to it is possible")]
    Upgrade,
    #[error("no backend of pool {pool} is in rotation")]
    Nobody { pool: Arc<str> },
    #[error("every backend of pool {pool} is busy, and as many requests as may wait do")]
    QueueFull { pool: Arc<str> },
    #[error("every backend of pool {pool} was busy for too long")]
    QueueSlow { pool: Arc<str> },
    #[error("no pool is configured")]
    NoPool,
}

impl Fault {
    /// What the client is told.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Refused(refusal) => match refusal {
                Refusal::Malformed(_) => 400,
                Refusal::LineTooLong => 414,
                Refusal::Expectation => 417,
                Refusal::HeadTooLarge | Refusal::TooManyFields => 431,
                Refusal::Coding => 501,
                Refusal::Version => 505,
            },
            Self::EndsHere | Self::Challenge(_) => 200,
            Self::Moved(moved) => moved.status,
            Self::NoChallenge => 404,
            Self::ClientBody(_) | Self::ClientGone | Self::Untranslatable(_) => 400,
            Self::Method => 405,
            Self::HeadSlow | Self::ClientSlow => 408,
            Self::Connect(_)
            | Self::Reset { .. }
            | Self::Broken(_)
            | Self::Unsent { .. }
            | Self::Unprocessed(_)
            | Self::Garbage(_) => 502,
            Self::Upgrade => 501,
            Self::Deadline | Self::FirstByte | Self::Lossy | Self::Stalled => 504,
            Self::Nobody { .. }
            | Self::QueueFull { .. }
            | Self::QueueSlow { .. }
            | Self::NoPool => 503,
        }
    }

    /// Who ended the request by it.
    pub(super) fn whose(&self) -> End {
        match self {
            Self::Refused(_)
            | Self::Method
            | Self::HeadSlow
            | Self::ClientSlow
            | Self::ClientBody(_)
            | Self::Untranslatable(_)
            | Self::Deadline
            | Self::ClientGone => End::Client,
            Self::EndsHere | Self::Moved(_) | Self::Challenge(_) | Self::NoChallenge => End::Done,
            Self::Connect(_)
            | Self::Reset { .. }
            | Self::Broken(_)
            | Self::Unsent { .. }
            | Self::Unprocessed(_)
            | Self::FirstByte
            | Self::Lossy
            | Self::Stalled
            | Self::Garbage(_) => End::Backend,
            Self::Nobody { .. }
            | Self::QueueFull { .. }
            | Self::QueueSlow { .. }
            | Self::Upgrade
            | Self::NoPool => End::Lb,
        }
    }

    /// Field lines that go with it.
    pub(super) fn fields(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Moved(moved) => return format!("location: {moved}\r\n").into(),
            Self::Nobody { .. } | Self::QueueFull { .. } | Self::QueueSlow { .. } => {
                "retry-after: 1\r\n"
            }
            Self::Method | Self::EndsHere => {
                "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
            }
            _ => "",
        })
    }

    /// What the client reads.
    pub(super) fn text(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Challenge(text) => Cow::Borrowed(text),
            fault => format!("{fault}\n").into_bytes().into(),
        }
    }

    /// Whoever says what can't be understood gets no chance to go on from it.
    pub(super) fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::HeadSlow
                | Self::ClientSlow
                | Self::ClientBody(_)
                | Self::ClientGone
        )
    }

    /// Why a repeat would be counted, if this may be repeated at all.
    pub(super) fn reason(&self) -> Option<Reason> {
        match self {
            Self::Connect(_) => Some(Reason::Connect),
            Self::Unsent { .. } | Self::Unprocessed(_) => Some(Reason::Unsent),
            Self::Reset { .. } | Self::Broken(_) => Some(Reason::Reset),
            Self::FirstByte => Some(Reason::FirstByte),
            _ => None,
        }
    }

    /// It speaks against the backend once it had the request. Connects are judged apart.
    pub(super) fn is_outlier(&self) -> bool {
        matches!(
            self,
            Self::Reset { stale: false, .. }
                | Self::Broken(_)
                | Self::FirstByte
                | Self::Stalled
                | Self::Garbage(_)
        )
    }

    /// A kept connection turned out closed, which says nothing about its backend.
    pub(super) fn is_stale(&self) -> bool {
        matches!(
            self,
            Self::Reset { stale: true, .. }
                | Self::Unsent { stale: true, .. }
                // One connection of it may say goodbye, or take no more just now.
                | Self::Unprocessed(_)
        )
    }
}

/// An I/O error without its number: `connection refused`.
pub(super) fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_ascii_lowercase(),
        None => text,
    }
}

/// The reason phrase of a status of ours.
pub(super) fn phrase(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_in_words() {
        let refused = io::Error::from_raw_os_error(111);

        assert_eq!(in_words(&refused), "connection refused");
        assert_eq!(in_words(&io::Error::other("Odd")), "Odd");
    }

    #[test]
    fn statuses_have_names() {
        assert_eq!(phrase(431), "Request Header Fields Too Large");
        assert_eq!(phrase(299), "Unknown");
    }
}
