//! Members of one name on one network segment find one another, as `serf agent -discover=NAME` does.
//!
//! ```text
//! alone ──question──▶ group ──▶ every member of that name answers the asker
//!   ▲                                     │ addresses, until 100 ms bring no new one
//!   └── again after 1 s … 10 s, once      ▼
//!       with others after 60 s ◀────── join those who are not with us yet
//! ```
//!
//! A member that was told whom to join, or remembers its peers, answers only. Without encryption an answer
//! counts only if it names a private or loopback address.

mod dns;
mod link;
mod message;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use self::link::Link;
pub(super) use self::link::Segment;
use self::message::{Names, Said, question};
use super::reach::{is_link_local, is_private};
use super::{Command, join};
use crate::clock;
use crate::gossip::core::io::Past;
use crate::gossip::core::member::{Members, Status};
use crate::task;

/// Between two questions while alone, at first; doubled after each.
const ALONE_MIN: Duration = Duration::from_secs(1);

/// And at last: whoever starts later asks by itself, so this is for packets lost.
const ALONE_MAX: Duration = Duration::from_secs(10);

/// Between two questions once others are there, as Serf does: two halves of a cluster find one another.
const TOGETHER: Duration = Duration::from_secs(60);

/// Answers come in a burst; without a new one for this long they are joined in one go. As Serf's.
const QUIET: Duration = Duration::from_millis(100);

/// Nobody answered for this long: it is said, once.
const SILENCE: Duration = Duration::from_secs(5);

/// Addresses of one burst; one that answers is enough.
const FOUND_MAX: usize = 64;

/// The largest packet that mDNS knows (RFC 6762 §17).
const PACKET_BYTES_MAX: usize = 9000;

/// Packets that wait; more are lost, as on the wire.
const PACKETS_MAX: usize = 64;

/// What the task goes by.
#[derive(Debug)]
pub(super) struct Discovery {
    /// The name that members have in common.
    pub(super) name: String,
    /// Our node's name, which may change.
    pub(super) node: watch::Receiver<Arc<str>>,
    /// The address that is told.
    pub(super) address: SocketAddr,
    /// Addresses that are us.
    pub(super) own: [SocketAddr; 2],
    /// Also ask; else answer only.
    pub(super) asks: bool,
    /// Public addresses may be joined: gossip is encrypted, or the operator said so.
    pub(super) public: bool,
    pub(super) segment: Segment,
    pub(super) random: ChaCha8Rng,
}

/// A packet, where it came from and by which link.
type Received = (Vec<u8>, SocketAddr, usize);

#[derive(Debug)]
struct Task {
    settings: Discovery,
    names: Names,
    links: Vec<Link>,
    commands: mpsc::WeakSender<Command>,
    members: watch::Receiver<Arc<Members>>,
    joins: JoinSet<Option<join::Tried>>,
    /// Whose failure to join was told.
    failing: BTreeSet<SocketAddr>,
    found: BTreeSet<SocketAddr>,
    /// When the burst of answers counts as over.
    quiet_at: Option<Instant>,
    ask_at: Option<Instant>,
    pause: Duration,
    silent_at: Option<Instant>,
    /// A public address was refused, and that was told.
    refused: bool,
}

/// Answers, and asks where that is wanted, until gossip ends.
pub(super) async fn run(
    settings: Discovery,
    commands: mpsc::WeakSender<Command>,
    members: watch::Receiver<Arc<Members>>,
) {
    let Some(names) = Names::new(&settings.name, &settings.node.borrow()) else {
        return warn!(
            "the name {:?} is too long for mDNS; choose a shorter one with --discover, or join a member by --join",
            settings.name
        );
    };
    let links = links(&settings);
    if links.is_empty() {
        return;
    }
    // Readers end with this future, which owns them.
    let mut readers = JoinSet::new();
    let (packets, mut received) = mpsc::channel(PACKETS_MAX);
    for (index, link) in links.iter().enumerate() {
        let sockets = [Some(&link.asking), link.listening.as_ref()];
        for socket in sockets.into_iter().flatten() {
            readers.spawn(task::work(read(Arc::clone(socket), packets.clone(), index)));
        }
    }
    let now = clock::now();
    let asks = settings.asks;
    let mut task = Task {
        settings,
        names,
        links,
        commands,
        members,
        joins: JoinSet::new(),
        failing: BTreeSet::new(),
        found: BTreeSet::new(),
        quiet_at: None,
        ask_at: asks.then_some(now),
        pause: ALONE_MIN,
        silent_at: asks.then_some(now + SILENCE),
        refused: false,
    };
    loop {
        task.handle_timeout(clock::now()).await;
        let due = task.poll_timeout();
        tokio::select! {
            Some((packet, from, link)) = received.recv() => task.handle(&packet, from, link).await,
            changed = task.members.changed() => if changed.is_err() { return },
            Some(Ok(Some(tried))) = task.joins.join_next() => task.joined(tried),
            Ok(()) = task.settings.node.changed() => task.rename(),
            () = until(due) => {}
        }
    }
}

impl Task {
    fn poll_timeout(&self) -> Option<Instant> {
        [self.quiet_at, self.ask_at, self.silent_at]
            .into_iter()
            .flatten()
            .min()
    }

    async fn handle_timeout(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.quiet_at) {
            self.quiet_at = None;
            self.join();
        }
        if due(self.silent_at) {
            self.silent_at = None;
            if self.is_alone() {
                self.tell_silence();
            }
        }
        if due(self.ask_at) {
            let service = self.names.service.clone();
            self.ask(&service, false).await;
            let pause = if self.is_alone() {
                self.pause
            } else {
                // Should we be alone again, we ask as at the start.
                self.pause = ALONE_MIN;
                TOGETHER
            };
            self.pause = (self.pause * 2).min(ALONE_MAX);
            let dice = self.settings.random.random_range(0.9..1.1);
            self.ask_at = Some(now + pause.mul_f64(dice));
        }
        if self.is_alone() {
            // The minute's pause was for good company.
            let soon = now + ALONE_MAX;
            self.ask_at = self.ask_at.map(|at| at.min(soon));
        }
    }

    /// Two members must not answer under one name: a stock agent takes their answers for one member's.
    fn rename(&mut self) {
        let node = self.settings.node.borrow_and_update().clone();
        if let Some(names) = Names::new(&self.settings.name, &node) {
            self.names = names;
        }
    }

    async fn handle(&mut self, packet: &[u8], from: SocketAddr, link: usize) {
        match self.names.read(packet) {
            Some(Said::Asked) => self.answer(from, link).await,
            Some(Said::Told {
                mut found,
                unfinished,
            }) if self.settings.asks => {
                // Our own answer comes back to us.
                found.retain(|found| !self.settings.own.contains(found));
                if !found.is_empty() {
                    self.silent_at = None;
                }
                self.take(found);
                for name in unfinished {
                    self.ask(&name, true).await;
                }
            }
            Some(Said::Told { .. }) | None => {}
        }
    }

    /// Tells where we are, unless we are about to be gone or the asker is far away.
    async fn answer(&self, from: SocketAddr, link: usize) {
        let alive = |members: &Members| {
            let own = members.by_name.get(&self.settings.node.borrow());
            own.is_some_and(|member| member.status == Status::Alive)
        };
        if !alive(&self.members.borrow()) || !is_near(from.ip()) {
            return;
        }
        let socket = self.links[link].listening.as_ref();
        if let (Some(socket), Some(answer)) = (socket, self.names.answer(self.settings.address))
            && let Err(error) = socket.send_to(&answer, from).await
        {
            debug!(%from, "an mDNS answer could not be sent: {error}");
        }
    }

    async fn ask(&mut self, name: &str, instance: bool) {
        let Some(question) = question(self.settings.random.random(), name, instance) else {
            return;
        };
        for link in &self.links {
            if let Err(error) = link.asking.send_to(&question, link.group).await {
                debug!(group = %link.group, "an mDNS question could not be sent: {error}");
            }
        }
    }

    fn take(&mut self, found: Vec<SocketAddr>) {
        let somewhere = |ip: IpAddr| !ip.is_unspecified() && !ip.is_multicast();
        for address in found.into_iter().filter(|found| somewhere(found.ip())) {
            if !self.settings.public && !is_near(address.ip()) {
                if !self.refused {
                    warn!(
                        %address,
                        "mDNS names a public address, and gossip is not encrypted: not joined"
                    );
                    self.refused = true;
                }
                continue;
            }
            if self.found.len() < FOUND_MAX && self.found.insert(address) {
                self.quiet_at = Some(clock::now() + QUIET);
            }
        }
    }

    /// Joins those of the burst who are not with us yet. One that does not answer is found again by the next question.
    fn join(&mut self) {
        let found = std::mem::take(&mut self.found);
        let here: BTreeSet<SocketAddr> = self
            .members
            .borrow()
            .by_name
            .values()
            .filter(|member| member.status == Status::Alive)
            .map(|member| member.address)
            .collect();
        let new: Vec<SocketAddr> = found.difference(&here).copied().collect();
        let Some(commands) = self.commands.upgrade() else {
            return;
        };
        if new.is_empty() {
            return;
        }
        self.joins
            .spawn(async move { join::ask(&commands, new, Past::Missed).await });
    }

    /// Failures are told once each, not at every question.
    fn joined(&mut self, tried: join::Tried) {
        if tried.reached > 0 {
            info!(reached = tried.reached, "joined members found by mDNS");
        }
        for (address, cause) in tried.failures {
            if self.failing.len() < FOUND_MAX && self.failing.insert(address) {
                warn!(%address, "mDNS names a member that could not be joined: {cause}");
            }
        }
    }

    fn is_alone(&self) -> bool {
        join::is_alone(&self.members.borrow(), &self.settings.node.borrow())
    }

    fn tell_silence(&self) {
        let Discovery { name, segment, .. } = &self.settings;
        warn!(
            "nobody named {name:?} answers mDNS on {} so far; asking on. Where multicast does not pass, name a member with --join",
            segment.name
        );
    }
}

/// The links that the segment has; tells where there is none and one would be needed.
fn links(settings: &Discovery) -> Vec<Link> {
    let segment = &settings.segment;
    let (v4, v6) = (Link::v4(segment), Link::v6(segment));
    if let (Err(error), Err(_)) = (&v4, &v6) {
        let what = format!("mDNS does not work on {}: {error}", segment.name);
        if settings.asks {
            warn!("{what}; name a member with --join");
        } else {
            debug!("{what}");
        }
    }
    [v4, v6].into_iter().flatten().collect()
}

async fn read(socket: Arc<UdpSocket>, packets: mpsc::Sender<Received>, link: usize) {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((len, from)) => {
                // A full queue loses it, as a network might.
                let _ = packets.try_send((buffer[..len].to_vec(), from, link));
            }
            Err(error) => {
                debug!("receiving mDNS: {error}");
                tokio::time::sleep(QUIET).await;
            }
        }
    }
}

/// Private, local or loopback: what may be joined in clear, and whoever may ask.
fn is_near(ip: IpAddr) -> bool {
    is_link_local(ip) || ip.is_loopback() || is_private(ip)
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
