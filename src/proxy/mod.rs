//! The data path: one worker per core, one task per client connection.
//!
//! ```text
//! listener → arrival (TLS) → connection → head → route → { pick → connect or reuse → send } → answer → body → done
//!                                   └── by the newest snapshot; lease, counters and log released by Drop
//! ```
//!
//! Read [`service`] first: it is the life of a request. Clients speak by a front (`front_h1`, `front_h2`; `front_tcp` relays
//! what it does not understand), backends by `flight` (HTTP/1) or `multiplex` (HTTP/2); HTTP/1 as bytes is `h1`. No health and no membership here: workers
//! see snapshots and send [`Feedback`].

mod accept;
pub mod access;
mod alarm;
mod answer;
mod arrival;
mod asker;
mod attempt;
pub mod bound;
mod buffer;
mod client;
mod connect;
mod courier;
mod doorman;
mod exchange;
mod fault;
mod flight;
mod forward;
mod front_h1;
mod front_h2;
mod front_tcp;
mod guards;
pub mod h1;
mod handed;
mod hold;
mod hop;
mod introduction;
mod linger;
mod link;
pub mod listeners;
mod multiplex;
mod patience;
mod peer;
mod plain;
mod record;
mod relay;
mod reply;
mod retry;
mod server;
mod service;
mod site;
mod socket;
pub mod stats;
mod strangers;
mod target;
mod tunnel;
mod upload;
mod wakers;
mod worker;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use self::bound::BindError;
pub use self::handed::{Handed, Inherited};
pub use self::listeners::{Listeners, bind, bind_with};
pub use self::server::{Counters, Server, start};
pub use self::stats::Scrape;
use crate::network::Network;
use crate::pool::registry::Key;
use crate::pool::snapshot::Pool;
use crate::tls;

/// Which pool takes which request. Replaced whole at a reload.
#[derive(Debug, Default)]
pub struct Routes {
    /// The first takes what comes on listeners that name none.
    pub pools: Vec<Arc<Pool>>,
    /// How TLS is spoken to backends of a pool, by its name; who is missing is spoken to by the defaults.
    pub tls: BTreeMap<Arc<str>, Arc<tls::client::Client>>,
}

impl Routes {
    /// The pool that a listener names.
    fn pool(&self, cluster: Option<&str>) -> Option<&Arc<Pool>> {
        match cluster {
            None => self.pools.first(),
            Some(name) => self.pools.iter().find(|pool| &*pool.name == name),
        }
    }
}

/// Where and how to serve; keys of `[timeouts]` and `[limits]`, and the listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// At most [`LISTENERS_MAX`].
    pub listeners: Vec<Listener>,
    /// Worker threads; `0`: one per core.
    pub workers: usize,
    /// Every wait has a limit.
    pub timeouts: Timeouts,
    /// Every buffer and count has a limit.
    pub limits: Limits,
}

/// A connection knows the number of its listener in one byte.
pub const LISTENERS_MAX: usize = 255;

/// Where clients come in, and how they are treated there; keys of `[listener.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// NAME.
    pub name: String,
    /// Its addresses.
    pub listen: Listen,
    /// What is spoken there.
    pub mode: Mode,
    /// The pool that takes what comes; `None`: the first one.
    pub cluster: Option<String>,
    /// Networks of proxies that may say on whose behalf they ask (`X-Forwarded-For`, `Forwarded`).
    pub trusted_proxies: Vec<Network>,
    /// Connections begin with a TLS handshake.
    pub tls: Option<Arc<tls::server::Server>>,
    /// All requests are sent to https, at this port.
    pub redirect_https: Option<u16>,
    /// Answers to ACME challenges are files of this directory.
    pub acme_dir: Option<PathBuf>,
    /// Each connection begins with a PROXY header, from these networks only; `None`: no connection does.
    pub proxy_protocol: Option<Vec<Network>>,
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Requests, each for itself.
    #[default]
    Http,
    /// Bytes, to one backend for each connection.
    Tcp,
}

impl Listener {
    /// HTTP to the first pool, and nobody is trusted.
    pub fn plain(name: &str, listen: Listen) -> Self {
        Self {
            name: name.to_owned(),
            listen,
            mode: Mode::Http,
            cluster: None,
            trusted_proxies: Vec::new(),
            tls: None,
            redirect_https: None,
            acme_dir: None,
            proxy_protocol: None,
        }
    }

    fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(peer))
    }
}

/// What to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `[::]:port` dual-stack, else `0.0.0.0:port`.
    Default {
        /// Port.
        port: u16,
    },
    /// Exactly these.
    Exactly(Vec<SocketAddr>),
}

/// Waits. Defaults are the contract's.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    /// All connect tries of one attempt together.
    pub connect: Duration,
    /// No connection by then: another one is started to another backend, and so on.
    pub second_connect: Duration,
    /// From the request's last byte to the answer's first.
    pub first_byte: Duration,
    /// No first byte by then: one extra check is asked for.
    pub slow_first_byte: Duration,
    /// Without progress of a request or response body.
    pub body_progress: Duration,
    /// A keep-alive client without a request.
    pub client_idle: Duration,
    /// From a request's first byte to the end of its head.
    pub request_head: Duration,
    /// From the connection to the end of the TLS handshake.
    pub tls_handshake: Duration,
    /// How long requests are held for their pool's first verdict.
    pub first_verdict: Duration,
    /// How long a stopping front waits for requests under way.
    pub drain: Duration,
    /// Between "not ready" and the end of accepting, when stopping.
    pub shutdown_delay: Duration,
    /// How long a successor (`lb upgrade`) may take until it is ready.
    pub successor: Duration,
    /// How long an idle upstream connection is kept.
    pub upstream_idle: Duration,
    /// Without a byte either way after a change of protocol (WebSocket).
    pub upgrade_idle: Duration,
    /// Without a byte either way on a relayed connection.
    pub tcp_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            second_connect: Duration::from_millis(250),
            first_byte: Duration::from_secs(60),
            slow_first_byte: Duration::from_millis(250),
            body_progress: Duration::from_secs(60),
            client_idle: Duration::from_secs(60),
            request_head: Duration::from_secs(10),
            tls_handshake: Duration::from_secs(10),
            first_verdict: Duration::from_secs(1),
            drain: Duration::from_secs(30),
            shutdown_delay: Duration::ZERO,
            successor: Duration::from_secs(30),
            upstream_idle: Duration::from_secs(60),
            upgrade_idle: Duration::from_secs(3600),
            tcp_idle: Duration::from_secs(3600),
        }
    }
}

/// Bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Attempts of one request, the first included.
    pub attempts: u32,
    /// Retries as a share of requests.
    pub retry_percent: u32,
    /// Retries per second on top, over all workers.
    pub retries_per_second: u32,
    /// A request body up to this size can be replayed.
    pub replay_bytes: usize,
    /// A request line, in bytes.
    pub request_line_bytes: usize,
    /// A request head, in bytes.
    pub head_bytes: usize,
    /// Header fields of a request.
    pub header_fields: usize,
    /// Client connections, over all workers.
    pub connections: usize,
    /// Idle upstream connections kept per backend, over all workers.
    pub idle_per_backend: usize,
    /// Protocols that a request may change to, in lower case.
    pub upgrades: Vec<String>,
    /// Requests under way at once on one HTTP/2 connection.
    pub h2_streams: usize,
    /// Bytes of one HTTP/2 request body that may come before they are wanted.
    pub h2_stream_window_bytes: usize,
    /// The same for all requests of one connection.
    pub h2_window_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attempts: 3,
            retry_percent: 20,
            retries_per_second: 10,
            replay_bytes: 64 * 1024,
            request_line_bytes: 8 * 1024,
            head_bytes: 32 * 1024,
            header_fields: 100,
            connections: 10_000,
            idle_per_backend: 128,
            upgrades: vec!["websocket".to_owned()],
            h2_streams: 100,
            h2_stream_window_bytes: 256 * 1024,
            h2_window_bytes: 1024 * 1024,
        }
    }
}

/// What workers tell the registry's task.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "see registry's methods of these names")]
pub enum Feedback {
    ConnectFailed { key: Key, reason: String },
    Connected { key: Key },
    Slow { key: Key },
    Failed { key: Key, reason: String },
}
