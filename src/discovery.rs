//! From members to upstreams.
//!
//! ```text
//!   gossip Members ──filter by role──▶ Spec per service ──reconcile──▶ pool::Registry
//!        (watch)          tags: port, weight, backup                      │ one store
//!                                                                         ▼
//!                                                                ArcSwap<Snapshot>
//! ```
//!
//! Level-triggered: every change delivers the full member list, so a missed update cannot
//! leave a ghost upstream. No I/O, no health: see `crate::health`.

use std::net::SocketAddr;

use crate::gossip::core::member::Members;
use crate::pool::spec::Spec;

/// Which addresses a gossip backend may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// CIDR networks; empty: any that the other rules allow.
    pub networks: Vec<Network>,
    /// Our own gossip address is loopback, so backends may be.
    pub loopback: bool,
    /// Our own listeners: never a backend.
    pub own: Vec<SocketAddr>,
}

/// A CIDR network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Base address.
    pub base: std::net::IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
}

/// Backends of `pool` among `members`, `default_port` where none is announced.
pub fn specs(_members: &Members, _pool: &str, _default_port: u16, _trust: &Trust) -> Vec<Spec> {
    unimplemented!()
}
