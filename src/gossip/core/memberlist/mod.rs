//! SWIM with Lifeguard, as memberlist speaks it.
//!
//! ```text
//!  packet ─▶ ping · ack · nack · indirect ping ─▶ probe ──missed──▶ suspicion ──▶ dead
//!         └▶ alive · suspect · dead ─▶ rules ─▶ node table ─▶ Delegate (Serf)
//!  stream ─▶ push/pull ─▶ the same rules       └▶ broadcasts ─▶ gossip tick, piggyback
//! ```
//!
//! It knows nodes (alive, suspect, dead, left), not members: Serf gives these their meaning through
//! the [`Delegate`] lent for each call. What Go does by blocking a goroutine is a [`Timer`] here.

pub(crate) mod awareness;
pub(crate) mod broadcast;
pub(crate) mod check;
mod gossip;
pub(crate) mod moving;
pub(crate) mod node;
pub(crate) mod pause;
mod probe;
mod pushpull;
mod recall;
mod rules;
mod stream;
pub(crate) mod suspicion;
pub(crate) mod timer;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::awareness::Awareness;
use self::broadcast::{BroadcastId, Broadcasts};
use self::check::{Check, CheckId};
use self::node::{NodeState, Nodes, State};
use self::probe::{Asked, Probe};
use self::recall::Recalls;
use self::stream::Stream;
use self::timer::Timers;
use super::io::{Config, JoinId, Mismatch, Stats, StreamAction, StreamId, Transmit};
use super::keyring::Keyring;
use super::timing::Timing;
use super::wire::crypto::{self, Sealer};
use super::wire::message::{Alive, Message, Source, WireAddr};
use super::wire::stream::PushNode;
use super::wire::{WireError, packet};

/// Protocol min, max, current; delegate min, max, current: what `serf agent` 0.9.4 announces.
pub(crate) const VERSIONS: [u8; 6] = [1, 5, 2, 2, 5, 5];

/// Largest `Meta` on the wire. Source: memberlist `MetaMaxSize`.
pub(crate) const META_BYTES_MAX: usize = 512;

/// Nodes in the table; far beyond any cluster Serf was run at, and about 10 MB when full.
const NODES_MAX: usize = 10_000;

/// Longest node name accepted; Serf itself allows 128.
const NAME_BYTES_MAX: usize = 255;

/// Cost of one more message in a compound packet (its length), and of the compound itself.
const COMPOUND_PART: usize = 2;
const COMPOUND_HEADER: usize = 2;

/// Mismatches kept for the driver, which asks after each burst of packets.
const MISMATCHES_MAX: usize = 64;

/// memberlist's type byte in front of each Serf message.
const USER_HEADER: usize = 1;

/// What just became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// New, or back from dead or left.
    Joined,
    /// Alive as before, with other tags, address or versions.
    Updated,
    /// Alive, with a higher incarnation and nothing else new; possibly no more suspect.
    Refreshed,
    /// Suspect.
    Suspected,
    /// Dead or left.
    Gone,
}

/// Why we exchange full states with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Join(JoinId),
    AntiEntropy,
    Reconnect,
}

/// What concerns us in a peer's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pulled {
    /// Our own name, wherever it is.
    pub(crate) own: Option<PushNode>,
    /// Places of all others that the peer believes to be there.
    pub(crate) live: Vec<SocketAddr>,
}

/// What memberlist asks of, and tells to, the layer above.
pub(crate) trait Delegate {
    fn node_changed(&mut self, now: Instant, node: &NodeState, change: Change);
    /// `claim` names a place for a node that we hold at another, where it may not move from.
    fn conflict(&mut self, held: &NodeState, claim: &Alive);
    /// A peer's table has our own name at another place.
    fn own_name_elsewhere(&mut self, held: &NodeState, entry: PushNode);
    /// A node that we hold dead or suspect pings us from another place.
    fn seen_elsewhere(&mut self, name: &str, place: SocketAddr);
    /// A peer's state came, or didn't; it was not merged.
    fn pulled(&mut self, join: JoinId, peer: SocketAddr, outcome: Result<Pulled, String>);
    /// One visit is over.
    fn visited(&mut self, errand: u64);
    /// A node answered a ping of ours, directly; `payload` is what rode on the ack.
    fn acked(&mut self, node: &str, payload: &[u8], rtt: Duration);
    /// Somebody answered under the name, or nobody.
    fn check_ended(&mut self, id: CheckId, lives: bool);
    /// A message of the layer above, its type byte first.
    fn user_message(&mut self, now: Instant, message: &[u8]);
    /// Messages to spread, within `budget` bytes, each costing `overhead` more.
    fn broadcasts(&mut self, overhead: usize, budget: usize) -> Vec<Vec<u8>>;
    /// The layer's half of a push/pull.
    fn local_state(&mut self) -> Vec<u8>;
    /// A peer's half; `cause` if we asked for it.
    fn merge_remote_state(&mut self, now: Instant, state: &[u8], cause: Option<Cause>);
    /// An exchange that we began is over.
    fn push_pull_ended(&mut self, cause: Cause, peer: SocketAddr, outcome: Result<(), String>);
    /// What rides on acks: the network coordinate.
    fn ack_payload(&self) -> Vec<u8>;
}

/// Everything that waits. At equal times the earlier variant goes first: a probe ends before the next begins. Timers
/// that fire late may turn that round; see `round_due`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The direct ack is missed.
    ProbeTimeout,
    /// The whole probe is over.
    ProbeDeadline,
    /// An indirect ping on behalf of another, by our sequence number.
    Asked(u32),
    /// A suspicion has run out.
    Suspicion(String),
    /// A check goes on or ends, by our sequence number.
    Check(u32),
    Stream(StreamId),
    Probe,
    Gossip,
    PushPull,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Memberlist {
    name: String,
    address: SocketAddr,
    own_addr: WireAddr,
    timing: Timing,
    compress: bool,
    sealer: Option<Sealer>,
    random: ChaCha8Rng,
    nodes: Nodes,
    incarnation: u32,
    seq_no: u32,
    /// Set by `leave`: from then on we do not refute.
    leaving: bool,
    /// Our name may be another's: until that is clear nobody shall hear of us.
    pub(crate) silent: bool,
    awareness: Awareness,
    probe: Option<Probe>,
    /// A round came due while a probe was under way: it begins as soon as that one ends.
    round_due: bool,
    /// Who answered a probe directly, until polled.
    acked: Option<(String, Instant)>,
    asked: BTreeMap<u32, Asked>,
    checks: BTreeMap<u32, Check>,
    recalls: Recalls,
    broadcasts: Broadcasts,
    streams: BTreeMap<StreamId, Stream>,
    last_stream: u64,
    timers: Timers<Timer>,
    transmits: VecDeque<Transmit>,
    actions: VecDeque<StreamAction>,
    mismatches: VecDeque<Mismatch>,
    stats: Stats,
}

impl Memberlist {
    /// Alone, alive with incarnation 1, every ticker staggered.
    pub(crate) fn new(
        config: &Config,
        meta: Vec<u8>,
        now: Instant,
        mut random: ChaCha8Rng,
        delegate: &mut dyn Delegate,
    ) -> Self {
        // Nonces have a generator of their own: nothing else that is drawn can show where it stands.
        let sealer = config
            .keyring
            .clone()
            .map(|keys| Sealer::new(keys, ChaCha8Rng::from_rng(&mut random)));
        let mut memberlist = Self {
            name: config.name.clone(),
            address: SocketAddr::new(
                config.advertise.ip().to_canonical(),
                config.advertise.port(),
            ),
            own_addr: WireAddr::of(config.advertise),
            timing: config.timing.clone(),
            compress: config.compress,
            sealer,
            random,
            nodes: Nodes::default(),
            incarnation: 1,
            seq_no: 0,
            leaving: false,
            silent: false,
            awareness: Awareness::new(config.timing.awareness_max),
            probe: None,
            round_due: false,
            acked: None,
            asked: BTreeMap::new(),
            checks: BTreeMap::new(),
            recalls: Recalls::default(),
            broadcasts: Broadcasts::default(),
            streams: BTreeMap::new(),
            last_stream: 0,
            timers: Timers::new(),
            transmits: VecDeque::new(),
            actions: VecDeque::new(),
            mismatches: VecDeque::new(),
            stats: Stats::default(),
        };
        let own = NodeState {
            name: memberlist.name.as_str().into(),
            place: memberlist.address,
            mapped: false,
            meta: meta.into(),
            vsn: VERSIONS,
            incarnation: memberlist.incarnation,
            state: State::Alive,
            changed: now,
            suspicion: None,
            conflict: None,
        };
        delegate.node_changed(now, &own, Change::Joined);
        memberlist.nodes.insert(own, &mut memberlist.random);
        memberlist.broadcast_own_alive();
        for (timer, interval) in [
            (Timer::Probe, memberlist.timing.probe_interval),
            (Timer::Gossip, memberlist.timing.gossip_interval),
            (Timer::PushPull, memberlist.timing.push_pull_interval),
        ] {
            let stagger = memberlist.stagger(interval);
            memberlist.timers.set(timer, now + stagger);
        }
        memberlist
    }

    /// A random share of `interval`, so that a cluster started at once does not march in step.
    fn stagger(&mut self, interval: Duration) -> Duration {
        interval.mul_f64(self.random.random_range(0.0..1.0))
    }

    pub(crate) fn handle_packet(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
        delegate: &mut dyn Delegate,
    ) {
        self.stats.packets_received += 1;
        self.stats.packet_bytes_received += bytes.len() as u64;
        let messages = match &self.sealer {
            None => packet::open(bytes),
            Some(sealer) => match crypto::open_packet(sealer.keys(), bytes) {
                Ok(plain) => packet::open(&plain),
                Err(error) => return self.refuse_peer(from, error),
            },
        };
        for message in messages {
            match message {
                Ok(message) => self.handle_message(now, from, message, delegate),
                Err(error) => self.refuse(error.reason()),
            }
        }
    }

    fn handle_message(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: Message,
        delegate: &mut dyn Delegate,
    ) {
        match message {
            Message::Ping(ping) => self.on_ping(from, ping, delegate),
            Message::IndirectPing(request) => self.on_indirect_ping(now, from, request, delegate),
            Message::Ack(ack) => self.on_ack(now, ack, delegate),
            Message::Nack(nack) => self.on_nack(nack),
            Message::Suspect(accusation) => self.on_suspect(now, accusation, delegate),
            Message::Alive(alive) => self.on_alive(now, alive, delegate),
            Message::Dead(accusation) => self.on_dead(now, accusation, delegate),
            Message::User(message) => delegate.user_message(now, &message),
        }
    }

    /// The earliest thing that waits.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does one thing that is due; false if none is.
    pub(crate) fn handle_timeout(&mut self, now: Instant, delegate: &mut dyn Delegate) -> bool {
        let Some((at, timer)) = self.timers.pop(now) else {
            return false;
        };
        match timer {
            Timer::ProbeTimeout => self.probe_indirectly(now, delegate),
            Timer::ProbeDeadline => self.end_probe(now, delegate),
            Timer::Asked(seq_no) => self.give_up_asked(seq_no, delegate),
            Timer::Suspicion(name) => self.suspicion_ran_out(now, &name, delegate),
            Timer::Check(seq_no) => self.go_on_checking(now, seq_no, delegate),
            Timer::Stream(id) => self.stream_timed_out(id, delegate),
            Timer::Probe => {
                self.timers
                    .set(Timer::Probe, next_tick(at, self.timing.probe_interval, now));
                self.start_probe(now, delegate);
            }
            Timer::Gossip => {
                self.timers.set(
                    Timer::Gossip,
                    next_tick(at, self.timing.gossip_interval, now),
                );
                self.gossip(now, delegate);
            }
            Timer::PushPull => {
                let period = pushpull::period(self.timing.push_pull_interval, self.nodes.len());
                self.timers.set(Timer::PushPull, next_tick(at, period, now));
                self.push_pull_with_somebody(now);
            }
        }
        true
    }

    /// Announces our departure: a dead message signed by ourselves. From here we neither refute nor probe.
    /// What to wait for, unless nobody else is there.
    pub(crate) fn leave(
        &mut self,
        now: Instant,
        delegate: &mut dyn Delegate,
    ) -> Option<BroadcastId> {
        self.leaving = true;
        let id = self.depart(now, delegate);
        let somebody = self
            .nodes
            .iter()
            .any(|node| node.name != self.name && !node.is_gone());
        id.filter(|_| somebody)
    }

    /// Our own, as the others know it or soon will.
    pub(crate) fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Announces another `Meta` with the next incarnation.
    pub(crate) fn set_meta(&mut self, now: Instant, meta: Vec<u8>, delegate: &mut dyn Delegate) {
        self.incarnation = self.incarnation.saturating_add(1);
        let Some(own) = self.nodes.get_mut(&self.name) else {
            return;
        };
        own.meta = meta.into();
        own.incarnation = self.incarnation;
        delegate.node_changed(now, own, Change::Updated);
        self.broadcast_own_alive();
    }

    /// Drops a node that is dead or left.
    pub(crate) fn forget(&mut self, name: &str) {
        if self.nodes.get(name).is_some_and(NodeState::is_gone) {
            self.nodes.remove(name);
        }
    }

    pub(crate) fn is_own_address(&self, address: SocketAddr) -> bool {
        SocketAddr::new(address.ip().to_canonical(), address.port()) == self.address
    }

    pub(crate) fn is_waiting(&self, id: BroadcastId) -> bool {
        self.broadcasts.is_waiting(id)
    }

    /// The keys of the cluster, to be looked at or changed; `None`: we have none, and take none while we run.
    pub(crate) fn keyring_mut(&mut self) -> Option<&mut Keyring> {
        self.sealer.as_mut().map(Sealer::keys_mut)
    }

    pub(crate) fn keyring(&self) -> Option<&Keyring> {
        Some(self.sealer.as_ref()?.keys())
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    pub(crate) fn poll_stream(&mut self) -> Option<StreamAction> {
        self.actions.pop_front()
    }

    pub(crate) fn poll_ack(&mut self) -> Option<(String, Instant)> {
        self.acked.take()
    }

    pub(crate) fn poll_mismatch(&mut self) -> Option<Mismatch> {
        self.mismatches.pop_front()
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            health_score: self.awareness.score(),
            encrypted: self.sealer.is_some(),
            queued_broadcasts: self.broadcasts.len(),
            streams: self.streams.len(),
            ..self.stats.clone()
        }
    }

    /// Counts input that was not taken.
    fn refuse(&mut self, reason: &'static str) {
        *self.stats.dropped.entry(reason).or_default() += 1;
    }

    /// The same for what another encryption than ours may explain.
    fn refuse_peer(&mut self, from: SocketAddr, why: WireError) {
        self.refuse(why.reason());
        let of_keys = matches!(
            why,
            WireError::Decrypt | WireError::Plaintext | WireError::Encrypted
        );
        if of_keys && self.mismatches.len() < MISMATCHES_MAX {
            self.mismatches.push_back(Mismatch { from, why });
        }
    }

    fn next_seq_no(&mut self) -> u32 {
        self.seq_no = self.seq_no.wrapping_add(1);
        self.seq_no
    }

    fn own_source(&self) -> Option<Source> {
        Some(Source {
            addr: self.own_addr.clone(),
            node: self.name.clone(),
        })
    }

    fn broadcast_own_alive(&mut self) {
        let Some(own) = self.nodes.get(&self.name) else {
            return;
        };
        let alive = Message::Alive(Alive {
            incarnation: own.incarnation,
            node: own.name.to_string(),
            addr: own.addr(),
            meta: own.meta.to_vec(),
            vsn: own.vsn,
        });
        // Keyed by name, where Go keys a refutation by address text: a newer word about us always
        // replaces the older one, and nothing on the wire shows the difference.
        let name = own.name.clone();
        self.broadcasts.push(alive.encode(), Some(name));
    }
}

/// The tick after the one meant for `at`; ticks missed by a late caller are skipped, as Go's tickers do.
pub(crate) fn next_tick(at: Instant, interval: Duration, now: Instant) -> Instant {
    let next = at + interval;
    if next > now { next } else { now + interval }
}
