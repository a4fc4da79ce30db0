//! Flags over environment over file over defaults, assembled into the settings of the modules that obey them.
//!
//! ```text
//! argv ──flags──┐
//! LB_* ─────────┼─▶ sources ──▶ common ─┬─▶ front ──▶ Front
//! file ─document┘   (merge)             └─▶ agent ──▶ Agent
//!                     └─▶ error: every one of a run, with flag, variable or file:line:column
//! ```
//!
//! No setting is obeyed here. A reload reads the same flags and the same file again, and is
//! refused as a whole where something changed that needs a restart.

mod access;
mod address;
mod agent;
mod common;
mod companion;
mod defaults;
mod document;
mod error;
pub mod flags;
mod front;
mod handlers;
mod keys;
mod listener;
mod parse;
mod past;
mod relays;
mod rpc;
pub mod serf;
mod services;
mod sources;
#[cfg(test)]
mod tests;
mod tls;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::address::is_public;
pub use self::companion::{Companion, ServiceCheck};
pub use self::defaults::{ADMIN, RPC};
use self::document::{Document, Table};
use self::error::Faults;
pub use self::error::{At, Error, Errors};
use self::front::Purpose;
pub use self::sources::Surroundings;
use crate::announce::Service;
use crate::network::Network;
use crate::rpc::Secret;
use crate::tls::client as tls_client;
use crate::{admin, gossip, health, log, pool, proxy, state};

/// What a run was started with: enough to read its settings again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given<F> {
    /// As parsed from argv.
    pub flags: F,
    /// Environment and hostname at the start.
    pub around: Surroundings,
    /// What followed the verb `agent`: flags and files of `serf agent`, of which `flags` came.
    pub serf: Option<serf::Arguments>,
}

/// One `[cluster.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// The pool.
    pub pool: pool::registry::Settings,
    /// Its checks' timing.
    pub check: health::Settings,
    /// How TLS is spoken to its backends, where it is.
    pub tls: Arc<tls_client::Client>,
    /// `backend_networks`; empty: the networks of the gossip interface.
    pub backend_networks: Vec<Network>,
}

/// Everything that `lb` obeys.
#[derive(Clone, Debug, PartialEq)]
pub struct Front {
    /// Membership.
    pub gossip: gossip::driver::Settings,
    /// Discovery name (`--discover`, else the first cluster); `None`: off.
    pub discover: Option<String>,
    /// It was chosen, rather than taken from the first cluster.
    pub discover_given: bool,
    /// Gossip in clear may use public addresses.
    pub insecure_gossip: bool,
    /// Scripts to run on events.
    pub handlers: crate::handlers::Settings,
    /// Serf's RPC.
    pub rpc: crate::rpc::Settings,
    /// In order; the first takes all requests.
    pub clusters: Vec<Cluster>,
    /// Data path.
    pub proxy: proxy::Settings,
    /// Admin.
    pub admin: admin::Settings,
    /// Where state is kept; `None`: nowhere.
    pub state: Option<PathBuf>,
    /// Serf's snapshot, beside the state; `None`: none.
    pub snapshot: Option<state::snapshot::Settings>,
    /// Keeps the tags that the RPC changes.
    pub tags_file: Option<PathBuf>,
    /// Logging.
    pub log: log::Level,
    /// One line for each request; `None`: off.
    pub access_log: Option<proxy::access::Settings>,
    /// The file it was read from.
    pub file: Option<PathBuf>,
    /// Accepted but without effect yet, one sentence each.
    pub warnings: Vec<String>,
    /// What it was read from, for [`reload`].
    pub given: Given<flags::Front>,
}

/// Everything that `lb-agent` obeys.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// Membership; its tags already hold the services.
    pub gossip: gossip::driver::Settings,
    /// Discovery name (`--discover`, else the role); `None`: off.
    pub discover: Option<String>,
    /// It was chosen, rather than taken from the role.
    pub discover_given: bool,
    /// Gossip in clear may use public addresses.
    pub insecure_gossip: bool,
    /// Scripts to run on events.
    pub handlers: crate::handlers::Settings,
    /// Serf's RPC.
    pub rpc: crate::rpc::Settings,
    /// What is announced.
    pub services: Vec<Service>,
    /// What it does for the service beside it.
    pub companion: Companion,
    /// Admin, off by default.
    pub admin: admin::Settings,
    /// Where state is kept; `None`: nowhere.
    pub state: Option<PathBuf>,
    /// Serf's snapshot, beside the state; `None`: none.
    pub snapshot: Option<state::snapshot::Settings>,
    /// Keeps the tags that the RPC changes.
    pub tags_file: Option<PathBuf>,
    /// Serf's file of keys, which keeps what the cluster changes; `None`: the state does.
    pub keyring_file: Option<PathBuf>,
    /// Logging.
    pub log: log::Level,
    /// The file it was read from.
    pub file: Option<PathBuf>,
    /// Accepted but without effect yet, one sentence each.
    pub warnings: Vec<String>,
    /// What it was read from.
    pub given: Given<flags::Agent>,
}

/// The secret of RPC clients, from its file.
///
/// # Errors
/// Why it can't be used.
pub fn rpc_secret(path: &str) -> Result<Secret, String> {
    rpc::of_file(path).map(|(secret, _)| secret)
}

/// Gossip in clear stays off public addresses, also those that were chosen by `--iface`.
///
/// # Errors
/// What is wrong and what to do, when `advertised` is public, there is no key, and `insecure` was not said.
pub fn in_clear_only_in_private(
    advertised: SocketAddr,
    gossip: &gossip::driver::Settings,
    insecure: bool,
) -> Result<(), String> {
    if gossip.keyring.is_some() || insecure || !is_public(advertised.ip()) {
        return Ok(());
    }
    Err(format!(
        "{advertised} is a public address, and gossip in clear lets anyone who reaches it name backends; \
         give --encrypt-key-file, advertise a private address, or say --insecure-gossip"
    ))
}

/// The settings of `lb`.
///
/// # Errors
/// Everything that is wrong, or the one thing that keeps the file from being read at all.
pub fn front(flags: &flags::Front, around: &Surroundings) -> Result<Front, Errors> {
    let file = file_of(&flags.common, around);
    let front = load(file.as_deref(), |root, faults| {
        front::read(flags, around, Purpose::Run, root, faults)
    })?;
    Ok(Front { file, ..front })
}

/// The settings of `lb-agent`.
///
/// # Errors
/// As [`front`].
pub fn agent(flags: &flags::Agent, around: &Surroundings) -> Result<Agent, Errors> {
    let file = file_of(&flags.common, around);
    let agent = load(file.as_deref(), |root, faults| {
        agent::read(flags, around, root, faults)
    })?;
    Ok(Agent { file, ..agent })
}

/// Judges a file of `lb` alone, without flags and environment; it need not name a pool.
///
/// # Errors
/// As [`front`].
pub fn check_front(file: &Path) -> Result<Front, Errors> {
    let (flags, around) = (flags::Front::default(), Surroundings::default());
    load(Some(file), |root, faults| {
        front::read(&flags, &around, Purpose::Check, root, faults)
    })
}

/// Judges a file of `lb-agent` alone.
///
/// # Errors
/// As [`front`].
pub fn check_agent(file: &Path) -> Result<Agent, Errors> {
    let (flags, around) = (flags::Agent::default(), Surroundings::default());
    load(Some(file), |root, faults| {
        agent::read(&flags, &around, root, faults)
    })
}

/// Reads the same file with the same flags again.
///
/// # Errors
/// Everything that is wrong, or [`Error::NeedsRestart`]; `previous` then stays in force as a whole.
pub fn reload(previous: &Front) -> Result<Front, Errors> {
    let mut next = front(&previous.given.flags, &previous.given.around)?;
    if !previous.discover_given && !next.discover_given {
        // Pools may change places; the name we were found by stays until a restart.
        next.discover.clone_from(&previous.discover);
    }
    let changed = restart_only_changes(previous, &next);
    if changed.is_empty() {
        Ok(next)
    } else {
        Err(Error::NeedsRestart(changed).into())
    }
}

/// As [`reload`], for `lb-agent`: what it announces, how it knows, and its handlers may change.
///
/// # Errors
/// As [`reload`].
pub fn reload_agent(previous: &Agent) -> Result<Agent, Errors> {
    let mut next = match &previous.given.serf {
        Some(arguments) => {
            let (flags, around) = serf::again(arguments, &previous.given.around)?;
            let mut next = agent(&flags, &around)?;
            next.given = previous.given.clone();
            next
        }
        None => agent(&previous.given.flags, &previous.given.around)?,
    };
    if !previous.discover_given && !next.discover_given {
        // The role may change; the name we were found by stays until a restart.
        next.discover.clone_from(&previous.discover);
    }
    if next.keyring_file.is_some() && next.keyring_file == previous.keyring_file {
        // We write it ourselves; its keys are the cluster's business.
        next.gossip.keyring.clone_from(&previous.gossip.keyring);
    }
    let (old, new) = (&previous.companion, &next.companion);
    let mut changed = restart_only_of_gossip(
        (&previous.gossip, previous.insecure_gossip),
        (&next.gossip, next.insecure_gossip),
    );
    let differ = [
        (
            "gossip.discover",
            previous.discover != next.discover && (previous.discover_given || next.discover_given),
        ),
        // The service has its socket's name in its environment.
        (
            "agent.check",
            old.check != new.check && (reports(old) || reports(new)),
        ),
        ("agent.check_socket", old.check_socket != new.check_socket),
        ("agent.hosts_file", old.hosts_file != new.hosts_file),
        ("gossip.rpc_addr", previous.rpc.listen != next.rpc.listen),
        (
            "gossip.rpc_auth_key_file",
            previous.rpc.auth != next.rpc.auth,
        ),
        ("admin.listen", previous.admin.listen != next.admin.listen),
        ("state.dir", previous.state != next.state),
        ("gossip.snapshot", previous.snapshot != next.snapshot),
        ("gossip.tags_file", previous.tags_file != next.tags_file),
        ("log.level", previous.log != next.log),
    ];
    changed.extend(
        differ
            .into_iter()
            .filter_map(|(key, differs)| differs.then_some(key)),
    );
    if changed.is_empty() {
        Ok(next)
    } else {
        Err(Error::NeedsRestart(changed).into())
    }
}

fn reports(companion: &Companion) -> bool {
    matches!(companion.check, Some(health::own::OwnCheck::Ttl(_)))
}

/// Settings of membership that differ and can't change in either running program; beside each, whether gossip in clear
/// may use public addresses. Tags are not among them.
fn restart_only_of_gossip(
    (a, old_insecure): (&gossip::driver::Settings, bool),
    (b, new_insecure): (&gossip::driver::Settings, bool),
) -> Vec<&'static str> {
    let differ = [
        ("gossip.bind", a.bind != b.bind),
        ("gossip.advertise", a.advertise != b.advertise),
        ("gossip.iface", a.iface != b.iface),
        ("gossip.node", a.node != b.node),
        ("gossip.join", a.join != b.join),
        ("gossip.profile", a.profile != b.profile),
        ("gossip.encrypt_key_file", a.keyring != b.keyring),
        ("gossip.insecure_gossip", old_insecure != new_insecure),
        ("gossip.replay", a.replay != b.replay),
    ];
    let differ = differ.into_iter();
    differ
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
}

/// Settings that differ and can't change in a running front: all but pools, checks, backends and the log level.
pub fn restart_only_changes(old: &Front, new: &Front) -> Vec<&'static str> {
    let mut changed = restart_only_of_gossip(
        (&old.gossip, old.insecure_gossip),
        (&new.gossip, new.insecure_gossip),
    );
    let differ = [
        (
            "gossip.discover",
            old.discover != new.discover && (old.discover_given || new.discover_given),
        ),
        // What the verb tags wrote into a file is announced already.
        (
            "gossip.tags",
            old.gossip.tags != new.gossip.tags && new.tags_file.is_none(),
        ),
        ("gossip.snapshot", old.snapshot != new.snapshot),
        ("gossip.tags_file", old.tags_file != new.tags_file),
        ("gossip.rpc_addr", old.rpc.listen != new.rpc.listen),
        ("gossip.rpc_auth_key_file", old.rpc.auth != new.rpc.auth),
        ("admin.listen", old.admin.listen != new.admin.listen),
        (
            "admin.ready_requires_backend",
            old.admin.ready_requires_backend != new.admin.ready_requires_backend,
        ),
        ("state.dir", old.state != new.state),
        ("log.access", old.access_log != new.access_log),
        ("listener", old.proxy.listeners != new.proxy.listeners),
        ("limits.workers", old.proxy.workers != new.proxy.workers),
        ("timeouts", old.proxy.timeouts != new.proxy.timeouts),
        ("limits", old.proxy.limits != new.proxy.limits),
    ];
    changed.extend(
        differ
            .into_iter()
            .filter_map(|(key, differs)| differs.then_some(key)),
    );
    changed
}

fn file_of(flags: &flags::Common, around: &Surroundings) -> Option<PathBuf> {
    let variable = || around.variables.get(&flags::variable("config"));
    flags.config.clone().or_else(|| {
        variable()
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    })
}

/// Runs `read` on the file's root table, or on an absent one, until all is known.
fn load<T>(file: Option<&Path>, read: impl Fn(Table<'_>, &Faults) -> T) -> Result<T, Errors> {
    let Some(path) = file else {
        let faults = Faults::default();
        let outcome = read(Table::absent(&faults), &faults);
        return faults.or(outcome);
    };
    let text = fs::read_to_string(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let document = Document::parse(&path.display().to_string(), &text)?;
    let (outcome, faults) = document.read(read);
    faults.or(outcome)
}
