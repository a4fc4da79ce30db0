//! What a client's new connection goes through before it speaks a protocol.
//!
//! ```text
//! accepted ─▶ PROXY header, where the listener  ─▶ TLS handshake, where it ─┬─▶ HTTP/1 (front_h1)
//!              asks for it (introduction)            speaks TLS             ├─▶ HTTP/2, if that was agreed on (front_h2)
//!                                                                           └─▶ relay (front_tcp)
//! ```
//!
//! A listener that asks for nothing else costs nothing else: no task, no memory.

use std::future::poll_fn;
use std::io;
use std::net::TcpStream;
use std::rc::Rc;

use tokio::io::AsyncWriteExt;

use super::buffer::Buffer;
use super::front_h1::Connection;
use super::front_tcp::Session;
use super::guards::Counted;
use super::peer::Peer;
use super::socket::{Secured, Socket};
use super::worker::Worker;
use super::{Mode, front_h2, introduction, linger};
use crate::tls::failure::{self, Failure};
use crate::tls::server::Server;
use crate::tls::stream::Stream;
use crate::tls::subject;

/// The name of HTTP/2 among protocols to agree on (RFC 7301).
const H2: &[u8] = b"h2";

/// Serves a connection to its end, in a task of its own.
pub(super) fn begin(worker: &Rc<Worker>, stream: TcpStream, peer: Peer) {
    let arrival = Arrival {
        worker: Counted::new(worker),
        socket: Socket::new(stream),
        peer,
    };
    let listener = worker.listener(peer.listener());
    match listener.proxy_protocol.is_some() || listener.tls.is_some() {
        false => arrival.speak(),
        true => drop(tokio::task::spawn_local(arrival.come_in())),
    }
}

/// A connection of which nothing is known but where it came from.
struct Arrival {
    worker: Counted,
    socket: Socket,
    peer: Peer,
}

impl Arrival {
    /// Through all that the listener asks for; what follows has a task of its own again: this one is far larger than
    /// who waits for a request.
    async fn come_in(self) {
        let Some(introduced) = self.be_introduced().await else {
            return;
        };
        let listener = introduced.worker.listener(introduced.peer.listener());
        let secured = match listener.tls.clone() {
            None => Some(introduced),
            Some(server) => Box::pin(introduced.be_secured(&server)).await,
        };
        if let Some(arrival) = secured {
            arrival.speak();
        }
    }

    async fn be_introduced(self) -> Option<Self> {
        let Self {
            worker,
            socket,
            peer,
        } = self;
        let from = worker.listener(peer.listener()).proxy_protocol.as_deref();
        let (socket, peer) = match from {
            None => (socket, peer),
            Some(from) => introduction::take(&worker, socket, peer, from).await?,
        };
        Some(Self {
            worker,
            socket,
            peer,
        })
    }

    async fn be_secured(self, server: &Server) -> Option<Self> {
        let Self {
            worker,
            socket,
            peer,
        } = self;
        let (stream, local) = match shake(&worker, socket, server).await {
            Ok(shaken) => shaken,
            Err((failure, stream)) => {
                worker.stats.shook_no_hands(&failure);
                tracing::debug!(client = %peer.address(), %failure, "no TLS");
                // Balancers and monitors connect, and have seen all they wanted.
                let looked = matches!(failure, Failure::Closed | Failure::Io(_));
                if !(looked && stream.as_ref().is_some_and(|stream| !stream.has_begun())) {
                    worker.turned_away(("TLS", failure::LABELS[failure.label()]), peer);
                }
                if let (Failure::PlainHttp, Some(stream)) = (failure, stream) {
                    refuse_plain_http(stream).await;
                }
                return None;
            }
        };
        worker.stats.shook_hands(stream.is_resumed());
        let told = server
            .asks_clients()
            .then(|| subject::lines(stream.certificates()).into());
        let secured = Socket::secured(Box::new(Secured { stream, told }));
        Some(Self {
            worker,
            socket: match local {
                Some(local) => secured.introduced(local),
                None => secured,
            },
            peer,
        })
    }

    /// Gives it to who speaks the listener's protocol, or the one that was agreed on. Who names none means HTTP/1.
    fn speak(self) {
        let Self {
            worker,
            socket,
            peer,
        } = self;
        match worker.listener(peer.listener()).mode {
            Mode::Http if socket.is_agreed_on(H2) => {
                let early = Buffer::new(&worker.buffers);
                front_h2::begin(worker, socket, early, peer);
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

/// With it, the address that a proxy in front said its client had connected to.
type Shaken = (Stream, Option<std::net::SocketAddr>);

async fn shake(
    worker: &Worker,
    socket: Socket,
    server: &Server,
) -> Result<Shaken, (Failure, Option<Stream>)> {
    let (io, local) = socket
        .into_parts()
        .map_err(|error| (Failure::Io(error), None))?;
    let stream = server.accept(io);
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
