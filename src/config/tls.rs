//! `[listener.NAME.tls]` and `[cluster.NAME.tls]`: certificates, keys, and whom to believe.
//!
//! ```text
//! keys ─▶ Settings ─load─▶ tls::server::Server, tls::client::Client
//!                    └── what is wrong with a file is told at the key that names it
//! ```
//!
//! The files are read here: `check-config` is to find what a start would.

use std::path::PathBuf;
use std::sync::Arc;

use super::document::{Found, Table};
use super::sources::Sources;
use super::{defaults, parse};
use crate::clock;
use crate::tls::certificate::Files;
use crate::tls::client::{self, Client};
use crate::tls::server::{ClientAuth, Server, Settings};
use crate::tls::{Problem, Version};

/// Protocols that may be agreed on.
const PROTOCOLS: &[&str] = &["h2", "http/1.1"];

/// Files as keys name them.
#[derive(Default)]
struct Named(Vec<(PathBuf, Found)>);

impl Named {
    fn file(&mut self, sources: &Sources<'_>, found: Option<Found>) -> Option<PathBuf> {
        let found = found?;
        let path = PathBuf::from(sources.key(Some(found.clone()), parse::text)?);
        self.0.push((path.clone(), found));
        Some(path)
    }

    /// At the key of the file, or of the first one.
    fn complain(&self, sources: &Sources<'_>, problem: &Problem) {
        let of_file = self.0.iter().find(|(path, _)| *path == problem.file);
        match of_file.or_else(|| self.0.first()) {
            Some((path, found)) if *path == problem.file => {
                sources.faults.value(&found.at, &found.shown, &problem.why);
            }
            Some((_, found)) => {
                let why = problem.to_string();
                sources.faults.value(&found.at, &found.shown, why);
            }
            None => sources.conflict(problem.to_string()),
        }
    }

    fn pair(&mut self, sources: &Sources<'_>, table: &mut Table<'_>) -> Option<Files> {
        let (cert, key, ocsp) = (table.text("cert"), table.text("key"), table.text("ocsp"));
        let place = cert.clone().or_else(|| key.clone());
        let cert = self.file(sources, cert);
        let key = self.file(sources, key);
        let ocsp = self.file(sources, ocsp);
        let lacks = match (&cert, &key) {
            (Some(_), None) => "lacks its key; write key = \"FILE\" beside it",
            (None, Some(_)) => "lacks its certificate; write cert = \"FILE\" beside it",
            _ => {
                let (cert, key) = cert.zip(key)?;
                return Some(Files { cert, key, ocsp });
            }
        };
        if let Some(place) = place {
            sources.faults.value(&place.at, &place.shown, lacks);
        }
        None
    }
}

/// TLS of a listener; `None`: there is none, or nothing that could be used.
pub(super) fn listener(
    sources: &Sources<'_>,
    name: &Found,
    mut table: Table<'_>,
    relays: bool,
) -> Option<Arc<Server>> {
    let there = table.is_there();
    let mut named = Named::default();
    let mut certificates = Vec::from_iter(named.pair(sources, &mut table));
    let listed = table.each("certificates");
    let said = there && (!named.0.is_empty() || !listed.is_empty());
    for (at, mut table) in listed {
        let before = named.0.len();
        certificates.extend(named.pair(sources, &mut table));
        if named.0.len() == before {
            let lacks = "lacks its files; write { cert = \"FILE\", key = \"FILE\" }";
            sources.faults.value(&at, "{}", lacks);
        }
    }
    let version = |text: &str| match text {
        "1.2" => Ok(Version::Tls12),
        "1.3" => Ok(Version::Tls13),
        _ => Err("is not a version that is spoken; write \"1.2\" or \"1.3\"".to_owned()),
    };
    let mut min_version = Version::default();
    sources.set(&mut min_version, table.text("min_version"), version);
    let auth = |text: &str| match text {
        "off" => Ok(ClientAuth::Off),
        "optional" => Ok(ClientAuth::Optional),
        "required" => Ok(ClientAuth::Required),
        _ => Err("is none of off, optional and required".to_owned()),
    };
    let ca = table.text("client_ca");
    let asked = table.text("client_auth");
    let client_ca = named.file(sources, ca.clone());
    // Whoever names authorities means them.
    let mut client_auth = match client_ca {
        Some(_) => ClientAuth::Required,
        None => ClientAuth::Off,
    };
    sources.set(&mut client_auth, asked.clone(), auth);
    if let (Some(asked), None, true) = (&asked, &ca, client_auth != ClientAuth::Off) {
        let why = "needs the authorities of clients' certificates; write client_ca = \"FILE\"";
        sources.faults.value(&asked.at, &asked.shown, why);
        return None;
    }
    let alpn = alpn(sources, &mut table, relays);
    if !there {
        return None;
    }
    if !said {
        let lacks =
            "lacks a certificate for its TLS; write cert = \"FILE\" and key = \"FILE\" there";
        sources.faults.value(&name.at, &name.text, lacks);
    }
    if certificates.is_empty() {
        return None;
    }
    let settings = Settings {
        certificates,
        min_version,
        client_auth,
        client_ca,
        alpn,
    };
    match Server::load(settings, clock::wall()) {
        Ok((server, warnings)) => {
            for warning in warnings {
                sources.warn(warning.to_string());
            }
            Some(Arc::new(server))
        }
        Err(problems) => {
            for problem in problems {
                named.complain(sources, &problem);
            }
            None
        }
    }
}

/// What is relayed is whatever its two ends agree on.
fn alpn(sources: &Sources<'_>, table: &mut Table<'_>, relays: bool) -> Vec<String> {
    let known = |text: &str| match PROTOCOLS.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "is not a protocol that is spoken; write {}",
            PROTOCOLS.join(" or ")
        )),
    };
    // Without any is how a relay has it.
    if let (Some(place), false) = (table.empty_list("alpn"), relays) {
        let why = "leaves clients no protocol to agree on; write \"h2\", \"http/1.1\" or both, or leave it out for both";
        sources.refuse_at(&place, why);
    }
    match table.texts("alpn") {
        None if relays => Vec::new(),
        None => defaults::ALPN
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
        Some(found) => {
            let found = found.into_iter();
            found
                .filter_map(|found| sources.key(Some(found), known))
                .collect()
        }
    }
}

/// TLS to the backends of a pool. `needed`: it is spoken, so all has to be there.
pub(super) fn cluster(
    sources: &Sources<'_>,
    mut table: Table<'_>,
    check_host: Option<&str>,
    needed: bool,
) -> Arc<Client> {
    let mut named = Named::default();
    let mut settings = client::Settings::default();
    let ca = table.text("ca").filter(|ca| ca.text != "system");
    settings.ca = named.file(sources, ca);
    sources.set(
        &mut settings.verify,
        table.boolean("verify"),
        parse::boolean,
    );
    let name = sources.key(table.text("server_name"), parse::text);
    settings.server_name = name.or_else(|| check_host.map(str::to_owned));
    settings.own = named.pair(sources, &mut table);
    // Files that are named have to be sound, also where only members' tags may ask for them.
    if !needed && named.0.is_empty() {
        return Arc::new(Client::new(settings));
    }
    match Client::load(settings.clone()) {
        Ok(client) => Arc::new(client),
        Err(problems) => {
            for problem in problems {
                named.complain(sources, &problem);
            }
            Arc::new(Client::new(settings))
        }
    }
}
