//! Which pools are sent requests, and which are relayed to: what listeners and pools say, put together.
//!
//! ```text
//! mode "tcp"  ─▶ any pool: its bytes are its clients' business          proto and check not given, and no HTTP listener:
//! mode "http" ─▶ a pool that speaks HTTP; one of proto "tcp" is refused   a pool of proto "tcp", checked by a connect
//! ```
//!
//! HTTP or TLS relayed as bytes is common, and so a tcp listener may name a pool that is checked by HTTP, or that
//! another listener sends requests to. The reverse is a slip: requests to what speaks no HTTP.

use super::Cluster;
use super::document::Place;
use super::sources::Sources;
use crate::announce::{CheckSpec, Proto};
use crate::proxy::{Listener, Mode};

/// A pool, and what was said of it rather than left to its default.
pub(super) struct Read {
    pub(super) cluster: Cluster,
    /// Its protocol.
    pub(super) proto: Option<Place>,
    /// How it is checked.
    pub(super) check: bool,
}

/// Fills in what follows from the listeners, and refuses what does not fit them.
pub(super) fn settle(sources: &Sources<'_>, listeners: &[Listener], pools: &mut [Read]) {
    let first = pools.first().map(|read| read.cluster.pool.name.clone());
    for read in pools {
        let pool = &mut read.cluster.pool;
        let named = |listener: &&Listener| {
            let cluster = listener.cluster.as_ref().or(first.as_ref());
            cluster == Some(&pool.name)
        };
        let mut here = listeners.iter().filter(named);
        let asked = here.clone().find(|listener| listener.mode == Mode::Http);
        if read.proto.is_none() && asked.is_none() && here.next().is_some() {
            pool.proto = Proto::Tcp;
        }
        // With requests it is of this proto only where that was written.
        if let (Proto::Tcp, Some(asked), Some(place)) = (pool.proto, asked, &read.proto) {
            sources.refuse_at(
                place,
                format!(
                    "takes no requests, and listener {} sends it some; write mode = \"tcp\" there, or name another pool by cluster",
                    asked.name
                ),
            );
        }
        if pool.proto == Proto::Tcp && !read.check {
            pool.check = CheckSpec::Tcp { port: None };
        }
    }
}
