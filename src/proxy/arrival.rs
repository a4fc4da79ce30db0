//! What a client's new connection goes through before it speaks a protocol.
//!
//! ```text
//! accepted ─┬────────────────────────────────▶ HTTP/1 (front_h1)
//!           └─▶ TLS handshake ─▶ by protocol ─┘
//!                 └── too slow, no TLS, no agreement: counted, and gone
//! ```
//!
//! A listener that asks for nothing else costs nothing else: no task, no memory.

use std::future::poll_fn;
use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream as Watched;

use super::front_h1::Connection;
use super::linger;
use super::peer::Peer;
use super::socket::{Secured, Socket};
use super::worker::{Counted, Worker};
use crate::tls::failure::Failure;
use crate::tls::server::Server;
use crate::tls::stream::Stream;
use crate::tls::subject;

/// Serves a connection to its end, in a task of its own.
pub(super) fn begin(worker: &Rc<Worker>, stream: TcpStream, peer: Peer) {
    let counted = Counted::begin(worker);
    match &worker.listener(peer.listener()).tls {
        None => {
            let connection = Connection::new(counted, Socket::new(stream), peer);
            tokio::task::spawn_local(connection.serve());
        }
        Some(server) => {
            let server = server.clone();
            tokio::task::spawn_local(secure(counted, stream, peer, server));
        }
    }
}

/// Shakes hands, and goes on in a task of its own again: this one is far larger than who waits for a request.
async fn secure(counted: Counted, stream: TcpStream, peer: Peer, server: Arc<Server>) {
    let stream = match shake(&counted, stream, &server).await {
        Ok(stream) => stream,
        Err((failure, stream)) => {
            counted.stats.shook_no_hands(&failure);
            tracing::debug!(client = %peer.address(), %failure, "no TLS");
            if let (Failure::PlainHttp, Some(stream)) = (failure, stream) {
                refuse_plain_http(stream).await;
            }
            return;
        }
    };
    counted.stats.shook_hands(stream.is_resumed());
    let told = server
        .asks_clients()
        .then(|| subject::lines(stream.certificates()).into());
    speak(counted, Box::new(Secured { stream, told }), peer);
}

/// Serves what was agreed on (ALPN). Who names no protocol means HTTP/1.
fn speak(counted: Counted, secured: Box<Secured>, peer: Peer) {
    // HTTP/2 branches off here: `secured.stream.protocol()` is `h2` where it is offered.
    let connection = Connection::new(counted, Socket::secured(secured), peer);
    tokio::task::spawn_local(connection.serve());
}

async fn shake(
    worker: &Worker,
    stream: TcpStream,
    server: &Server,
) -> Result<Stream, (Failure, Option<Stream>)> {
    let watched = Watched::from_std(stream).map_err(|error| (Failure::Io(error), None))?;
    let stream = server.accept(watched);
    let mut stream = stream.map_err(|error| (Failure::Tls(error), None))?;
    let limit = worker.settings.timeouts.tls_handshake;
    let shaking = poll_fn(|cx| stream.poll_handshake(cx));
    match tokio::time::timeout(limit, shaking).await {
        Ok(Ok(())) => Ok(stream),
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
