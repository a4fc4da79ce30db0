//! The one task that owns `Node`.
//!
//! ```text
//! loop { due timers ─▶ drain: transmits, streams, members, events ─▶ wait for any input }
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::debug;

use super::Command;
use super::acks::Acks;
use super::ask::Asking;
use super::coalesced::{Door, Stage};
use super::identity::Identity;
use super::join::Tried;
use super::mismatches::Mismatches;
use super::relay;
use super::tcp::{self, FromStream, Link, ToStream};
use super::udp::{DATAGRAM_BYTES_MAX, Udp};
use crate::clock;
use crate::gossip::core::io::{Event, Heritage, JoinId, StreamAction, StreamId};
use crate::gossip::core::keyring::Keyring;
use crate::gossip::core::member::Members;
use crate::gossip::core::node::Node;
use crate::gossip::core::serf::snapshot::Clocks;

/// Datagrams handled before outputs are drained: enough for a burst, few enough that acks do not wait.
const BURST: usize = 32;

/// Twice what a datagram holds: an allocation of this size is a mapping of its own, of which only touched pages are
/// in memory, and hardly any datagram is longer than one.
const BUFFER_BYTES: usize = 2 * DATAGRAM_BYTES_MAX;

/// Reports of all streams together that wait for the owner; a full channel slows the sockets down.
const REPORTS_MAX: usize = 64;

/// Events that a slow reader may lag behind; behind a pointer each, since there is room for all from the start.
const EVENTS_MAX: usize = 256;

/// Pause after a failed accept, which is a lack of descriptors and passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the owner tells beside members and events.
#[derive(Debug)]
pub(super) struct Outlets {
    pub(super) acks: Acks,
    pub(super) coalesced: Door,
    pub(super) keyring: watch::Sender<Option<Keyring>>,
    pub(super) clocks: watch::Sender<Clocks>,
}

/// Node, sockets and everyone who waits for an answer.
#[derive(Debug)]
pub(super) struct Owner {
    node: Node,
    identity: Identity,
    udp: Udp,
    listener: TcpListener,
    commands: mpsc::Receiver<Command>,
    members: watch::Sender<Arc<Members>>,
    events: broadcast::Sender<Arc<Event>>,
    acks: Acks,
    keyring: watch::Sender<Option<Keyring>>,
    clocks: watch::Sender<Clocks>,
    streams: BTreeMap<StreamId, mpsc::UnboundedSender<ToStream>>,
    tasks: JoinSet<()>,
    reports: mpsc::Sender<(StreamId, FromStream)>,
    reported: mpsc::Receiver<(StreamId, FromStream)>,
    joins: BTreeMap<JoinId, oneshot::Sender<Tried>>,
    asking: Asking,
    coalesced: Stage,
    leavers: Vec<oneshot::Sender<()>>,
    accept_after: Option<Instant>,
    mismatches: Mismatches,
    ended: bool,
}

impl Owner {
    pub(super) fn new(
        node: Node,
        identity: Identity,
        (udp, listener): (Udp, TcpListener),
        commands: mpsc::Receiver<Command>,
        outlets: Outlets,
        mismatches: Mismatches,
    ) -> (
        Self,
        watch::Receiver<Arc<Members>>,
        broadcast::WeakSender<Arc<Event>>,
    ) {
        let (members, watched) = watch::channel(Arc::new(node.members()));
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let (reports, reported) = mpsc::channel(REPORTS_MAX);
        let listened = events.downgrade();
        let owner = Self {
            node,
            identity,
            udp,
            listener,
            commands,
            members,
            events,
            acks: outlets.acks,
            keyring: outlets.keyring,
            clocks: outlets.clocks,
            streams: BTreeMap::new(),
            tasks: JoinSet::new(),
            reports,
            reported,
            joins: BTreeMap::new(),
            asking: Asking::default(),
            coalesced: Stage::new(outlets.coalesced),
            leavers: Vec::new(),
            accept_after: None,
            mismatches,
            ended: false,
        };
        (owner, watched, listened)
    }

    /// Until the leave is complete or every handle is gone. Sockets and stream tasks end with it.
    pub(super) async fn run(mut self) {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        while !self.ended {
            let now = clock::now();
            if self.node.poll_timeout().is_some_and(|due| due <= now) {
                self.node.handle_timeout(now);
            }
            self.drain().await;
            if self.identity.rename(&mut self.node) {
                self.drain().await;
            }
            self.coalesced.flush(now);
            if !self.ended {
                self.wait(&mut buffer).await;
            }
        }
        let Self {
            udp,
            listener,
            tasks,
            leavers,
            ..
        } = self;
        // Whoever asked to leave may bind the port again: so it is free before they hear of it.
        drop((udp, listener, tasks));
        for leaver in leavers {
            let _ = leaver.send(());
        }
    }

    async fn drain(&mut self) {
        while let Some(transmit) = self.node.poll_transmit() {
            self.udp.send(&transmit.packet, transmit.to).await;
        }
        while let Some(action) = self.node.poll_stream() {
            self.act(action);
        }
        // Members first: whoever hears of an event finds it in the list.
        if self.node.generation() != self.members.borrow().generation {
            let members = Arc::new(self.node.members());
            self.acks.keep(&members);
            self.members.send_replace(members);
        }
        if let Some((node, at)) = self.node.poll_ack() {
            self.acks.heard(node, at);
        }
        if let Some(keyring) = self.node.poll_keyring() {
            self.mismatches.set_key(keyring.primary().fingerprint());
            self.keyring.send_replace(Some(keyring));
        }
        self.asking.deliver(&mut self.node);
        let clocks = self.node.clocks();
        self.clocks
            .send_if_modified(|known| std::mem::replace(known, clocks) != clocks);
        while let Some(event) = self.node.poll_event() {
            self.tell(event);
        }
        while let Some(mismatch) = self.node.poll_mismatch() {
            self.mismatches.tell(clock::now(), &mismatch);
        }
        while self.tasks.try_join_next().is_some() {}
    }

    fn act(&mut self, action: StreamAction) {
        match action {
            StreamAction::Connect { id, to } => {
                let link = self.link(id);
                self.tasks
                    .spawn(tcp::connect(to, link, self.identity.stream_timeout()));
            }
            StreamAction::Send { id, bytes } => {
                if let Some(stream) = self.streams.get(&id) {
                    let _ = stream.send(ToStream::Send(bytes));
                }
            }
            StreamAction::Close { id } => {
                if let Some(stream) = self.streams.remove(&id) {
                    let _ = stream.send(ToStream::Close);
                }
            }
        }
    }

    fn tell(&mut self, event: Event) {
        match &event {
            Event::JoinFinished {
                id,
                reached,
                failures,
            } => {
                if let Some(reply) = self.joins.remove(id) {
                    let _ = reply.send(Tried {
                        reached: *reached,
                        failures: failures.clone(),
                    });
                }
            }
            Event::LeaveFinished => self.ended = true,
            Event::NameTaken { .. } => self.identity.tell(&event),
            _ => {}
        }
        let event = Arc::new(event);
        self.coalesced.tell(clock::now(), &event);
        // Nobody listening is no error.
        let _ = self.events.send(event);
    }

    async fn wait(&mut self, buffer: &mut Vec<u8>) {
        let due = [self.node.poll_timeout(), self.coalesced.due()];
        let due = due.into_iter().flatten().min();
        tokio::select! {
            () = self.udp.readable() => self.receive(buffer),
            report = self.reported.recv() => {
                if let Some((id, report)) = report {
                    self.report(id, report);
                }
            }
            command = self.commands.recv() => match command {
                Some(command) => self.obey(command).await,
                None => self.ended = true,
            },
            accepted = accept(&self.listener, self.accept_after) => self.accepted(accepted),
            () = until(due) => {}
        }
    }

    fn receive(&mut self, buffer: &mut Vec<u8>) {
        let now = clock::now();
        for _ in 0..BURST {
            let Some(from) = self.udp.receive(buffer) else {
                return;
            };
            self.node.handle_packet(now, from, buffer);
        }
    }

    fn report(&mut self, id: StreamId, report: FromStream) {
        // The core has closed it meanwhile.
        if !self.streams.contains_key(&id) {
            return;
        }
        let now = clock::now();
        match report {
            FromStream::Connected => self.node.handle_stream_connected(now, id),
            FromStream::Bytes(bytes) => self.node.handle_stream_bytes(now, id, &bytes),
            FromStream::Closed(error) => {
                self.streams.remove(&id);
                self.node.handle_stream_closed(now, id, error);
            }
        }
    }

    fn accepted(&mut self, accepted: std::io::Result<(TcpStream, std::net::SocketAddr)>) {
        let now = clock::now();
        self.accept_after = None;
        match accepted {
            Ok((socket, from)) => {
                let from = std::net::SocketAddr::new(from.ip().to_canonical(), from.port());
                // `None`: too many already, so it is closed by being dropped.
                if let Some(id) = self.node.handle_stream_accepted(now, from) {
                    let link = self.link(id);
                    self.tasks
                        .spawn(tcp::accepted(socket, link, self.identity.stream_timeout()));
                }
            }
            Err(error) => {
                debug!("accepting a stream: {error}");
                self.accept_after = Some(now + ACCEPT_PAUSE);
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        let now = clock::now();
        match command {
            Command::Join {
                addresses,
                past,
                reply,
            } => {
                let id = self.node.join_with(now, &addresses, past);
                self.joins.insert(id, reply);
            }
            Command::Leave { reply } => {
                self.leavers.push(reply);
                self.node.leave(now);
            }
            // A caller that went away needs no answer.
            Command::SetTags { tags, reply } => {
                let _ = reply.send(self.node.set_tags(now, tags));
            }
            Command::ForceLeave { name, prune, reply } => {
                let _ = reply.send(self.node.force_leave(now, &name, prune));
            }
            Command::Relay(order) => self.relay(order).await,
            Command::Ask(ask) => self.asking.obey(&mut self.node, ask),
            Command::Stats { reply } => {
                let _ = reply.send(self.node.stats());
            }
        }
    }

    async fn relay(&mut self, order: relay::Order) {
        match order {
            relay::Order::Sockets { reply } => {
                let _ = reply.send(relay::Sockets::of(&self.listener, &self.udp));
            }
            relay::Order::Suspend { reply } => {
                // Nothing half said: what is due is sent, then there is silence.
                self.drain().await;
                let (verdict, decided) = oneshot::channel();
                let suspended = relay::Suspended::new(self.node.heritage(), verdict);
                self.ended = reply.send(suspended).is_ok() && decided.await.is_ok();
            }
        }
    }

    /// Begins when its `turn` comes, where another process ended.
    pub(super) fn begin_in_turn(
        mut self,
        turn: oneshot::Receiver<Heritage>,
        begin: impl FnOnce(Self) + Send + 'static,
    ) {
        tokio::spawn(async move {
            if let Ok(heritage) = turn.await {
                self.node.inherit(clock::now(), heritage);
                begin(self);
            }
        });
    }

    fn link(&mut self, id: StreamId) -> Link {
        let (stream, orders) = mpsc::unbounded_channel();
        self.streams.insert(id, stream);
        Link {
            id,
            orders,
            reports: self.reports.clone(),
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

async fn accept(
    listener: &TcpListener,
    after: Option<Instant>,
) -> std::io::Result<(TcpStream, std::net::SocketAddr)> {
    if after.is_some() {
        until(after).await;
    }
    listener.accept().await
}
