//! Closing so that the last answer arrives.
//!
//! Closing a socket that holds unread bytes sends a reset, and a reset may overtake the answer in
//! the client's kernel. So: say that nothing more comes, read on for a short time, then close.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::socket::Socket;

/// In all, as nginx's `lingering_timeout`.
const LINGER: Duration = Duration::from_secs(5);

/// Half-closes, discards what still comes, closes.
pub(super) async fn close(socket: &mut Socket) {
    let over = async {
        if (&*socket).shutdown().await.is_err() {
            return;
        }
        if let Ok(stream) = socket.stream() {
            read_over(stream).await;
        }
    };
    let _ = tokio::time::timeout(LINGER, over).await;
}

/// The same, for who never came to speak a protocol.
pub(super) async fn drain(stream: &mut TcpStream) {
    let over = async {
        if stream.shutdown().await.is_ok() {
            read_over(stream).await;
        }
    };
    let _ = tokio::time::timeout(LINGER, over).await;
}

/// Says that what was said is all, once a client takes that too: to one within TLS it else looks cut off.
pub(super) async fn say_end(socket: &mut Socket, longest: Duration) {
    let _ = tokio::time::timeout(longest, (&*socket).shutdown()).await;
}

async fn read_over(stream: &TcpStream) {
    while stream.readable().await.is_ok() && discard(stream) {}
}

/// Reads once. False: that was the end. No memory is held by who waits, since a thousand may.
fn discard(stream: &TcpStream) -> bool {
    let mut scratch = [0; 16 * 1024];
    match stream.try_read(&mut scratch) {
        Ok(bytes) => bytes > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
