//! What is known of a backend before any judgement.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::announce::{CheckSpec, Proto, State};

/// Identity: what operators' orders are bound to, across addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamId {
    /// Node name; for a static backend its `host:port` text.
    pub node: Arc<str>,
    /// Service name (the role, or NAME of `svc.NAME`).
    pub service: Arc<str>,
}

impl fmt::Display for UpstreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.node)
    }
}

/// Where a backend was learned from, and what gossip thinks of its node now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// From `--backend` or a file.
    Static,
    /// Gossip: alive.
    Alive,
    /// Gossip: suspected; means one extra check and nothing else.
    Suspect,
    /// Gossip: stopped answering.
    Failed,
    /// Gossip: announced that it leaves.
    Leaving,
    /// From the last run of this front; gossip has not spoken of its node yet.
    Saved,
}

/// A backend as announced or configured. Left members have no spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Identity.
    pub id: UpstreamId,
    /// Where requests go.
    pub address: SocketAddr,
    /// 1–1000.
    pub weight: u16,
    /// 0–255, higher first.
    pub tier: u8,
    /// Only when no primary is in.
    pub backup: bool,
    /// Its own check; `None`: the pool's.
    pub check: Option<CheckSpec>,
    /// Its own protocol; `None`: the pool's.
    pub proto: Option<Proto>,
    /// What the node says of itself.
    pub announced: State,
    /// Source and gossip's opinion.
    pub standing: Standing,
    /// Orders who joined last; the last owner of an address wins it.
    pub joined: u64,
    /// Why it can't be used at all.
    pub unusable: Option<String>,
    /// Bad tag values that were replaced by defaults.
    pub warnings: Vec<String>,
}
