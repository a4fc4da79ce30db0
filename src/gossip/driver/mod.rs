//! Gives the core its sockets, and everyone else a handle.
//!
//! ```text
//! udp ─┐                               ┌─▶ watch<Arc<Members>>   (level-triggered)
//! tcp ─┼─▶ one task that owns Node ────┼─▶ bounded event stream  (says when it lagged)
//! commands (mpsc) ─┘                   └─▶ stats
//!     ▲
//!     ├── mdns: answers whoever looks for our name, and asks where there is nobody to join
//!     └── join keeper: tries `settings.join` and `settings.peers` for as long as we are alone
//! ```
//!
//! The task ends after a leave, or like a crash when the last [`Handle`] is dropped. From then on every
//! call on a handle answers at once.

mod acks;
mod advertise;
mod ask;
mod coalesced;
mod identity;
mod join;
mod mdns;
mod mismatches;
mod owner;
mod reach;
mod relay;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tracing::warn;

pub use self::acks::Acks;
pub use self::relay::{Seat, Sockets, Suspended};
use super::core::io::{Config, Event, Heritage, Past, Refused, Stats};
use super::core::keyring::Keyring;
use super::core::member::Members;
use super::core::node::Node;
use super::core::serf::coalesce::Notice;
use super::core::serf::snapshot::Clocks;
use super::core::timing::{Profile, Timing};
use crate::announce::Tags;
use crate::clock;
use crate::task;

/// What the driver needs to know; keys of `[gossip]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// UDP and TCP address to bind.
    pub bind: SocketAddr,
    /// Address others use; `None`: chosen from the interfaces.
    pub advertise: Option<SocketAddr>,
    /// Interface whose address is advertised when `advertise` is not given.
    pub iface: Option<String>,
    /// Unique name.
    pub node: String,
    /// Addresses to join through: IP, host or DNS name, port optional (7946).
    pub join: Vec<String>,
    /// Timing constants.
    pub profile: Profile,
    /// Our tags.
    pub tags: Tags,
    /// Keys of the cluster; `None`: gossip in clear.
    pub keyring: Option<Keyring>,
    /// Members of the last run, to join through too; not a setting.
    pub peers: Vec<SocketAddr>,
    /// Clocks of the last run: what was heard then is not for us again; not a setting. `None`: nothing was kept.
    pub former: Option<Clocks>,
    /// User events that the others still know of at the start are for us too.
    pub replay: bool,
    /// Name for mDNS; `None`: off. Asked for only where there is nobody to join and no peer.
    pub discover: Option<String>,
    /// Members on public addresses may be discovered without encryption.
    pub insecure: bool,
    /// What to do when our name turns out to be another living node's.
    pub when_taken: WhenTaken,
}

/// What to do when our name turns out to be another living node's. Nobody has to ask for it at the start:
/// [`Handle::name_taken`] tells, and the program ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenTaken {
    /// Keep to it; out of the cluster, where we are not in yet.
    Wait,
    /// Unless we have only just started: take the name with a random ending, and go on. The default.
    #[default]
    Rename,
}

/// Our name, found to be another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTaken {
    /// The name.
    pub name: String,
    /// Who has it.
    pub holder: SocketAddr,
    /// Found within seconds of our start, before anybody relied on us.
    pub at_start: bool,
}

/// The address that others are told, and why that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// Address and port.
    pub address: SocketAddr,
    /// "first private address, of eth0", "given by --advertise", …
    pub why: String,
}

/// Why gossip could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken (also after ten seconds of trying) or may not be used.
    #[error("gossip cannot listen on {address} ({protocol}): {}", why(source))]
    Bind {
        /// Address.
        address: SocketAddr,
        /// "udp" or "tcp".
        protocol: &'static str,
        /// Cause.
        source: std::io::Error,
    },
    /// No address to advertise.
    #[error("{0}")]
    Advertise(String),
    /// Bad tags.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// What the system said, and what to do about it.
fn why(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "another program has it; stop that one, or choose another with --bind".to_owned()
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has that address; correct --bind".to_owned()
        }
        _ => format!("{error}; choose another with --bind"),
    }
}

/// What the task is asked to do.
#[derive(Debug)]
enum Command {
    Join {
        addresses: Vec<SocketAddr>,
        past: Past,
        reply: oneshot::Sender<join::Tried>,
    },
    Leave {
        reply: oneshot::Sender<()>,
    },
    SetTags {
        tags: Tags,
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    ForceLeave {
        name: String,
        prune: bool,
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    Stats {
        reply: oneshot::Sender<Stats>,
    },
    Ask(ask::Ask),
    Relay(relay::Order),
}

/// How a join went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Addresses that answered.
    pub reached: usize,
    /// Text and cause of each that did not.
    pub failures: Vec<(String, String)>,
}

/// Everyone else's side; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    members: watch::Receiver<Arc<Members>>,
    events: broadcast::WeakSender<Arc<Event>>,
    coalesced: coalesced::Door,
    keyring: watch::Receiver<Option<Keyring>>,
    clocks: watch::Receiver<Clocks>,
    name: watch::Receiver<Arc<str>>,
    taken: watch::Receiver<Option<NameTaken>>,
    acks: Acks,
    advertised: Advertised,
}

impl Handle {
    /// Our name, as it is now.
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.name.borrow())
    }

    /// Our name, followed.
    pub fn names(&self) -> watch::Receiver<Arc<str>> {
        self.name.clone()
    }

    /// Returns once our name was found to be another living node's, twice; never if it is not.
    pub async fn name_taken(&self) -> NameTaken {
        let mut taken = self.taken.clone();
        if let Ok(found) = taken.wait_for(Option::is_some).await
            && let Some(found) = found.clone()
        {
            return found;
        }
        std::future::pending().await
    }

    /// Our address.
    pub fn advertised(&self) -> &Advertised {
        &self.advertised
    }

    /// The level-triggered member list. The sender is gone once gossip has ended.
    pub fn members(&self) -> watch::Receiver<Arc<Members>> {
        self.members.clone()
    }

    /// The keys as they are now, and each time the cluster changes them; `None`: gossip is in clear, for good.
    pub fn keyring(&self) -> watch::Receiver<Option<Keyring>> {
        self.keyring.clone()
    }

    /// The last time that each clock heard of, followed.
    pub fn clocks(&self) -> watch::Receiver<Clocks> {
        self.clocks.clone()
    }

    /// Who answered our pings, from now on.
    pub fn acks(&self) -> Acks {
        self.acks.wanted()
    }

    /// Events from now on; a slow reader is told how many it missed. Closed once gossip has ended.
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        match self.events.upgrade() {
            Some(sender) => sender.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    /// Events from now on as `serf agent` tells them to scripts and streams: what became of members is collected for
    /// a second of quiet, at most three; so are user events that may be coalesced; all else comes at once. A slow reader is told how many
    /// it missed. Closed once gossip has ended.
    pub fn coalesced(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.coalesced.listen()
    }

    /// One try to join through `addresses` (IP, host or name, with or without port). User events that happened before
    /// are not for us.
    pub async fn join(&self, addresses: Vec<String>) -> Joined {
        self.join_with(addresses, Past::Skip).await
    }

    /// The same, with a word about those events.
    pub async fn join_with(&self, addresses: Vec<String>, past: Past) -> Joined {
        join::once(&self.commands, &addresses, past).await
    }

    /// Graceful leave; returns when done, and the driver has then ended.
    pub async fn leave(&self) {
        // Gone already, or gone with its farewell said: the same to the caller.
        let _ = self.ask(|reply| Command::Leave { reply }).await;
    }

    /// Announces new tags.
    ///
    /// # Errors
    /// [`Refused::TagsTooLong`]; [`Refused::Leaving`] also once gossip has ended.
    pub async fn set_tags(&self, tags: Tags) -> Result<(), Refused> {
        self.ask(|reply| Command::SetTags { tags, reply })
            .await
            .unwrap_or(Err(Refused::Leaving))
    }

    /// Turns a failed member into a left one everywhere.
    ///
    /// # Errors
    /// [`Refused::UnknownMember`]; [`Refused::Leaving`] also once gossip has ended.
    pub async fn force_leave(&self, name: &str, prune: bool) -> Result<(), Refused> {
        let name = name.to_owned();
        self.ask(|reply| Command::ForceLeave { name, prune, reply })
            .await
            .unwrap_or(Err(Refused::Leaving))
    }

    /// Counters; all zero once the driver has ended.
    pub async fn stats(&self) -> Stats {
        self.ask(|reply| Command::Stats { reply })
            .await
            .unwrap_or_default()
    }

    /// `None` once the task has ended.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// Binds the sockets and spawns the task on the current runtime. Keeps joining `settings.join` and `settings.peers`
/// with back-off for as long as no other member is there.
///
/// # Errors
/// [`StartError`].
pub async fn start(settings: Settings) -> Result<Handle, StartError> {
    start_at(settings, None).await
}

/// The same in a `seat` that another process makes free: nothing is bound, and nothing is sent before its turn comes.
///
/// # Errors
/// [`StartError`].
pub async fn start_at(settings: Settings, seat: Option<Seat>) -> Result<Handle, StartError> {
    let timing = Timing::of(settings.profile);
    start_timed(settings, timing, seat).await
}

/// Sockets: those of the `seat`, which are not to be used before its turn, or new ones.
async fn sit_down(
    address: SocketAddr,
    seat: Option<Seat>,
) -> Result<
    (
        Option<oneshot::Receiver<Heritage>>,
        tokio::net::TcpListener,
        udp::Udp,
    ),
    StartError,
> {
    let (turn, (listener, udp)) = match seat {
        Some(seat) => (Some(seat.turn), seat.sockets.open(address)?),
        None => (None, bind(address).await?),
    };
    Ok((turn, listener, udp))
}

/// Has a new member go on where a `former` life of it ended. `replay`: it wants the past in any case.
fn go_on(node: &mut Node, former: Option<Clocks>, replay: bool, knows_peers: bool) {
    // Whoever left for good, and has nobody to come back to, has missed nothing. A stock agent that left and came again
    // writes no event's time until it hears one: from its file it would itself hear those of its former life again.
    let knows_events = former.is_some_and(|clocks| clocks.event > 0);
    if let Some(clocks) = former {
        node.resume(clocks);
    }
    if replay || (knows_events && knows_peers) {
        node.want_past();
    }
}

/// The same with other times than those of the profile.
async fn start_timed(
    settings: Settings,
    timing: Timing,
    seat: Option<Seat>,
) -> Result<Handle, StartError> {
    let (turn, listener, udp) = sit_down(settings.bind, seat).await?;
    // The port is known only now when the system chose it.
    let bound = SocketAddr::new(settings.bind.ip(), udp.port());
    let interfaces = advertise::interfaces();
    let iface = settings.iface.as_deref();
    let advertised = advertise::choose(bound, settings.advertise, iface, &interfaces)
        .map_err(StartError::Advertise)?;
    let own = [advertised.address, bound];
    let segment = advertise::segment(own.map(|address| address.ip()), iface, &interfaces);
    let asks = settings.join.is_empty() && settings.peers.is_empty();
    let public = settings.insecure || settings.keyring.is_some();

    let fingerprint = settings
        .keyring
        .as_ref()
        .map(|keys| keys.primary().fingerprint());
    let mismatches = mismatches::Mismatches::new(fingerprint);
    let config = Config {
        name: settings.node.clone(),
        advertise: advertised.address,
        tags: settings.tags,
        timing,
        compress: true,
        keyring: settings.keyring,
        claim: true,
    };
    let (identity, name, taken) = identity::Identity::new(&config, settings.when_taken);
    let (keys, keyring) = watch::channel(config.keyring.clone());
    let mut node = Node::new(config, clock::now(), clock::random())?;
    go_on(
        &mut node,
        settings.former,
        settings.replay,
        !settings.peers.is_empty(),
    );
    let (ticks, clocks) = watch::channel(node.clocks());

    let (commands, asked) = mpsc::channel(COMMANDS_MAX);
    let acks = Acks::default();
    let coalesced = coalesced::Door::default();
    let (owner, members, events) = owner::Owner::new(
        node,
        identity,
        (udp, listener),
        asked,
        owner::Outlets {
            acks: acks.clone(),
            coalesced: coalesced.clone(),
            keyring: keys,
            clocks: ticks,
        },
        mismatches,
    );
    let keeper = join::keep(
        commands.downgrade(),
        members.clone(),
        join::Keeper {
            addresses: settings.join,
            peers: settings.peers,
            name: name.clone(),
            own,
            random: clock::random(),
        },
    );
    let discovery = settings.discover.map(|discovered| {
        let discovery = mdns::Discovery {
            name: discovered,
            node: name.clone(),
            address: advertised.address,
            own,
            asks,
            public,
            segment,
            random: clock::random(),
        };
        mdns::run(discovery, commands.downgrade(), members.clone())
    });
    let begin = |owner: owner::Owner| {
        task::spawn(owner.run());
        task::spawn(keeper);
        if let Some(discovery) = discovery {
            task::spawn(discovery);
        }
    };
    match turn {
        None => begin(owner),
        Some(turn) => owner.begin_in_turn(turn, begin),
    }
    Ok(Handle {
        commands,
        members,
        events,
        coalesced,
        keyring,
        clocks,
        name,
        taken,
        acks,
        advertised,
    })
}

/// Both sockets on one port.
///
/// A port in use is tried again for a while: at a restart the old process may not be quite gone.
async fn bind(address: SocketAddr) -> Result<(tokio::net::TcpListener, udp::Udp), StartError> {
    let deadline = clock::now() + BUSY_MAX;
    let mut told = false;
    loop {
        let error = match bind_once(address) {
            Ok(sockets) => return Ok(sockets),
            Err(error) => error,
        };
        let StartError::Bind { source, .. } = &error else {
            return Err(error);
        };
        if source.kind() != std::io::ErrorKind::AddrInUse || clock::now() >= deadline {
            return Err(error);
        }
        if !told {
            warn!(%address, "the gossip port is in use; trying for {} s", BUSY_MAX.as_secs());
            told = true;
        }
        tokio::time::sleep(BUSY_PAUSE).await;
    }
}

fn bind_once(address: SocketAddr) -> Result<(tokio::net::TcpListener, udp::Udp), StartError> {
    let failed = |protocol| {
        move |source| StartError::Bind {
            address,
            protocol,
            source,
        }
    };
    let listener = tcp::listen(address).map_err(failed("tcp"))?;
    let port = listener.local_addr().map_err(failed("tcp"))?.port();
    let udp = udp::Udp::bind(SocketAddr::new(address.ip(), port)).map_err(failed("udp"))?;
    Ok((listener, udp))
}

/// How long a port in use is tried.
const BUSY_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// Between two tries.
const BUSY_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

/// Commands waiting; more wait at the caller.
const COMMANDS_MAX: usize = 64;

#[cfg(test)]
mod tests;
