//! One name at two addresses: a rebuilt node, or two that live.
//!
//! ```text
//! our name elsewhere, at a join ──┐
//! our name elsewhere, later ──────┼─▶ Checking ──silent──▶ Visiting everyone ─▶ joins go on, Repaired
//! another's name at a new place ──┘      │ lives                 (the name moves there)
//!   after a Delay by rank                ├─ another's: Conflict, nothing moves
//!                                        └─ ours: Pause 2 s ─▶ Checking again ──lives──▶ NameTaken, of one that
//!                                           is not in yet; a member has a `dispute`: Voting, Yielding, NameTaken
//! ```
//!
//! The check comes first, always: a living node's name is never taken. For another's name the new place must
//! answer as well, so that a forged or stale word moves nothing. What is done is PROTOCOL §11.2's recipe.

pub(super) mod case;
mod dispute;
mod errand;
mod memory;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::seq::SliceRandom;

use self::case::{Case, Stage};
use self::errand::Errands;
use self::memory::Memory;
use super::Serf;
use super::conflict::Vote;
use super::layer::{Claim, Layer, Timer};
use super::leave::Life;
use crate::gossip::core::io::Event;
use crate::gossip::core::member::Status;
use crate::gossip::core::memberlist::Cause;
use crate::gossip::core::memberlist::check::CheckId;
use crate::gossip::core::memberlist::node::State;
use crate::gossip::core::wire::stream::PushNode;

/// Names looked into at one time; a flood of claims costs no more than this.
const CASES_MAX: usize = 8;

/// Between the two answers that prove our own name taken; more by up to a quarter, so that of two that start
/// at once with one name the first to give up leaves it to the other.
const CONFIRM: Duration = Duration::from_secs(2);

/// How much later each next member looks into another's name: one that was repaired meanwhile is let be.
const RANK_STEP: Duration = Duration::from_millis(40);

/// Ranks that are told apart.
const RANKS: u32 = 25;

/// What is known of names at two addresses.
#[derive(Debug)]
pub(crate) struct Names {
    enabled: bool,
    born: Instant,
    /// When a first join was through: we are in.
    settled: Option<Instant>,
    cases: BTreeMap<String, Case>,
    memory: Memory,
    errands: Errands,
    /// Whose our name is, while we ask and until it is settled.
    vote: Option<Vote>,
    /// When the members were last asked.
    voted: Option<Instant>,
    /// Who has our name: told as taken, and it is for those above to say what we do about it.
    lost: Option<PushNode>,
    pub(super) conflicts: u64,
    pub(super) repairs: u64,
    pub(super) renames: u64,
}

impl Names {
    pub(super) fn new(enabled: bool, born: Instant) -> Self {
        Self {
            enabled,
            born,
            settled: None,
            cases: BTreeMap::new(),
            memory: Memory::default(),
            errands: Errands::default(),
            vote: None,
            voted: None,
            lost: None,
            conflicts: 0,
            repairs: 0,
            renames: 0,
        }
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether it is unclear whose a name is.
    pub(super) fn is_open(&self, name: &str) -> bool {
        self.cases.contains_key(name)
    }

    /// Whether a name may be looked into now; from then on it is quiet for a while.
    fn admits(&mut self, now: Instant, name: &str) -> bool {
        self.cases.len() < CASES_MAX && !self.is_open(name) && self.memory.admits(now, name)
    }

    pub(super) fn settle(&mut self, now: Instant) {
        self.settled.get_or_insert(now);
    }
}

impl Serf {
    /// A peer shows our own name at `old`, before we joined it: joins wait until it is clear whose it is.
    pub(super) fn claim_own(&mut self, now: Instant, old: PushNode, mut live: Vec<SocketAddr>) {
        let name = self.layer.name.clone();
        if let Some(case) = self.names.cases.get_mut(&name) {
            live.retain(|place| !case.live.contains(place));
            case.live.append(&mut live);
            return;
        }
        // The acks to our pings bring news of others, who would hear of us in turn. A living namesake that
        // learned of us so would put its name to the vote.
        let joining = self.names.settled.is_none() && !self.layer.others_alive();
        self.memberlist.silent = joining;
        // Neither the quiet after an earlier case nor others' cases may hold up a join.
        self.names.memory.forget(&name);
        let Some(new) = self.memberlist.held(&name) else {
            return;
        };
        self.open(now, old, new, live, true);
        if let Some(case) = self.names.cases.get_mut(&name) {
            case.joining = joining;
        }
    }

    /// A message or a peer's table has a name at a second place.
    pub(super) fn on_claim(&mut self, now: Instant, claim: Claim) {
        let name = claim.new.name.clone();
        if self.life != Life::Alive || !self.names.admits(now, &name) {
            return;
        }
        self.open(now, claim.old, claim.new, Vec::new(), claim.in_table);
    }

    /// One that we hold dead or suspect pinged us from a new place: its own table will tell the rest.
    pub(super) fn on_seen(&mut self, now: Instant, name: &str, place: SocketAddr) {
        if self.life == Life::Alive
            && !self.names.is_open(name)
            && self.names.memory.asks(now, name)
        {
            self.memberlist.push_pull(now, place, Cause::AntiEntropy);
        }
    }

    fn open(
        &mut self,
        now: Instant,
        old: PushNode,
        new: PushNode,
        live: Vec<SocketAddr>,
        in_table: bool,
    ) {
        let name = new.name.clone();
        let ours = name == self.layer.name;
        tracing::debug!(name, old = ?old.addr.socket(), new = ?new.addr.socket(), "one name at two places");
        self.names.cases.insert(
            name.clone(),
            Case {
                old,
                new,
                live,
                stage: Stage::Delay,
                answers: 0,
                in_table,
                joining: false,
            },
        );
        if ours {
            self.examine(now, &name);
        } else {
            let delay = self.layer.delay_by_rank();
            self.layer.timers.set(Timer::Name(name), now + delay);
        }
    }

    /// A case's time has come.
    pub(super) fn name_timer(&mut self, now: Instant, name: &str) {
        match self.names.cases.get(name).map(|case| case.stage) {
            Some(Stage::Delay | Stage::Pause | Stage::Yielding) => self.examine(now, name),
            Some(Stage::Visiting(_)) => self.close(now, name),
            Some(Stage::Checking { .. } | Stage::Voting) | None => {}
        }
    }

    /// Asks the old place, and another's new one, whether they answer under the name.
    fn examine(&mut self, now: Instant, name: &str) {
        let Some(case) = self.names.cases.get(name) else {
            return;
        };
        let (old, new) = (case.old.clone(), case.new.clone());
        let ours = name == self.layer.name;
        if !ours && !self.is_still_at(&old) {
            self.names.cases.remove(name);
            return;
        }
        // Where the place is our own and only its form on the wire differs, we are the one who is there.
        if ours && old.addr.socket() == new.addr.socket() {
            self.take_over(now, name);
            return;
        }
        let mut helpers = if case.live.is_empty() {
            self.memberlist.live_places(name)
        } else {
            case.live.clone()
        };
        helpers.shuffle(&mut self.layer.random);
        let asked = self.memberlist.check(now, name, &old.addr, &helpers);
        let newcomer = if ours {
            None
        } else {
            match self.memberlist.check(now, name, &new.addr, &[]) {
                Some(id) => Some(id),
                None => return self.abandon(name, asked),
            }
        };
        let Some(case) = self.names.cases.get_mut(name) else {
            return;
        };
        case.stage = Stage::Checking {
            old: asked,
            new: newcomer,
        };
        if asked.is_none() {
            // No address of any node: nobody can be there.
            self.go_on(now, name);
        }
    }

    fn abandon(&mut self, name: &str, check: Option<CheckId>) {
        if let Some(check) = check {
            self.memberlist.drop_check(check);
        }
        self.names.cases.remove(name);
    }

    fn is_still_at(&self, old: &PushNode) -> bool {
        self.memberlist
            .held(&old.name)
            .is_some_and(|held| held.addr == old.addr && held.state != State::Left as u8)
    }

    pub(super) fn check_ended(&mut self, now: Instant, id: CheckId, lives: bool) {
        let found = self.names.cases.iter_mut().find_map(|(name, case)| {
            let Stage::Checking { old, new } = &mut case.stage else {
                return None;
            };
            let part = [(&mut *old, true), (&mut *new, false)]
                .into_iter()
                .find(|(check, _)| **check == Some(id));
            let (check, is_old) = part?;
            *check = None;
            Some((name.clone(), is_old))
        });
        match (found, lives) {
            (Some((name, true)), true) => self.old_lives(now, &name),
            // Nobody there who could use the name.
            (Some((name, false)), false) => self.drop_case(&name),
            (Some((name, _)), _) => self.go_on(now, &name),
            (None, _) => {}
        }
    }

    fn drop_case(&mut self, name: &str) {
        if let Some(Case {
            stage: Stage::Checking { old, new },
            ..
        }) = self.names.cases.remove(name)
        {
            for check in [old, new].into_iter().flatten() {
                self.memberlist.drop_check(check);
            }
        }
    }

    /// All is known once both checks are over: the name may move.
    fn go_on(&mut self, now: Instant, name: &str) {
        let over = Stage::Checking {
            old: None,
            new: None,
        };
        if self
            .names
            .cases
            .get(name)
            .is_some_and(|case| case.stage == over)
        {
            self.take_over(now, name);
        }
    }

    /// The old place answers under the name: it keeps it, unless the name is ours.
    fn old_lives(&mut self, now: Instant, name: &str) {
        let ours = name == self.layer.name;
        let Some(case) = self.names.cases.get_mut(name) else {
            return;
        };
        if ours && case.answers == 0 {
            case.answers = 1;
            case.stage = Stage::Pause;
            let pause = CONFIRM.mul_f64(self.layer.random.random_range(1.0..1.25));
            self.layer
                .timers
                .set(Timer::Name(name.to_owned()), now + pause);
            return;
        }
        if ours && !self.is_intruder(now) {
            self.dispute(now, name);
        } else {
            self.conclude(now, name, ours);
        }
    }

    /// Nothing moves; what is to be told of it is told. `taken`: our own name is the other's.
    fn conclude(&mut self, now: Instant, name: &str, taken: bool) {
        let ours = name == self.layer.name;
        let Some(case) = self.names.cases.get(name) else {
            return;
        };
        let other = case.old.clone();
        let (Some(holder), Some(claimed)) = (other.addr.socket(), case.new.addr.socket()) else {
            return self.drop_case(name);
        };
        self.drop_case(name);
        self.names.conflicts += 1;
        if taken {
            self.names.lost = Some(other);
            self.layer.out.push_back(Event::NameTaken {
                name: name.to_owned(),
                holder,
                at_start: now < self.names.born + self.layer.timing.starting,
            });
        } else if self.names.memory.tells(now, name) {
            // It may not know yet that there is another. Our table tells it, and what to do about that is for the
            // two of them.
            let teach = if ours { holder } else { claimed };
            self.memberlist.push_pull(now, teach, Cause::AntiEntropy);
            // Of our own name: the one we hold is ours.
            let (known, claimed) = if ours {
                (claimed, holder)
            } else {
                (holder, claimed)
            };
            self.layer.out.push_back(Event::Conflict {
                name: name.to_owned(),
                known,
                claimed,
            });
        }
        if ours {
            self.resume_joins(now, Err(holder));
        }
    }

    /// Whether the other was there first: we are not in yet, or came in just now and others hold to it.
    fn is_intruder(&self, now: Instant) -> bool {
        let case = self.names.cases.get(&self.layer.name);
        let just_in = |settled: Instant| now < settled + 2 * CONFIRM;
        case.is_some_and(|case| {
            case.joining || (case.in_table && self.names.settled.is_some_and(just_in))
        })
    }

    /// Leaving: whose name is where is no matter of ours any more.
    pub(super) fn drop_cases(&mut self) {
        let names: Vec<String> = self.names.cases.keys().cloned().collect();
        for name in names {
            self.layer.timers.cancel(&Timer::Name(name.clone()));
            self.drop_case(&name);
        }
    }
}

impl Layer {
    /// The same order at every member, so that mostly one does the work and the others find it done.
    fn delay_by_rank(&mut self) -> Duration {
        let rank = self
            .members
            .values()
            .filter(|member| member.shown.status == Status::Alive)
            .take_while(|member| member.shown.name != self.name)
            .count() as u32
            % RANKS;
        RANK_STEP.mul_f64(f64::from(rank) + self.random.random_range(0.0..0.5))
    }
}
