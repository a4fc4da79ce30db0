//! The built programs on network namespaces, under a steady load whose failures are counted.
//!
//! Needs root, `ip` and, for stock agents, Debian's `serf`: see `common::system_tests`. Figures are printed;
//! bounds here are generous, since machines are noisy: they catch a broken rule, not a slow day.

#![allow(clippy::disallowed_methods, reason = "tests read the real clock")]

#[path = "../common/mod.rs"]
mod common;

mod discover;
mod faults;
mod fire;
mod keys;
mod load;
mod mixed;
mod namesakes;
mod net;
mod partition;
mod peers;
mod rotation;
mod web;
mod world;
