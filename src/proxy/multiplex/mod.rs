//! HTTP/2 to a backend: a few connections that carry many requests each.
//!
//! ```text
//! Join ─▶ Mux ─┬─ a connection has room ─▶ Seat ─▶ Stream (one request)
//!              ├─ none has: one is opened for all who wait (a task of its own)
//!              └─ as many as may be, all full: a Seat that is given back is the next one's
//! Conn ◀── driver (a task of its own): reads, writes, PINGs
//! ```
//!
//! A connection counts as open once the backend's SETTINGS have come: then it is known to speak HTTP/2, and how many
//! requests it takes at once. Nothing was sent before, so whatever fails until then may be tried elsewhere.

mod conn;
mod empties;
mod head;
pub(super) mod join;
pub(super) mod mux;
pub(super) mod stream;
