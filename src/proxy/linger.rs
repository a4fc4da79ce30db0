//! Closing so that the last answer arrives.
//!
//! Closing a socket that holds unread bytes sends a reset, and a reset may overtake the answer in
//! the client's kernel. So: say that nothing more comes, read on for a short time, then close.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// In all, as nginx's `lingering_timeout`.
const LINGER: Duration = Duration::from_secs(5);

/// Half-closes, discards what still comes, closes.
pub(super) async fn close(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let discard = async {
        let mut scratch = vec![0; 16 * 1024];
        while matches!(stream.read(&mut scratch).await, Ok(bytes) if bytes > 0) {}
    };
    let _ = tokio::time::timeout(LINGER, discard).await;
}
