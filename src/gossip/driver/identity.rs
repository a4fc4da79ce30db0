//! Under which name we go, and what happens when it is another's.
//!
//! ```text
//! Event::NameTaken ─▶ told to Handle::name_taken
//!                 └─▶ not at the start, WhenTaken::Rename ─▶ Node::rename to NAME-xxxx, told to Handle::names
//! ```
//!
//! Whether a name is another's, the core finds out. The node stays the same: only its name is another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::{NameTaken, WhenTaken};
use crate::clock;
use crate::gossip::core::io::{Config, Event, Refused};
use crate::gossip::core::node::Node;

/// Endings tried, should a member have one of them.
const TRIES: usize = 8;

/// Our name, and all that is needed to take another.
#[derive(Debug)]
pub(super) struct Identity {
    /// The name asked for, which later ones begin with.
    wanted: String,
    stream_timeout: Duration,
    when_taken: WhenTaken,
    /// Who has our name: we are to take another.
    rename_due: Option<SocketAddr>,
    name: watch::Sender<Arc<str>>,
    taken: watch::Sender<Option<NameTaken>>,
}

impl Identity {
    pub(super) fn new(
        config: &Config,
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
            stream_timeout: config.timing.stream_timeout,
            when_taken,
            rename_due: None,
            name,
            taken,
        };
        (identity, named, told)
    }

    pub(super) fn stream_timeout(&self) -> Duration {
        self.stream_timeout
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
        let renames = self.when_taken == WhenTaken::Rename && !at_start;
        self.rename_due = renames.then_some(*holder);
        self.taken.send_replace(Some(NameTaken {
            name: name.clone(),
            holder: *holder,
            at_start: *at_start,
        }));
    }

    /// Renames `node` if that is due; true if it has another name now. Those above hear of the name first, and
    /// then of the members.
    pub(super) fn rename(&mut self, node: &mut Node) -> bool {
        let Some(holder) = self.rename_due.take() else {
            return false;
        };
        for _ in 0..TRIES {
            let ending: u16 = clock::random().random();
            let name = format!("{}-{ending:04x}", self.wanted);
            match node.rename(clock::now(), &name) {
                Ok(()) => {
                    let former = self.name.send_replace(Arc::from(&*name));
                    warn!(
                        "the name {former} is in use by a living node at {holder}; we are {name} from now on, and all else goes on"
                    );
                    return true;
                }
                Err(Refused::NameKnown { .. }) => {}
                Err(error) => {
                    debug!("no other name is taken: {error}");
                    return false;
                }
            }
        }
        false
    }
}
