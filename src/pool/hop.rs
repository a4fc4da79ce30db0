//! How connections to a pool's backends begin, and what ends them; keys of `[cluster.NAME]`.

use crate::proxy_header::Version;

/// Of one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Each connection begins with a PROXY header of this version; `None`: with none.
    pub send_proxy: Option<Version>,
    /// What becomes of a relayed connection whose backend is found down.
    pub on_down: OnDown,
}

/// What becomes of a relayed connection whose backend is found down: by its check, its own node or gossip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDown {
    /// It is reset, so that its client connects again, to another backend. A primary that comes back as a standby keeps
    /// no writers, and nobody waits for a machine that is gone.
    #[default]
    Close,
    /// It ends in its own time.
    Keep,
}
