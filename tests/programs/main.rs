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

/// `127.x.TEST.HOST`, where x tells runs at the same time apart, and TEST the tests of all files here.
fn ip(test: u8, host: u8) -> String {
    let run = 64 + (std::process::id() % 128) as u8;
    format!("127.{run}.{test}.{host}")
}
