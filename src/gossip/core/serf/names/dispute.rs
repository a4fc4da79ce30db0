//! Our own name at two places, and both live and are members: one of them takes another name.
//!
//! ```text
//! dispute ─▶ Voting: everyone is asked where the name is ──more here, or nobody answered──▶ kept, told
//!                └─ more there; as many, and there is the lower address
//!                      └▶ Yielding ─▶ a last look ──silent──▶ the name is ours after all
//!                                        └─ lives ─▶ NameTaken ─▶ rename: the same member under a new name
//! ```
//!
//! Both sides ask the same members, whose tables do not change meanwhile, so both come to the same count. Where
//! loss lets each count something else, the two give up at different times, and whoever looks last finds the
//! other gone; if neither gives up, the next vote is a minute away. One that is not ours, a stock agent, shuts
//! down within the time that we yield.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Serf;
use super::case::Stage;
use crate::gossip::core::io::{Answer, QueryId, Refused};
use crate::gossip::core::serf::conflict::Verdict;
use crate::gossip::core::serf::layer::Timer;
use crate::gossip::core::serf::leave::Life;

/// The members are asked about our name at most this often.
const VOTE_EACH: Duration = Duration::from_secs(60);

/// Of two that are outvoted the one at the lower address yields for this many times a vote, the other one for one:
/// it is seen to have given up before the first one looks again.
const PATIENCE: u32 = 3;

impl Serf {
    /// Another living node has our name, as we do: everyone is asked whose it is.
    pub(super) fn dispute(&mut self, now: Instant, name: &str) {
        let Some(case) = self.names.cases.get_mut(name) else {
            return;
        };
        // Outvoted already, and the other is still there.
        if case.answers > 1 {
            return self.conclude(now, name, true);
        }
        let recent = |voted: Instant| now < voted + VOTE_EACH;
        let (own, other) = (case.new.addr.socket(), case.old.addr.socket());
        let (Some(own), Some(other)) = (own, other) else {
            return self.drop_case(name);
        };
        if self.names.voted.is_some_and(recent) {
            return self.conclude(now, name, false);
        }
        match self.layer.put_to_the_vote(now, own, other) {
            Ok(vote) => {
                case.stage = Stage::Voting;
                self.names.vote = Some(vote);
                self.names.voted = Some(now);
            }
            // So many questions are open that nothing can be asked: as if nobody had answered.
            Err(_) => self.conclude(now, name, false),
        }
    }

    /// An answer to our vote, or its end.
    pub(in crate::gossip::core::serf) fn on_vote(
        &mut self,
        now: Instant,
        id: QueryId,
        answer: &Answer,
    ) {
        let Some(vote) = self.names.vote.as_mut().filter(|vote| vote.id() == id) else {
            return;
        };
        match answer {
            Answer::Response { from, payload } => {
                if let Some(voter) = self.layer.voter(from) {
                    vote.take(voter, payload);
                }
            }
            Answer::Ack { .. } => {}
            Answer::Done => self.count_votes(now),
        }
    }

    fn count_votes(&mut self, now: Instant) {
        let name = self.layer.name.clone();
        let (Some(vote), Some(case)) = (&self.names.vote, self.names.cases.get_mut(&name)) else {
            return;
        };
        // It went another way while the question was open.
        if case.stage != Stage::Voting {
            return;
        }
        tracing::debug!(?vote, "whose our name is");
        if vote.verdict() == Verdict::Ours {
            self.names.vote = None;
            return self.conclude(now, &name, false);
        }
        case.answers = 2;
        case.stage = Stage::Yielding;
        let voted = self.names.voted.unwrap_or(now);
        let vote = now.saturating_duration_since(voted);
        let lower = case.new.addr.socket() < case.old.addr.socket();
        let patience = if lower { PATIENCE * vote } else { vote };
        self.layer.timers.set(Timer::Name(name), now + patience);
    }

    /// Goes on as `name`, with all that we know and have under way. If the former name was found to be another's,
    /// everyone who holds it at our place is told of both.
    ///
    /// # Errors
    /// [`Refused::NameKnown`], [`Refused::Leaving`].
    pub(crate) fn rename(&mut self, now: Instant, name: &str) -> Result<(), Refused> {
        if self.life != Life::Alive {
            return Err(Refused::Leaving);
        }
        if self.layer.knows(name) {
            return Err(Refused::NameKnown {
                name: name.to_owned(),
            });
        }
        let is_member = self.layer.others_alive();
        self.drop_cases();
        let there = self.holders_there();
        let former = std::mem::replace(&mut self.layer.name, name.to_owned());
        self.layer.members.remove(&*former);
        let holder = self.names.lost.take().filter(|_| is_member);
        let told = self.memberlist.rename(now, name, holder, &mut self.layer);
        if let Some(nodes) = told {
            let mut places = self.memberlist.live_places(&former);
            places.retain(|place| !there.contains(place));
            let errand = self.names.errands.open(nodes, places.into());
            self.go_on_visiting(now, errand);
        }
        self.names.renames += 1;
        self.names.voted = None;
        self.layer.tray.speak_up |= is_member;
        self.resume_joins(now, Ok(()));
        self.settle(now);
        Ok(())
    }

    /// Places of those who said that they hold our name elsewhere: there is nothing to tell them.
    fn holders_there(&mut self) -> BTreeSet<SocketAddr> {
        let vote = self.names.vote.take();
        let names = vote.iter().flat_map(|vote| vote.holders_there());
        names
            .filter_map(|name| self.layer.members.get(name))
            .map(|member| member.shown.address)
            .collect()
    }
}
