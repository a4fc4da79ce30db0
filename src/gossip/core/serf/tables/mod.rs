//! What a member keeps of others and of what was said: each a table with bounds and rules of its own.
//!
//! They know neither the [`Layer`](super::layer::Layer) that holds them nor when it asks them.

pub(super) mod answerable;
pub(super) mod asking;
pub(super) mod events;
pub(super) mod failed;
pub(super) mod intents;
pub(super) mod member;
pub(super) mod queries;
