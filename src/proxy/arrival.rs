//! What a client's new connection goes through before it speaks a protocol.
//!
//! ```text
//! accepted ─▶ PROXY header, where the listener asks for it ─┬─▶ HTTP/1 (front_h1)
//!                          (introduction)                   └─▶ relay (front_tcp)
//! ```
//!
//! A listener that asks for nothing else costs nothing else: no task, no memory.

use std::net::TcpStream;
use std::rc::Rc;

use super::Mode;
use super::front_h1::Connection;
use super::front_tcp::Session;
use super::introduction;
use super::peer::Peer;
use super::socket::Socket;
use super::worker::{Counted, Worker};

/// Serves a connection to its end, in a task of its own.
pub(super) fn begin(worker: &Rc<Worker>, stream: TcpStream, peer: Peer) {
    let arrival = Arrival {
        worker: Counted::new(worker),
        socket: Socket::new(stream),
        peer,
    };
    match worker.listener(peer.listener()).proxy_protocol {
        None => arrival.speak(),
        Some(_) => drop(tokio::task::spawn_local(arrival.be_introduced())),
    }
}

/// A connection of which nothing is known but where it came from.
struct Arrival {
    worker: Counted,
    socket: Socket,
    peer: Peer,
}

impl Arrival {
    async fn be_introduced(self) {
        let Self {
            worker,
            socket,
            peer,
        } = self;
        let from = &worker.listener(peer.listener()).proxy_protocol;
        let from = from.as_deref().unwrap_or_default();
        if let Some((socket, peer)) = introduction::take(&worker, socket, peer, from).await {
            let arrival = Self {
                worker,
                socket,
                peer,
            };
            arrival.speak();
        }
    }

    /// Gives it to who speaks the listener's protocol.
    fn speak(self) {
        let Self {
            worker,
            socket,
            peer,
        } = self;
        match worker.listener(peer.listener()).mode {
            Mode::Http => {
                tokio::task::spawn_local(Connection::new(worker, socket, peer).serve());
            }
            Mode::Tcp => {
                tokio::task::spawn_local(Session::new(worker, socket, peer).serve());
            }
        }
    }
}
