//! What the RPC needs of a member, and of the program around it.
//!
//! ```text
//! rpc ── calls ──▶ trait Membership ◀── implements ── crate::membership (for a gossip handle)
//! ```

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc};

use crate::announce::Tags;
use crate::gossip::core::io::{Answer, QueryId, Question, Refused, Stats};
use crate::gossip::core::member::Members;
use crate::gossip::core::serf::coalesce::Notice;
use crate::gossip::core::serf::coordinate::Coordinate;
use crate::gossip::core::serf::keys::{KeyReport, KeyRequest};

/// How a join went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Addresses that answered.
    pub reached: usize,
    /// Text and cause of each that did not.
    pub failures: Vec<(String, String)>,
}

/// Why tags are not as asked for.
#[derive(Debug, thiserror::Error)]
pub enum NotSet {
    /// They were not set.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// They are set, and will not outlast a restart.
    #[error("Failed to write tags file: {0}")]
    NotKept(#[source] io::Error),
}

/// A member that can be commanded; cheap to clone.
pub trait Membership: Clone + Send + Sync + 'static {
    /// Our name, as it is now.
    fn name(&self) -> Arc<str>;

    /// Everyone, as it is now.
    fn members(&self) -> Arc<Members>;

    /// Events from now on, as `serf agent` tells them to streams.
    fn notices(&self) -> broadcast::Receiver<Arc<Notice>>;

    /// Scripts that run at events, by their filter; for `info`.
    fn event_handlers(&self) -> Vec<(String, String)>;

    /// One try to join through `addresses`; with `replay` old user events are told too.
    fn join(&self, addresses: Vec<String>, replay: bool) -> impl Future<Output = Joined> + Send;

    /// Leaves the cluster for good, so that a restart does not join it by itself. Returns when done.
    fn leave(&self) -> impl Future<Output = ()> + Send;

    /// Turns a failed member into a left one; with `prune` it is forgotten too.
    fn force_leave(
        &self,
        name: String,
        prune: bool,
    ) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Changes our tags: those in `set` are added or replaced, those in `delete` are no more.
    fn change_tags(
        &self,
        set: Tags,
        delete: Vec<String>,
    ) -> impl Future<Output = Result<(), NotSet>> + Send;

    /// A user event to everyone.
    fn user_event(
        &self,
        name: String,
        payload: Vec<u8>,
        coalesce: bool,
    ) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Asks; the receiver gets all answers, then [`Answer::Done`] at the deadline.
    fn query(
        &self,
        question: Question,
    ) -> impl Future<Output = Result<mpsc::Receiver<Answer>, Refused>> + Send;

    /// Answers a query of another.
    fn respond(
        &self,
        query: QueryId,
        payload: Vec<u8>,
    ) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Looks at or changes the keyrings of all members.
    fn keys(&self, request: KeyRequest) -> impl Future<Output = Result<KeyReport, Refused>> + Send;

    /// Where a member is in the network.
    fn coordinate(&self, node: String) -> impl Future<Output = Option<Coordinate>> + Send;

    /// Counters.
    fn stats(&self) -> impl Future<Output = Stats> + Send;
}
