//! Under which name we go, and what happens when it is another's.
//!
//! ```text
//! Event::NameTaken ─▶ told to Handle::name_taken
//!                 └─▶ not at the start, WhenTaken::Rename ─▶ a new Node named NAME-xxxx, same sockets, same tags
//! ```
//!
//! Only one that could not get in is renamed: members of a cluster keep their names, and the intruder goes.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::watch;
use tracing::{error, warn};

use super::{NameTaken, WhenTaken};
use crate::clock;
use crate::gossip::core::io::{Config, Event, Stats};
use crate::gossip::core::keyring::Keyring;
use crate::gossip::core::node::Node;

/// Our name, and all that is needed to begin anew under another.
#[derive(Debug)]
pub(super) struct Identity {
    config: Config,
    /// The name asked for, which later ones begin with.
    wanted: String,
    when_taken: WhenTaken,
    rename_due: bool,
    /// Counted by former nodes of ours.
    past_conflicts: u64,
    name: watch::Sender<Arc<str>>,
    taken: watch::Sender<Option<NameTaken>>,
}

impl Identity {
    pub(super) fn new(
        config: Config,
        when_taken: WhenTaken,
    ) -> (
        Self,
        watch::Receiver<Arc<str>>,
        watch::Receiver<Option<NameTaken>>,
    ) {
        let (name, named) = watch::channel(Arc::from(&*config.name));
        let (taken, told) = watch::channel(None);
        let identity = Self {
            wanted: config.name.clone(),
            config,
            when_taken,
            rename_due: false,
            past_conflicts: 0,
            name,
            taken,
        };
        (identity, named, told)
    }

    pub(super) fn stream_timeout(&self) -> Duration {
        self.config.timing.stream_timeout
    }

    /// The keys to begin anew with.
    pub(super) fn set_keyring(&mut self, keyring: Keyring) {
        self.config.keyring = Some(keyring);
    }

    /// What the present node counted, and those before it.
    pub(super) fn stats(&self, node: &Node) -> Stats {
        let mut stats = node.stats();
        stats.conflicts += self.past_conflicts;
        stats
    }

    /// Takes note of `Event::NameTaken`.
    pub(super) fn tell(&mut self, event: &Event) {
        let Event::NameTaken {
            name,
            holder,
            at_start,
        } = event
        else {
            return;
        };
        self.rename_due = self.when_taken == WhenTaken::Rename && !at_start;
        self.taken.send_replace(Some(NameTaken {
            name: name.clone(),
            holder: *holder,
            at_start: *at_start,
        }));
    }

    /// The node to go on as, with the tags that `old` has now; `None` while the name is good.
    pub(super) fn renamed(&mut self, old: &Node) -> Option<Node> {
        if !std::mem::take(&mut self.rename_due) {
            return None;
        }
        self.past_conflicts += old.stats().conflicts;
        if let Some(own) = old.members().by_name.get(&self.config.name) {
            self.config.tags = own.tags.decode();
        }
        let mut random = clock::random();
        let ending: u16 = random.random();
        let name = format!("{}-{ending:04x}", self.wanted);
        self.config.name.clone_from(&name);
        match Node::new(self.config.clone(), clock::now(), random) {
            Ok(node) => {
                warn!(
                    "the name {} is another node's; we are {name} from now on",
                    self.wanted
                );
                self.name.send_replace(name.into());
                Some(node)
            }
            Err(error) => {
                error!("no other name can be taken: {error}");
                None
            }
        }
    }
}
