//! Streams: a small task each, which passes bytes and judges nothing.
//!
//! ```text
//! owner ──ToStream (unbounded, but the core sends one message)──▶ task ◀──▶ socket
//!   ▲                                                              │
//!   └────────────── FromStream (bounded: a flood waits) ───────────┘
//! ```
//!
//! One deadline covers connecting, reading and writing, as memberlist's `TCPTimeout` does.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::clock;
use crate::gossip::core::io::StreamId;

/// Read at a time.
const CHUNK_BYTES: usize = 4 << 10;

/// The same while lingering, where hardly anything comes.
const LINGER_BYTES: usize = 512;

/// Connections waiting to be accepted.
const BACKLOG: i32 = 128;

/// How long the peer may take to read our last words after we closed. Without it a peer that still writes
/// would be reset and lose them.
const LINGER: Duration = Duration::from_secs(1);

/// What the owner tells a stream.
#[derive(Debug)]
pub(super) enum ToStream {
    /// Write all of it.
    Send(Vec<u8>),
    /// Nothing follows.
    Close,
}

/// What a stream tells the owner.
#[derive(Debug)]
pub(super) enum FromStream {
    Connected,
    Bytes(Vec<u8>),
    /// By the peer, or with an error.
    Closed(Option<String>),
}

/// The task's ends of its channels.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: StreamId,
    pub(super) orders: mpsc::UnboundedReceiver<ToStream>,
    pub(super) reports: mpsc::Sender<(StreamId, FromStream)>,
}

/// Binds and listens.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Only connections of an earlier life may still hold the port; another listener is refused all the same.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A stream that the core asked for.
pub(super) async fn connect(to: SocketAddr, link: Link, longest: Duration) {
    let deadline = deadline(longest);
    let error = match timeout_at(deadline, TcpStream::connect(to)).await {
        Ok(Ok(socket)) => {
            if link.report(FromStream::Connected).await {
                serve(socket, link, deadline, longest).await;
            }
            return;
        }
        Ok(Err(error)) => text(&error),
        Err(_) => timed_out(longest),
    };
    link.report(FromStream::Closed(Some(error))).await;
}

/// A stream that a peer opened.
pub(super) async fn accepted(socket: TcpStream, link: Link, longest: Duration) {
    serve(socket, link, deadline(longest), longest).await;
}

async fn serve(mut socket: TcpStream, mut link: Link, deadline: Instant, longest: Duration) {
    let _ = socket.set_nodelay(true);
    let outcome = timeout_at(deadline, pass(&mut socket, &mut link)).await;
    match outcome {
        Ok(Ok(())) => linger(socket).await,
        Ok(Err(error)) => {
            link.report(FromStream::Closed(Some(text(&error)))).await;
        }
        Err(_) => {
            link.report(FromStream::Closed(Some(timed_out(longest))))
                .await;
        }
    }
}

/// Bytes both ways until the owner closes.
async fn pass(socket: &mut TcpStream, link: &mut Link) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut peer_open = true;
    loop {
        tokio::select! {
            order = link.orders.recv() => match order {
                Some(ToStream::Send(bytes)) => socket.write_all(&bytes).await?,
                // The owner drops its end when it has closed, or ended itself.
                Some(ToStream::Close) | None => return Ok(()),
            },
            read = socket.read(&mut buffer), if peer_open => {
                let report = match read? {
                    0 => {
                        peer_open = false;
                        FromStream::Closed(None)
                    }
                    len => FromStream::Bytes(buffer[..len].to_vec()),
                };
                if !link.report(report).await {
                    return Ok(());
                }
            }
        }
    }
}

/// Says that we are done, then lets the peer finish.
async fn linger(mut socket: TcpStream) {
    let _ = timeout(LINGER, async {
        socket.shutdown().await?;
        let mut rest = [0; LINGER_BYTES];
        while socket.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}

impl Link {
    /// False when the owner has ended.
    async fn report(&self, what: FromStream) -> bool {
        self.reports.send((self.id, what)).await.is_ok()
    }
}

fn deadline(longest: Duration) -> Instant {
    Instant::from_std(clock::now() + longest)
}

/// The cause without the system's number: "connection refused".
fn text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::Other => error.to_string(),
        kind => kind.to_string(),
    }
}

fn timed_out(longest: Duration) -> String {
    format!("no answer within {} s", longest.as_secs())
}
