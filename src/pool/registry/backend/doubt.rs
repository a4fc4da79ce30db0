//! When to doubt a backend for its failed requests, and when to doubt ourselves instead.

use std::time::{Duration, Instant};

use super::{Backend, Rung};
use crate::announce::CheckSpec;
use crate::pool::effective::Health;
use crate::pool::registry::Settings;
use crate::pool::spec::Standing;

impl Backend {
    /// A request failed there.
    pub(in crate::pool::registry) fn request_failed(&mut self, why: &str) {
        self.record.failed(why);
    }

    /// Looks at the requests that have ended, and lets it in again if its time is over: why it should be
    /// ejected, if so.
    pub(in crate::pool::registry) fn look(
        &mut self,
        now: Instant,
        settings: &Settings,
    ) -> Option<String> {
        let live = &self.upstream.live;
        if self.record.readmit(now, live.tally()) {
            live.forgive();
        }
        let finding = self.record.look(now, live.tally(), &settings.ejection);
        live.watch(self.record.is_watching());
        finding.filter(|_| self.rung == Rung::Sound)
    }

    /// Out because of its requests, for a while.
    pub(in crate::pool::registry) fn eject(
        &mut self,
        now: Instant,
        reason: String,
        settings: &Settings,
    ) {
        self.record.eject(now, reason, &settings.ejection);
        self.upstream.live.forgive();
    }

    /// Whether real requests keep it out.
    pub(in crate::pool::registry) fn is_ejected(&self) -> bool {
        self.record.ejected().is_some()
    }

    /// We slept: what timed out meanwhile says nothing about anybody.
    pub(in crate::pool::registry) fn slept(&mut self) {
        self.connects.failed_at = None;
        self.upstream.live.forgive();
        self.record.calm(self.upstream.live.tally());
    }

    /// Whether gossip lost it within `span` before `now`, after we had met it.
    pub(in crate::pool::registry) fn was_lost_within(&self, now: Instant, span: Duration) -> bool {
        self.lost
            .as_ref()
            .is_some_and(|lost| lost.met_alive && now.saturating_duration_since(lost.at) < span)
    }

    /// Whether gossip has nothing against it.
    pub(in crate::pool::registry) fn is_present(&self) -> bool {
        let stays = self.spec.standing != Standing::Leaving && self.spec.unusable.is_none();
        stays && self.lost.is_none()
    }

    /// Gossip forgot it although it is in: true if it had been lost, and did not leave.
    pub(in crate::pool::registry) fn is_reaped_while_in(&self) -> bool {
        let is_in = self.verdict.as_ref().is_some_and(|it| it.in_rotation);
        self.spec.standing == Standing::Failed && is_in
    }

    /// Whether the guard holds it although gossip forgot it.
    pub(in crate::pool::registry) fn is_held(&self) -> bool {
        self.reaped && self.gone_at.is_none()
    }

    /// It is missing in gossip's list, and held all the same.
    pub(in crate::pool::registry) fn hold(&mut self) {
        self.reaped = true;
    }

    /// It was lost together with most of its pool: from now on only a check of its own takes it out. True if new.
    pub(in crate::pool::registry) fn guard(&mut self, settings: &Settings) -> bool {
        let unchecked = *self.check(settings) == CheckSpec::None;
        let is_in = self.verdict.as_ref().is_some_and(|it| it.in_rotation);
        let Some(lost) = &mut self.lost else {
            return false;
        };
        let new = !std::mem::replace(&mut lost.guarded, true);
        if new && unchecked {
            self.health = match is_in {
                true => Health::Up("nothing yet, no check was wanted before".to_owned()),
                false => Health::Unchecked,
            };
            self.extra += 1;
        }
        new
    }
}
