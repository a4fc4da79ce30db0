//! A Serf member without sockets, clock or dice.
//!
//! ```text
//!     handle_packet / handle_stream_* / handle_timeout / join / leave / set_tags / user_event / query / keys
//!                                        │
//!                                        ▼
//!   Node ── serf (intents, Lamport clocks, member states, events, queries, keys, coordinates)
//!     └──── memberlist (probe, suspicion, awareness, broadcasts, push/pull)
//!                                        │
//!                                        ▼
//!     poll_transmit / poll_stream / poll_event / poll_answer / poll_keyring / poll_timeout / stats
//! ```
//!
//! Serf owns memberlist and lends it a `&mut dyn Delegate`. Streams are here too, as an id
//! and bytes. Same inputs and same seed, same outputs: `BTreeMap` only, `ChaCha8Rng` passed in.

pub mod io;
pub mod keyring;
pub mod member;
pub mod memberlist;
pub mod name;
pub mod node;
pub mod serf;
pub mod timing;
pub mod wire;
