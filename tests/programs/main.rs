//! The built programs, a few of each, on loopback: as an operator starts, names, commands, stops and kills them.
//!
//! In one program, as each waits most of its time for what takes a program seconds, and all of them wait at once.

#![allow(clippy::disallowed_methods, reason = "tests read the real clock")]

#[path = "../common/mod.rs"]
mod common;

mod demo;
mod names;
mod pause;
mod rpc;
mod state;
