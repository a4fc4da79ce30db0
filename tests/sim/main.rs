//! Many real members on a false network, in virtual time, from one seed.
//!
//! ```text
//!             seed ──▶ ChaCha8 ──▶ delays, losses, order, chunks, everyone's own dice
//!                          │
//!   Node ◀──packets, bytes─┴─ World ──every step──▶ invariants
//!     └──poll_*──▶ queue by time ──▶ the next step, until nothing is due
//! ```
//!
//! A failure prints the seed and the one command that replays it. `LB_SIM_SEED` sets the seed of a scenario,
//! `LB_SIM_SECONDS` how long random seeds are tried.

mod chatter;
mod crowd;
mod detection;
mod host;
mod invariants;
mod keys;
mod names;
mod namesakes;
mod network;
mod partitions;
mod races;
mod random;
mod recall;
mod scenarios;
mod storms;
mod streams;
mod world;
