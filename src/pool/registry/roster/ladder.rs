//! What one backend's fate owes to the others: ejection, panic, and the guard of a cut-off front.
//!
//! ```text
//! failed requests ─▶ may the tier spare it? ─▶ ejected
//! nobody sound ─▶ panic: those out by ejection or by their node's word alone are in
//! most of the pool lost at once ─▶ guard: each stays until a check of its own fails
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Change, Place, Roster};
use crate::pool::registry::Key;
use crate::pool::registry::backend::{Backend, Rung};
use crate::pool::spec::UpstreamId;
use crate::pool::upstream::Live;

/// Losses that come within this time come together.
const CUT_WITHIN: Duration = Duration::from_secs(5);

impl Roster {
    /// The counters of a backend.
    pub(in crate::pool::registry) fn live(
        &self,
        id: &UpstreamId,
        address: SocketAddr,
    ) -> Option<Arc<Live>> {
        let backend = self.backends.get(&(id.clone(), address))?;
        Some(backend.live().clone())
    }

    /// A request failed there.
    pub(in crate::pool::registry) fn request_failed(
        &mut self,
        now: Instant,
        key: &Key,
        why: &str,
        changes: &mut VecDeque<Change>,
    ) {
        let place = (key.id.clone(), key.address);
        if let Some(backend) = self.backends.get_mut(&place) {
            backend.request_failed(why);
            self.look_at(now, &place);
            self.hear(now, key, changes, |_| ());
        }
    }

    /// We slept: nothing that was counted meanwhile counts.
    pub(in crate::pool::registry) fn slept(&mut self) {
        self.backends.values_mut().for_each(Backend::slept);
    }

    /// The looks that are due, of everyone whose requests fail.
    pub(super) fn look_at_all(&mut self, now: Instant) {
        let places: Vec<Place> = self.backends.keys().cloned().collect();
        for place in &places {
            self.look_at(now, place);
        }
    }

    /// Ejects it if its requests fail and its tier can spare it.
    fn look_at(&mut self, now: Instant, place: &Place) {
        let Some(backend) = self.backends.get_mut(place) else {
            return;
        };
        let Some(reason) = backend.look(now, &self.settings) else {
            return;
        };
        let spec = backend.spec();
        let tier = (spec.backup, spec.tier);
        let peers = || {
            let peers = self.backends.values();
            peers.filter(|peer| (peer.spec().backup, peer.spec().tier) == tier)
        };
        let ejected = peers().filter(|peer| peer.is_ejected()).count();
        // One that was ejected in this very call is not judged yet, and still looks sound.
        let sound = peers()
            .filter(|peer| peer.rung() == Rung::Sound && !peer.is_ejected())
            .count();
        let spared = self
            .settings
            .ejection
            .spares_one_more(ejected + sound, ejected, sound);
        if let Some(backend) = self.backends.get_mut(place).filter(|_| spared) {
            backend.eject(now, reason, &self.settings);
        }
    }

    /// The ladder's last rung: enters panic when nobody is sound and somebody might do, leaves it when somebody is.
    pub(super) fn climb(&mut self, now: Instant, changes: &mut VecDeque<Change>) {
        let any = |rung| self.backends.values().any(|one| one.rung() == rung);
        let panic = !any(Rung::Sound) && any(Rung::LastResort);
        if panic == self.panic {
            return;
        }
        self.panic = panic;
        let places: Vec<Place> = self.backends.keys().cloned().collect();
        for place in &places {
            self.judge(now, place, changes);
        }
        let reason = match panic {
            true => format!(
                "panic: {} in rotation, all of them out otherwise by their requests or their own node's word",
                self.in_count
            ),
            false => "the panic is over".to_owned(),
        };
        self.tell_all(now, None, reason, changes);
    }

    /// A front that is cut off sees everyone fail: who was lost with most of the pool stays until a check of
    /// its own fails. `missing` are no longer in gossip's list; those held are put back.
    pub(super) fn guard(
        &mut self,
        now: Instant,
        missing: &mut BTreeMap<Place, Backend>,
        changes: &mut VecDeque<Change>,
    ) {
        let lost = |backend: &Backend| backend.was_lost_within(now, CUT_WITHIN);
        let failed = self.backends.values().filter(|one| lost(one)).count();
        // A failed member that an operator forces out is missing too: it takes most of a pool at once to be misjudged.
        let reaped = missing
            .values()
            .filter(|one| one.is_reaped_while_in())
            .count();
        let fresh = failed + reaped;
        let present = self
            .backends
            .values()
            .filter(|one| one.is_present())
            .count();
        let cut = fresh > present;
        for (place, mut backend) in std::mem::take(missing) {
            if backend.is_held() || (cut && backend.is_reaped_while_in()) {
                backend.hold();
                backend.guard(&self.settings);
                self.backends.insert(place, backend);
            } else {
                missing.insert(place, backend);
            }
        }
        if !cut {
            return;
        }
        let mut new = 0;
        for backend in self.backends.values_mut().filter(|one| lost(one)) {
            new += usize::from(backend.guard(&self.settings));
        }
        if new > 0 {
            let all = fresh + present;
            let reason = format!(
                "{fresh} of {all} lost within 5s, so it may be us: each stays until a check of its own fails"
            );
            self.tell_all(now, None, reason, changes);
        }
    }
}
