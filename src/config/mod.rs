//! Flags over environment over file over defaults, assembled into the settings of the modules that obey them.
//!
//! ```text
//! argv ─┐
//! env  ─┼─ merge ──▶ Front | Agent   or every error at once, with file:line:column
//! file ─┘
//! ```

use std::path::PathBuf;

use crate::announce::Service;
use crate::discovery::Network;
use crate::{admin, gossip, health, log, pool, proxy};

/// One `[cluster.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// The pool.
    pub pool: pool::registry::Settings,
    /// Its checks' timing.
    pub check: health::Settings,
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
    /// In order; the first takes all requests.
    pub clusters: Vec<Cluster>,
    /// Data path.
    pub proxy: proxy::Settings,
    /// Admin.
    pub admin: admin::Settings,
    /// Logging.
    pub log: log::Level,
    /// The file it was read from.
    pub file: Option<PathBuf>,
    /// Accepted but without effect yet, one sentence each.
    pub warnings: Vec<String>,
}

/// Everything that `lb-agent` obeys.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// Membership; its tags already hold the services.
    pub gossip: gossip::driver::Settings,
    /// Discovery name (`--discover`, else the role); `None`: off.
    pub discover: Option<String>,
    /// What is announced.
    pub services: Vec<Service>,
    /// Admin, off by default.
    pub admin: admin::Settings,
    /// Logging.
    pub log: log::Level,
    /// The file it was read from.
    pub file: Option<PathBuf>,
    /// Accepted but without effect yet, one sentence each.
    pub warnings: Vec<String>,
}
