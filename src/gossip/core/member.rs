//! A member as everyone above the core sees it.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Index;
use std::sync::Arc;
use std::time::Instant;

use super::name::Name;
use super::serf::tags::Encoded;

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
    pub name: Name,
    /// Normalised: an IPv4-mapped address is shown as IPv4.
    pub address: SocketAddr,
    /// Serf tags.
    pub tags: Encoded,
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
    pub by_name: ByName,
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

/// Members in the order of their names. No more than a pointer for each: the list is made anew at every change.
#[derive(Clone, Debug, Default)]
pub struct ByName(Box<[Arc<Member>]>);

impl ByName {
    /// One of them.
    pub fn get(&self, name: &str) -> Option<&Arc<Member>> {
        let at = self.0.binary_search_by(|member| (*member.name).cmp(name));
        self.0.get(at.ok()?)
    }

    /// Whether it is there.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True for none at all, which not even a member alone has.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their names.
    pub fn keys(&self) -> impl Iterator<Item = &Name> {
        self.0.iter().map(|member| &member.name)
    }

    /// They themselves.
    pub fn values(&self) -> std::slice::Iter<'_, Arc<Member>> {
        self.0.iter()
    }
}

impl FromIterator<Arc<Member>> for ByName {
    fn from_iter<T: IntoIterator<Item = Arc<Member>>>(members: T) -> Self {
        let mut all: Vec<_> = members.into_iter().collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Self(all.into())
    }
}

impl Index<&str> for ByName {
    type Output = Arc<Member>;

    /// # Panics
    /// Where there is no such member, as a map does.
    fn index(&self, name: &str) -> &Arc<Member> {
        self.get(name).expect("a member of that name")
    }
}
