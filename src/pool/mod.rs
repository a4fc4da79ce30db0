//! Pools: who may receive requests, and in which order.
//!
//! ```text
//! Spec (discovery, files) ─┐
//! check outcomes ──────────┼─▶ Registry ──effective()──▶ Snapshot ──one store──▶ ArcSwap ──▶ workers pick
//! connect failures ────────┤   (one writer)   reason
//! failed requests ─────────┤
//! operators ───────────────┘
//! ```
//!
//! Pure but for that one store, the counters shared with workers and the wake-up of waiting
//! requests. No sockets, no clock: `now` is an argument.

pub mod effective;
pub mod ejection;
pub mod hop;
pub mod queue;
pub mod registry;
pub mod smooth_weighted;
pub mod snapshot;
pub mod spec;
pub mod upstream;
