//! The server's end: everything that a listener needs to shake hands, replaced whole while it runs.
//!
//! ```text
//! Settings ─load─▶ ArcSwap<State> ◀─ workers: one load for each handshake
//!                        ▲ refresh: a file looks changed ─▶ read all ─▶ sound? swap : keep, and say why once
//! ```
//!
//! Connections keep what they began with. Tickets outlive the swap, unless what is asked of clients changed.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::{ServerConfig, ServerConnection};
use tokio::net::TcpStream;

use super::certificate::{Certificate, Files};
use super::store::Store;
use super::stream::Stream;
use super::tickets::Tickets;
use super::watch::Seen;
use super::{Problem, Version, pem, provider};

/// Clocks of file systems are this coarse at worst, in seconds; what changed so lately is read once more.
const COARSE_SECONDS: i64 = 3;

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked; a wrong one is refused, none is not.
    Optional,
    /// Without one there is no connection.
    Required,
}

/// Keys of `[listener.NAME.tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// At least one; the first is for clients that ask for no name, or for one that none has.
    pub certificates: Vec<Files>,
    /// Oldest version.
    pub min_version: Version,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
    /// Authorities of clients' certificates.
    pub client_ca: Option<PathBuf>,
    /// Protocols to agree on (ALPN), the favourite first.
    pub alpn: Vec<String>,
}

/// What a listener shakes hands with.
pub struct Server {
    state: ArcSwap<State>,
    /// Clients may show a certificate: asked for with each request.
    asks: AtomicBool,
    tended: Mutex<Tended>,
}

/// What handshakes need.
struct State {
    settings: Settings,
    config: Arc<ServerConfig>,
    tickets: Arc<Tickets>,
    validity: Vec<Validity>,
    /// All that was read for it.
    bytes: Vec<u8>,
}

/// Until when a certificate is good, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its first name; the file's, where it has none.
    pub name: String,
    /// Its end.
    pub until: SystemTime,
}

/// Of who watches the files.
#[derive(Debug, Default)]
struct Tended {
    seen: Seen,
    /// The last complaint, which is not repeated.
    told: Vec<Problem>,
}

/// What a look at the files came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// Nothing new.
    Same,
    /// New handshakes use what was read.
    Replaced,
    /// What was read can't be used; the old one stays. Told once for each new complaint.
    Kept(Vec<Problem>),
}

/// It may be replaced whole, so that any two are as good.
impl PartialEq for Server {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("settings", &self.state.load().settings)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Reads everything; with it, what is worth knowing though it works.
    ///
    /// # Errors
    /// Everything that is wrong, each with its file.
    pub fn load(settings: Settings, now: SystemTime) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let seen = Seen::now(files(&settings));
        let tickets = Tickets::new()
            .map_err(|error| vec![general(&settings, format!("no keys for tickets: {error}"))])?;
        let (state, warnings) = State::read(settings, Arc::new(tickets), now)?;
        let tended = Tended {
            seen,
            told: Vec::new(),
        };
        Ok((
            Self {
                asks: AtomicBool::new(state.settings.client_auth != ClientAuth::Off),
                state: ArcSwap::from_pointee(state),
                tended: Mutex::new(tended),
            },
            warnings,
        ))
    }

    /// A connection before its handshake, by what is in force now.
    ///
    /// # Errors
    /// Never for settings that were loaded; rustls keeps the right.
    pub fn accept(&self, io: TcpStream) -> Result<Stream, rustls::Error> {
        let config = self.state.load().config.clone();
        Ok(Stream::server(io, ServerConnection::new(config)?))
    }

    /// Clients may show a certificate.
    pub fn asks_clients(&self) -> bool {
        self.asks.load(Ordering::Relaxed)
    }

    /// What is in force.
    pub fn settings(&self) -> Settings {
        self.state.load().settings.clone()
    }

    /// Until when its certificates are good.
    pub fn validity(&self) -> Vec<Validity> {
        self.state.load().validity.clone()
    }

    /// A new key for tickets.
    ///
    /// # Errors
    /// The system has no randomness; the keys stay.
    pub fn turn_tickets(&self) -> Result<(), rustls::Error> {
        self.state.load().tickets.turn()
    }

    /// Takes over what was loaded for a reload. Running sessions stay, and so do tickets unless they would let
    /// somebody past what clients are asked now.
    pub fn replace(&self, fresh: &Self) {
        // A look at the files that is under way must not bring the old settings back.
        let mut tended = self.tended();
        let (old, new) = (self.state.load_full(), fresh.state.load_full());
        let asked = |state: &State| {
            let settings = &state.settings;
            (settings.client_auth, settings.client_ca.clone(), state.ca())
        };
        let tickets = match asked(&old) == asked(&new) {
            true => old.tickets.clone(),
            false => new.tickets.clone(),
        };
        // Before anybody is asked, what clients say of themselves has to be dropped.
        if fresh.asks_clients() {
            self.asks.store(true, Ordering::Relaxed);
        }
        self.state.store(Arc::new(new.with(tickets)));
        self.asks.store(fresh.asks_clients(), Ordering::Relaxed);
        *tended = std::mem::take(&mut *fresh.tended());
    }

    /// Never held while a disk is waited for, since a reload takes it too.
    fn tended(&self) -> MutexGuard<'_, Tended> {
        self.tended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the files, and takes what is new in them if all of it can be used. May wait for a disk.
    pub fn refresh(&self, now: SystemTime) -> Refreshed {
        let (state, known, waiting) = {
            let tended = self.tended();
            let waiting = !tended.told.is_empty();
            (self.state.load_full(), tended.seen.clone(), waiting)
        };
        let seen = Seen::now(files(&state.settings));
        let wall = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let lately = seen.newest() > wall as i64 - COARSE_SECONDS;
        // While they can't be used they are read again and again: a pair is written in two steps.
        if seen == known && !waiting && !lately {
            return Refreshed::Same;
        }
        let read = State::read(state.settings.clone(), state.tickets.clone(), now);
        let mut tended = self.tended();
        if !Arc::ptr_eq(&state, &self.state.load_full()) {
            // A reload came between, and knows better.
            return Refreshed::Same;
        }
        tended.seen = seen;
        match read {
            Ok((fresh, _)) => {
                tended.told.clear();
                if fresh.bytes == state.bytes {
                    return Refreshed::Same;
                }
                let fresh = match fresh.ca() == state.ca() {
                    true => fresh,
                    // Old tickets would let in whom the new authorities do not know.
                    false => match Tickets::new() {
                        Ok(tickets) => fresh.with(Arc::new(tickets)),
                        Err(_) => return Refreshed::Same,
                    },
                };
                self.state.store(Arc::new(fresh));
                Refreshed::Replaced
            }
            Err(problems) if problems == tended.told => Refreshed::Same,
            Err(problems) => {
                tended.told.clone_from(&problems);
                Refreshed::Kept(problems)
            }
        }
    }
}

/// About no file in particular: told at the first.
fn general(settings: &Settings, why: String) -> Problem {
    match settings.certificates.first() {
        Some(files) => Problem::new(&files.cert, why),
        None => Problem::new(Path::new("-"), why),
    }
}

/// All files that settings name.
fn files(settings: &Settings) -> impl Iterator<Item = &Path> {
    let certificates = settings.certificates.iter();
    let own = certificates.flat_map(|files| {
        let ocsp = files.ocsp.as_deref();
        [Some(files.cert.as_path()), Some(&files.key), ocsp]
    });
    own.chain([settings.client_ca.as_deref()]).flatten()
}

impl State {
    fn read(
        settings: Settings,
        tickets: Arc<Tickets>,
        now: SystemTime,
    ) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let (mut certificates, mut problems) = (Vec::new(), Vec::new());
        for files in &settings.certificates {
            match Certificate::read(files, now) {
                Ok(certificate) => certificates.push(certificate),
                Err(more) => problems.extend(more),
            }
        }
        let verifier = verifier(&settings);
        let verifier = match (verifier, problems.is_empty()) {
            (Ok(verifier), true) => verifier,
            (verifier, _) => {
                problems.extend(verifier.err());
                return Err(problems);
            }
        };
        let bad = |error: rustls::Error| vec![general(&settings, error.to_string())];
        let store = Store::new(&certificates);
        let mut config = ServerConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(settings.min_version.and_newer())
            .map_err(bad)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(store));
        config.ticketer = tickets.clone();
        let protocols = settings.alpn.iter();
        config.alpn_protocols = protocols.map(|name| name.clone().into_bytes()).collect();
        let warnings: BTreeSet<_> = certificates
            .iter()
            .filter_map(|one| one.warning.clone())
            .map(|problem| (problem.file, problem.why))
            .collect();
        let warnings = warnings.into_iter();
        let warnings = warnings.map(|(file, why)| Problem { file, why }).collect();
        let validity = certificates.iter().zip(&settings.certificates);
        let validity = validity.map(|(one, files)| Validity {
            name: match one.names.first() {
                Some(name) => name.clone(),
                None => files.cert.display().to_string(),
            },
            until: one.until,
        });
        let validity = validity.collect();
        let mut bytes: Vec<u8> = certificates.into_iter().flat_map(|one| one.bytes).collect();
        bytes.extend(authorities_of(&settings));
        Ok((
            Self {
                settings,
                config: Arc::new(config),
                tickets,
                validity,
                bytes,
            },
            warnings,
        ))
    }

    /// The same with other tickets.
    fn with(&self, tickets: Arc<Tickets>) -> Self {
        let mut config = ServerConfig::clone(&self.config);
        config.ticketer = tickets.clone();
        Self {
            settings: self.settings.clone(),
            config: Arc::new(config),
            tickets,
            validity: self.validity.clone(),
            bytes: self.bytes.clone(),
        }
    }

    /// The authorities that clients' certificates are held to: the end of what was read.
    fn ca(&self) -> Vec<u8> {
        match self.settings.client_ca {
            // They are not told apart from the certificates, so a new certificate means new tickets too: who asks
            // clients for theirs can bear a full handshake.
            Some(_) => self.bytes.clone(),
            None => Vec::new(),
        }
    }
}

fn authorities_of(settings: &Settings) -> Vec<u8> {
    let file = settings.client_ca.as_deref();
    file.and_then(|file| pem::bytes(file).ok())
        .unwrap_or_default()
}

fn verifier(
    settings: &Settings,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, Problem> {
    let (auth, Some(file)) = (settings.client_auth, &settings.client_ca) else {
        return Ok(Arc::new(NoClientAuth));
    };
    let roots = pem::authorities(file)?;
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider().clone());
    let builder = match auth {
        ClientAuth::Off => return Ok(Arc::new(NoClientAuth)),
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::Required => builder,
    };
    builder
        .build()
        .map_err(|error| Problem::new(file, format!("cannot be used: {error}")))
}
