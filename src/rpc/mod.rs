//! Serf's RPC: how the `serf` command line, ours, and programs of others command a member.
//!
//! ```text
//! TCP ─▶ server (so many at a time) ─▶ session ─ request ─▶ call ─▶ Membership (implemented above)
//!                                        ▲  │
//!        stream ◀ notices ───────────────┤  └─▶ reply: a header, and a body where the command has one
//!        monitor ◀ log::tail ────────────┤
//!        query ◀ answers ────────────────┘      each in a bounded queue; what a slow reader misses is told
//! ```
//!
//! Msgpack objects back to back, no framing. Nothing here knows gossip: see [`membership::Membership`].
//! [`client`] is the other side of the same words.
//!
//! Source: serf `cmd/serf/command/agent/ipc.go`.

mod call;
pub mod client;
mod filter;
pub mod membership;
mod reply;
mod request;
mod server;
mod session;
mod stats;
mod streams;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;

pub use self::server::{BindError, Server, bind, start};
use crate::gossip::core::wire::WireError;

/// What the RPC server needs to know; keys of `[rpc]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Address to listen on; `None`: off.
    pub listen: Option<SocketAddr>,
    /// The address was asked for: then a busy port is a failure.
    pub given: bool,
    /// What clients must know; `None`: whoever connects may command.
    pub auth: Option<Secret>,
}

/// A secret that clients must know. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// `text`, as clients say it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What to say.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `said` is it, in a time that tells nothing but its length.
    fn is(&self, said: &str) -> bool {
        let (own, said) = (self.0.as_bytes(), said.as_bytes());
        let differences = own.iter().zip(said).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differences) == 0 && own.len() == said.len()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What the server makes of `bytes`: how many whole requests begin them, how long these are together, and what comes
/// behind them: [`WireError::Truncated`] where more bytes may make another one. For fuzzing.
pub fn requests(bytes: &[u8]) -> (usize, usize, WireError) {
    let (mut count, mut at) = (0, 0);
    loop {
        let read = request::Header::read(&bytes[at..]).and_then(|(header, length)| {
            let body = &bytes[at + length..];
            match request::Request::read(&header.command, body)? {
                Some((_, taken)) => Ok(length + taken),
                None => Err(WireError::Field("Command")),
            }
        });
        match read {
            Ok(length) => (count, at) = (count + 1, at + length),
            Err(error) => return (count, at, error),
        }
    }
}

/// The version of this protocol. There has been no other.
const VERSION: i64 = 1;
