//! `[listener.NAME]`: where clients come in, and how they are treated there.
//!
//! ```text
//! --listen ─▶ addresses of the first one (or of the only one, "web", without a file)
//! [listener.NAME] ─▶ one each: addresses, pool, whom to believe, TLS
//! ```

use std::net::{Ipv6Addr, SocketAddr};

use super::common::Shared;
use super::document::Table;
use super::relays::Read;
use super::sources::{Sources, Valued};
use super::{address, defaults, flags, parse, tls};
use crate::network::Network;
use crate::proxy::{LISTENERS_MAX, Listen, Listener, Mode};

/// All of them, the first of which takes `--listen`.
pub(super) fn read(
    sources: &Sources<'_>,
    flags: &flags::Front,
    root: &mut Table<'_>,
    clusters: &[Read],
) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for (name, mut table) in root.named("listener") {
        if listeners.len() == LISTENERS_MAX {
            let too_many = format!("is one more than the {LISTENERS_MAX} that are supported");
            sources.faults.value(&name.at, &name.text, too_many);
            break;
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
        let mut listener = defaults::listener(&name.text);
        let secured = table.table("tls");
        if secured.is_there() {
            listener.listen = Listen::Default {
                port: defaults::HTTPS_PORT,
            };
        }
        if let Some(listen) = addresses(sources, &listens.unwrap_or_default()) {
            listener.listen = listen;
        }
        let relays = table.text("mode").is_some_and(|mode| mode.text == "tcp");
        listener.tls = tls::listener(sources, &name, secured, relays);
        settings(sources, table, &mut listener, clusters);
        listeners.push(listener);
    }
    if listeners.is_empty() {
        let listens = sources.list("listen", &flags.listen, None, parse::split, address::listen);
        let mut listener = defaults::listener("web");
        if let Some(listen) = addresses(sources, &listens.unwrap_or_default()) {
            listener.listen = listen;
        }
        listeners.push(listener);
    }
    listeners
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
    sources.set(
        &mut listener.redirect_https,
        table.boolean_or_integer("redirect_https"),
        parse::https_port,
    );
    listener.acme_dir = sources.key(table.text("acme_dir"), parse::directory_there);
    listener.cluster = sources.key(table.text("cluster"), known);
    let networks = table.texts("trusted_proxies").unwrap_or_default();
    let networks = sources.keys(networks, address::network);
    listener.trusted_proxies = networks.into_iter().map(|found| found.value).collect();
    introduced(sources, &mut table, listener);
}

/// Whose connections begin with a PROXY header. There is no default for it: whoever may send one may claim any address.
fn introduced(sources: &Sources<'_>, table: &mut Table<'_>, listener: &mut Listener) {
    let from = table.texts("proxy_protocol_from").unwrap_or_default();
    let from = sources.keys(from, address::network);
    let from: Vec<Network> = from.into_iter().map(|found| found.value).collect();
    let wanted = table.boolean("proxy_protocol");
    let place = wanted
        .as_ref()
        .map(|found| (found.at.clone(), found.shown.clone()));
    let (Some(true), Some((at, shown))) = (sources.key(wanted, parse::boolean), place) else {
        if !from.is_empty() {
            sources.conflict(format!(
                "listener {} has proxy_protocol_from without proxy_protocol = true",
                listener.name
            ));
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

/// Two TCP listeners can't share a port of an address.
pub(super) fn one_socket_each(sources: &Sources<'_>, shared: &Shared, listeners: &[Listener]) {
    let mut sockets: Vec<(String, SocketAddr)> = Vec::new();
    for (number, listener) in listeners.iter().enumerate() {
        let what = match number {
            0 => "--listen".to_owned(),
            _ => format!("listener {}", listener.name),
        };
        let served = match &listener.listen {
            Listen::Default { port } => vec![(Ipv6Addr::UNSPECIFIED, *port).into()],
            Listen::Exactly(addresses) => addresses.clone(),
        };
        sockets.extend(served.into_iter().map(|address| (what.clone(), address)));
    }
    sockets.push(("--bind (gossip)".to_owned(), shared.gossip.bind));
    let admin = shared.admin.listen;
    sockets.extend(admin.map(|address| ("--admin".to_owned(), address)));
    for (index, (what, address)) in sockets.iter().enumerate() {
        for (other, theirs) in &sockets[..index] {
            let same = address.ip() == theirs.ip()
                || address.ip().is_unspecified()
                || theirs.ip().is_unspecified();
            if what != other && same && address.port() == theirs.port() && address.port() != 0 {
                sources.conflict(format!(
                    "{other} and {what} both want port {}; give one of them another",
                    address.port()
                ));
            }
        }
    }
}
