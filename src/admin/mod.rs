//! The operator's window: metrics, health, JSON. Read only.
//!
//! ```text
//! GET ─▶ server (bounded) ─┬─ /healthz  /readyz         one word and a reason
//!                          ├─ /api/v1/pools  …/members  api: the snapshot as JSON
//!                          └─ /metrics                  metrics: plain numbers ─▶ Prometheus text
//!                                   ▲
//!                    Source: pools, members, counters, read at each request
//! ```
//!
//! Nothing is pushed here and nothing is remembered but when a backend was last seen: every
//! answer is read from where the truth lives. No judgement: see `pool::effective`.

mod api;
mod gone;
mod metrics;
mod page;
mod process;
mod server;
mod source;

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

pub use server::serve;
pub use source::{Certificate, Source, readiness};

/// Keys of `[admin]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `None`: off.
    pub listen: Option<SocketAddr>,
    /// An empty pool makes `/readyz` say no.
    pub ready_requires_backend: bool,
}

/// The listener for [`serve`]; `None` when the settings say off.
///
/// # Errors
/// The system's refusal; the caller knows what a busy or forbidden port means to it.
pub async fn bind(settings: &Settings) -> io::Result<Option<TcpListener>> {
    match settings.listen {
        Some(listen) => TcpListener::bind(listen).await.map(Some),
        None => Ok(None),
    }
}
