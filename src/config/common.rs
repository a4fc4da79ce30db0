//! What both programs are told: membership, operators' addresses, logging.
//!
//! ```text
//! flags::Common, [gossip] [admin] [dns] [state] [log] ──▶ Shared
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;

use super::address;
use super::defaults;
use super::document::{Found, Place, Table};
use super::error::At;
use super::flags::Common;
use super::handlers;
use super::keys::{self, Keys};
use super::parse;
use super::past;
use super::rpc;
use super::sources::{Sources, Surroundings, Valued};
use crate::announce::{Tags, VOCABULARY};
use crate::gossip::core::timing::Profile;
use crate::state::snapshot;
use crate::{admin, gossip, log};

/// What was read; each program makes its own settings of it.
#[derive(Debug)]
pub(super) struct Shared {
    /// Without tags: what is announced beside `tags` is the program's business.
    pub(super) gossip: gossip::driver::Settings,
    /// `None`: not said; `Some(None)`: off.
    pub(super) discover: Option<Option<String>>,
    /// The user's tags with their places, one per name.
    pub(super) tags: Vec<(String, Valued<String>)>,
    pub(super) insecure_gossip: bool,
    pub(super) handlers: crate::handlers::Settings,
    pub(super) rpc: crate::rpc::Settings,
    pub(super) admin: admin::Settings,
    /// Where the gossip's address was written, and the admin's.
    pub(super) places: [Option<Place>; 2],
    pub(super) state: Option<PathBuf>,
    pub(super) snapshot: Option<snapshot::Settings>,
    pub(super) tags_file: Option<PathBuf>,
    pub(super) log: log::Level,
}

impl Shared {
    /// The user's tags, and the vocabulary's version.
    pub(super) fn extra_tags(&self) -> Tags {
        let version = ("v".to_owned(), VOCABULARY.to_owned());
        let given = self
            .tags
            .iter()
            .map(|(name, valued)| (name.clone(), valued.value.clone()));
        std::iter::once(version).chain(given).collect()
    }
}

/// Reads everything that both programs share; `front` decides about defaults. `log` is `[log]`, which may
/// have keys of one program only.
pub(super) fn read(
    sources: &Sources<'_>,
    flags: &Common,
    root: &mut Table<'_>,
    log: &mut Table<'_>,
    around: &Surroundings,
    front: bool,
) -> Shared {
    let mut shared = gossip(sources, flags, root.table("gossip"), around);
    (shared.admin, shared.places[1]) = admin(sources, flags, root.table("admin"), front);
    if let Some(level) = sources.scalar(
        "log-level",
        &flags.log_level,
        log.text("level"),
        parse::word,
    ) {
        shared.log = level.value;
    }
    unbuilt(sources, flags, root);
    shared.state = state(sources, flags, root.table("state"), around);
    shared
}

fn gossip(
    sources: &Sources<'_>,
    flags: &Common,
    mut table: Table<'_>,
    around: &Surroundings,
) -> Shared {
    let bind = sources.scalar("bind", &flags.bind, table.text("bind"), address::bind);
    let port = bind
        .as_ref()
        .map_or(defaults::BIND, |bind| bind.value)
        .port();
    let advertise = sources.scalar(
        "advertise",
        &flags.advertise,
        table.text("advertise"),
        |text| address::advertise(text, port),
    );
    let iface = sources.scalar("iface", &flags.iface, table.text("iface"), parse::text);
    let node = sources.scalar("node", &flags.node, table.text("node"), parse::node);
    let join = sources
        .list(
            "join",
            &flags.join,
            table.texts("join"),
            parse::split,
            address::join,
        )
        .unwrap_or_default();
    let discover = sources.scalar(
        "discover",
        &flags.discover,
        table.text("discover"),
        parse::discover,
    );
    let profile = sources.scalar(
        "profile",
        &flags.profile,
        table.text("profile"),
        parse::word,
    );
    let insecure = sources.scalar(
        "insecure-gossip",
        &flags.insecure_gossip,
        table.boolean("insecure_gossip"),
        parse::boolean,
    );
    let mut tags = tags(sources, flags, &mut table);
    let past = past::read(sources, flags, &mut table, &mut tags);
    let keys = keys::read(
        sources,
        &flags.encrypt_key_file,
        table.text("encrypt_key_file"),
    );
    let handlers = handlers::read(sources, flags, &mut table, !matches!(keys, Keys::None));
    let rpc = rpc::read(sources, flags, &mut table);

    let places = [bind.as_ref().map(Valued::place), None];
    let insecure_gossip = insecure.is_some_and(|insecure| insecure.value);
    if !insecure_gossip && matches!(keys, Keys::None) {
        refuse_public(sources, bind.iter().chain(&advertise), &join);
    }
    Shared {
        gossip: gossip::driver::Settings {
            bind: bind.map_or(defaults::BIND, |bind| bind.value),
            advertise: advertise.map(|advertise| advertise.value),
            iface: iface.map(|iface| iface.value),
            node: node.map_or_else(|| node_name(around, port), |node| node.value),
            join: join.into_iter().map(|join| join.value).collect(),
            profile: profile.map_or_else(Profile::default, |profile| profile.value),
            tags: Tags::new(),
            keyring: keys.ring(),
            peers: Vec::new(),
            former: None,
            replay: past.replay,
            discover: None,
            insecure: insecure_gossip,
            when_taken: gossip::driver::WhenTaken::default(),
        },
        discover: discover.map(|discover| discover.value),
        tags,
        insecure_gossip,
        handlers,
        rpc,
        admin: defaults::admin(true),
        places,
        state: None,
        snapshot: past.snapshot,
        tags_file: past.tags_file,
        log: log::Level::default(),
    }
}

/// `--tag` over `LB_TAG` over `[gossip.tags]`, name by name.
fn tags(
    sources: &Sources<'_>,
    flags: &Common,
    table: &mut Table<'_>,
) -> Vec<(String, Valued<String>)> {
    let mut all: Vec<(String, Valued<String>)> = Vec::new();
    for (name, found) in table.pairs("tags") {
        let Found { at, text, shown } = found;
        let value = Valued {
            value: text,
            at,
            shown,
        };
        all.push((name, value));
    }
    let written = match sources.variable("tag") {
        Some(found) if flags.tag.is_empty() => parse::split(&found.text)
            .into_iter()
            .map(|text| (found.at.clone(), text))
            .collect(),
        _ => flags
            .tag
            .iter()
            .map(|text| (At::Flag("tag".to_owned()), text.clone()))
            .collect::<Vec<_>>(),
    };
    for (at, shown) in written {
        match parse::pair(&shown) {
            Ok((name, value)) => {
                all.retain(|(other, _)| *other != name);
                all.push((name, Valued { value, at, shown }));
            }
            Err(why) => sources.faults.value(&at, &shown, why),
        }
    }
    all
}

/// Without a key any packet can name a backend, so gossip in clear keeps to addresses that strangers can't reach.
fn refuse_public<'v>(
    sources: &Sources<'_>,
    own: impl Iterator<Item = &'v Valued<SocketAddr>>,
    join: &[Valued<String>],
) {
    const WHY: &str = "is a public address and gossip is not encrypted, so anyone could name backends; \
                       use a private address, --encrypt-key-file, or --insecure-gossip if a firewall guards it";
    for valued in own.filter(|valued| address::is_public(valued.value.ip())) {
        sources.refuse(valued, WHY);
    }
    for valued in join {
        let address = address::bind(&valued.value);
        if address.is_ok_and(|address| address::is_public(address.ip())) {
            sources.refuse(valued, WHY);
        }
    }
}

/// The hostname; where that names no machine, made unique.
fn node_name(around: &Surroundings, port: u16) -> String {
    let Surroundings { hostname, dice, .. } = around;
    match hostname.as_str() {
        "" | "localhost" | "localhost.localdomain" | "(none)" => {
            format!("localhost-{port}-{dice:04x}")
        }
        hostname => hostname.to_owned(),
    }
}

fn admin(
    sources: &Sources<'_>,
    flags: &Common,
    mut table: Table<'_>,
    front: bool,
) -> (admin::Settings, Option<Place>) {
    let mut settings = defaults::admin(front);
    let listen = sources.scalar("admin", &flags.admin, table.text("listen"), address::local);
    if let Some(listen) = &listen {
        settings.listen = listen.value;
    }
    // An agent has no pool that could be empty.
    if front {
        let ready = table.boolean("ready_requires_backend");
        sources.set(&mut settings.ready_requires_backend, ready, parse::boolean);
    }
    let token = sources.without_effect(
        "admin-token-file",
        &flags.admin_token_file,
        table.text("token_file"),
        parse::text,
        &[],
    );
    // On loopback a warning will do; an open port whose owner believes it guarded will not.
    if let (Some(token), Some(address)) = (token, settings.listen)
        && !address.ip().is_loopback()
    {
        sources.refuse(
            &token,
            format!("tokens are not built yet; refusing to serve {address} without one, bind --admin to 127.0.0.1"),
        );
    }
    (settings, listen.map(|listen| listen.place()))
}

/// Tables whose function is still to come.
fn unbuilt(sources: &Sources<'_>, flags: &Common, root: &mut Table<'_>) {
    let mut dns = root.table("dns");
    sources.without_effect(
        "dns",
        &flags.dns,
        dns.text("listen"),
        address::local,
        &[None],
    );
    sources.without_effect(
        "dns-domain",
        &flags.dns_domain,
        dns.text("domain"),
        parse::text,
        &[defaults::DNS_DOMAIN.to_owned()],
    );
}

/// The directory, unless there shall be none.
fn state(
    sources: &Sources<'_>,
    flags: &Common,
    mut table: Table<'_>,
    around: &Surroundings,
) -> Option<PathBuf> {
    let dir = sources.scalar(
        "state-dir",
        &flags.state_dir,
        table.text("dir"),
        parse::directory,
    );
    dir.map_or_else(|| around.state_home.clone(), |dir| dir.value)
}
