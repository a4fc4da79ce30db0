//! The machine that a driver or a simulation turns: four verbs, no waiting.
//!
//! ```text
//! handle_*(now, input) ─▶ Node ─▶ poll_transmit, poll_stream, poll_event until None
//!                          └────▶ poll_timeout: call handle_timeout then, at the latest
//! ```

use std::net::SocketAddr;
use std::time::Instant;

use rand_chacha::ChaCha8Rng;

use super::io::{
    Answer, Config, Event, Heritage, JoinId, Mismatch, Past, QueryId, Question, Refused, Stats,
    StreamAction, StreamId, Transmit,
};
use super::keyring::Keyring;
use super::member::Members;
use super::serf::Serf;
use super::serf::coordinate::Coordinate;
use super::serf::keys::KeyRequest;
use super::serf::snapshot::Clocks;
use crate::announce::Tags;

/// A Serf member.
#[derive(Debug)]
pub struct Node {
    serf: Serf,
}

impl Node {
    /// A member alone in its cluster, alive with incarnation 1.
    ///
    /// With a keyring, nonces are drawn from `random` too: outside of a simulation it must be seeded from the system
    /// and for this node alone, since two nodes that draw the same would give their key away.
    ///
    /// # Errors
    /// [`Refused::TagsTooLong`].
    pub fn new(config: Config, now: Instant, random: ChaCha8Rng) -> Result<Self, Refused> {
        let serf = Serf::new(&config, now, random)?;
        Ok(Self { serf })
    }

    /// A datagram came.
    pub fn handle_packet(&mut self, now: Instant, from: SocketAddr, packet: &[u8]) {
        self.serf.handle_packet(now, from, packet);
    }

    /// A peer connected to us; `None`: too many, close it.
    pub fn handle_stream_accepted(&mut self, now: Instant, from: SocketAddr) -> Option<StreamId> {
        self.serf.handle_stream_accepted(now, from)
    }

    /// The connection asked for by [`StreamAction::Connect`] stands.
    pub fn handle_stream_connected(&mut self, now: Instant, id: StreamId) {
        self.serf.handle_stream_connected(now, id);
    }

    /// Bytes came, in any portions. Those of a forgotten stream are ignored.
    pub fn handle_stream_bytes(&mut self, now: Instant, id: StreamId, bytes: &[u8]) {
        self.serf.handle_stream_bytes(now, id, bytes);
    }

    /// The peer closed, or connecting or reading failed with `error`.
    pub fn handle_stream_closed(&mut self, now: Instant, id: StreamId, error: Option<String>) {
        self.serf.handle_stream_closed(now, id, error);
    }

    /// Does what is due; to be called at [`Self::poll_timeout`], at the latest.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.serf.handle_timeout(now);
    }

    /// Exchanges states with each address; [`Event::JoinFinished`] tells how it went. User events that the others still
    /// know of are not for us.
    pub fn join(&mut self, now: Instant, addresses: &[SocketAddr]) -> JoinId {
        self.join_with(now, addresses, Past::Skip)
    }

    /// The same, with a word about those events.
    pub fn join_with(&mut self, now: Instant, addresses: &[SocketAddr], past: Past) -> JoinId {
        self.serf.join(now, addresses, past)
    }

    /// To be called first of all: goes on where a former life ended, with its clocks. Its events and queries are not
    /// for us again.
    pub fn resume(&mut self, clocks: Clocks) {
        self.serf.resume(clocks);
    }

    /// To be called first of all: user events that happened before the first meeting, and that the others still know
    /// of, are for us too.
    pub fn want_past(&mut self) {
        self.serf.want_past();
    }

    /// The last time that each clock heard of.
    pub fn clocks(&self) -> Clocks {
        self.serf.clocks()
    }

    /// What another process needs to go on as this member, from now on and without this one.
    pub fn heritage(&self) -> Heritage {
        self.serf.heritage()
    }

    /// Goes on where `heritage` ended. To be called before anything else: others then see no second life begin.
    pub fn inherit(&mut self, now: Instant, heritage: Heritage) {
        self.serf.inherit(now, heritage);
    }

    /// Graceful leave; `Event::LeaveFinished` says when it is done.
    pub fn leave(&mut self, now: Instant) {
        self.serf.leave(now);
    }

    /// Announces other tags.
    ///
    /// # Errors
    /// [`Refused::TagsTooLong`], [`Refused::Leaving`].
    pub fn set_tags(&mut self, now: Instant, tags: Tags) -> Result<(), Refused> {
        self.serf.set_tags(now, &tags)
    }

    /// Goes on under another name: the same member, with all that it knows. After [`Event::NameTaken`] the former
    /// name is made over to who has it.
    ///
    /// # Errors
    /// [`Refused::NameKnown`], [`Refused::Leaving`].
    pub fn rename(&mut self, now: Instant, name: &str) -> Result<(), Refused> {
        self.serf.rename(now, name)
    }

    /// Turns a failed member into a left one everywhere; `prune` forgets it as well. One that lives refutes.
    ///
    /// # Errors
    /// [`Refused::UnknownMember`], [`Refused::Leaving`].
    pub fn force_leave(&mut self, now: Instant, name: &str, prune: bool) -> Result<(), Refused> {
        self.serf.force_leave(now, name, prune)
    }

    /// Sends a user event to everyone, ourselves included; its Lamport time.
    ///
    /// # Errors
    /// [`Refused::EventTooLong`], [`Refused::Leaving`].
    pub fn user_event(
        &mut self,
        now: Instant,
        name: &str,
        payload: Vec<u8>,
        coalesce: bool,
    ) -> Result<u64, Refused> {
        self.serf.user_event(now, name, payload, coalesce)
    }

    /// Asks everyone whom it is for, ourselves included; [`Self::poll_answer`] tells what comes back.
    ///
    /// # Errors
    /// [`Refused::QueryTooLong`], [`Refused::InternalQuery`], [`Refused::TooManyQueries`], [`Refused::Leaving`].
    pub fn query(&mut self, now: Instant, question: Question) -> Result<QueryId, Refused> {
        self.serf.query(now, question)
    }

    /// Asks everyone to look at or change their keyring, ourselves included. The answers are for a
    /// [`KeyTally`](super::serf::keys::KeyTally).
    ///
    /// # Errors
    /// [`Refused::TooManyQueries`], [`Refused::Leaving`].
    pub fn keys(&mut self, now: Instant, request: &KeyRequest) -> Result<QueryId, Refused> {
        self.serf.keys(now, request)
    }

    /// Answers an [`Event::Query`]; once, and until its deadline.
    ///
    /// # Errors
    /// [`Refused::ResponseTooLong`] (another may be tried), [`Refused::NoAnswer`].
    pub fn respond(
        &mut self,
        now: Instant,
        query: QueryId,
        payload: Vec<u8>,
    ) -> Result<(), Refused> {
        self.serf.respond(now, query, payload)
    }

    /// Where `node` is, if it is us or has answered a ping of ours.
    pub fn coordinate(&self, node: &str) -> Option<Coordinate> {
        self.serf.coordinate(node)
    }

    /// The keyring, if it changed since it was last asked for.
    pub fn poll_keyring(&mut self) -> Option<Keyring> {
        self.serf.poll_keyring()
    }

    /// The next that came back to a query of ours.
    pub fn poll_answer(&mut self) -> Option<(QueryId, Answer)> {
        self.serf.poll_answer()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.serf.poll_transmit()
    }

    /// The next thing to do with a stream.
    pub fn poll_stream(&mut self) -> Option<StreamAction> {
        self.serf.poll_stream()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.serf.poll_event()
    }

    /// A member that answered a ping of ours, directly, and when.
    pub fn poll_ack(&mut self) -> Option<(String, Instant)> {
        self.serf.poll_ack()
    }

    /// The next that came from a peer with another encryption. Of a flood between two calls only the first are kept;
    /// [`Stats::dropped`] counts all.
    pub fn poll_mismatch(&mut self) -> Option<Mismatch> {
        self.serf.poll_mismatch()
    }

    /// When [`Self::handle_timeout`] is to be called; may have passed already.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.serf.poll_timeout()
    }

    /// Grows whenever `members` would differ.
    pub fn generation(&self) -> u64 {
        self.serf.generation()
    }

    /// Everyone known: a map of shared members, of which only changed ones were made anew.
    pub fn members(&self) -> Members {
        self.serf.members()
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.serf.stats()
    }
}

#[cfg(test)]
mod tests;
