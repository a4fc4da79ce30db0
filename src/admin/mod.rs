//! The operator's window: metrics, health, JSON.

use std::net::SocketAddr;

/// Keys of `[admin]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `None`: off.
    pub listen: Option<SocketAddr>,
    /// An empty pool makes `/readyz` say no.
    pub ready_requires_backend: bool,
}
