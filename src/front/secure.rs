//! TLS as the wiring sees it: checks over it, and certificates that are replaced while all runs.
//!
//! ```text
//! each 2 s ─▶ files changed? ─▶ Server::refresh ─▶ log      each 6 h ─▶ new keys for tickets
//! SIGHUP ───▶ config (read and judged) ─▶ Server::replace
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tracing::{error, info, warn};

use crate::clock;
use crate::health::secure::{Duplex, Secure, Shaken};
use crate::proxy::Listener;
use crate::tls::client::{Client, Inside};
use crate::tls::server::{Refreshed, Server};
use crate::tls::tickets::TURN_SECONDS;

/// Shakes hands for the checks of a pool.
#[derive(Debug)]
pub(super) struct Checks(pub(super) Arc<Client>);

impl Secure for Checks {
    fn shake(&self, io: TcpStream, name: &str, http2: bool) -> Shaken {
        let inside = match http2 {
            true => Inside::Http2,
            false => Inside::Http1,
        };
        let (client, name) = (self.0.clone(), name.to_owned());
        Box::pin(async move {
            let shaken = client.shake(io, &name, inside).await;
            let stream = shaken.map_err(|failure| failure.to_string())?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        })
    }
}

/// Between two looks at the files of certificates.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Watches the certificates of all listeners, until the runtime ends. Without any there is nothing to do.
pub(super) fn watch(listeners: &[Listener]) {
    let servers: Vec<(String, Arc<Server>)> = listeners
        .iter()
        .filter_map(|listener| Some((listener.name.clone(), listener.tls.clone()?)))
        .collect();
    if !servers.is_empty() {
        tokio::spawn(look(servers));
    }
}

async fn look(servers: Vec<(String, Arc<Server>)>) {
    let servers = Arc::new(servers);
    let turn = Duration::from_secs(u64::from(TURN_SECONDS));
    let mut turned = clock::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (all, turns) = (servers.clone(), turned.elapsed() >= turn);
        if turns {
            turned = clock::now();
        }
        // A disk that hangs shall not hold up gossip and checks.
        let looked = tokio::task::spawn_blocking(move || {
            for (name, server) in &*all {
                if turns && let Err(error) = server.turn_tickets() {
                    warn!(listener = name, %error, "the keys of session tickets stay");
                }
                tell(name, server.refresh(clock::wall()));
            }
        });
        // Only at the end of the runtime.
        if looked.await.is_err() {
            return;
        }
    }
}

fn tell(listener: &str, refreshed: Refreshed) {
    match refreshed {
        Refreshed::Same => {}
        Refreshed::Replaced => info!(listener, "certificates replaced"),
        Refreshed::Kept(problems) => {
            for problem in problems {
                error!(listener, "the old certificate stays: {problem}");
            }
        }
    }
}

/// Has the running listeners take over what `fresh` ones have read; afterwards those hold the running ones.
pub(super) fn replace(running: &[Listener], fresh: &mut [Listener]) {
    for (running, fresh) in running.iter().zip(fresh) {
        if let (Some(server), Some(read)) = (&running.tls, &fresh.tls) {
            server.replace(read);
            fresh.tls = Some(server.clone());
        }
    }
}
