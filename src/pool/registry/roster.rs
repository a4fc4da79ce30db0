//! One pool's backends: who owns which address, when a snapshot is stored, what is told.

mod ladder;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend::{Backend, Judged};
use super::{Change, Key, Settings, Target, Turn};
use crate::announce::{CheckSpec, Proto};
use crate::pool::effective::{State, Verdict};
use crate::pool::snapshot::{Pool, Snapshot};
use crate::pool::spec::{Spec, Standing, UpstreamId};

/// Stores that take nobody out are at least this far apart.
const STORE_EVERY: Duration = Duration::from_millis(10);

/// (identity, address): a name that resolves to several addresses is several backends.
type Place = (UpstreamId, SocketAddr);

/// One pool.
#[derive(Debug)]
pub(super) struct Roster {
    pub(super) pool: Arc<Pool>,
    settings: Settings,
    backends: BTreeMap<Place, Backend>,
    owners: BTreeMap<SocketAddr, Place>,
    in_count: usize,
    /// Nobody is sound: the last resorts are in.
    panic: bool,
    settled: bool,
    /// Whether someone was in, when that was last told; `None`: nobody ever was.
    told_someone: Option<bool>,
    stored_at: Option<Instant>,
    unstored: Unstored,
    due: Option<Instant>,
    targets: BTreeMap<Place, (CheckSpec, Proto, u64)>,
    targets_generation: u64,
}

/// What the next store brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unstored {
    Nothing,
    /// Can wait.
    News,
    /// Somebody goes out, so no later pick may choose it; or it was out and now fails, which the requests
    /// that still wait there must hear: a store is what wakes them.
    Removal,
}

impl Roster {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            pool: Arc::new(Pool::new(&settings.name)),
            settings,
            backends: BTreeMap::new(),
            owners: BTreeMap::new(),
            in_count: 0,
            panic: false,
            settled: false,
            told_someone: None,
            stored_at: None,
            unstored: Unstored::Nothing,
            due: None,
            targets: BTreeMap::new(),
            targets_generation: 0,
        }
    }

    pub(super) fn configure(
        &mut self,
        now: Instant,
        settings: Settings,
        changes: &mut VecDeque<Change>,
    ) {
        if self.settings.limits != settings.limits || self.settings.hop != settings.hop {
            self.unstored = self.unstored.max(Unstored::News);
        }
        self.settings = settings;
        self.judge_all(now, changes);
    }

    /// The full list; of two specs at one place the later counts.
    pub(super) fn set_specs(
        &mut self,
        now: Instant,
        specs: Vec<Spec>,
        changes: &mut VecDeque<Change>,
    ) {
        let mut before = std::mem::take(&mut self.backends);
        for spec in specs {
            let place = (spec.id.clone(), spec.address);
            let known = before
                .remove(&place)
                .or_else(|| self.backends.remove(&place));
            let backend = match known {
                Some(mut backend) => {
                    backend.announced(now, spec);
                    backend
                }
                None => Backend::new(now, spec, Arc::clone(&self.pool.queue)),
            };
            self.backends.insert(place, backend);
        }
        self.guard(now, &mut before, changes);
        self.settle_claims(&before);
        for gone in before.into_values() {
            let place = (gone.spec().id.clone(), gone.spec().address);
            self.targets_generation += u64::from(self.targets.remove(&place).is_some());
            let mut farewell = gone.farewell();
            if self.has_moved(&gone) {
                gone.live().mark_down();
                gone.live().mark_fallen();
                self.unstored = Unstored::Removal;
                farewell = "its node is at another address now";
            }
            self.tell(now, place, gone.verdict(), Err(farewell), changes);
        }
        self.judge_all(now, changes);
    }

    /// Its node lives on another machine now. A name moves once nobody answers to it at its old address, so requests
    /// that wait there wait in vain. A new port or a leave says nothing of the kind.
    fn has_moved(&self, gone: &Backend) -> bool {
        let before = gone.spec();
        let met = matches!(
            before.standing,
            Standing::Alive | Standing::Suspect | Standing::Failed
        );
        let mut now = self.backends.keys().filter(|(id, _)| *id == before.id);
        met && now
            .next()
            .is_some_and(|(_, address)| address.ip() != before.address.ip())
    }

    /// News of one backend; of one that is not known any more they come late and mean nothing.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        key: &Key,
        changes: &mut VecDeque<Change>,
        news: impl FnOnce(&mut Backend),
    ) {
        let place = (key.id.clone(), key.address);
        let Some(backend) = self.backends.get_mut(&place) else {
            return;
        };
        news(backend);
        self.judge(now, &place, changes);
        self.climb(now, changes);
        self.publish(now, changes);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, changes: &mut VecDeque<Change>) {
        if self.due.is_some_and(|due| due <= now) {
            self.look_at_all(now);
            self.judge_all(now, changes);
        }
        self.publish(now, changes);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let store = match self.unstored {
            Unstored::Nothing => None,
            _ => self.stored_at.map(|at| at + STORE_EVERY),
        };
        [store, self.due].into_iter().flatten().min()
    }

    pub(super) fn targets(&self) -> Vec<Target> {
        type Wanted = (CheckSpec, Proto, u64);
        let target = |((id, address), (check, proto, extra)): (&Place, &Wanted)| Target {
            key: Key {
                pool: self.pool.name.clone(),
                id: id.clone(),
                address: *address,
            },
            check: check.clone(),
            proto: *proto,
            extra: *extra,
        };
        self.targets.iter().map(target).collect()
    }

    pub(super) fn targets_generation(&self) -> u64 {
        self.targets_generation
    }

    /// One address is one upstream: the best claim owns it, the others are shadowed.
    fn settle_claims(&mut self, removed: &BTreeMap<Place, Backend>) {
        let mut owners: BTreeMap<SocketAddr, (&Place, (u8, u64))> = BTreeMap::new();
        for (place, backend) in &self.backends {
            let Some(claim) = backend.claim() else {
                continue;
            };
            let owner = owners
                .entry(backend.spec().address)
                .or_insert_with(|| (place, claim));
            if claim > owner.1 {
                *owner = (place, claim);
            }
        }
        let owners = owners
            .into_iter()
            .map(|(address, (place, _))| (address, place.clone()))
            .collect();
        let before = std::mem::replace(&mut self.owners, owners);
        for (address, place) in &self.owners {
            let Some(was) = before.get(address).filter(|was| *was != place) else {
                continue;
            };
            // Taken out to hold two at once.
            let Some(mut heir) = self.backends.remove(place) else {
                continue;
            };
            if let Some(was) = self.backends.get(was).or_else(|| removed.get(was)) {
                heir.inherit(was, &self.settings);
            }
            self.backends.insert(place.clone(), heir);
        }
        for (place, backend) in &mut self.backends {
            let owner = self.owners.get(&place.1).filter(|owner| *owner != place);
            backend.shadow(owner.map(|(id, _)| id.clone()));
        }
    }

    fn judge_all(&mut self, now: Instant, changes: &mut VecDeque<Change>) {
        let places: Vec<Place> = self.backends.keys().cloned().collect();
        for place in &places {
            self.judge(now, place, changes);
        }
        self.climb(now, changes);
        self.due = self
            .backends
            .values()
            .filter_map(|backend| backend.poll_timeout(now, &self.settings))
            .min();
        self.publish(now, changes);
    }

    /// One backend: its verdict, whether it is checked, what to tell.
    fn judge(&mut self, now: Instant, place: &Place, changes: &mut VecDeque<Change>) {
        let Some(backend) = self.backends.get_mut(place) else {
            return;
        };
        let (met, downs) = (backend.was_met(), backend.downs());
        let judged = backend.judge(now, &self.settings, self.panic);
        if met && backend.downs() != downs {
            self.unstored = Unstored::Removal;
        }
        let wanted = backend.check_wanted(&self.settings);
        if wanted.is_none() {
            backend.unprove();
        }
        let due = backend.poll_timeout(now, &self.settings);
        let verdict = backend.verdict().cloned();
        self.due = [self.due, due].into_iter().flatten().min();
        if self.targets.get(place) != wanted.as_ref() {
            self.targets_generation += 1;
            match wanted {
                Some(wanted) => self.targets.insert(place.clone(), wanted),
                None => self.targets.remove(place),
            };
        }
        if let Judged::Differs { before } = judged {
            let after = verdict.as_ref().ok_or("not seen alive for a while");
            self.tell(now, place.clone(), before.as_ref(), after, changes);
        }
    }

    /// Counts a verdict that differs, and tells it if more than its reason does. `after` is an error with
    /// the reason when the backend is no longer among us; requests under way there end in their own time.
    fn tell(
        &mut self,
        now: Instant,
        place: Place,
        before: Option<&Verdict>,
        after: Result<&Verdict, &str>,
        changes: &mut VecDeque<Change>,
    ) {
        let was_in = before.is_some_and(|before| before.in_rotation);
        let in_rotation = after.is_ok_and(|after| after.in_rotation);
        let from = before.map(|before| before.state);
        let to = after.ok().map(|after| after.state);
        self.in_count = self.in_count + usize::from(in_rotation) - usize::from(was_in);
        self.unstored = self.unstored.max(match was_in && !in_rotation {
            true => Unstored::Removal,
            false => Unstored::News,
        });
        if (from, was_in) != (to, in_rotation) {
            changes.push_back(Change {
                at: now,
                pool: self.pool.name.clone(),
                backend: Some(place),
                from,
                to,
                in_rotation,
                turn: match (was_in, in_rotation) {
                    (false, true) => Some(Turn::In),
                    (true, false) => Some(Turn::Out),
                    _ => None,
                },
                reason: match after {
                    Ok(after) => after.reason.clone(),
                    Err(reason) => reason.to_owned(),
                },
                in_count: self.in_count,
            });
        }
    }

    /// The pool as a whole: told when the last one went out, and when someone is in again.
    fn tell_emptiness(&mut self, now: Instant, changes: &mut VecDeque<Change>) {
        let someone = self.in_count > 0;
        let told = self.told_someone;
        if someone || told.is_some() {
            self.told_someone = Some(someone);
        }
        let (turn, reason) = match (told, someone) {
            (Some(true), false) => (Turn::Emptied, "no backend is in rotation".to_owned()),
            (Some(false), true) => (
                Turn::Recovered,
                format!("{} in rotation again", self.in_count),
            ),
            _ => return,
        };
        self.tell_all(now, Some(turn), reason, changes);
    }

    /// A line about the pool as a whole.
    fn tell_all(
        &self,
        now: Instant,
        turn: Option<Turn>,
        reason: String,
        changes: &mut VecDeque<Change>,
    ) {
        changes.push_back(Change {
            at: now,
            pool: self.pool.name.clone(),
            backend: None,
            from: None,
            to: None,
            in_rotation: self.in_count > 0,
            turn,
            reason,
            in_count: self.in_count,
        });
    }

    /// Stores a snapshot if there is something new and its time has come.
    fn publish(&mut self, now: Instant, changes: &mut VecDeque<Change>) {
        self.tell_emptiness(now, changes);
        let early = self
            .stored_at
            .is_some_and(|at| now.saturating_duration_since(at) < STORE_EVERY);
        match self.unstored {
            Unstored::Nothing => return,
            Unstored::News if early => return,
            Unstored::News | Unstored::Removal => {}
        }
        self.unstored = Unstored::Nothing;
        self.stored_at = Some(now);
        let backends: Vec<_> = self.backends.values().filter_map(Backend::shown).collect();
        self.settled |= self.in_count > 0
            || (!backends.is_empty()
                && backends
                    .iter()
                    .all(|backend| backend.verdict.state != State::Unproven));
        let generation = self.pool.snapshot.load().generation + 1;
        let mut snapshot = Snapshot::new(generation, self.settled, backends);
        snapshot.panic = self.panic;
        snapshot.limits = self.settings.limits.clone();
        snapshot.hop = self.settings.hop;
        self.pool.store(snapshot);
    }
}
