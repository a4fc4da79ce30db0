//! Many small events become few: what scripts and streams are told.
//!
//! ```text
//! member events ─▶ the latest of each name ──1 s quiet, or 3 s──▶ one notice a kind, with all its members
//! user events with coalesce ─▶ the latest of each name ─────────▶ one by one
//! other user events, queries ───────────────────────────────────▶ at once
//! ```
//!
//! Source: serf `coalesce.go`, `coalesce_member.go`, `coalesce_user.go`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::gossip::core::io::Event;
use crate::gossip::core::member::Member;
use crate::gossip::core::name::Name;

/// What became of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Alive.
    Joined,
    /// Left on purpose.
    Left,
    /// Stopped answering.
    Failed,
    /// Other tags, address or versions.
    Updated,
    /// Forgotten.
    Reaped,
}

impl Change {
    /// Serf's name of the event: `member-join` and so on.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "member-join",
            Self::Left => "member-leave",
            Self::Failed => "member-failed",
            Self::Updated => "member-update",
            Self::Reaped => "member-reap",
        }
    }
}

/// What is told to a script or a stream at one time.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The same became of all these.
    Members {
        /// What.
        change: Change,
        /// Of whom; never none, each once, by name.
        members: Vec<Arc<Member>>,
    },
    /// An [`Event::User`] or an [`Event::Query`].
    Event(Arc<Event>),
}

/// Longest time that an event waits for more of its kind. Source: serf agent's `coalescePeriod`.
const PERIOD: Duration = Duration::from_secs(3);

/// So long after the last event nobody waits for more. Source: serf agent's `quiescentPeriod`.
const QUIET: Duration = Duration::from_secs(1);

/// Names of user events that wait; one of another name is told at once.
const USER_NAMES_MAX: usize = 1024;

/// When what waits is to be told.
#[derive(Debug, Default)]
struct Window(Option<(Instant, Instant)>);

impl Window {
    fn more(&mut self, now: Instant) {
        let end = self.0.map_or(now + PERIOD, |(end, _)| end);
        self.0 = Some((end, now + QUIET));
    }

    fn due(&self) -> Option<Instant> {
        self.0.map(|(end, quiet)| end.min(quiet))
    }

    /// True, once, when it is over.
    fn close(&mut self, now: Instant) -> bool {
        let over = self.due().is_some_and(|due| due <= now);
        if over {
            self.0 = None;
        }
        over
    }
}

/// What happened to one member since the last flush.
#[derive(Debug)]
struct Pending {
    /// It came or went; the last of it counts.
    change: Option<Change>,
    updated: bool,
    member: Arc<Member>,
}

/// Collects events for those who listen.
///
/// Two things are better than in Serf. What was told is not kept, where Serf tells an old update again at every
/// flush. And who comes and changes its tags at once is told to have come: Serf keeps only the last of the two, so
/// that a script which counts members misses one.
#[derive(Debug, Default)]
pub struct Coalescer {
    member_window: Window,
    members: BTreeMap<Name, Pending>,
    /// Whether each was last told to have come or to be gone.
    told: BTreeMap<Name, Change>,
    user_window: Window,
    /// The newest of each name, of which several may bear the same time.
    users: BTreeMap<String, (u64, Vec<Arc<Event>>)>,
}

impl Coalescer {
    /// Takes an event in; a notice, if it is to be told at once. Those that no script is told of are ignored.
    pub fn push(&mut self, now: Instant, event: &Arc<Event>) -> Option<Notice> {
        let (change, member) = match &**event {
            Event::Joined(member) => (Change::Joined, member),
            Event::Left(member) => (Change::Left, member),
            Event::Failed(member) => (Change::Failed, member),
            Event::Updated(member) => (Change::Updated, member),
            Event::Reaped(member) => (Change::Reaped, member),
            Event::User {
                ltime,
                name,
                coalesce: true,
                ..
            } => return self.push_user(now, name, *ltime, event),
            Event::User { .. } | Event::Query { .. } => {
                return Some(Notice::Event(Arc::clone(event)));
            }
            _ => return None,
        };
        self.member_window.more(now);
        let pending = self
            .members
            .entry(member.name.clone())
            .or_insert_with(|| Pending {
                change: None,
                updated: false,
                member: Arc::clone(member),
            });
        pending.member = Arc::clone(member);
        match change {
            Change::Updated => pending.updated = true,
            other => pending.change = Some(other),
        }
        None
    }

    fn push_user(
        &mut self,
        now: Instant,
        name: &str,
        ltime: u64,
        event: &Arc<Event>,
    ) -> Option<Notice> {
        if self.users.len() >= USER_NAMES_MAX && !self.users.contains_key(name) {
            return Some(Notice::Event(Arc::clone(event)));
        }
        self.user_window.more(now);
        let (newest, events) = self
            .users
            .entry(name.to_owned())
            .or_insert_with(|| (ltime, Vec::new()));
        if *newest < ltime {
            *newest = ltime;
            events.clear();
        }
        if *newest == ltime {
            events.push(Arc::clone(event));
        }
        None
    }

    /// When [`Self::flush`] has something to tell.
    pub fn due(&self) -> Option<Instant> {
        let (members, users) = (self.member_window.due(), self.user_window.due());
        match (members, users) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// What has waited long enough.
    pub fn flush(&mut self, now: Instant) -> Vec<Notice> {
        let mut notices = Vec::new();
        if self.member_window.close(now) {
            self.flush_members(&mut notices);
        }
        if self.user_window.close(now) {
            let mut newest: Vec<_> = std::mem::take(&mut self.users).into_values().collect();
            newest.sort_by_key(|(ltime, _)| *ltime);
            let events = newest.into_iter().flat_map(|(_, events)| events);
            notices.extend(events.map(Notice::Event));
        }
        notices
    }

    fn flush_members(&mut self, notices: &mut Vec<Notice>) {
        let mut by_change: BTreeMap<Change, Vec<Arc<Member>>> = BTreeMap::new();
        for (name, pending) in std::mem::take(&mut self.members) {
            let news = pending
                .change
                .filter(|change| self.told.get(&name) != Some(change));
            let change = match (news, pending.updated) {
                (Some(change), _) => change,
                (None, true) => Change::Updated,
                (None, false) => continue,
            };
            match news {
                // It is a stranger from now on.
                Some(Change::Reaped) => drop(self.told.remove(&name)),
                Some(change) => drop(self.told.insert(name, change)),
                None => {}
            }
            by_change.entry(change).or_default().push(pending.member);
        }
        let told = by_change
            .into_iter()
            .map(|(change, members)| Notice::Members { change, members });
        notices.extend(told);
    }
}

#[cfg(test)]
mod tests;
