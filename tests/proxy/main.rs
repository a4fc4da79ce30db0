//! The data path over raw sockets: bytes in, bytes out, one file per capability.
//!
//! ```text
//! Peer (client) ─▶ Front (the proxy's own workers, in process) ─▶ Toy (scripted backend threads)
//!                    └ Registry driven by hand: up, down, drain
//! ```
//!
//! Nothing here names hyper, so these tests outlive it. Waits are for conditions, with a deadline.

mod frames;
#[allow(dead_code, reason = "tests/tcp uses more of it")]
mod front;
#[path = "../common/hanging.rs"]
mod hanging;
#[allow(dead_code, reason = "tests/tcp uses more of it")]
mod peer;
mod toy;

mod abort;
mod access;
mod body;
mod bytes;
mod eject;
mod forward;
mod limits;
mod multiplex;
mod rescue;
mod retry;
mod rotation;
mod slow;
mod start;
mod stop;
mod storm;

use std::time::Duration;

/// No condition may take longer than this.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `holds`, and says what it waited for if that never happens.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = lb::clock::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
