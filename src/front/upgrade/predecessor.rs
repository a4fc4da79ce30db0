//! The new process: takes what it is given, and says when it is ready to go on.
//!
//! ```text
//! stdin is a channel? ─▶ Inheritance ─▶ the front starts with it ─▶ ready() ─▶ Turn ─▶ serving() ─▶ Done
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::channel::{self, Channel};
use super::door::Door;
use super::{Facts, Place, Unfit, VERSION, WORD_MAX, Word};
use crate::gossip::core::io::Heritage;
use crate::gossip::core::keyring::Keyring;
use crate::gossip::driver::{Seat, Settings, Sockets};
use crate::pool::spec::{Spec, Standing};
use crate::proxy::Handed;
use crate::state::State;
use crate::{config, state};

/// The process that still serves.
#[derive(Debug)]
pub(in crate::front) struct Predecessor {
    channel: Channel,
    facts: Facts,
    left: Left,
    /// Of our own gossip, which waits for it.
    turn: Option<oneshot::Sender<Heritage>>,
}

/// What it leaves us, until it is taken.
#[derive(Debug, Default)]
struct Left {
    proxy: Vec<Handed>,
    admin: Option<OwnedFd>,
    rpc: Option<OwnedFd>,
    door: Option<OwnedFd>,
    gossip_tcp: Option<OwnedFd>,
    gossip_udp: Option<OwnedFd>,
    lock: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

/// The process that started us to take its place; `None`: nobody did.
pub(in crate::front) async fn find() -> Result<Option<Predecessor>, Unfit> {
    let stdin = io::stdin();
    if !channel::is_one(stdin.as_fd()) {
        return Ok(None);
    }
    let end = stdin.as_fd().try_clone_to_owned().map_err(Unfit::Lost)?;
    // Whatever is at fd 0 is given to nobody, but it would keep the channel open.
    if let Ok(null) = File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
    }
    let channel = Channel::new(end).map_err(Unfit::Lost)?;
    match timeout(WORD_MAX, take(channel)).await {
        Ok(taken) => taken.map(Some),
        Err(_) => Err(Unfit::Unknown("it says nothing".to_owned())),
    }
}

async fn take(channel: Channel) -> Result<Predecessor, Unfit> {
    let mut left = Left::default();
    let mut facts = None;
    loop {
        let (word, descriptors) = channel.hear().await.map_err(Unfit::Lost)?;
        let places = match word {
            Word::Take { places } => places,
            Word::Prepare { version: VERSION } => break,
            word => return Err(Unfit::Unknown(format!("{word:?}"))),
        };
        if places.len() != descriptors.len() {
            return Err(Unfit::Unknown(format!(
                "{} descriptors came for {} places",
                descriptors.len(),
                places.len()
            )));
        }
        for (place, descriptor) in places.into_iter().zip(descriptors) {
            let own = match place {
                Place::Proxy { name, named } => {
                    left.proxy.push(Handed {
                        name,
                        named,
                        socket: descriptor.into(),
                    });
                    continue;
                }
                Place::Admin => &mut left.admin,
                Place::Rpc => &mut left.rpc,
                Place::Door => &mut left.door,
                Place::GossipTcp => &mut left.gossip_tcp,
                Place::GossipUdp => &mut left.gossip_udp,
                Place::Lock => &mut left.lock,
                Place::Stderr => &mut left.stderr,
                Place::Facts => &mut facts,
            };
            *own = Some(descriptor);
        }
    }
    let facts = facts.ok_or_else(|| Unfit::Unknown("it told no facts".to_owned()))?;
    let facts: Facts = serde_json::from_reader(File::from(facts))
        .map_err(|error| Unfit::Unknown(error.to_string()))?;
    Ok(Predecessor {
        channel,
        facts,
        left,
        turn: None,
    })
}

impl Predecessor {
    /// The settings of the same member: those of `config`, with its name, tags and keys as they are now, and whom it
    /// knows.
    ///
    /// # Errors
    /// [`Unfit::Changed`].
    pub(in crate::front) fn shape(&self, config: &config::Front) -> Result<Settings, Unfit> {
        let facts = &self.facts;
        let mut gossip = config.gossip.clone();
        if !facts.member {
            return Ok(gossip);
        }
        let changed = |what, old: String, new: String| Err(Unfit::Changed { what, old, new });
        if facts.configured != gossip.node {
            return changed("gossip.node", facts.configured.clone(), gossip.node);
        }
        if facts.bind != Some(gossip.bind) {
            let old = facts.bind.map_or_else(String::new, |bind| bind.to_string());
            return changed("gossip.bind", old, gossip.bind.to_string());
        }
        // A directory of keys may hold some that were never configured; who speaks in clear has none at all.
        if let Some(text) = &facts.keyring {
            let keyring =
                Keyring::parse(text).map_err(|error| Unfit::Unknown(error.to_string()))?;
            gossip.keyring = Some(keyring);
        } else if gossip.keyring.is_some() {
            return changed("gossip", "in clear".to_owned(), "encrypted".to_owned());
        }
        gossip.node.clone_from(&facts.name);
        gossip.peers = facts.alive.iter().map(|(_, address)| *address).collect();
        for deleted in &facts.tags_deleted {
            gossip.tags.remove(deleted);
        }
        gossip.tags.extend(facts.tags_set.clone());
        Ok(gossip)
    }

    /// Where the same member's gossip takes place; `None`: it has none.
    pub(in crate::front) fn seat(&mut self) -> Option<Seat> {
        let tcp = self.left.gossip_tcp.take()?;
        let udp = self.left.gossip_udp.take()?;
        let (speak, turn) = oneshot::channel();
        self.turn = Some(speak);
        Some(Seat {
            sockets: Sockets { tcp, udp },
            turn,
        })
    }

    /// All sockets of listeners.
    pub(in crate::front) fn proxy(&mut self) -> Vec<Handed> {
        std::mem::take(&mut self.left.proxy)
    }

    /// The admin's socket, if it is still to be at `address`.
    pub(in crate::front) fn admin(&mut self, address: Option<SocketAddr>) -> Option<TcpListener> {
        let socket = self.left.admin.take()?;
        (address == self.facts.admin).then(|| socket.into())
    }

    /// The same of the RPC.
    pub(in crate::front) fn rpc(&mut self, address: Option<SocketAddr>) -> Option<TcpListener> {
        let socket = self.left.rpc.take()?;
        (address == self.facts.rpc).then(|| socket.into())
    }

    /// The state directory, if it is still the same one.
    pub(in crate::front) fn state(&mut self, config: &config::Front) -> Option<Arc<State>> {
        let (root, node) = (config.state.as_deref()?, &config.gossip.node);
        let lock = self.left.lock.take()?;
        State::inherit(root, node, state::machine(), lock.into())
    }

    /// Where `lb upgrade` comes in, in that directory.
    pub(in crate::front) fn door(&mut self, directory: &Path) -> Option<Door> {
        Door::take(self.left.door.take()?, directory).ok()
    }

    /// What it knows of backends. Unlike those of a file, who is alive there is alive: it was a moment ago.
    pub(in crate::front) fn backends(&self) -> Option<BTreeMap<String, Vec<Spec>>> {
        let mut pools = State::backends_of_text(&self.facts.backends)?;
        let alive: BTreeSet<&str> = self.facts.alive.iter().map(|(name, _)| &**name).collect();
        for spec in pools.values_mut().flatten() {
            if alive.contains(&*spec.id.node) {
                spec.standing = Standing::Alive;
            }
        }
        Some(pools)
    }

    /// Says that all that can fail has been done; returns when it has fallen silent, and our gossip has begun.
    pub(in crate::front) async fn ready(&mut self) -> Result<(), Unfit> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let word = Word::Ready { version };
        self.channel.say(&word).await.map_err(Unfit::Lost)?;
        match self.channel.hear().await.map_err(Unfit::Lost)? {
            (Word::Turn { heritage }, _) => {
                if let (Some(turn), Some(heritage)) = (self.turn.take(), heritage) {
                    let _ = turn.send(heritage.into());
                }
                Ok(())
            }
            (word, _) => Err(Unfit::Unknown(format!("{word:?}"))),
        }
    }

    /// Says that we serve; returns when we are the service, and the log goes where it always went.
    pub(in crate::front) async fn serving(self) {
        // It may end at any moment from its turn on, and a living one that wants us no more kills us: we serve, and that is
        // what counts.
        match self.channel.say(&Word::Serving).await {
            Ok(()) => {
                let last = timeout(WORD_MAX, self.channel.hear()).await;
                debug!(?last, "the predecessor's last word");
            }
            Err(error) => warn!("the predecessor is gone already: {error}"),
        }
        if let Some(stderr) = self.left.stderr {
            let _ = rustix::stdio::dup2_stderr(&stderr);
        }
    }

    /// Its process id and version.
    pub(in crate::front) fn who(&self) -> (u32, String) {
        (self.facts.pid, self.facts.version.clone())
    }
}
