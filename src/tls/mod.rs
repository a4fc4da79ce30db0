//! TLS: certificates and keys from files, both ends of a handshake, and bytes afterwards.
//!
//! ```text
//! files ─▶ pem ─▶ certificate ─▶ store (by SNI) ─┐
//!                    tickets (all workers) ───────┼─▶ server::Server (ArcSwap) ─▶ stream::Stream ─▶ bytes
//! ca, own certificate ─▶ client::Client ──────────┘         ▲ refresh: files changed, SIGHUP
//! ```
//!
//! Whatever is wrong with a file is a [`Problem`] that names it. No listeners and no pools here.

pub mod certificate;
pub mod client;
pub mod failure;
mod listed;
pub mod pem;
pub mod server;
mod store;
pub mod stream;
pub mod subject;
pub mod tickets;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

/// What is wrong with a file, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", file.display())]
pub struct Problem {
    /// As it was given.
    pub file: PathBuf,
    /// For a person.
    pub why: String,
}

impl Problem {
    /// About `file`.
    pub fn new(file: &Path, why: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            why: why.into(),
        }
    }
}

/// Oldest version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// Still wanted by some clients, and sound with the suites that are offered.
    #[default]
    Tls12,
    /// Nothing older.
    Tls13,
}

impl Version {
    /// It and all newer ones.
    fn and_newer(self) -> &'static [&'static rustls::SupportedProtocolVersion] {
        match self {
            Self::Tls12 => rustls::ALL_VERSIONS,
            Self::Tls13 => &ONLY_13,
        }
    }
}

static ONLY_13: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

/// The one implementation of ciphers, made once: aws-lc, the fastest there is.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}
