//! Serf's layer: intents, Lamport clocks, member states.

pub mod tags;
