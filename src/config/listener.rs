//! `[listener.NAME]`: where clients come in, and how they are treated there.
//!
//! ```text
//! --listen ─▶ addresses of the first one (or of the only one, "web", without a file)
//! [listener.NAME] ─▶ one each: addresses, pool, whom to believe, TLS
//! ```

use std::net::{Ipv6Addr, SocketAddr};

use super::common::Shared;
use super::document::{Found, Place, Table};
use super::error::At;
use super::relays::Read;
use super::sources::{Sources, Valued};
use super::{address, defaults, flags, parse, tls};
use crate::network::Network;
use crate::proxy::{LISTENERS_MAX, Listen, Listener, Mode};

/// Where the addresses of one were written, in their order; its name's place where none were.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<Place>);

/// All of them, the first of which takes `--listen`; beside them where each was written.
pub(super) fn read(
    sources: &Sources<'_>,
    flags: &flags::Front,
    root: &mut Table<'_>,
    clusters: &[Read],
) -> (Vec<Listener>, Vec<Places>) {
    let mut listeners: Vec<Listener> = Vec::new();
    let mut all_places = Vec::new();
    for (name, mut table) in root.named("listener") {
        if listeners.len() == LISTENERS_MAX {
            let too_many = format!("is one more than the {LISTENERS_MAX} that are supported");
            sources.faults.value(&name.at, &name.text, too_many);
            break;
        }
        if let Some(place) = table.empty_list("listen") {
            let why = "leaves it nowhere to listen; write listen = [\":PORT\"]";
            sources.refuse_at(&place, why);
        }
        let written = table.texts("listen");
        let first = listeners.is_empty();
        if written.is_none() && !first {
            let text = "lacks its addresses; write listen = [\":PORT\"]";
            sources.faults.value(&name.at, &name.text, text);
        }
        let listens = match first {
            true => sources.list(
                "listen",
                &flags.listen,
                written,
                parse::split,
                address::listen,
            ),
            false => written.map(|found| sources.keys(found, address::listen)),
        };
        let listens = listens.unwrap_or_default();
        let mut listener = defaults::listener(&name.text);
        let secured = table.table("tls");
        if secured.is_there() {
            listener.listen = Listen::Default {
                port: defaults::HTTPS_PORT,
            };
        }
        if let Some(listen) = addresses(sources, &listens) {
            listener.listen = listen;
        }
        let relays = table.text("mode").is_some_and(|mode| mode.text == "tcp");
        listener.tls = tls::listener(sources, &name, secured, relays);
        settings(sources, table, &mut listener, clusters);
        listeners.push(listener);
        all_places.push(Places::of(&listens, Some(&name)));
    }
    if listeners.is_empty() {
        let listens = sources.list("listen", &flags.listen, None, parse::split, address::listen);
        let listens = listens.unwrap_or_default();
        let mut listener = defaults::listener("web");
        if let Some(listen) = addresses(sources, &listens) {
            listener.listen = listen;
        }
        listeners.push(listener);
        all_places.push(Places::of(&listens, None));
    }
    (listeners, all_places)
}

impl Places {
    fn of(listens: &[Valued<Listen>], name: Option<&Found>) -> Self {
        match listens {
            [] => Self(name.map(Found::place).into_iter().collect()),
            // Each of them is one address.
            listens => Self(listens.iter().map(Valued::place).collect()),
        }
    }
}

/// The keys of one listener, its addresses apart.
fn settings(
    sources: &Sources<'_>,
    mut table: Table<'_>,
    listener: &mut Listener,
    clusters: &[Read],
) {
    let mode = |text: &str| match text {
        "http" => Ok(Mode::Http),
        "tcp" => Ok(Mode::Tcp),
        _ => Err("is not a mode; write \"http\" or \"tcp\"".to_owned()),
    };
    sources.set(&mut listener.mode, table.text("mode"), mode);
    let known = |text: &str| {
        let mut names = clusters.iter().map(|read| read.cluster.pool.name.as_str());
        match names.any(|name| name == text) {
            true => Ok(text.to_owned()),
            false => Err(format!(
                "is no pool here; add [cluster.{text}], or name one that is there"
            )),
        }
    };
    at_the_door(sources, &mut table, listener);
    listener.cluster = sources.key(table.text("cluster"), known);
    let networks = table.texts("trusted_proxies").unwrap_or_default();
    let networks = sources.keys(networks, address::network);
    listener.trusted_proxies = networks.into_iter().map(|found| found.value).collect();
    introduced(sources, &mut table, listener);
}

/// Requests that are answered here: there have to be requests, and another place to send them to.
fn at_the_door(sources: &Sources<'_>, table: &mut Table<'_>, listener: &mut Listener) {
    let (redirect, acme) = (
        table.boolean_or_integer("redirect_https"),
        table.text("acme_dir"),
    );
    let places = [&redirect, &acme].map(|found| found.as_ref().map(Found::place));
    sources.set(&mut listener.redirect_https, redirect, parse::https_port);
    listener.acme_dir = sources.key(acme, parse::directory_there);
    let [redirect, acme] = places;
    if let (Some(port), Some(place)) = (listener.redirect_https, &redirect)
        && served(&listener.listen)
            .iter()
            .any(|own| own.port() == port)
    {
        let why = format!(
            "is this listener's own port, so that clients would be sent in circles; write the port where https is spoken{}",
            if port == 443 {
                ", or false"
            } else {
                ", true for 443, or false"
            }
        );
        sources.refuse_at(place, why);
    }
    if listener.mode == Mode::Http {
        return;
    }
    let asked = [
        listener.redirect_https.is_some().then_some(redirect),
        listener.acme_dir.is_some().then_some(acme),
    ];
    for place in asked.into_iter().flatten().flatten() {
        let why = "answers requests, and mode = \"tcp\" relays bytes without looking at them; put it into a listener of mode \"http\"";
        sources.refuse_at(&place, why);
    }
}

/// Whose connections begin with a PROXY header. There is no default for it: whoever may send one may claim any address.
fn introduced(sources: &Sources<'_>, table: &mut Table<'_>, listener: &mut Listener) {
    let from = table.texts("proxy_protocol_from").unwrap_or_default();
    let from = sources.keys(from, address::network);
    let first = from.first().map(Valued::place);
    let from: Vec<Network> = from.into_iter().map(|found| found.value).collect();
    let wanted = table.boolean("proxy_protocol");
    let place = wanted
        .as_ref()
        .map(|found| (found.at.clone(), found.shown.clone()));
    let (Some(true), Some((at, shown))) = (sources.key(wanted, parse::boolean), place) else {
        if let Some(first) = first {
            let why = "says who may send PROXY headers, and none are expected; write proxy_protocol = true beside it, or leave it out";
            sources.refuse_at(&first, why);
        }
        return;
    };
    if from.is_empty() {
        let text = "needs the networks of those who send headers, since they may claim any address; write proxy_protocol_from = [\"10.0.0.0/8\"]";
        sources.faults.value(&at, &shown, text);
    }
    listener.proxy_protocol = Some(from);
}

/// All that one listens on: every address, or exactly those; `None` where none is given.
fn addresses(sources: &Sources<'_>, listens: &[Valued<Listen>]) -> Option<Listen> {
    if let [only] = listens {
        return Some(only.value.clone());
    }
    let mut exactly: Vec<SocketAddr> = Vec::new();
    for valued in listens {
        match &valued.value {
            Listen::Default { port } => sources.refuse(
                valued,
                format!("means every address and stands alone; beside others write 0.0.0.0:{port} or [::]:{port}"),
            ),
            Listen::Exactly(addresses) => {
                if addresses.iter().any(|address| exactly.contains(address)) {
                    sources.refuse(valued, "is given twice");
                }
                exactly.extend(addresses);
            }
        }
    }
    (!exactly.is_empty()).then_some(Listen::Exactly(exactly))
}

/// What one has to be bound to.
fn served(listen: &Listen) -> Vec<SocketAddr> {
    match listen {
        Listen::Default { port } => vec![(Ipv6Addr::UNSPECIFIED, *port).into()],
        Listen::Exactly(addresses) => addresses.clone(),
    }
}

/// A socket that somebody wants, and where that was written.
struct Wanted<'l> {
    what: String,
    /// Two of one listener are told apart where its addresses are read.
    of: Option<&'l Listener>,
    address: SocketAddr,
    place: Option<Place>,
}

/// Two TCP listeners can't share a port of an address.
pub(super) fn one_socket_each(
    sources: &Sources<'_>,
    shared: &Shared,
    listeners: &[Listener],
    places: &[Places],
) {
    let mut sockets: Vec<Wanted<'_>> = Vec::new();
    for (listener, places) in listeners.iter().zip(places) {
        for (index, address) in served(&listener.listen).into_iter().enumerate() {
            let place = places.0.get(index).or_else(|| places.0.first());
            sockets.push(Wanted {
                // Without a file nobody has heard of its name.
                what: match place.map(|place| &place.at) {
                    Some(At::File { .. }) => format!("listener {}", listener.name),
                    _ => "--listen".to_owned(),
                },
                of: Some(listener),
                address,
                place: place.cloned(),
            });
        }
    }
    let [bind, admin] = shared.places.clone();
    let more = [
        ("--bind (gossip)", Some(shared.gossip.bind), bind),
        ("--admin", shared.admin.listen, admin),
    ];
    sockets.extend(more.into_iter().filter_map(|(what, address, place)| {
        Some(Wanted {
            what: what.to_owned(),
            of: None,
            address: address?,
            place,
        })
    }));
    for (index, one) in sockets.iter().enumerate() {
        for other in &sockets[..index] {
            let (a, b) = (one.address, other.address);
            let same = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
            let siblings = match (one.of, other.of) {
                (Some(a), Some(b)) => std::ptr::eq(a, b),
                _ => false,
            };
            if !siblings && same && a.port() == b.port() && a.port() != 0 {
                clash(sources, one, other);
            }
        }
    }
}

/// At the later of the two that was written down; defaults stand nowhere.
fn clash(sources: &Sources<'_>, one: &Wanted<'_>, other: &Wanted<'_>) {
    let port = one.address.port();
    let told = |place: &Place, other: &Wanted<'_>| {
        let why = format!(
            "{} wants port {port} too; give one of them another",
            other.what
        );
        sources.refuse_at(place, why);
    };
    match (&one.place, &other.place) {
        (Some(place), _) => told(place, other),
        (None, Some(place)) => told(place, one),
        (None, None) => sources.conflict(format!(
            "{} and {} both want port {port}; give one of them another",
            other.what, one.what
        )),
    }
}
