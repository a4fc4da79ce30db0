//! Has the cluster know what the node says about its service.
//!
//! ```text
//! Standing ─▶ tags wanted ─┬─ as they are: nothing
//! own tags in gossip ──────┘  else ─▶ Handle::set_tags
//! ```
//!
//! Others change our tags too (`tags` through the RPC), and theirs must outlive a change of ours.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::standing::Standing;
use crate::announce::{State, Tags};
use crate::gossip::driver::Handle;

/// How long our own member entry may take to show what was set.
const SEEN_MAX: Duration = Duration::from_secs(2);

/// Who sets our tags.
#[derive(Debug)]
pub(super) struct Announcer {
    gossip: Handle,
    /// Without what the node says by itself.
    base: Tags,
    /// As last set by us.
    said: Tags,
    told_of_rounding: bool,
}

impl Announcer {
    /// `said`: what gossip was started with.
    pub(super) fn new(gossip: Handle, base: Tags, said: Tags) -> Self {
        Self {
            gossip,
            base,
            said,
            told_of_rounding: false,
        }
    }

    /// A reload: these and no others.
    pub(super) async fn reload(&mut self, base: Tags, standing: &Standing) {
        self.base = base;
        self.said = self.current();
        self.say(standing).await;
    }

    /// Announces what has changed, if anything has.
    pub(super) async fn say(&mut self, standing: &Standing) {
        self.take_over();
        if standing.is_lost_in_rounding(&self.base)
            && !std::mem::replace(&mut self.told_of_rounding, true)
        {
            warn!(
                "{} % of so small a weight is rounded to a whole number; give --weight 100 here and on the other nodes",
                standing.wish.percent
            );
        }
        let wanted = standing.announced(&self.base);
        if wanted == self.said {
            return;
        }
        let state = wanted
            .get("state")
            .map_or("ready", String::as_str)
            .to_owned();
        match self.gossip.set_tags(wanted.clone()).await {
            Ok(()) => {
                info!(%state, weight = wanted.get("weight").map_or("1", String::as_str), "announced");
                self.seen(&wanted).await;
            }
            // The reason is what can be done without.
            Err(refused) => {
                warn!("the state {state:?} cannot be announced: {refused}");
                let mut short = wanted.clone();
                if let Ok(State::Fail(_)) = state.parse() {
                    short.insert("state".to_owned(), State::Fail(String::new()).to_string());
                }
                if self.gossip.set_tags(short.clone()).await.is_ok() {
                    self.seen(&short).await;
                }
            }
        }
    }

    /// What others changed meanwhile is as good as configured.
    fn take_over(&mut self) {
        let current = self.current();
        for (name, value) in &current {
            if self.said.get(name) != Some(value) {
                self.base.insert(name.clone(), value.clone());
            }
        }
        for name in self.said.keys() {
            if !current.contains_key(name) {
                self.base.remove(name);
            }
        }
        self.said = current;
    }

    /// Waits until our entry shows it: what is older would look like another's change.
    async fn seen(&mut self, wanted: &Tags) {
        let mut members = self.gossip.members();
        let name = self.gossip.name();
        let shown = members.wait_for(|members| {
            let own = members.by_name.get(&name);
            own.is_some_and(|own| own.tags.decode() == *wanted)
        });
        let shown = tokio::time::timeout(SEEN_MAX, shown).await.is_ok();
        self.said = match shown {
            true => wanted.clone(),
            false => self.current(),
        };
    }

    fn current(&self) -> Tags {
        let members = Arc::clone(&self.gossip.members().borrow());
        let own = members.by_name.get(&self.gossip.name());
        own.map_or_else(|| self.said.clone(), |own| own.tags.decode())
    }
}
