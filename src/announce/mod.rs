//! The tag vocabulary: what a member says about its services, both ways.
//!
//! ```text
//! lb-agent settings ──▶ Service ──tags()──▶ Serf tags ══gossip══▶ tags ──read()──▶ Heard
//! ```
//!
//! A stock `serf agent -role=web -tag port=80` speaks it too. Unknown tags are ignored, so
//! that a newer agent does not fall out of an older front. No judgement here: see `pool::effective`.

mod check;
pub mod line;
mod reading;
#[cfg(test)]
mod tests;
mod writing;

use std::collections::BTreeMap;

pub use reading::read;
pub use writing::{state_of, tags, with_state};

/// Longest reason carried by `state=fail:REASON`, in bytes.
pub const FAIL_REASON_BYTES_MAX: usize = 64;

/// Serf's limit on a member's encoded tags, in bytes.
pub const TAGS_BYTES_MAX: usize = 512;

/// This vocabulary's version, announced as tag `v`.
pub const VOCABULARY: &str = "1";

/// A member's tags, by name.
pub type Tags = BTreeMap<String, String>;

/// Pairs as a map, the later of two with the same name.
///
/// Not `collect`, which sorts first, by four kilobytes of code for each kind of iterator; an agent is to be small.
pub fn gathered(pairs: impl IntoIterator<Item = (String, String)>) -> Tags {
    let mut tags = Tags::new();
    for (name, value) in pairs {
        tags.insert(name, value);
    }
    tags
}

/// One service of one node, as announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The pool it serves: the `role` tag, or NAME of `svc.NAME`.
    pub name: String,
    /// Port on the member's address; `None`: the pool's default.
    pub port: Option<u16>,
    /// 1–1000.
    pub weight: u16,
    /// Tier 0–255, higher first (tag `priority`).
    pub tier: u8,
    /// Used only when no primary is in.
    pub backup: bool,
    /// How to check it; `None`: the pool's own check.
    pub check: Option<CheckSpec>,
    /// What the node itself says about the service.
    pub state: State,
    /// Protocol spoken; `None`: the pool's.
    pub proto: Option<Proto>,
}

/// What a node says about its own service (tag `state`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Takes requests.
    #[default]
    Ready,
    /// No new requests, current ones finish.
    Drain,
    /// Out for maintenance.
    Maint,
    /// The node's own check fails, with its reason (at most 64 bytes).
    Fail(String),
}

/// Protocol of a backend (tag `proto`). `Display` and `FromStr` speak the tag's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proto {
    /// HTTP/1.1 in clear.
    #[default]
    Http,
    /// HTTP/2 in clear, prior knowledge.
    H2c,
    /// HTTP/2 over TLS.
    H2,
    /// HTTP/1.1 over TLS.
    Https,
    /// Bytes.
    Tcp,
}

impl Proto {
    /// HTTP/2: one connection carries many requests.
    pub fn is_multiplexed(self) -> bool {
        matches!(self, Self::H2c | Self::H2)
    }

    /// It is spoken over TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::H2 | Self::Https)
    }
}

/// How a backend is checked (tag `check`, key `check` in the configuration). `Display` and `FromStr` are inverse.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CheckSpec {
    /// No active check: membership alone decides.
    None,
    /// A TCP connect, on the service's port unless another is given.
    Tcp {
        /// Port; `None`: the service's.
        port: Option<u16>,
    },
    /// `GET path` over HTTP.
    Http {
        /// Port; `None`: the service's.
        port: Option<u16>,
        /// Path with query, starts with `/`.
        path: String,
    },
    /// `GET path` over HTTPS.
    Https {
        /// Port; `None`: the service's.
        port: Option<u16>,
        /// Path with query, starts with `/`.
        path: String,
    },
    /// The gRPC health protocol.
    Grpc {
        /// Service name; empty asks for the whole server.
        service: String,
    },
}

/// One service as heard from a member's tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What was understood.
    pub service: Service,
    /// Bad values that were replaced by a default, one sentence each.
    pub warnings: Vec<String>,
    /// Why the service can't be used at all, if so.
    pub unusable: Option<String>,
}

/// Why tags were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "tags take {bytes} bytes encoded, at most {TAGS_BYTES_MAX} fit in gossip: {longest:?} alone takes {longest_bytes}; shorten or drop a --tag"
)]
pub struct TooLong {
    /// Encoded size.
    pub bytes: usize,
    /// Name of the largest tag.
    pub longest: String,
    /// Its share.
    pub longest_bytes: usize,
}

/// A text that is no check.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a check; one of http:[PORT]/path, https:[PORT]/path, tcp[:PORT], grpc[:SERVICE], none"
)]
pub struct BadCheck(pub String);

/// A text that is no state of a service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a state; one of ready, drain, maint, fail:REASON")]
pub struct BadState(pub String);

/// A text that is no protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a protocol; one of http, h2c, h2, https, tcp")]
pub struct BadProto(pub String);
