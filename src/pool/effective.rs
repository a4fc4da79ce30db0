//! The one function that turns all opinions about one backend into a verdict.
//!
//! ```text
//! tags, address ── gossip's standing ── own word of the node ── checks ── connects
//!      │                  │                     │                 │          │
//!      └──────────────────┴── the first that objects decides ─────┴──────────┴──▶ Verdict, reason
//! ```
//!
//! Nothing else decides. Pure: ages come in as durations, and no opinion is remembered here.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::spec::{Spec, Standing, UpstreamId};
use crate::announce::{self, CheckSpec, Proto};

/// A backend's state as shown to operators. `Display` is the word of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Joined, no check has answered yet.
    Unproven,
    /// In.
    Up,
    /// Its checks, connects or node say it is down.
    Down,
    /// No new requests.
    Drain,
    /// Out for maintenance.
    Maint,
    /// Taken out because of real traffic.
    Ejected,
    /// Gossip lost its agent, but it answers: still in.
    Lost,
    /// Can't be used: bad tag, forbidden address.
    Unusable,
    /// Another member owns its address.
    Shadowed,
}

impl State {
    /// All states, in order, for metrics.
    pub const ALL: [Self; 9] = [
        Self::Unproven,
        Self::Up,
        Self::Down,
        Self::Drain,
        Self::Maint,
        Self::Ejected,
        Self::Lost,
        Self::Unusable,
        Self::Shadowed,
    ];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unproven => "unproven",
            Self::Up => "up",
            Self::Down => "down",
            Self::Drain => "drain",
            Self::Maint => "maint",
            Self::Ejected => "ejected",
            Self::Lost => "lost",
            Self::Unusable => "unusable",
            Self::Shadowed => "shadowed",
        })
    }
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Takes new requests.
    pub in_rotation: bool,
    /// State.
    pub state: State,
    /// For a person: "check http:/ passed", "connection refused by 10.0.0.2:80 (2 checks)", …
    pub reason: String,
    /// Effective weight.
    pub weight: u16,
    /// Tier.
    pub tier: u8,
    /// Backup.
    pub backup: bool,
}

/// All that is thought of one backend at one moment.
#[derive(Clone, Debug)]
pub struct Opinions<'a> {
    /// What it announces, and gossip's standing.
    pub spec: &'a Spec,
    /// Who owns its address instead of it.
    pub shadowed_by: Option<&'a UpstreamId>,
    /// While gossip calls it failed.
    pub lost: Option<Lost<'a>>,
    /// The check in force: its own, else the pool's, as it is made.
    pub check: Cow<'a, CheckSpec>,
    /// The protocol in force: its own, else the pool's.
    pub proto: Proto,
    /// Its pool relays bytes, whatever they mean.
    pub relayed: bool,
    /// What the active checks say.
    pub health: &'a Health,
    /// Why connects of real requests fail, if too many did.
    pub refused: Option<&'a str>,
    /// Why real requests fail, if it is ejected for that.
    pub ejected: Option<&'a str>,
    /// Nobody in the pool is in but by this.
    pub panic: bool,
}

/// The standing of active checks, after rise and fall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// No check has ended.
    #[default]
    Unchecked,
    /// Checks have ended, but too few to tell; what the last one said.
    Undecided(Result<String, String>),
    /// They pass; what the first of them saw.
    Up(String),
    /// They fail.
    Down {
        /// Failures in a row that took it down.
        checks: u32,
        /// What the last one said.
        reason: String,
    },
}

/// What follows from gossip's "failed".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost<'a> {
    /// How long ago gossip said so.
    pub age: Duration,
    /// How long checks alone may keep it in.
    pub keep: Duration,
    /// It was alive when we met it; an address we only know from a failed member is not trusted.
    pub met_alive: bool,
    /// The first check that failed since.
    pub failed_check: Option<&'a str>,
    /// Most of the pool was lost with it, so it may be us who was cut off.
    pub with_most: bool,
}

impl Lost<'_> {
    /// Why it can't come back before its agent does; `None` while checks may keep it in.
    fn gone(&self, check: &CheckSpec) -> Option<String> {
        if !self.met_alive {
            return Some("agent lost before we met it: waiting for it to be alive".to_owned());
        }
        if let Some(failure) = self.failed_check {
            return Some(format!("agent lost, then a check failed: {failure}"));
        }
        if *check == CheckSpec::None {
            return Some("agent lost, and no check could tell that it serves".to_owned());
        }
        (self.age >= self.keep).then(|| {
            let keep = humantime::format_duration(self.keep);
            format!("agent lost for {keep}: no longer kept on checks alone")
        })
    }
}

impl Opinions<'_> {
    /// Whether `state`, its verdict, rests on nothing that its own check confirms: in panic it is used all the same.
    pub fn last_resort(&self, state: State) -> bool {
        let fails = matches!(self.spec.announced, announce::State::Fail(_));
        let answers = *self.check != CheckSpec::None && matches!(self.health, Health::Up(_));
        match state {
            State::Ejected => true,
            State::Down => fails && answers && self.refused.is_none() && !self.gone(),
            _ => false,
        }
    }

    /// Whether it is beyond what checks can mend: only gossip's "alive" brings it back.
    pub fn gone(&self) -> bool {
        self.lost
            .is_some_and(|lost| lost.gone(&self.check).is_some())
    }

    /// Whether it does not answer, whatever else is thought of it: requests that wait there wait in vain.
    pub fn failing(&self) -> bool {
        self.refused.is_some() || self.found_down()
    }

    /// The same, by more than refused connects: those say nothing of connections that stand.
    pub fn found_down(&self) -> bool {
        let checked = *self.check != CheckSpec::None;
        (checked && matches!(self.health, Health::Down { .. }))
            || self.gone()
            || matches!(self.spec.announced, announce::State::Fail(_))
    }
}

/// In or out, and why: the first opinion that objects decides. What is wrong with its tags is said beside.
pub fn effective(opinions: &Opinions<'_>) -> Verdict {
    let spec = opinions.spec;
    let (state, mut reason) = objection(opinions).unwrap_or_else(|| agreement(opinions));
    let panic = opinions.panic && opinions.last_resort(state);
    if panic {
        reason = format!("used in panic, nobody else is left: {reason}");
    }
    if !spec.warnings.is_empty() {
        reason = format!("{reason} (warning: {})", spec.warnings.join("; "));
    }
    Verdict {
        in_rotation: panic || matches!(state, State::Up | State::Lost),
        state,
        reason,
        weight: spec.weight,
        tier: spec.tier,
        backup: spec.backup,
    }
}

fn objection(opinions: &Opinions<'_>) -> Option<(State, String)> {
    let spec = opinions.spec;
    if let Some(reason) = &spec.unusable {
        return Some((State::Unusable, reason.clone()));
    }
    if opinions.proto == Proto::Tcp && !opinions.relayed {
        let reason =
            "speaks tcp, and its pool sends requests: a pool of proto \"tcp\" would relay to it";
        return Some((State::Unusable, reason.to_owned()));
    }
    if let Some(owner) = opinions.shadowed_by {
        return Some((State::Shadowed, format!("shadowed by {owner}")));
    }
    if spec.standing == Standing::Leaving {
        return Some((State::Drain, "leaving the cluster".to_owned()));
    }
    if let Some(reason) = opinions.lost.and_then(|lost| lost.gone(&opinions.check)) {
        return Some((State::Down, reason));
    }
    if spec.standing == Standing::Saved && *opinions.check == CheckSpec::None {
        let reason = "known from before the restart, and no check could tell that it serves: waiting for gossip";
        return Some((State::Unproven, reason.to_owned()));
    }
    match &spec.announced {
        announce::State::Ready => {}
        announce::State::Drain => return Some((State::Drain, "drained by its node".to_owned())),
        announce::State::Maint => {
            return Some((State::Maint, "in maintenance, says its node".to_owned()));
        }
        announce::State::Fail(reason) => {
            return Some((State::Down, format!("its own node says it fails: {reason}")));
        }
    }
    let down = match (&*opinions.check, opinions.health) {
        (CheckSpec::None, _) | (_, Health::Up(_)) => None,
        (_, Health::Unchecked) => Some((
            State::Unproven,
            "unproven: waiting for the first check".to_owned(),
        )),
        (check, Health::Undecided(Ok(saw))) => Some((
            State::Unproven,
            format!("unproven: check {check} passed: {saw}; waiting for more"),
        )),
        (check, Health::Undecided(Err(failure))) => Some((
            State::Unproven,
            format!("unproven: check {check} failed: {failure}"),
        )),
        (_, Health::Down { checks: 1, reason }) => {
            Some((State::Down, format!("check failed: {reason}")))
        }
        (_, Health::Down { checks, reason }) => {
            Some((State::Down, format!("{checks} checks failed: {reason}")))
        }
    };
    let refused = opinions.refused.map(|reason| {
        let reason = format!("2 connects in a row failed: {reason}; waiting for a check to pass");
        (State::Down, reason)
    });
    let ejected = |reason: &str| (State::Ejected, reason.to_owned());
    down.or(refused).or_else(|| opinions.ejected.map(ejected))
}

/// Nobody objects.
fn agreement(opinions: &Opinions<'_>) -> (State, String) {
    if let Some(lost) = opinions.lost {
        let reason = match lost.with_most {
            true => {
                "agent lost, with most of the pool: we may be cut off, and no check of it failed"
            }
            false => "agent lost: gossip says failed, checks still pass",
        };
        return (State::Lost, reason.to_owned());
    }
    if opinions.spec.standing == Standing::Saved {
        let reason = "known from before the restart, checks pass; gossip has not met it yet";
        return (State::Up, reason.to_owned());
    }
    match (&*opinions.check, opinions.health) {
        (check, Health::Up(saw)) if *check != CheckSpec::None => {
            (State::Up, format!("check {check} passed: {saw}"))
        }
        _ => (State::Up, "no check: taken at its word".to_owned()),
    }
}

#[cfg(test)]
mod tests;
