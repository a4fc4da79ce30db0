//! `lb`: a load balancer that finds its own backends.
//!
//! ```text
//! L0  clock  shutdown  task  log  announce  argv  network  proxy_header
//! L1  gossip/core   notify   pool   script   timeline
//! L2  gossip/driver   handlers   health   rpc   state   tls
//! L3  discovery   proxy
//! L4  admin
//! L5  config   membership
//! L6  agent   front
//! L7  cli   demo   bin
//! ```
//!
//! A module imports only from lower layers; `tests/house.rs` holds the table to the code.
//! Nothing is re-exported here, so a path tells where a thing lives.

pub mod announce;
pub mod argv;
pub mod clock;
pub mod log;
pub mod network;
pub mod proxy_header;
pub mod shutdown;
pub mod task;

pub mod gossip;
pub mod notify;
pub mod pool;
pub mod script;
pub mod timeline;

pub mod handlers;
pub mod health;
pub mod rpc;
pub mod state;
pub mod tls;

pub mod discovery;
pub mod proxy;

pub mod admin;

pub mod config;
pub mod membership;

pub mod agent;
pub mod front;

pub mod cli;
pub mod demo;
