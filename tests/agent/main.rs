//! The built `lb-agent` as the companion of a service, and event handlers of both programs.
//!
//! ```text
//! lb 127.x.y.1 ◀─gossip─▶ lb-agent web1 127.x.y.10 ─ checks, runs, hears ─▶ service
//!   admin API ◀─ what came of it        └─ handler, hosts file ─▶ files
//! ```

#![allow(clippy::disallowed_methods, reason = "tests read the real clock")]

#[path = "../common/mod.rs"]
mod common;

mod check;
mod flows;
mod handlers;
mod hosts;
mod init;
mod keys;
mod reload;
mod rig;
mod run;
mod snapshot;
