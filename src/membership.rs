//! What both programs do with their membership: start, tell, leave, and listen to signals.
//!
//! ```text
//! settings ─▶ driver::start ─▶ Handle ─▶ events ─▶ one line each
//! State ──peers──▶ │               ├───▶ members ─▶ State, and Serf's snapshot (journal)
//!        keyring ──┘               ├───▶ keyring ─▶ State, or the file of -keyring-file
//!        rpc ─▶ commands ──────────┤
//!                                  └───▶ notices ─▶ event handlers, whose output answers queries
//! SIGTERM, SIGINT ─▶ leave: intent, farewell, a second more, sockets closed
//! ```

pub mod commands;
mod handlers;
pub mod journal;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{self, SignalKind};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tracing::{info, warn};

pub use self::handlers::{Attendance, attend, last_scripts, who};
use crate::announce::Tags;
use crate::clock;
use crate::gossip::core::io::Event;
use crate::gossip::core::keyring::Keyring;
use crate::gossip::core::member::{Member, Members};
use crate::gossip::driver::{self, Handle, NameTaken, Seat, Settings, StartError};
use crate::state::{self, State};

/// Binds, starts the member, tells of everyone who comes and goes, and has `state` remember who is alive. Keys that the
/// cluster changes are written to `ring`, where there is one, as Serf does; else `state` keeps them.
///
/// # Errors
/// [`StartError`].
pub async fn start(
    mut settings: Settings,
    state: Option<Arc<State>>,
    ring: Option<PathBuf>,
) -> Result<Handle, StartError> {
    let Some(ring) = ring else {
        return start_at(settings, state, None).await;
    };
    recall_peers(&mut settings, state.as_deref());
    let keeper = Keeper {
        state: state.clone(),
        ring: Some(ring),
    };
    keeper.settle(&mut settings.keyring).await;
    begin(settings, state, None, keeper).await
}

/// The same in the `seat` of another process, whose peers and keys `settings` hold.
///
/// # Errors
/// [`StartError`].
pub async fn start_at(
    mut settings: Settings,
    state: Option<Arc<State>>,
    seat: Option<Seat>,
) -> Result<Handle, StartError> {
    if let (Some(state), None) = (&state, &seat) {
        recall_peers(&mut settings, Some(state));
        settings.keyring = newest_keys(settings.keyring, state);
    }
    let keeper = Keeper {
        state: state.clone(),
        ring: None,
    };
    begin(settings, state, seat, keeper).await
}

/// A snapshot knows better: after a leave it says nobody.
fn recall_peers(settings: &mut Settings, state: Option<&State>) {
    if let (Some(state), None) = (state, &settings.former) {
        settings.peers = state.peers().to_vec();
    }
}

async fn begin(
    settings: Settings,
    state: Option<Arc<State>>,
    seat: Option<Seat>,
    keeper: Keeper,
) -> Result<Handle, StartError> {
    let encrypted = settings.keyring.is_some();
    let handle = driver::start_at(settings, seat).await?;
    if encrypted && (state.is_some() || keeper.ring.is_some()) {
        tokio::spawn(remember_keys(handle.keyring(), keeper));
    }
    if let Some(state) = state {
        tokio::spawn(remember(handle.members(), handle.names(), state));
    }
    // Only a listener goes along: a task that held the handle would keep gossip alive by itself.
    tokio::spawn(tell(handle.events(), handle.names()));
    Ok(handle)
}

/// Our own tags as they are now; `None` once gossip has ended.
pub async fn own_tags(handle: &Handle) -> Option<Tags> {
    // What was set a moment ago is in the list by the time that another question is answered.
    handle.stats().await;
    let members = Arc::clone(&handle.members().borrow());
    let own = members.by_name.get(&handle.name());
    own.map(|own| own.tags.decode())
}

/// Graceful leave, bounded: a cluster that does not listen must not keep a program from stopping.
pub async fn leave(handle: &Handle) {
    if tokio::time::timeout(LEAVE_MAX, handle.leave())
        .await
        .is_err()
    {
        warn!("the cluster did not take our leave within {LEAVE_MAX:?}; it will notice by itself");
    }
}

/// True where a restart with the same configuration would fail again.
pub fn is_configuration(error: &StartError) -> bool {
    match error {
        StartError::Bind { source, .. } => source.kind() != std::io::ErrorKind::AddrInUse,
        StartError::Advertise(_) | StartError::Refused(_) => true,
    }
}

/// Takes the node's state directory, unless nothing is to be kept.
///
/// # Errors
/// [`state::Busy`].
pub async fn state(
    directory: Option<&Path>,
    node: &str,
) -> Result<Option<Arc<State>>, state::Busy> {
    match directory {
        Some(directory) => State::open(directory, node, state::machine()).await,
        None => Ok(None),
    }
}

/// Until gossip ends. Our own leave changes nothing: whoever is alive then is alive when we come back.
async fn remember(
    mut members: watch::Receiver<Arc<Members>>,
    own: watch::Receiver<Arc<str>>,
    state: Arc<State>,
) {
    while members.changed().await.is_ok() {
        let now = Arc::clone(&members.borrow_and_update());
        state.save_peers(now, &own.borrow());
    }
}

/// Until gossip ends. What the cluster never changed is in the key file, and nowhere else.
async fn remember_keys(mut keyring: watch::Receiver<Option<Keyring>>, keeper: Keeper) {
    while keyring.changed().await.is_ok() {
        let now = keyring.borrow_and_update().clone();
        if let Some(now) = now {
            info!(key = %now.primary().fingerprint(), keys = now.keys().len(), "the keyring was changed");
            keeper.keep(now).await;
        }
    }
}

/// Where changed keys go: into Serf's file where there is one, else into the state, which also helps out where that file
/// can't be written. So whatever the state has is newer than the file.
struct Keeper {
    state: Option<Arc<State>>,
    ring: Option<PathBuf>,
}

impl Keeper {
    async fn keep(&self, keys: Keyring) {
        if let Some(ring) = &self.ring {
            match write_ring(ring, &keys).await {
                Ok(()) => {
                    if let Some(state) = &self.state {
                        state.forget_keyring().await;
                    }
                    return;
                }
                Err(error) => warn!(
                    "{}: {error}; a stock agent would start with the old keys",
                    ring.display()
                ),
            }
        }
        if let Some(state) = &self.state {
            state.save_keyring(keys);
        }
    }

    /// The keys to start with; what the state has is moved into the file.
    async fn settle(&self, keys: &mut Option<Keyring>) {
        let Some(state) = &self.state else {
            return;
        };
        if state.keyring().is_some() {
            *keys = newest_keys(keys.take(), state);
            if let Some(newest) = keys.clone() {
                self.keep(newest).await;
            }
        }
    }
}

/// A disk that hangs must not hold up gossip.
async fn write_ring(path: &Path, keys: &Keyring) -> std::io::Result<()> {
    let (path, keys) = (path.to_owned(), keys.clone());
    let written = tokio::task::spawn_blocking(move || state::keyring_file::write(&path, &keys));
    written.await.unwrap_or_else(|error| Err(error.into()))
}

/// The keys to start with: those that the cluster changed to while we ran last win over those `given`.
fn newest_keys(given: Option<Keyring>, state: &State) -> Option<Keyring> {
    let Some(saved) = state.keyring() else {
        return given;
    };
    if given.as_ref() != Some(&saved) {
        let file = state.keyring_file();
        let given = given.map_or_else(
            || "none was".to_owned(),
            |keys| format!("{} was", keys.primary().fingerprint()),
        );
        warn!(
            "{}: the cluster changed its keys, so {} is used where {given} given; delete the file to go back",
            file.display(),
            saved.primary().fingerprint()
        );
    }
    Some(saved)
}

/// That `name` is another's, and what to do about it.
pub fn taken(name: &str, holder: SocketAddr) -> String {
    format!(
        "the name {name:?} is in use by a living node at {holder}; choose another with --node, or stop that one"
    )
}

/// Returns if our name is found to be another living node's just after the start. Later a program lives with it:
/// gossip gives it another name, and is no reason to end.
pub async fn taken_at_start(handle: Handle) -> NameTaken {
    let taken = handle.name_taken().await;
    if taken.at_start {
        return taken;
    }
    std::future::pending().await
}

/// One line for each change, until gossip ends.
async fn tell(mut events: broadcast::Receiver<Arc<Event>>, own: watch::Receiver<Arc<str>>) {
    loop {
        match events.recv().await {
            Ok(event) => line(&event, &own.borrow()),
            // Only lines are lost: whoever acts on members watches the list itself.
            Err(RecvError::Lagged(missed)) => {
                warn!(missed, "more members changed than could be told")
            }
            Err(RecvError::Closed) => return,
        }
    }
}

fn line(event: &Event, own: &str) {
    match event {
        // Of ourselves the program says enough.
        Event::Joined(member) | Event::Left(member) if member.name == *own => {}
        Event::Joined(member) => {
            info!(address = %member.address, tags = %tags(member), "{} joined the cluster", member.name)
        }
        Event::Updated(member) => {
            info!(address = %member.address, tags = %tags(member), "{} changed its tags", member.name)
        }
        Event::Left(member) => info!(address = %member.address, "{} left the cluster", member.name),
        Event::Failed(member) => {
            warn!(address = %member.address, "{} stopped answering gossip", member.name)
        }
        Event::Reaped(member) => info!(address = %member.address, "{} forgotten", member.name),
        Event::Conflict {
            name,
            known,
            claimed,
        } => {
            warn!(%known, %claimed, "the name {name} is claimed at a second address while the first one answers; give each node its own --node");
        }
        // Whoever ends because of it says so in its last line, and whoever takes another name when it does.
        Event::NameTaken { .. } => {}
        Event::Repaired { name, from, to } => {
            info!(%from, %to, "the name {name} has moved: nobody answers at its old address")
        }
        Event::User { .. }
        | Event::Query { .. }
        | Event::JoinFinished { .. }
        | Event::LeaveFinished => {}
    }
}

fn tags(member: &Member) -> String {
    member
        .tags
        .decode()
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}

/// What an operator or supervisor asks of a running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// SIGUSR1: log files were renamed.
    Reopen,
}

/// The signals of a running program.
#[derive(Debug)]
pub struct Signals {
    term: unix::Signal,
    int: unix::Signal,
    hup: unix::Signal,
    usr1: unix::Signal,
    interrupted: bool,
}

impl Signals {
    /// From now on these signals no longer end the process.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: unix::signal(SignalKind::terminate())?,
            int: unix::signal(SignalKind::interrupt())?,
            hup: unix::signal(SignalKind::hangup())?,
            usr1: unix::signal(SignalKind::user_defined1())?,
            interrupted: false,
        })
    }

    /// Returns when asked to stop once more, by somebody who does not want to wait.
    ///
    /// Call it once the first one came. What follows within a second is the same wish told twice, as
    /// supervisors and terminals do.
    pub async fn stop_again(&mut self) {
        let first = clock::now();
        while self.next().await != Signal::Stop || first.elapsed() < SAME_WISH {}
    }

    /// SIGINT was heard. By it a stock agent leaves, and by SIGTERM it does not; so it is with the snapshot.
    pub fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Returns when asked to stop; a wish to reload is not kept.
    pub async fn stop(&mut self) {
        while self.next().await != Signal::Stop {}
    }

    /// The next one.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.term.recv() => Signal::Stop,
            _ = self.int.recv() => {
                self.interrupted = true;
                Signal::Stop
            }
            _ = self.hup.recv() => Signal::Reload,
            _ = self.usr1.recv() => Signal::Reopen,
        }
    }
}

/// Two signals within this are one wish.
const SAME_WISH: Duration = Duration::from_secs(1);

/// Two broadcasts and the second after them take about two seconds in a healthy cluster.
const LEAVE_MAX: Duration = Duration::from_secs(5);
