//! A gossip handle as the RPC commands it.
//!
//! ```text
//! rpc ──trait──▶ Commands ─▶ gossip::driver::Handle
//!                        └─▶ State (peers are forgotten at a leave), Journal (and so are members), tags file
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, broadcast, mpsc};
use tracing::info;

use super::journal::Journal;
use crate::announce::Tags;
use crate::gossip::core::io::{Answer, Past, QueryId, Question, Refused, Stats};
use crate::gossip::core::member::Members;
use crate::gossip::core::serf::coalesce::Notice;
use crate::gossip::core::serf::coordinate::Coordinate;
use crate::gossip::core::serf::keys::{KeyReport, KeyRequest};
use crate::gossip::driver::Handle;
use crate::handlers::Handlers;
use crate::rpc::membership::{Joined, Membership, NotSet};
use crate::state::{State, tags_file};

/// How long our own entry may take to show what was set.
const SHOWN_MAX: Duration = Duration::from_secs(2);

/// What the RPC may do with a member; cheap to clone.
#[derive(Clone, Debug)]
pub struct Commands {
    gossip: Handle,
    state: Option<Arc<State>>,
    handlers: Handlers,
    /// Held while tags change: two clients that change one tag each must not undo one another.
    tags: Arc<Mutex<()>>,
    journal: Journal,
    tags_file: Option<Arc<Path>>,
}

impl Commands {
    /// Over `gossip`; `state` forgets its peers at a leave, of `handlers` is only told.
    pub fn new(gossip: Handle, state: Option<Arc<State>>, handlers: Handlers) -> Self {
        Self {
            gossip,
            state,
            handlers,
            tags: Arc::default(),
            journal: Journal::default(),
            tags_file: None,
        }
    }

    /// Has `journal` know of leaves, and `tags_file` hold the tags that are set.
    #[must_use]
    pub fn keeping(self, journal: Journal, tags_file: Option<&Path>) -> Self {
        Self {
            journal,
            tags_file: tags_file.map(Arc::from),
            ..self
        }
    }

    /// To be held by whoever else reads our tags, changes them and sets them.
    pub fn tags_turn(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.tags)
    }
}

impl Membership for Commands {
    fn name(&self) -> Arc<str> {
        self.gossip.name()
    }

    fn members(&self) -> Arc<Members> {
        Arc::clone(&self.gossip.members().borrow())
    }

    fn notices(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.gossip.coalesced()
    }

    fn event_handlers(&self) -> Vec<(String, String)> {
        self.handlers.scripts()
    }

    async fn join(&self, addresses: Vec<String>, replay: bool) -> Joined {
        let past = if replay { Past::Replay } else { Past::Skip };
        let joined = self.gossip.join_with(addresses, past).await;
        Joined {
            reached: joined.reached,
            failures: joined.failures,
        }
    }

    async fn leave(&self) {
        info!("leaving the cluster, as asked through RPC");
        self.journal.leave().await;
        super::leave(&self.gossip).await;
        if let Some(state) = &self.state {
            state.forget_peers();
            state.flush().await;
        }
    }

    async fn force_leave(&self, name: String, prune: bool) -> Result<(), Refused> {
        self.gossip.force_leave(&name, prune).await
    }

    async fn change_tags(&self, set: Tags, delete: Vec<String>) -> Result<(), NotSet> {
        let _alone = self.tags.lock().await;
        let mut tags = super::own_tags(&self.gossip).await.unwrap_or_default();
        tags.retain(|name, _| !delete.contains(name));
        tags.extend(set);
        self.gossip.set_tags(tags.clone()).await?;
        // The next change must begin with these, and they may take a moment to show.
        let mut members = self.gossip.members();
        let name = self.name();
        let shown = members.wait_for(|members| {
            let own = members.by_name.get(&name);
            own.is_some_and(|own| own.tags.decode() == tags)
        });
        let _ = tokio::time::timeout(SHOWN_MAX, shown).await;
        if let Some(file) = &self.tags_file {
            let file = Arc::clone(file);
            let writing = tokio::task::spawn_blocking(move || tags_file::write(&file, &tags));
            let kept = writing.await.unwrap_or_else(|error| Err(error.into()));
            kept.map_err(NotSet::NotKept)?;
        }
        Ok(())
    }

    async fn user_event(
        &self,
        name: String,
        payload: Vec<u8>,
        coalesce: bool,
    ) -> Result<(), Refused> {
        self.gossip.user_event(&name, payload, coalesce).await
    }

    async fn query(&self, question: Question) -> Result<mpsc::Receiver<Answer>, Refused> {
        self.gossip.query(question).await
    }

    async fn respond(&self, query: QueryId, payload: Vec<u8>) -> Result<(), Refused> {
        self.gossip.respond(query, payload).await
    }

    async fn keys(&self, request: KeyRequest) -> Result<KeyReport, Refused> {
        self.gossip.keys(request).await
    }

    async fn coordinate(&self, node: String) -> Option<Coordinate> {
        self.gossip.coordinate(&node).await
    }

    async fn stats(&self) -> Stats {
        self.gossip.stats().await
    }
}
