//! One backend: the opinions about it as they come in, and the last verdict.

mod doubt;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Outcome, Settings};
use crate::announce::{CheckSpec, Proto};
use crate::pool::effective::{Health, Lost, Opinions, State, Verdict, effective};
use crate::pool::ejection::Record;
use crate::pool::queue::Queue;
use crate::pool::snapshot;
use crate::pool::spec::{Spec, Standing, UpstreamId};
use crate::pool::upstream::{Live, Upstream};

/// Two failed connects within this time, with no success between, take a backend out.
const CONNECTS_WITHIN: Duration = Duration::from_secs(1);

/// At most one extra check in this time because requests wait long.
const SLOW_EVERY: Duration = Duration::from_millis(250);

/// A backend that only its agent's return can bring back is shown this long, then forgotten:
/// as long as metrics keep the series of a gone backend.
const SHOWN_WHEN_GONE: Duration = Duration::from_secs(300);

/// One address of one identity.
#[derive(Debug)]
pub(super) struct Backend {
    spec: Spec,
    upstream: Arc<Upstream>,
    shadowed_by: Option<UpstreamId>,
    health: Health,
    /// Failed checks in a row.
    failures: u32,
    lost: Option<LostSince>,
    /// Gossip has forgotten it, but as the guard of a pool holds it is not removed yet.
    reaped: bool,
    connects: Connects,
    record: Record,
    rung: Rung,
    slow_at: Option<Instant>,
    extra: u64,
    failing: bool,
    /// By more than connects.
    fallen: bool,
    gone_at: Option<Instant>,
    verdict: Option<Verdict>,
    since: Instant,
}

/// Remembers gossip's "failed".
#[derive(Debug)]
struct LostSince {
    at: Instant,
    met_alive: bool,
    failed_check: Option<String>,
    /// Lost with most of the pool: only a check of its own takes it out.
    guarded: bool,
}

/// Where it stands without panic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Rung {
    /// In rotation.
    Sound,
    /// Out, but its own check passes: to be used when nobody is sound.
    LastResort,
    /// Out.
    #[default]
    Out,
}

/// Whoever announces no check is guarded by this one.
static CONNECT: CheckSpec = CheckSpec::Tcp { port: None };

/// Connects of real requests.
#[derive(Debug, Default)]
struct Connects {
    /// The last one failed, then.
    failed_at: Option<Instant>,
    /// Out since, and why.
    refused: Option<(Instant, String)>,
}

impl Backend {
    pub(super) fn new(now: Instant, spec: Spec, queue: Arc<Queue>) -> Self {
        let lost = (spec.standing == Standing::Failed).then_some(LostSince {
            at: now,
            met_alive: false,
            failed_check: None,
            guarded: false,
        });
        Self {
            upstream: Arc::new(Upstream {
                id: spec.id.clone(),
                address: spec.address,
                weight: spec.weight,
                tier: spec.tier,
                backup: spec.backup,
                proto: spec.proto.unwrap_or_default(),
                live: Arc::new(Live::of(queue)),
            }),
            spec,
            shadowed_by: None,
            health: Health::Unchecked,
            failures: 0,
            lost,
            reaped: false,
            connects: Connects::default(),
            record: Record::default(),
            rung: Rung::Out,
            slow_at: None,
            extra: 0,
            failing: false,
            fallen: false,
            gone_at: None,
            verdict: None,
            since: now,
        }
    }

    pub(super) fn spec(&self) -> &Spec {
        &self.spec
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.upstream.live
    }

    pub(super) fn rung(&self) -> Rung {
        self.rung
    }

    /// The last verdict; `None` once forgotten.
    pub(super) fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// Requests may have been sent there: not so before its first check.
    pub(super) fn was_met(&self) -> bool {
        let verdict = self.verdict.as_ref();
        verdict.is_some_and(|verdict| verdict.state != State::Unproven)
    }

    /// Times it began to fail.
    pub(super) fn downs(&self) -> u64 {
        self.upstream.live.downs()
    }

    /// As the snapshot shows it; `None` once forgotten.
    pub(super) fn shown(&self) -> Option<snapshot::Backend> {
        Some(snapshot::Backend {
            upstream: self.upstream.clone(),
            verdict: self.verdict.clone()?,
            since: self.since,
        })
    }

    /// The address has another owner, or none but this one.
    pub(super) fn shadow(&mut self, by: Option<UpstreamId>) {
        self.shadowed_by = by;
    }

    /// Takes over what checks said of this address while `before` owned it: it is the same socket.
    pub(super) fn inherit(&mut self, before: &Self, settings: &Settings) {
        let alike = self.check(settings) == before.check(settings);
        if alike && self.health == Health::Unchecked && before.connects.refused.is_none() {
            self.health = before.health.clone();
            self.failures = before.failures;
        }
    }

    /// News from gossip or the configuration.
    pub(super) fn announced(&mut self, now: Instant, spec: Spec) {
        self.reaped = false;
        let was = std::mem::replace(&mut self.spec, spec).standing;
        let is = self.spec.standing;
        if is == was {
            return;
        }
        if matches!(is, Standing::Suspect | Standing::Failed) {
            self.extra += 1;
        }
        if is == Standing::Failed {
            self.lost = Some(LostSince {
                at: now,
                met_alive: true,
                failed_check: None,
                guarded: false,
            });
        } else if self.lost.take().is_some() && self.gone_at.is_some() {
            // Whoever came back under that name has yet to prove itself, at once.
            self.extra += 1;
        }
    }

    /// Nobody checks it now, so what checks said gets old: it is not to be used later.
    pub(super) fn unprove(&mut self) {
        self.health = Health::Unchecked;
        self.failures = 0;
        self.connects = Connects::default();
    }

    /// A check ended.
    pub(super) fn checked(&mut self, outcome: Outcome) {
        match &outcome.result {
            Ok(_) => self.passed(outcome.started),
            Err(reason) => self.failed(outcome.ended, reason, outcome.up),
        }
        match (outcome.up, &self.health) {
            // The first sight is kept, so that answers that differ don't make a snapshot each.
            (Some(true), Health::Up(_)) => {}
            (Some(true), before) => {
                if matches!(before, Health::Down { .. }) {
                    self.record
                        .pardon(outcome.ended, self.upstream.live.tally());
                }
                self.health = Health::Up(outcome.result.unwrap_or_default());
            }
            (Some(false), health) => {
                let checks = match health {
                    Health::Down { checks, .. } => *checks,
                    _ => self.failures,
                };
                // Passing again, but not often enough yet: the last failure is still the reason.
                if let Err(reason) = outcome.result {
                    self.health = Health::Down { checks, reason };
                }
            }
            (None, Health::Unchecked | Health::Undecided(_)) => {
                self.health = Health::Undecided(outcome.result);
            }
            // A check that starts afresh (its path changed, the address was inherited) has not decided yet.
            (None, Health::Up(_) | Health::Down { .. }) => {}
        }
    }

    fn passed(&mut self, started: Instant) {
        self.failures = 0;
        let refused = self.connects.refused.as_ref();
        if refused.is_some_and(|(since, _)| started >= *since) {
            self.connects = Connects::default();
        }
    }

    fn failed(&mut self, ended: Instant, reason: &str, up: Option<bool>) {
        self.failures = self.failures.saturating_add(1);
        if let Some(lost) = &mut self.lost {
            // A check begun before the news and failed after it is as good a witness as a later one.
            if ended >= lost.at && lost.failed_check.is_none() {
                lost.failed_check = Some(reason.to_owned());
            }
        }
        // Health would come back to it after a whole interval. Once it agrees, it checks faster by itself.
        if self.connects.refused.is_some() && up == Some(true) {
            self.extra += 1;
        }
    }

    /// A connect of a real request failed.
    pub(super) fn connect_failed(&mut self, now: Instant, reason: &str) {
        let again = self
            .connects
            .failed_at
            .replace(now)
            .is_some_and(|last| now.saturating_duration_since(last) <= CONNECTS_WITHIN);
        if again && self.connects.refused.is_none() {
            self.connects.refused = Some((now, reason.to_owned()));
            self.extra += 1;
        }
    }

    /// A connect of a real request succeeded. What took it out already takes a check to undo.
    pub(super) fn connected(&mut self) {
        self.connects.failed_at = None;
    }

    /// A request waits long there.
    pub(super) fn slow(&mut self, now: Instant) {
        let recently = |at: Instant| now.saturating_duration_since(at) < SLOW_EVERY;
        if !self.slow_at.is_some_and(recently) {
            self.slow_at = Some(now);
            self.extra += 1;
        }
    }

    /// Asks `effective`, and counts when it begins to fail, for the requests that wait there.
    pub(super) fn judge(&mut self, now: Instant, settings: &Settings, panic: bool) -> Judged {
        let opinions = self.opinions(now, settings, panic);
        let verdict = effective(&opinions);
        let rung = match verdict.in_rotation {
            _ if opinions.last_resort(verdict.state) => Rung::LastResort,
            true => Rung::Sound,
            false => Rung::Out,
        };
        let (failing, gone) = (opinions.failing(), opinions.gone());
        let fallen = opinions.found_down();
        self.gone_at = gone.then(|| self.gone_at.unwrap_or(now));
        self.rung = rung;
        if fallen && !self.fallen {
            self.upstream.live.mark_fallen();
        }
        if failing && !self.failing || fallen && !self.fallen {
            self.upstream.live.mark_down();
        }
        (self.failing, self.fallen) = (failing, fallen);
        if self.forgotten(now) {
            return match self.verdict.take() {
                Some(before) => Judged::Differs {
                    before: Some(before),
                },
                None => Judged::Same,
            };
        }
        let proto = self.proto(settings);
        if self.verdict.as_ref() == Some(&verdict) && self.upstream.proto == proto {
            return Judged::Same;
        }
        self.refresh_upstream(&verdict, proto);
        let before = self.verdict.replace(verdict.clone());
        if before.as_ref().map(|before| before.state) != Some(verdict.state) {
            self.since = now;
        }
        Judged::Differs { before }
    }

    fn opinions<'a>(&'a self, now: Instant, settings: &'a Settings, panic: bool) -> Opinions<'a> {
        Opinions {
            spec: &self.spec,
            shadowed_by: self.shadowed_by.as_ref(),
            lost: self.lost.as_ref().map(|lost| Lost {
                age: now.saturating_duration_since(lost.at),
                keep: settings.lost_keep,
                met_alive: lost.met_alive,
                failed_check: lost.failed_check.as_deref(),
                with_most: lost.guarded,
            }),
            check: self.as_spoken(self.check_in_force(settings), settings),
            proto: self.proto(settings),
            relayed: settings.proto == Proto::Tcp,
            health: &self.health,
            refused: self.connects.refused.as_ref().map(|(_, why)| why.as_str()),
            ejected: self.record.ejected(),
            panic,
        }
    }

    /// The counters stay; what requests read beside them is replaced whole.
    fn refresh_upstream(&mut self, verdict: &Verdict, proto: Proto) {
        let Verdict {
            weight,
            tier,
            backup,
            ..
        } = *verdict;
        let now = &self.upstream;
        if (now.weight, now.tier, now.backup, now.proto) != (weight, tier, backup, proto) {
            self.upstream = Arc::new(Upstream {
                proto,
                weight,
                tier,
                backup,
                ..Upstream::clone(now)
            });
        }
    }

    /// How to check it, in which protocol, and how many extra checks were wanted so far; `None`: not at all.
    pub(super) fn check_wanted(&self, settings: &Settings) -> Option<(CheckSpec, Proto, u64)> {
        let state = self.verdict.as_ref().map(|verdict| verdict.state);
        let hopeless = matches!(state, None | Some(State::Unusable | State::Shadowed));
        if hopeless || self.gone_at.is_some() {
            return None;
        }
        let check = match self.check_in_force(settings) {
            // Only a passed check ends what failed connects began.
            CheckSpec::None if self.connects.refused.is_some() => CONNECT.clone(),
            check => self.as_spoken(check, settings).into_owned(),
        };
        Some((check, self.proto(settings), self.extra))
    }

    /// What it speaks.
    pub(super) fn proto(&self, settings: &Settings) -> Proto {
        match settings.proto {
            // Bytes are passed on whatever they mean.
            Proto::Tcp => Proto::Tcp,
            pool => self.spec.proto.unwrap_or(pool),
        }
    }

    /// The pool's check, in this backend's protocol: the same port does not speak with and without TLS. In a pool without TLS a
    /// check by https is meant as it is written.
    fn as_spoken<'a>(&self, check: &'a CheckSpec, settings: &Settings) -> Cow<'a, CheckSpec> {
        let port = None;
        let pool = settings.proto.is_tls();
        match (self.proto(settings).is_tls(), check) {
            // What the member says of itself is meant as it is written.
            _ if self.spec.check.is_some() => Cow::Borrowed(check),
            (true, CheckSpec::Http { port: None, path }) => {
                let path = path.clone();
                Cow::Owned(CheckSpec::Https { port, path })
            }
            (false, CheckSpec::Https { port: None, path }) if pool => {
                let path = path.clone();
                Cow::Owned(CheckSpec::Http { port, path })
            }
            (_, check) => Cow::Borrowed(check),
        }
    }

    fn check<'a>(&'a self, settings: &'a Settings) -> &'a CheckSpec {
        self.spec.check.as_ref().unwrap_or(&settings.check)
    }

    fn check_in_force<'a>(&'a self, settings: &'a Settings) -> &'a CheckSpec {
        let guarded = self.lost.as_ref().is_some_and(|lost| lost.guarded);
        match self.check(settings) {
            CheckSpec::None if guarded => &CONNECT,
            check => check,
        }
    }

    /// It is gone, and was shown long enough.
    fn forgotten(&self, now: Instant) -> bool {
        let at = self.gone_at;
        at.is_some_and(|at| now.saturating_duration_since(at) >= SHOWN_WHEN_GONE)
    }

    /// When time alone changes what is thought of it.
    pub(super) fn poll_timeout(&self, now: Instant, settings: &Settings) -> Option<Instant> {
        let lost = match (self.gone_at, &self.lost) {
            (Some(gone_at), _) => gone_at.checked_add(SHOWN_WHEN_GONE),
            (None, Some(lost)) => lost.at.checked_add(settings.lost_keep),
            (None, None) => None,
        };
        let due = [lost, self.record.poll_timeout()].into_iter().flatten();
        due.filter(|due| *due > now).min()
    }

    /// Why its spec is missing now, as well as it can be told from here.
    pub(super) fn farewell(&self) -> &'static str {
        match self.spec.standing {
            Standing::Static => "no longer configured",
            Standing::Leaving => "left the cluster",
            Standing::Failed => "forgotten by gossip",
            Standing::Saved => "known from before the restart, but not to the cluster",
            Standing::Alive | Standing::Suspect => {
                "left the cluster, or announces this service no longer"
            }
        }
    }

    /// Who owns an address: the greatest of these. An operator's word comes first, so that no packet can
    /// take a configured backend's place; then who is alive, and of these who joined last.
    pub(super) fn claim(&self) -> Option<(u8, u64)> {
        let standing = match self.spec.standing {
            Standing::Static => 4,
            Standing::Alive | Standing::Suspect => 3,
            Standing::Leaving => 2,
            Standing::Saved => 1,
            Standing::Failed => 0,
        };
        let usable = self.spec.unusable.is_none();
        usable.then_some((standing, self.spec.joined))
    }
}

/// What asking `effective` gave.
#[derive(Debug)]
pub(super) enum Judged {
    /// As before.
    Same,
    /// Something differs, if only the reason; without a verdict now, it is forgotten.
    Differs {
        /// The verdict before; `None`: it is new.
        before: Option<Verdict>,
    },
}
