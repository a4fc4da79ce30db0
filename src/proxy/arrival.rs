//! What a client's new connection goes through before it speaks a protocol.
//!
//! ```text
//! accepted ─▶ HTTP/1 (front_h1)
//! ```
//!
//! A listener that asks for nothing else costs nothing else: no task, no memory.

use std::net::TcpStream;
use std::rc::Rc;

use super::front_h1::Connection;
use super::peer::Peer;
use super::socket::Socket;
use super::worker::Worker;

/// Serves a connection to its end, in a task of its own.
pub(super) fn begin(worker: &Rc<Worker>, stream: TcpStream, peer: Peer) {
    let connection = Connection::new(worker, Socket::new(stream), peer);
    tokio::task::spawn_local(connection.serve());
}
