//! Clients that speak HTTP/2, frame by frame.
//!
//! ```text
//! Client (frames as told, also wrong ones) ─▶ Front (the proxy's own workers, in process) ─▶ Toy (scripted backends)
//! curl, h2load                             ─▶ lb, as built                                ─▶ Toy
//! ```

#![allow(clippy::disallowed_methods, reason = "tests read the real clock")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/frames.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod frames;
#[path = "../proxy/front.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod front;
#[path = "../common/hpack.rs"]
mod hpack;
#[path = "../proxy/peer.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod peer;
#[path = "../proxy/toy.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod toy;

mod bodies;
mod client;
mod ends;
mod floods;
mod grpc;
mod noise;
mod peers;
mod requests;
mod waits;

use std::time::Duration;

/// No condition may take longer than this.
const DEADLINE: Duration = Duration::from_secs(20);

/// RFC 9113 §7.
const PROTOCOL_ERROR: u32 = 1;
const INTERNAL_ERROR: u32 = 2;
const SETTINGS_TIMEOUT: u32 = 4;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Waits until `holds`, and says what it waited for if that never happens.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = lb::clock::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
