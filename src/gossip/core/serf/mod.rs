//! Serf's layer: intents, Lamport clocks, member states, events and queries.
//!
//! ```text
//!  Node ─▶ Serf ── memberlist (packets, streams, probes)
//!           │          │ lends itself nothing, borrows ▼
//!           └──────── Layer: members · intents · clocks · events · queries · queues
//!                       └─ keeps them in `tables`, which know nothing of it
//! ```
//!
//! Memberlist calls the [`Layer`] as its delegate; the layer cannot call back meanwhile, so what it wants
//! sent, forgotten or continued lies in its tray until [`Serf::settle`]. Operator's journeys that take
//! several steps (join, leave) are enums here.

mod answers;
mod ask;
mod asking;
pub mod coalesce;
mod conflict;
pub mod coordinate;
mod distance;
mod events;
mod filters;
mod heritage;
mod intents;
mod join;
pub mod keys;
mod lamport;
mod layer;
mod leave;
mod members;
mod names;
mod queries;
mod reap;
mod recall;
pub mod snapshot;
mod state;
mod tables;
pub mod tags;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use self::join::Join;
use self::lamport::Clock;
use self::layer::{Layer, Timer};
use self::leave::Life;
use self::names::Names;
use self::snapshot::Clocks;
use self::tables::intents::Source;
use super::io::{
    Config, Event, JoinId, Mismatch, Refused, Stats, StreamAction, StreamId, Transmit,
};
use super::member::{Members, Status};
use super::memberlist::pause::PAUSE_MIN;
use super::memberlist::{META_BYTES_MAX, Memberlist};
use super::wire::serf::{LeaveIntent, SerfMessage};
use crate::announce::Tags;

/// Room for events that is kept while there are none.
const EVENTS_KEPT: usize = 16;

/// A whole Serf member.
#[derive(Debug)]
pub(crate) struct Serf {
    memberlist: Memberlist,
    layer: Layer,
    joins: BTreeMap<JoinId, Join>,
    last_join: u64,
    life: Life,
    names: Names,
    /// The keyring is not the one that we last told of.
    keys_changed: bool,
    /// When we last found that we had slept: what is late since before is accounted for.
    awake_since: Option<Instant>,
}

impl Serf {
    pub(crate) fn new(
        config: &Config,
        now: Instant,
        mut random: ChaCha8Rng,
    ) -> Result<Self, Refused> {
        let meta = encode(&config.tags)?;
        // Two generators, so that what one layer draws does not shift the other's choices.
        let mut layer = Layer::new(config, now, ChaCha8Rng::from_rng(&mut random));
        let memberlist = Memberlist::new(config, meta, now, random, &mut layer);
        Ok(Self {
            memberlist,
            layer,
            joins: BTreeMap::new(),
            last_join: 0,
            life: Life::Alive,
            names: Names::new(config.claim, now),
            keys_changed: false,
            awake_since: None,
        })
    }

    pub(crate) fn handle_packet(&mut self, now: Instant, from: SocketAddr, packet: &[u8]) {
        self.notice_pause(now);
        self.memberlist
            .handle_packet(now, from, packet, &mut self.layer);
        self.settle(now);
    }

    pub(crate) fn handle_stream_accepted(
        &mut self,
        now: Instant,
        from: SocketAddr,
    ) -> Option<StreamId> {
        self.memberlist.handle_stream_accepted(now, from)
    }

    pub(crate) fn handle_stream_connected(&mut self, now: Instant, id: StreamId) {
        self.memberlist
            .handle_stream_connected(now, id, &mut self.layer);
        self.settle(now);
    }

    pub(crate) fn handle_stream_bytes(&mut self, now: Instant, id: StreamId, bytes: &[u8]) {
        self.memberlist
            .handle_stream_bytes(now, id, bytes, &mut self.layer);
        self.settle(now);
    }

    pub(crate) fn handle_stream_closed(
        &mut self,
        now: Instant,
        id: StreamId,
        error: Option<String>,
    ) {
        self.memberlist
            .handle_stream_closed(id, error, &mut self.layer);
        self.settle(now);
    }

    /// Does everything that is due, in the order of the deadlines.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.notice_pause(now);
        loop {
            // The earlier deadline goes first, whichever layer it belongs to.
            let (below, own) = (self.memberlist.next_timeout(), self.layer.timers.next());
            let own_first = match (below, own) {
                (Some(below), Some(own)) => own < below,
                (None, _) => true,
                (Some(_), None) => false,
            };
            if own_first {
                let Some((at, timer)) = self.layer.timers.pop(now) else {
                    return;
                };
                self.fire(now, at, timer);
            } else if !self.memberlist.handle_timeout(now, &mut self.layer) {
                return;
            }
            self.settle(now);
        }
    }

    /// A timer that is far too late says that we were not there. The earliest is due within a gossip interval.
    fn notice_pause(&mut self, now: Instant) {
        let Some(due) = self.poll_timeout() else {
            return;
        };
        let since = self.awake_since.map_or(due, |awake| awake.max(due));
        let pause = now.saturating_duration_since(since);
        if pause > PAUSE_MIN.max(self.layer.timing.gossip_interval) {
            self.awake_since = Some(now);
            self.memberlist.slept(now, pause, &mut self.layer);
        }
    }

    fn fire(&mut self, now: Instant, at: Instant, timer: Timer) {
        match timer {
            Timer::Leave => self.leave_step_timed_out(now),
            Timer::Reap => self.layer.reap(now, at),
            Timer::Reconnect => self.reconnect(now, at),
            Timer::Recall => self.recall(now, at),
            Timer::Prune(name) => self.layer.prune(now, &name),
            Timer::Name(name) => self.name_timer(now, &name),
            Timer::Query(id) => self.layer.query_ended(id),
        }
    }

    /// Carries out what the layer asked for while memberlist had borrowed it.
    fn settle(&mut self, now: Instant) {
        for (path, order) in std::mem::take(&mut self.layer.tray.key_orders) {
            self.obey_key_order(now, &path, &order);
        }
        for (to, message) in std::mem::take(&mut self.layer.tray.direct) {
            self.memberlist.send_user(to, message);
        }
        for name in std::mem::take(&mut self.layer.tray.forgotten) {
            self.memberlist.forget(&name);
        }
        self.settle_names(now);
        for ended in std::mem::take(&mut self.layer.tray.ended) {
            self.exchange_ended(now, ended);
        }
        if std::mem::take(&mut self.layer.tray.speak_up) && self.life == Life::Alive {
            self.layer.announce_join();
        }
        self.go_on_leaving(now);
    }

    fn settle_names(&mut self, now: Instant) {
        for pulled in std::mem::take(&mut self.layer.tray.pulled) {
            self.pulled(now, pulled);
        }
        for (name, place) in std::mem::take(&mut self.layer.tray.seen) {
            self.on_seen(now, &name, place);
        }
        for claim in std::mem::take(&mut self.layer.tray.claims) {
            self.on_claim(now, claim);
        }
        for (id, lives) in std::mem::take(&mut self.layer.tray.checked) {
            self.check_ended(now, id, lives);
        }
        for errand in std::mem::take(&mut self.layer.tray.visited) {
            self.visited(now, errand);
        }
        for (id, answer) in std::mem::take(&mut self.layer.tray.answers) {
            self.on_vote(now, id, &answer);
        }
    }

    pub(crate) fn set_tags(&mut self, now: Instant, tags: &Tags) -> Result<(), Refused> {
        let meta = encode(tags)?;
        if self.life != Life::Alive {
            return Err(Refused::Leaving);
        }
        if self.layer.own_tags().is_none_or(|own| own != *tags) {
            self.memberlist.set_meta(now, meta, &mut self.layer);
        }
        Ok(())
    }

    /// Announces that `name` left, in its stead. A failed member turns left everywhere; one that lives refutes.
    pub(crate) fn force_leave(
        &mut self,
        now: Instant,
        name: &str,
        prune: bool,
    ) -> Result<(), Refused> {
        if self.life != Life::Alive {
            return Err(Refused::Leaving);
        }
        if !self.layer.knows(name) {
            return Err(Refused::UnknownMember {
                name: name.to_owned(),
            });
        }
        let intent = LeaveIntent {
            ltime: self.layer.clock.tick(),
            node: name.to_owned(),
            prune,
        };
        self.layer.on_leave_intent(now, &intent, Source::Gossip);
        if self.layer.others_alive() {
            let message = SerfMessage::Leave(intent).encode();
            self.layer.say_directly(&message);
            self.layer.spread_intent(message);
        }
        self.settle(now);
        Ok(())
    }

    /// The last time that each clock heard of.
    pub(crate) fn clocks(&self) -> Clocks {
        // Nothing has the time that a clock shows.
        let last = |clock: &Clock| clock.time() - 1;
        Clocks {
            member: last(&self.layer.clock),
            event: last(&self.layer.event_clock),
            query: last(&self.layer.query_clock),
        }
    }

    /// Goes on where a former life ended.
    pub(crate) fn resume(&mut self, clocks: Clocks) {
        self.layer.resume(clocks);
    }

    /// What happened before the first meeting is for us too.
    pub(crate) fn want_past(&mut self) {
        self.layer.met = true;
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.memberlist.poll_transmit()
    }

    pub(crate) fn poll_stream(&mut self) -> Option<StreamAction> {
        self.memberlist.poll_stream()
    }

    pub(crate) fn poll_ack(&mut self) -> Option<(String, Instant)> {
        self.memberlist.poll_ack()
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        let event = self.layer.out.pop_front();
        if event.is_none() && self.layer.out.capacity() > EVENTS_KEPT {
            // What a join of many needed is not needed again.
            self.layer.out = VecDeque::new();
        }
        event
    }

    pub(crate) fn poll_mismatch(&mut self) -> Option<Mismatch> {
        self.memberlist.poll_mismatch()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match (self.memberlist.next_timeout(), self.layer.timers.next()) {
            (Some(below), Some(own)) => Some(below.min(own)),
            (below, own) => below.or(own),
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.layer.generation()
    }

    pub(crate) fn members(&self) -> Members {
        self.layer.members()
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.memberlist.stats();
        for (reason, count) in &self.layer.dropped {
            *stats.dropped.entry(reason).or_default() += count;
        }
        let [intents, queries, events] = self.layer.queued();
        stats.queued_broadcasts += intents + queries + events;
        stats.queued_intents = intents;
        stats.queued_queries = queries;
        stats.queued_events = events;
        stats.member_time = self.layer.clock.time();
        stats.event_time = self.layer.event_clock.time();
        stats.query_time = self.layer.query_clock.time();
        stats.coordinate_resets = self.layer.vivaldi.resets();
        stats.conflicts = self.names.conflicts;
        stats.repairs = self.names.repairs;
        stats.renames = self.names.renames;
        stats
    }
}

/// `Meta` of `tags`, or their size when it is too large.
fn encode(tags: &Tags) -> Result<Vec<u8>, Refused> {
    let meta = tags::encode(tags);
    if meta.len() > META_BYTES_MAX {
        return Err(Refused::TagsTooLong { bytes: meta.len() });
    }
    Ok(meta)
}

/// A live member other than ourselves counts as company.
fn is_company(status: Status) -> bool {
    status == Status::Alive
}
