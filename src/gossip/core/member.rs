//! A member as everyone above the core sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::announce::Tags;

/// Serf's view of a member. Numbers are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// In the cluster.
    Alive = 1,
    /// Said that it leaves.
    Leaving = 2,
    /// Left on purpose.
    Left = 3,
    /// Stopped answering.
    Failed = 4,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Alive => "alive",
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Failed => "failed",
        })
    }
}

/// One participant of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Unique in the cluster.
    pub name: String,
    /// Normalised: an IPv4-mapped address is shown as IPv4.
    pub address: SocketAddr,
    /// Serf tags; shared, since they rarely change.
    pub tags: Arc<Tags>,
    /// Serf's status.
    pub status: Status,
    /// True while memberlist suspects the node (status is still alive).
    pub suspect: bool,
    /// memberlist's incarnation of the node.
    pub incarnation: u32,
    /// Grows by one each time any member turns alive here: orders who joined last.
    pub joined: u64,
    /// When `status` or `suspect` last changed.
    pub since: Instant,
    /// Protocol min, max, current; delegate min, max, current.
    pub versions: [u8; 6],
}

/// Everyone known, by name; replaced whole at each change.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// Counts changes.
    pub generation: u64,
    /// By name; our own entry is among them.
    pub by_name: BTreeMap<String, Arc<Member>>,
}

impl Members {
    /// How many have `status`.
    pub fn count(&self, status: Status) -> usize {
        self.by_name
            .values()
            .filter(|member| member.status == status)
            .count()
    }
}
