//! Members and their status, as memberlist's nodes come and go.
//!
//! ```text
//! node joined ─▶ Alive ──leave intent──▶ Leaving ──node gone──▶ Left
//!                  └──────node gone────▶ Failed ──leave intent──▶ Left
//! ```
//!
//! Serf looks only at whether the intent came first, not at memberlist's dead or left.
//! Source: serf `handleNodeJoin`, `handleNodeLeave`, `handleNodeUpdate`.

use std::sync::Arc;
use std::time::Instant;

use super::is_company;
use super::layer::Layer;
use super::tables::intents::{Kind, Source};
use super::tables::member::MemberState;
use super::tags::Encoded;
use crate::announce::Tags;
use crate::gossip::core::io::Event;
use crate::gossip::core::member::{Member, Members, Status};
use crate::gossip::core::memberlist::node::NodeState;

impl Layer {
    pub(super) fn node_joined(&mut self, now: Instant, node: &NodeState) {
        self.joined += 1;
        self.pruned.remove(&node.name);
        let joined = self.joined;
        let shown = Member {
            name: node.name.clone(),
            address: node.place,
            tags: Encoded::from_meta(Arc::clone(&node.meta)),
            status: Status::Alive,
            suspect: false,
            incarnation: node.incarnation,
            joined,
            since: now,
            versions: node.vsn,
        };
        let shown = Arc::new(shown);
        let member = self
            .members
            .entry(node.name.clone())
            .or_insert_with(|| MemberState {
                shown: Arc::clone(&shown),
                status_ltime: 0,
                guessed: false,
                gone_since: None,
                measured: None,
            });
        member.gone_since = None;
        member.shown = shown;
        if let Some((kind, ltime)) = self.recent.take(&node.name) {
            member.heard(ltime, Source::Gossip);
            if kind == Kind::Leave {
                Arc::make_mut(&mut member.shown).status = Status::Leaving;
            }
        }
        let shown = Arc::clone(&member.shown);
        self.generation += 1;
        tracing::debug!(member = %node.name, address = %node.place, "joined");
        self.out.push_back(Event::Joined(shown));
    }

    pub(super) fn node_updated(&mut self, node: &NodeState) {
        if let Some(member) = self.copy_node(node) {
            self.out.push_back(Event::Updated(member));
        }
    }

    /// Takes over what may change while a node lives.
    fn copy_node(&mut self, node: &NodeState) -> Option<Arc<Member>> {
        let member = self.members.get_mut(&*node.name)?;
        let shown = Arc::make_mut(&mut member.shown);
        shown.address = node.place;
        shown.tags = Encoded::from_meta(Arc::clone(&node.meta));
        shown.incarnation = node.incarnation;
        shown.versions = node.vsn;
        if shown.suspect {
            shown.suspect = false;
            shown.since = node.changed;
        }
        self.generation += 1;
        Some(Arc::clone(&member.shown))
    }

    /// The node lives, with a higher incarnation.
    pub(super) fn node_refreshed(&mut self, node: &NodeState) {
        self.copy_node(node);
    }

    pub(super) fn node_suspected(&mut self, now: Instant, node: &NodeState) {
        let Some(member) = self.members.get_mut(&*node.name) else {
            return;
        };
        let shown = Arc::make_mut(&mut member.shown);
        shown.suspect = true;
        shown.incarnation = node.incarnation;
        shown.since = now;
        self.generation += 1;
    }

    pub(super) fn node_gone(&mut self, now: Instant, node: &NodeState) {
        let Some(member) = self.members.get_mut(&*node.name) else {
            return;
        };
        let status = match member.shown.status {
            Status::Leaving => Status::Left,
            Status::Alive => Status::Failed,
            Status::Left | Status::Failed => return,
        };
        member.gone_since = Some(now);
        Arc::make_mut(&mut member.shown).incarnation = node.incarnation;
        let Some(shown) = self.set_status(now, &node.name, status) else {
            return;
        };
        if status == Status::Failed {
            self.note_failure(now, &node.name);
        }
        tracing::debug!(member = %node.name, %status, "gone");
        self.out.push_back(if status == Status::Left {
            Event::Left(shown)
        } else {
            Event::Failed(shown)
        });
    }

    /// Changes the status of a known member, which is no suspect any more if it is gone.
    pub(super) fn set_status(
        &mut self,
        now: Instant,
        name: &str,
        status: Status,
    ) -> Option<Arc<Member>> {
        let member = self.members.get_mut(name)?;
        let shown = Arc::make_mut(&mut member.shown);
        shown.status = status;
        shown.since = now;
        if matches!(status, Status::Left | Status::Failed) {
            shown.suspect = false;
        }
        self.generation += 1;
        Some(Arc::clone(&member.shown))
    }

    /// Forgets a member altogether, in memberlist as well if it is gone there.
    pub(super) fn erase(&mut self, name: &str) {
        if let Some(member) = self.members.remove(name) {
            self.generation += 1;
            self.tray.forgotten.push(name.to_owned());
            self.out.push_back(Event::Reaped(member.shown));
        }
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    pub(super) fn own_tags(&self) -> Option<Tags> {
        let own = self.members.get(&*self.name)?;
        Some(own.shown.tags.decode())
    }

    /// Whether anybody but us is there to hear.
    pub(super) fn others_alive(&self) -> bool {
        self.members
            .values()
            .any(|member| member.shown.name != self.name && is_company(member.shown.status))
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn members(&self) -> Members {
        Members {
            generation: self.generation,
            by_name: self
                .members
                .values()
                .map(|member| Arc::clone(&member.shown))
                .collect(),
        }
    }
}
