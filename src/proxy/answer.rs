//! What goes back to the client, and the one place where our own failures become responses.
//!
//! Each failure knows whose it is. Ours to keep: 502 refused or broken, 503 nobody to ask, 504 too
//! slow; 4xx is the client's.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use super::attempt::Reply;
use super::body::{BodyError, Source};
use super::head::ResponseHead;
use super::stats::Reason;
use super::worker::Record;

/// A response on its way to the client.
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    pub(super) body: AnswerBody,
}

/// Its body; the request ends when this is dropped.
pub(super) struct AnswerBody {
    kind: Kind,
    record: Record,
}

#[expect(
    clippy::large_enum_variant,
    reason = "one per request, moved once: a box would cost an allocation"
)]
enum Kind {
    Text(Bytes),
    Reply(Reply),
}

impl Answer {
    /// A backend's own.
    pub(super) fn from_backend(mut reply: Reply, mut record: Record) -> Self {
        let head = std::mem::take(&mut reply.head);
        record.answered(head.status);
        Self {
            head,
            body: AnswerBody {
                kind: Kind::Reply(reply),
                record,
            },
        }
    }

    /// Ours.
    pub(super) fn from_fault(fault: &Fault, mut record: Record) -> Self {
        let mut head = ResponseHead {
            status: fault.status(),
            ..ResponseHead::default()
        };
        record.answered(head.status);
        let text = Bytes::from(format!("{fault}\n"));
        let fields = &mut head.headers;
        fields.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        match fault {
            Fault::Nobody { .. } => {
                fields.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // Whoever frames a message in an unusual way gets no chance to go on from it.
            Fault::Coding => {
                fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Fault::Method => {
                let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
                fields.insert(header::ALLOW, HeaderValue::from_static(allowed));
            }
            _ => {}
        }
        Self {
            head,
            body: AnswerBody {
                kind: Kind::Text(text),
                record,
            },
        }
    }
}

impl Source for AnswerBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        match &mut self.kind {
            Kind::Text(text) if text.is_empty() => Poll::Ready(None),
            Kind::Text(text) => Poll::Ready(Some(Ok(std::mem::take(text)))),
            Kind::Reply(reply) => {
                let item = reply.poll_chunk(cx);
                if let Poll::Ready(Some(Err(_))) = item {
                    self.record.broke_off();
                }
                item
            }
        }
    }

    fn remaining(&self) -> Option<u64> {
        match &self.kind {
            Kind::Text(text) => Some(text.len() as u64),
            Kind::Reply(reply) => reply.remaining(),
        }
    }
}

/// Why there is no response of a backend. `Display` is the body the client reads.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    // The client's.
    #[error("bad request: {0}")]
    Request(&'static str),
    #[error("a transfer coding other than chunked is not implemented")]
    Coding,
    #[error("method not allowed")]
    Method,
    #[error("the request body came too slowly")]
    ClientSlow,
    #[error("{0}")]
    ClientBody(BodyError),
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
    #[error("the backend did not answer in time")]
    FirstByte,
    #[error("the backend took no more of the request")]
    Stalled,
    #[error("the backend sent no valid response: {0}")]
    Garbage(String),
    // Ours.
    #[error("no backend of pool {pool} is in rotation")]
    Nobody { pool: Arc<str> },
    #[error("no pool is configured")]
    NoPool,
}

impl Fault {
    fn status(&self) -> StatusCode {
        match self {
            Self::Request(_) | Self::ClientBody(_) => StatusCode::BAD_REQUEST,
            Self::Coding => StatusCode::NOT_IMPLEMENTED,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::ClientSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Connect(_)
            | Self::Reset { .. }
            | Self::Broken(_)
            | Self::Unsent { .. }
            | Self::Garbage(_) => StatusCode::BAD_GATEWAY,
            Self::FirstByte | Self::Stalled => StatusCode::GATEWAY_TIMEOUT,
            Self::Nobody { .. } | Self::NoPool => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Why a repeat would be counted, if this may be repeated at all.
    pub(super) fn reason(&self) -> Option<Reason> {
        match self {
            Self::Connect(_) => Some(Reason::Connect),
            Self::Unsent { .. } => Some(Reason::Unsent),
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
            Self::Reset { stale: true, .. } | Self::Unsent { stale: true, .. }
        )
    }
}
