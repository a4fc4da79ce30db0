//! TLS at both ends of the data path, over real sockets.
//!
//! ```text
//! Client (rustls, openssl, curl, chromium) ─TLS─▶ Front (the proxy's own workers) ─plain or TLS─▶ Toy, Backend
//!      └─ certificates of an Authority made for the test
//! ```
//!
//! Waits are for conditions, with a deadline.

#[path = "../common/mod.rs"]
mod common;
#[path = "../proxy/front.rs"]
#[allow(dead_code, reason = "the proxy's tests use the rest")]
mod front;
#[path = "../proxy/peer.rs"]
#[allow(dead_code, reason = "the proxy's tests use the rest")]
mod peer;
#[path = "../proxy/toy.rs"]
#[allow(dead_code, reason = "the proxy's tests use the rest")]
mod toy;

mod authority;
mod backend;
mod client;
mod streams;

mod agreed;
mod backends;
mod browser;
mod certificates;
mod clients;
mod exhaustion;
mod handshake;
mod introduced;
mod narrow;
mod programs;
mod replaced;
mod resumption;
mod run;
mod truncation;

use std::time::Duration;

use lb::proxy::Settings;
use lb::tls::server::{self, ClientAuth, Server};
use lb::tls::{Version, certificate::Files};

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

/// TLS with these certificates, and else the defaults.
fn tls(certificates: Vec<Files>) -> server::Settings {
    server::Settings {
        certificates,
        min_version: Version::Tls12,
        client_auth: ClientAuth::Off,
        client_ca: None,
        alpn: vec!["http/1.1".to_owned()],
    }
}

fn load(settings: server::Settings) -> Server {
    let loaded = Server::load(settings, lb::clock::wall());
    let (server, _) = loaded.unwrap_or_else(|problems| panic!("{problems:?}"));
    server
}

/// One worker, shipped timeouts, one listener with TLS.
fn settings(tls: server::Settings) -> Settings {
    let mut settings = front::settings();
    settings.listeners[0].tls = Some(load(tls).into());
    settings
}
