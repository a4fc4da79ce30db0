//! Checks over HTTP/2, made by whoever speaks it: the agent, which checks too, has no use for it and stays small.
//!
//! ```text
//! check ─▶ connect ─▶ Question ══ask══▶ front (an HTTP/2 client) ──▶ what was seen
//! ```

use std::future::Future;
use std::pin::Pin;

use tokio::net::TcpStream;

/// Asks one question on one connection. `Ok`: what was seen; `Err`: why the check failed; for a person.
pub type Ask = fn(Question) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// One question.
#[derive(Debug)]
pub struct Question {
    /// Just connected.
    pub stream: TcpStream,
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
