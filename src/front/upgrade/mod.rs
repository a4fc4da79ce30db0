//! Another process of this program takes over, without a request lost and without the cluster noticing.
//!
//! ```text
//!   old (successor.rs)                            new (predecessor.rs)
//!   starts the file that it was started from ───▶ reads its configuration
//!   every listening socket, lock, facts ────────▶ binds only what is missing, checks the backends it is told of
//!                                      ◀── Ready
//!   state: written, then silent; gossip: silent
//!   incarnation, clocks ── Turn ────────────────▶ accepts, answers admin and RPC, speaks as the same member
//!                                      ◀── Serving
//!   MAINPID to systemd ── Done ─────────────────▶ READY to systemd
//!   stops accepting, drains, ends
//! ```
//!
//! Until `Serving` nothing is given away: descriptors are copies, gossip and state can go on. A new process that ends,
//! hangs or says no is killed, and all is as before. The words go over a pair of sockets that the new one has as its
//! stdin: nothing else is inherited by anyone, and descriptors come with the words (`SCM_RIGHTS`).

mod channel;
pub mod door;
pub(super) mod predecessor;
pub(super) mod successor;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::announce::Tags;
use crate::gossip::core::io::Heritage;
use crate::proxy::Handed;

/// Descriptors in one message; the kernel allows 253.
const DESCRIPTORS_MAX: usize = 32;

/// For what takes milliseconds: the words between two processes that are ready.
const WORD_MAX: Duration = Duration::from_secs(10);

/// Of this protocol. Another one is refused by the new process, and the old one goes on.
const VERSION: u32 = 1;

/// What the two say to one another.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
enum Word {
    /// To the new one: a descriptor for each place comes along.
    Take { places: Vec<Place> },
    /// To the new one: that was all.
    Prepare { version: u32 },
    /// To the old one: all that can fail has been done.
    Ready { version: String },
    /// To the new one: the old one is silent. `None`: it was out of the cluster.
    Turn { heritage: Option<Spoken> },
    /// To the old one: it has begun.
    Serving,
    /// To the new one: it is the service.
    Done,
}

/// What a descriptor is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Place {
    /// Of a listener.
    Proxy {
        name: Option<String>,
        named: bool,
    },
    Admin,
    Rpc,
    Door,
    GossipTcp,
    GossipUdp,
    /// Of the state directory.
    Lock,
    /// Where the log goes.
    Stderr,
    /// A file that holds [`Facts`].
    Facts,
}

/// [`Heritage`] as it is said.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Spoken {
    incarnation: u32,
    ltime: u64,
    event_ltime: u64,
    query_ltime: u64,
}

impl From<Heritage> for Spoken {
    fn from(heritage: Heritage) -> Self {
        let Heritage {
            incarnation,
            ltime,
            event_ltime,
            query_ltime,
        } = heritage;
        Self {
            incarnation,
            ltime,
            event_ltime,
            query_ltime,
        }
    }
}

impl From<Spoken> for Heritage {
    fn from(spoken: Spoken) -> Self {
        let Spoken {
            incarnation,
            ltime,
            event_ltime,
            query_ltime,
        } = spoken;
        Self {
            incarnation,
            ltime,
            event_ltime,
            query_ltime,
        }
    }
}

/// What the new one must know before it begins.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Facts {
    /// Process id.
    pid: u32,
    version: String,
    /// Name, as configured and as it is.
    configured: String,
    name: String,
    /// Gossip's, as configured.
    bind: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    rpc: Option<SocketAddr>,
    /// In gossip.
    member: bool,
    /// Base64, as in `keyring.json`.
    keyring: Option<String>,
    /// Tags set since the start, and those of the configuration that were deleted.
    tags_set: Tags,
    tags_deleted: Vec<String>,
    /// Who is alive.
    peers: Vec<SocketAddr>,
    /// As in `backends.json`.
    backends: String,
}

/// Descriptors of all that listens, beside gossip's.
#[derive(Debug, Default)]
pub(super) struct Estate {
    pub(super) proxy: Vec<Handed>,
    pub(super) admin: Option<OwnedFd>,
    pub(super) rpc: Option<OwnedFd>,
    pub(super) door: Option<OwnedFd>,
}

/// Why a new process can't take over: its configuration needs a restart.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error("{what} was {old} and is {new} now, which no upgrade can change: restart instead")]
    Changed {
        what: &'static str,
        old: String,
        new: String,
    },
    #[error("what the running process says cannot be understood: {0}; restart instead")]
    Unknown(String),
    #[error("the running process gave up: {0}")]
    Lost(std::io::Error),
}

/// Tags that were changed while running: which were set, which were deleted.
fn changes(configured: &Tags, now: &Tags) -> (Tags, Vec<String>) {
    let set: BTreeMap<_, _> = now
        .iter()
        .filter(|(name, value)| configured.get(*name) != Some(*value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let deleted = configured
        .keys()
        .filter(|name| !now.contains_key(*name))
        .cloned()
        .collect();
    (set, deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(all: &[(&str, &str)]) -> Tags {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        all.iter().map(own).collect()
    }

    #[test]
    fn only_tags_that_were_changed_are_handed_on() {
        let configured = tags(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let now = tags(&[("a", "1"), ("b", "9"), ("d", "4")]);

        let (set, deleted) = changes(&configured, &now);

        assert_eq!(set, tags(&[("b", "9"), ("d", "4")]));
        assert_eq!(deleted, ["c"]);
        assert_eq!(changes(&configured, &configured), Default::default());
    }
}
