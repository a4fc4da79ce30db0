//! Changes of pools as event handlers are told of them.
//!
//! ```text
//! Change ─▶ its turn ─▶ backend-up, backend-down, pool-empty, pool-recovered
//! ```

use crate::handlers::{Handlers, Kind, Occasion};
use crate::pool::registry::{Change, Turn};

/// Tells those who want to know.
pub(super) fn deliver(change: &Change, handlers: &Handlers) {
    let Some(kind) = change.turn.map(kind) else {
        return;
    };
    if !handlers.want(kind, "") {
        return;
    }
    let (node, address) = match &change.backend {
        Some((id, address)) => (&*id.node, address.to_string()),
        None => ("", String::new()),
    };
    handlers.deliver(Occasion::pool(
        kind,
        &change.pool,
        node,
        &address,
        &change.reason,
    ));
}

fn kind(turn: Turn) -> Kind {
    match turn {
        Turn::In => Kind::BackendUp,
        Turn::Out => Kind::BackendDown,
        Turn::Emptied => Kind::PoolEmpty,
        Turn::Recovered => Kind::PoolRecovered,
    }
}
