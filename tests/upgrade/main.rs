//! The built front replaces itself: under load, by broken programs, started by a service manager, among its members.
//!
//! ```text
//! rig: a front and its successors · toy web server · lb-agent      load: clients that note every failure, each on its way
//! ```

#![allow(clippy::disallowed_methods, reason = "tests read the real clock")]

#[path = "../tls/authority.rs"]
#[allow(dead_code, reason = "the tests of TLS use the rest")]
mod authority;
#[path = "../common/mod.rs"]
mod common;

mod broken;
mod busy;
mod ends;
mod held;
mod load;
mod manager;
mod rig;
mod seamless;
mod way;
