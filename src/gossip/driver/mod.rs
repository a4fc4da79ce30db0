//! Gives the core its sockets, and everyone else a handle.
//!
//! ```text
//! udp ─┐                               ┌─▶ watch<Arc<Members>>   (level-triggered)
//! tcp ─┼─▶ one task that owns Node ────┼─▶ bounded event stream  (says when it lagged)
//! commands (mpsc) ─┘                   └─▶ stats
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::core::member::Members;
use super::core::node::{Event, Refused, Stats};
use super::core::timing::Profile;
use crate::announce::Tags;

/// What the driver needs to know; keys of `[gossip]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// UDP and TCP address to bind.
    pub bind: SocketAddr,
    /// Address others use; `None`: chosen from the interfaces.
    pub advertise: Option<SocketAddr>,
    /// Interface whose address is advertised when `advertise` is not given.
    pub iface: Option<String>,
    /// Unique name.
    pub node: String,
    /// Addresses to join through: IP, host or DNS name, port optional (7946).
    pub join: Vec<String>,
    /// Timing constants.
    pub profile: Profile,
    /// Our tags.
    pub tags: Tags,
}

/// The address that others are told, and why that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// Address and port.
    pub address: SocketAddr,
    /// "first private address, of eth0", "given by --advertise", …
    pub why: String,
}

/// Why gossip could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken or may not be used.
    #[error("gossip cannot bind {address} ({protocol}): {source}")]
    Bind {
        /// Address.
        address: SocketAddr,
        /// "udp" or "tcp".
        protocol: &'static str,
        /// Cause.
        source: std::io::Error,
    },
    /// No address to advertise.
    #[error("{0}")]
    Advertise(String),
    /// Bad tags.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// An operator's or program's wish.
#[derive(Debug)]
#[expect(missing_docs, reason = "named after the methods of Handle")]
pub enum Command {
    Join {
        addresses: Vec<String>,
        reply: oneshot::Sender<Joined>,
    },
    Leave {
        reply: oneshot::Sender<()>,
    },
    SetTags {
        tags: Tags,
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    ForceLeave {
        name: String,
        prune: bool,
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    Stats {
        reply: oneshot::Sender<Stats>,
    },
}

/// How a join went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Addresses that answered.
    pub reached: usize,
    /// Text and cause of each that did not.
    pub failures: Vec<(String, String)>,
}

/// Everyone else's side; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    members: watch::Receiver<Arc<Members>>,
    events: tokio::sync::broadcast::WeakSender<Event>,
    name: Arc<str>,
    advertised: Advertised,
}

#[expect(unused_variables, clippy::unused_async, reason = "skeleton")]
impl Handle {
    /// Our name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Our address.
    pub fn advertised(&self) -> &Advertised {
        &self.advertised
    }
    /// The level-triggered member list.
    pub fn members(&self) -> watch::Receiver<Arc<Members>> {
        self.members.clone()
    }
    /// Events from now on; a slow reader is told how many it missed.
    pub fn events(&self) -> tokio::sync::broadcast::Receiver<Event> {
        unimplemented!()
    }
    /// One try to join through `addresses` (IP, host or name, with or without port).
    pub async fn join(&self, addresses: Vec<String>) -> Joined {
        unimplemented!()
    }
    /// Graceful leave; returns when done, and the driver has then ended.
    pub async fn leave(&self) {
        unimplemented!()
    }
    /// Announces new tags.
    pub async fn set_tags(&self, tags: Tags) -> Result<(), Refused> {
        unimplemented!()
    }
    /// Turns a failed member into a left one everywhere.
    pub async fn force_leave(&self, name: &str, prune: bool) -> Result<(), Refused> {
        unimplemented!()
    }
    /// Counters; all zero once the driver has ended.
    pub async fn stats(&self) -> Stats {
        unimplemented!()
    }
}

/// Binds the sockets and spawns the task on the current runtime. Keeps joining `settings.join` with back-off until one answers.
///
/// # Errors
/// [`StartError`].
#[expect(clippy::unused_async, reason = "skeleton")]
pub async fn start(_settings: Settings) -> Result<Handle, StartError> {
    unimplemented!()
}
