//! What a client's new connection goes through before it speaks a protocol.
//!
//! ```text
//! accepted ─▶ PROXY header ─▶ TLS handshake ─┬─▶ HTTP/1 (front_h1)
//!              (introduction)       │          ├─▶ HTTP/2 (front_h2)
//!                                   │          └─▶ relay (front_tcp)
//!                                   └── too slow, no TLS, no agreement: counted, and gone
//! ```
//!
//! A listener that asks for nothing else costs nothing else: no task, no memory.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;

use super::buffer::Buffer;
use super::front_h1::Connection;
use super::front_tcp::Session;
use super::peer::Peer;
use super::socket::{Secured, Socket};
use super::worker::{Counted, Worker};
use super::{Mode, front_h2, introduction, linger};
use crate::tls::failure::Failure;
use crate::tls::server::Server;
use crate::tls::stream::Stream;
use crate::tls::subject;

/// Serves a connection to its end, in a task of its own.
pub(super) fn begin(worker: &Rc<Worker>, stream: TcpStream, peer: Peer) {
    let arrival = Arrival {
        worker: Counted::new(worker),
        socket: Socket::new(stream),
        peer,
    };
    match worker.listener(peer.listener()).proxy_protocol {
        None => arrival.enter(),
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
            arrival.enter();
        }
    }

    /// By TLS, where the listener asks for it.
    fn enter(self) {
        match &self.worker.listener(self.peer.listener()).tls {
            None => self.speak(),
            Some(server) => {
                let server = server.clone();
                tokio::task::spawn_local(self.secure(server));
            }
        }
    }

    /// Shakes hands, and goes on in a task of its own again: this one is far larger than who waits for a request.
    async fn secure(self, server: Arc<Server>) {
        let Self {
            worker,
            socket,
            peer,
        } = self;
        let (stream, local) = match shake(&worker, socket, &server).await {
            Ok(shaken) => shaken,
            Err((failure, stream)) => {
                worker.stats.shook_no_hands(&failure);
                tracing::debug!(client = %peer.address(), %failure, "no TLS");
                if let (Failure::PlainHttp, Some(stream)) = (failure, stream) {
                    refuse_plain_http(stream).await;
                }
                return;
            }
        };
        worker.stats.shook_hands(stream.is_resumed());
        let told = server
            .asks_clients()
            .then(|| subject::lines(stream.certificates()).into());
        let socket = Socket::secured(Box::new(Secured { stream, told }));
        let socket = match local {
            Some(local) => socket.introduced(local),
            None => socket,
        };
        let arrival = Self {
            worker,
            socket,
            peer,
        };
        arrival.speak();
    }

    /// Gives it to who speaks the listener's protocol, or what was agreed on within TLS (ALPN).
    fn speak(self) {
        let Self {
            worker,
            socket,
            peer,
        } = self;
        match worker.listener(peer.listener()).mode {
            Mode::Http if socket.speaks_h2() => {
                let nothing = Buffer::new(&worker.buffers);
                front_h2::begin(&worker, socket, nothing, peer);
            }
            Mode::Http => {
                tokio::task::spawn_local(Connection::new(worker, socket, peer).serve());
            }
            Mode::Tcp => {
                tokio::task::spawn_local(Session::new(worker, socket, peer).serve());
            }
        }
    }
}

/// With what a proxy in front said that the client had connected to.
type Shaken = (Stream, Option<SocketAddr>);

async fn shake(
    worker: &Worker,
    socket: Socket,
    server: &Server,
) -> Result<Shaken, (Failure, Option<Stream>)> {
    let parts = socket.into_parts();
    let (stream, local) = parts.map_err(|error| (Failure::Io(error), None))?;
    let stream = server.accept(stream);
    let mut stream = stream.map_err(|error| (Failure::Tls(error), None))?;
    let limit = worker.settings.timeouts.tls_handshake;
    let shaking = poll_fn(|cx| stream.poll_handshake(cx));
    match tokio::time::timeout(limit, shaking).await {
        Ok(Ok(())) => Ok((stream, local)),
        Ok(Err(failure)) => Err((failure, Some(stream))),
        Err(_) => Err((Failure::Slow, None)),
    }
}

/// What a person reads who typed `http://` before a port of https.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 66\r\nconnection: close\r\n\r\nthis port speaks TLS, and the request came in clear: use https://\n";

async fn refuse_plain_http(mut stream: Stream) {
    let told: io::Result<()> = stream.io_mut().write_all(PLAIN).await;
    if told.is_ok() {
        linger::drain(stream.io_mut()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_http_in_clear_is_as_long_as_it_says() {
        let text = std::str::from_utf8(PLAIN).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();

        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
    }
}
