//! Has the cluster know what the node says about its service.
//!
//! ```text
//! Standing ─▶ tags wanted ─┬─ as they are: nothing
//! own tags in gossip ──────┘  else ─▶ Handle::set_tags
//! ```
//!
//! Others change our tags too (`tags` through the RPC), and theirs must outlive a change of ours.

use std::sync::Arc;

use tokio::sync::Mutex;
use tracing::{info, warn};

use super::standing::Standing;
use crate::announce::{self, State, Tags};
use crate::gossip::driver::Handle;
use crate::membership;

/// Who sets our tags.
#[derive(Debug)]
pub(super) struct Announcer {
    gossip: Handle,
    /// Without what the node says by itself.
    base: Tags,
    /// As last set by us.
    said: Tags,
    /// Held while tags are read, changed and set.
    turn: Arc<Mutex<()>>,
    told_of_rounding: bool,
}

impl Announcer {
    /// `said`: what gossip was started with; `turn` is held by others who set tags.
    pub(super) fn new(gossip: Handle, base: Tags, said: Tags, turn: Arc<Mutex<()>>) -> Self {
        Self {
            gossip,
            base,
            said,
            turn,
            told_of_rounding: false,
        }
    }

    /// A reload: these and no others.
    pub(super) async fn reload(&mut self, base: Tags, standing: &Standing) {
        self.base = base;
        self.said = self.current().await;
        self.say(standing).await;
    }

    /// Announces what has changed, if anything has.
    pub(super) async fn say(&mut self, standing: &Standing) {
        let turn = Arc::clone(&self.turn);
        let _alone = turn.lock().await;
        self.take_over().await;
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
                info!(%state, weight = %wanted.get("weight").map_or("1", String::as_str), "announced");
                self.said = wanted;
            }
            // The reason is what can be done without.
            Err(refused) => {
                warn!("the state {state:?} cannot be announced: {refused}");
                let mut short = wanted.clone();
                let reasonless = State::Fail(String::new());
                for (name, value) in &mut short {
                    let is_verdict = |state| matches!(state, State::Fail(_));
                    if name == "state" && value.parse().is_ok_and(is_verdict) {
                        *value = reasonless.to_string();
                    } else if name.starts_with("svc.")
                        && announce::state_of(value).is_some_and(is_verdict)
                    {
                        *value = announce::with_state(value, &reasonless);
                    }
                }
                if self.gossip.set_tags(short.clone()).await.is_ok() {
                    self.said = short;
                }
            }
        }
    }

    /// What others changed meanwhile is as good as configured.
    async fn take_over(&mut self) {
        let current = self.current().await;
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

    async fn current(&self) -> Tags {
        let current = membership::own_tags(&self.gossip).await;
        current.unwrap_or_else(|| self.said.clone())
    }
}
