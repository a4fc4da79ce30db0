//! Connections relayed as they are, and PROXY headers at both ends.
//!
//! ```text
//! Peer (client) ─▶ Front (the proxy's own workers, in process) ─▶ Toy (scripted backend threads)
//! HAProxy, curl, redis-cli ─▶ lb (the program) ─▶ HAProxy, Redis            needs LB_TEST_SYSTEM=1
//! ```
//!
//! Bytes and ends are asserted as they arrive on raw sockets. Waits are for conditions, with a deadline.

#[path = "../common/mod.rs"]
mod common;
#[path = "../proxy/front.rs"]
#[allow(dead_code, reason = "relays need only some of it")]
mod front;
#[path = "../common/hanging.rs"]
mod hanging;
#[path = "../proxy/peer.rs"]
#[allow(dead_code, reason = "relays need only some of it")]
mod peer;
#[path = "../proxy/toy.rs"]
#[allow(dead_code, reason = "relays need only some of it")]
mod toy;

mod ends;
mod failover;
mod haproxy;
mod incoming;
mod outgoing;
mod picking;
mod relay;
mod rig;
mod told;

use std::time::Duration;

use lb::proxy::{Mode, Settings};

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

/// One worker whose listener relays.
fn relaying() -> Settings {
    let mut settings = front::settings();
    settings.listeners[0].mode = Mode::Tcp;
    settings
}

/// Sends back what it gets until the end, and then its own.
fn echo() -> toy::Toy {
    toy::Toy::raw(|mut peer, _| {
        loop {
            let got = peer.some();
            if got.is_empty() || !peer.try_send(got) {
                return;
            }
        }
    })
}

/// Says its name, and then whatever it is told.
fn named(name: &'static str) -> toy::Toy {
    toy::Toy::raw(move |mut peer, _| {
        let mut more = peer.try_send(name);
        while more {
            let got = peer.some();
            more = !got.is_empty() && peer.try_send(got);
        }
    })
}
