//! Checks over HTTP/2, made by whoever speaks it: the agent, which checks too, has no use for it and stays small.
//!
//! ```text
//! check ─▶ connect (and TLS) ─▶ Question ══ask══▶ front (an HTTP/2 client) ──▶ what was seen
//! ```

use std::future::Future;
use std::pin::Pin;

use super::secure::Duplex;

/// Asks one question on one connection. `Ok`: what was seen; `Err`: why the check failed; for a person.
pub type Ask = fn(Question) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// How a target is asked over HTTP/2.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// Who asks.
    pub ask: Ask,
    /// A gRPC check is made over TLS.
    pub tls: bool,
}

/// Whoever asks.
impl PartialEq for Means {
    fn eq(&self, other: &Self) -> bool {
        self.tls == other.tls
    }
}

/// One question.
pub struct Question {
    /// Just connected, TLS included.
    pub stream: Box<dyn Duplex>,
    /// It is TLS.
    pub tls: bool,
    /// The `:authority`.
    pub host: String,
    /// What to ask.
    pub what: What,
}

/// What to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// `GET` of this path.
    Page(String),
    /// The gRPC health protocol, about this service; empty: the whole server.
    Service(String),
}
