//! With the real `serf`: what it thinks of us, and we of it.
//!
//! ```text
//! serf agent (Debian) ◀──7946 udp, tcp──▶ our member, in this process on a thread of its own
//!      ▲ serf members -format=json            ▲ Handle::members
//!      └───────────────── the test ───────────┘
//! ```
//!
//! Needs `LB_TEST_SYSTEM=1`. Everything is on loopback, each test on addresses of its own.

#[path = "../common/mod.rs"]
mod common;

mod alive;
mod chatter;
mod encrypted;
mod fail;
mod handlers;
mod join;
mod leave;
mod names;
mod nodes;
mod octets;
mod peers;
mod relay;
mod rpc;
mod snapshot;
