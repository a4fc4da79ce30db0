//! What memberlist borrows: Serf's members, clocks and queues, without memberlist itself.
//!
//! ```text
//! memberlist ─▶ user_message ─▶ decode ─▶ intents · events · queries · responses ─▶ new? queue it verbatim
//!            ─▶ node_changed ─▶ members ─▶ events out
//!            ◀─ broadcasts: intents, then queries, then events
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::seq::IteratorRandom;
use rand_chacha::ChaCha8Rng;

use super::coordinate::{self, Vivaldi};
use super::is_company;
use super::keys::Order;
use super::lamport::Clock;
use super::snapshot::Clocks;
use super::tables::answerable::{Answerable, ReturnPath};
use super::tables::asking::Asking;
use super::tables::events::EventRing;
use super::tables::failed::Failed;
use super::tables::intents::{Pruned, Recent, Source};
use super::tables::member::MemberState;
use super::tables::queries::QueryRing;
use crate::gossip::core::io::{Answer, Config, Event, JoinId, Past, QueryId};
use crate::gossip::core::memberlist::broadcast::{BroadcastId, Broadcasts, retransmit_limit};
use crate::gossip::core::memberlist::check::CheckId;
use crate::gossip::core::memberlist::moving;
use crate::gossip::core::memberlist::node::NodeState;
use crate::gossip::core::memberlist::timer::Timers;
use crate::gossip::core::memberlist::{Cause, Change, Delegate, Pulled};
use crate::gossip::core::name::Name;
use crate::gossip::core::timing::Timing;
use crate::gossip::core::wire::message::Alive;
use crate::gossip::core::wire::serf::SerfMessage;
use crate::gossip::core::wire::stream::PushNode;

/// Messages per queue; the most-transmitted beyond are given up. Source: serf `MaxQueueDepth`.
const QUEUE_MAX: usize = 4096;

/// Beyond so many members the broadcast alone is quick and sure enough, and one burst of packets would not be.
const DIRECT_MAX: usize = 64;

/// What the longest message must leave of a packet: compound header, one length, memberlist's type byte.
const FRAME_BYTES: usize = 5;

/// Everything of Serf's that waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A step of our own leave took too long.
    Leave,
    Reap,
    Reconnect,
    /// Failed members are to be asked whether they are there.
    Recall,
    /// A member forced out is to be forgotten.
    Prune(String),
    /// The next step about a name at two places.
    Name(String),
    /// The deadline of a query of ours.
    Query(QueryId),
}

/// Wishes that wait until memberlist is free.
#[derive(Debug, Default)]
pub(crate) struct Tray {
    /// Serf messages for one address each.
    pub(super) direct: Vec<(SocketAddr, Vec<u8>)>,
    /// Nodes to drop from memberlist's table.
    pub(super) forgotten: Vec<String>,
    pub(super) ended: Vec<Ended>,
    pub(super) pulled: Vec<PulledFrom>,
    pub(super) claims: Vec<Claim>,
    /// Names thought gone that pinged us, and from where.
    pub(super) seen: Vec<(String, SocketAddr)>,
    pub(super) checked: Vec<(CheckId, bool)>,
    pub(super) visited: Vec<u64>,
    /// What members ask of our keyring.
    pub(super) key_orders: Vec<(ReturnPath, Order)>,
    /// To what [`super::tables::asking::Asker::Names`] asked.
    pub(super) answers: Vec<(QueryId, Answer)>,
    /// A join intent of ours is due.
    pub(super) speak_up: bool,
}

/// An exchange of states that we began and that is over.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(super) cause: Cause,
    pub(super) peer: SocketAddr,
    pub(super) outcome: Result<(), String>,
}

/// What a peer that we want to join holds, or why it did not say.
#[derive(Debug)]
pub(crate) struct PulledFrom {
    pub(super) join: JoinId,
    pub(super) peer: SocketAddr,
    pub(super) outcome: Result<Pulled, String>,
}

/// A name seen at a second place.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(super) old: PushNode,
    pub(super) new: PushNode,
    pub(super) in_table: bool,
}

/// Serf's state.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(super) name: String,
    pub(super) timing: Timing,
    /// Names at two places are looked into, not only told of.
    claim: bool,
    pub(super) random: ChaCha8Rng,
    /// We announced that we leave; from then on nobody's word brings us back.
    pub(super) leaving: bool,
    pub(super) clock: Clock,
    pub(super) event_clock: Clock,
    pub(super) query_clock: Clock,
    pub(super) members: BTreeMap<Name, MemberState>,
    pub(super) generation: u64,
    /// Counts members that turned alive.
    pub(super) joined: u64,
    pub(super) failed: Failed,
    pub(super) recent: Recent,
    pub(super) pruned: Pruned,
    pub(super) events: EventRing,
    /// Joins that do not simply skip the events of the past.
    pub(super) pasts: BTreeMap<JoinId, Past>,
    /// A peer's state was merged once.
    pub(super) met: bool,
    pub(super) queries: QueryRing,
    pub(super) answerable: Answerable,
    pub(super) asking: Asking,
    /// To what an operator asked, until polled.
    pub(super) answers: VecDeque<(QueryId, Answer)>,
    pub(super) vivaldi: Vivaldi,
    intent_queue: Broadcasts,
    query_queue: Broadcasts,
    event_queue: Broadcasts,
    pub(super) timers: Timers<Timer>,
    pub(super) out: VecDeque<Event>,
    pub(super) tray: Tray,
    pub(super) dropped: BTreeMap<&'static str, u64>,
}

impl Layer {
    pub(super) fn new(config: &Config, now: Instant, mut random: ChaCha8Rng) -> Self {
        let mut timers = Timers::new();
        for (timer, interval) in [
            (Timer::Reap, config.timing.reap_interval),
            (Timer::Reconnect, config.timing.reconnect_interval),
        ] {
            timers.set(timer, now + interval.mul_f64(random.random_range(0.0..1.0)));
        }
        Self {
            name: config.name.clone(),
            timing: config.timing.clone(),
            claim: config.claim,
            random,
            leaving: false,
            clock: Clock::new(),
            event_clock: Clock::new(),
            query_clock: Clock::new(),
            members: BTreeMap::new(),
            generation: 0,
            joined: 0,
            failed: Failed::default(),
            recent: Recent::default(),
            pruned: Pruned::default(),
            events: EventRing::default(),
            pasts: BTreeMap::new(),
            met: false,
            queries: QueryRing::default(),
            answerable: Answerable::default(),
            asking: Asking::default(),
            answers: VecDeque::new(),
            vivaldi: Vivaldi::new(&config.name),
            intent_queue: Broadcasts::default(),
            query_queue: Broadcasts::default(),
            event_queue: Broadcasts::default(),
            timers,
            out: VecDeque::new(),
            tray: Tray::default(),
            dropped: BTreeMap::new(),
        }
    }

    /// Goes on where a former life ended: what it heard is not for us.
    pub(super) fn resume(&mut self, clocks: Clocks) {
        self.clock.witness(clocks.member);
        self.event_clock.witness(clocks.event);
        self.query_clock.witness(clocks.query);
        self.events.ignore_before(clocks.event.saturating_add(1));
        self.queries.ignore_before(clocks.query.saturating_add(1));
    }

    /// Counts input that was not taken.
    pub(super) fn refuse(&mut self, reason: &'static str) {
        *self.dropped.entry(reason).or_default() += 1;
    }

    /// Queues an intent, of ours or passed on.
    pub(super) fn spread_intent(&mut self, message: Vec<u8>) -> BroadcastId {
        let id = self.intent_queue.push(message, None);
        self.intent_queue.prune(QUEUE_MAX);
        id
    }

    /// Sends a message of ours straight to the others, besides the broadcast.
    ///
    /// Serf only broadcasts, which takes a gossip tick or two and does not reach everyone: of nine members each sends a
    /// message on to four at random, so that one in a hundred never hears of a query, and of an event half a minute later.
    pub(super) fn say_directly(&mut self, message: &[u8]) {
        let others = self.members.values().map(|member| &member.shown);
        let company = others.filter(|other| other.name != self.name && is_company(other.status));
        let chosen = company.sample(&mut self.random, DIRECT_MAX);
        let letters = chosen.iter().map(|other| (other.address, message.to_vec()));
        self.tray.direct.extend(letters);
    }

    pub(super) fn is_spreading(&self, id: BroadcastId) -> bool {
        self.intent_queue.is_waiting(id)
    }

    /// Tells everyone of a user event of ours.
    pub(super) fn spread_event(&mut self, message: Vec<u8>) {
        self.say_directly(&message);
        self.event_queue.push(message, None);
        self.event_queue.prune(QUEUE_MAX);
    }

    /// Tells everyone of a query of ours.
    pub(super) fn spread_query(&mut self, message: Vec<u8>) {
        self.say_directly(&message);
        self.query_queue.push(message, None);
        self.query_queue.prune(QUEUE_MAX);
    }

    /// Messages that wait: intents, queries, events.
    pub(super) fn queued(&self) -> [usize; 3] {
        [&self.intent_queue, &self.query_queue, &self.event_queue].map(Broadcasts::len)
    }

    /// Takes a message in; true if it is news that others shall hear too.
    fn take_in(&mut self, now: Instant, message: &SerfMessage) -> bool {
        match message {
            SerfMessage::Leave(intent) => self.on_leave_intent(now, intent, Source::Gossip),
            SerfMessage::Join(intent) => self.on_join_intent(now, intent, Source::Gossip),
            SerfMessage::UserEvent(event) => self.on_user_event(event),
            SerfMessage::Query(query) => self.on_query(now, query),
            SerfMessage::QueryResponse(response) => {
                self.on_response(now, response);
                false
            }
            SerfMessage::Relay(relay) => {
                self.on_relay(relay);
                false
            }
            // A state belongs on a stream.
            SerfMessage::PushPull(_) => {
                self.refuse("unexpected");
                false
            }
        }
    }
}

impl Delegate for Layer {
    fn node_changed(&mut self, now: Instant, node: &NodeState, change: Change) {
        match change {
            Change::Joined => self.node_joined(now, node),
            Change::Updated => self.node_updated(node),
            Change::Refreshed => self.node_refreshed(node),
            Change::Suspected => self.node_suspected(now, node),
            Change::Gone => self.node_gone(now, node),
        }
    }

    fn conflict(&mut self, held: &NodeState, claim: &Alive) {
        let claimed = PushNode {
            name: claim.node.clone(),
            addr: claim.addr.clone(),
            meta: claim.meta.clone(),
            incarnation: claim.incarnation,
            state: 0,
            vsn: Some(claim.vsn),
        };
        if !self.claim {
            if let Some(claimed) = claim.addr.socket() {
                self.out.push_back(Event::Conflict {
                    name: held.name.to_string(),
                    known: held.place,
                    claimed,
                });
            }
            return;
        }
        // Our own name is to be where we are; another's, where it is claimed to be now.
        let held = moving::entry(held).to_node();
        let (old, new) = if claim.node == self.name {
            (claimed, held)
        } else {
            (held, claimed)
        };
        self.tray.claims.push(Claim {
            old,
            new,
            in_table: false,
        });
    }

    fn own_name_elsewhere(&mut self, held: &NodeState, entry: PushNode) {
        if self.claim {
            self.tray.claims.push(Claim {
                old: entry,
                new: moving::entry(held).to_node(),
                in_table: true,
            });
        }
    }

    fn seen_elsewhere(&mut self, name: &str, place: SocketAddr) {
        if self.claim {
            self.tray.seen.push((name.to_owned(), place));
        }
    }

    fn pulled(&mut self, join: JoinId, peer: SocketAddr, outcome: Result<Pulled, String>) {
        self.tray.pulled.push(PulledFrom {
            join,
            peer,
            outcome,
        });
    }

    fn visited(&mut self, errand: u64) {
        self.tray.visited.push(errand);
    }

    fn check_ended(&mut self, id: CheckId, lives: bool) {
        self.tray.checked.push((id, lives));
    }

    fn user_message(&mut self, now: Instant, bytes: &[u8]) {
        let message = match SerfMessage::decode(bytes) {
            Ok(message) => message,
            Err(error) => {
                self.refuse(error.reason());
                return;
            }
        };
        if !self.take_in(now, &message) {
            return;
        }
        if bytes.len() + FRAME_BYTES > self.timing.packet_bytes {
            // Came by stream and fits in no packet: it would lie in the queue for ever.
            self.refuse("too_large");
            return;
        }
        // Verbatim: whatever the sender wrote into it that we do not know travels on.
        let queue = match message {
            SerfMessage::Query(_) => &mut self.query_queue,
            SerfMessage::UserEvent(_) => &mut self.event_queue,
            _ => &mut self.intent_queue,
        };
        queue.push(bytes.to_vec(), None);
        queue.prune(QUEUE_MAX);
    }

    fn broadcasts(&mut self, overhead: usize, budget: usize) -> Vec<Vec<u8>> {
        let limit = retransmit_limit(self.timing.retransmit_mult, self.members.len());
        let mut taken: Vec<Vec<u8>> = Vec::new();
        let mut rest = budget;
        for queue in [
            &mut self.intent_queue,
            &mut self.query_queue,
            &mut self.event_queue,
        ] {
            let more = queue.take(overhead, rest, limit);
            rest -= more
                .iter()
                .map(|message| message.len() + overhead)
                .sum::<usize>();
            taken.extend(more);
        }
        taken
    }

    fn local_state(&mut self) -> Vec<u8> {
        SerfMessage::PushPull(self.state()).encode()
    }

    fn merge_remote_state(&mut self, now: Instant, state: &[u8], cause: Option<Cause>) {
        match SerfMessage::decode(state) {
            Ok(SerfMessage::PushPull(state)) => {
                let skip_old = self.skips_old_events(cause);
                self.merge(now, &state, skip_old);
            }
            Ok(_) => self.refuse("unexpected"),
            Err(error) => self.refuse(error.reason()),
        }
    }

    fn push_pull_ended(&mut self, cause: Cause, peer: SocketAddr, outcome: Result<(), String>) {
        self.tray.ended.push(Ended {
            cause,
            peer,
            outcome,
        });
    }

    fn acked(&mut self, node: &str, payload: &[u8], rtt: Duration) {
        self.measured(node, payload, rtt);
    }

    fn ack_payload(&self) -> Vec<u8> {
        coordinate::payload(self.vivaldi.own())
    }
}
