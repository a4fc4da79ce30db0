//! The Serf member: a pure core and the driver that gives it sockets.
//!
//! ```text
//! sockets ──bytes──▶ driver ──handle_*(now, …)──▶ core::Node ──poll_*()──▶ driver ──▶ sockets
//! ```

pub mod core;
pub mod driver;
