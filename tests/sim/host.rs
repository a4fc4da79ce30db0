//! One machine of the world: an address, and a process that may be running on it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use lb::announce::Tags;
use lb::gossip::core::io::{Answer, Event, QueryId};
use lb::gossip::core::keyring::Keyring;
use lb::gossip::core::member::{Member, Members, Status};
use lb::gossip::core::node::Node;

use crate::world::Delivery;

/// How a process that is not running answers a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Down {
    /// The machine lives: refused at once.
    Refuses,
    /// The machine is gone: silence.
    Silent,
}

/// A machine.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) tags: Tags,
    /// The process, if it runs.
    pub(crate) node: Option<Node>,
    pub(crate) down: Down,
    /// Looks into names at two addresses, as ours do and stock agents don't.
    pub(crate) claim: bool,
    /// Counts processes: what was meant for a former one is not delivered.
    pub(crate) life: u64,
    /// The process left properly, or is doing so.
    pub(crate) leaving: bool,
    /// The process wants to be in the cluster, and tries until it is.
    pub(crate) wants_in: bool,
    /// Its view, kept up to date after each touch.
    pub(crate) view: Members,
    /// What it reported, with the time.
    pub(crate) events: Vec<(Instant, Event)>,
    /// What came back to its queries, with the time.
    pub(crate) answers: Vec<(Instant, QueryId, Answer)>,
    /// User events and queries that its process was told of: each must come once.
    pub(crate) heard: BTreeSet<(u64, String, Vec<u8>)>,
    pub(crate) asked: BTreeSet<QueryId>,
    /// Lamport times of its process when last looked at: members, events, queries.
    pub(crate) clocks: [u64; 3],
    /// It answers queries, each with its name.
    pub(crate) answers_queries: bool,
    /// The highest incarnation that any process of this name ever had.
    pub(crate) highest: u32,
    /// When the next wake-up is due.
    pub(crate) wake: Option<Instant>,
    /// Its next process knows only what Serf does, and has none of our tags.
    pub(crate) stock: bool,
    /// The process does nothing at all: stopped, or starved. What comes for it waits.
    pub(crate) paused: bool,
    /// What came meanwhile.
    pub(crate) waiting: Vec<Delivery>,
    /// It changed since `view` was taken.
    pub(crate) stale: bool,
    /// Keys of its next process.
    pub(crate) keyring: Option<Keyring>,
}

impl Host {
    pub(crate) fn is_running(&self) -> bool {
        self.node.is_some()
    }

    /// Runs, and does not mean to leave.
    pub(crate) fn is_live(&self) -> bool {
        self.is_running() && !self.leaving
    }

    /// Forgets what the former process knew.
    pub(crate) fn begin_life(&mut self) {
        self.life += 1;
        self.leaving = false;
        self.wants_in = false;
        self.view = Members::default();
        self.heard.clear();
        self.asked.clear();
        self.clocks = [0; 3];
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.view.by_name.get(name).map(|member| &**member)
    }

    pub(crate) fn status_of(&self, name: &str) -> Option<Status> {
        self.member(name).map(|member| member.status)
    }
}
