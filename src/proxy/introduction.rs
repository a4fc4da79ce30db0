//! A proxy in front introduces its client: the PROXY header that a connection begins with.
//!
//! ```text
//! accepted ─▶ trusted? ─▶ header, within `request_head` ─▶ the client's address instead of the proxy's
//!                └─ no ──────┴─ none, odd, too slow ─▶ closed and counted: never taken for a client of its own
//! ```
//!
//! Exactly the header is read, so that what follows is still in the socket for whoever speaks next.

use std::rc::Rc;

use tokio::io::AsyncReadExt;
use tracing::debug;

use super::peer::Peer;
use super::socket::Socket;
use super::stats::Unheaded;
use super::worker::Worker;
use crate::network::Network;
use crate::proxy_header::{self, Header, Step};

/// What is wanted, as it is told where it does not come.
const HEADER: &str = "PROXY header";

/// Reads the header; whom the connection is from now on, or `None` where it is to be closed.
pub(super) async fn take(
    worker: &Rc<Worker>,
    socket: Socket,
    peer: Peer,
    from: &[Network],
) -> Option<(Socket, Peer)> {
    let address = peer.address();
    if !from.iter().any(|network| network.contains(address.ip())) {
        debug!(peer = %address, "not one who may send a PROXY header");
        worker.stats.unheaded(Unheaded::Untrusted);
        worker.turned_away((HEADER, Unheaded::Untrusted.label()), peer);
        return None;
    }
    let mut stop = worker.shared.stop.clone();
    let read = tokio::time::timeout(worker.settings.timeouts.request_head, read(&socket));
    let read = tokio::select! {
        biased;
        read = read => read.unwrap_or(Err((Unheaded::Slow, true))),
        // One that has said nothing by now is as idle as one without a request.
        () = stop.wait() => return None,
    };
    match read {
        Ok(Header::Own) => Some((socket, peer)),
        Ok(Header::For {
            source,
            destination,
        }) => Some((
            socket.introduced(destination),
            Peer::new(source, peer.listener()),
        )),
        Err((why, spoke)) => {
            debug!(peer = %address, why = why.label(), "no PROXY header");
            worker.stats.unheaded(why);
            // Balancers and monitors connect, and have seen all they wanted.
            if spoke {
                worker.turned_away((HEADER, why.label()), peer);
            }
            None
        }
    }
}

/// With what is wrong: whether there is anything to tell of it.
async fn read(mut socket: &Socket) -> Result<Header, (Unheaded, bool)> {
    let mut head = Vec::new();
    loop {
        let next = proxy_header::next(&head);
        let wanted = match next.map_err(|_| (Unheaded::Malformed, true))? {
            Step::Whole(header) => return Ok(header),
            Step::Bytes(wanted) => wanted,
            Step::Line(wanted) => line_ahead(socket, wanted),
        };
        let from = head.len();
        head.resize(from + wanted, 0);
        match socket.read(&mut head[from..]).await {
            Ok(read) if read > 0 => head.truncate(from + read),
            _ => return Err((Unheaded::Closed, from > 0)),
        }
    }
}

/// How much of the line has come, at most `most`; 1 where nothing has.
fn line_ahead(socket: &Socket, most: usize) -> usize {
    let mut ahead = [0; proxy_header::LINE_MAX];
    let most = most.min(ahead.len());
    let seen = socket.peek(&mut ahead[..most]).unwrap_or_default();
    let line = memchr::memchr(b'\n', &ahead[..seen]).map_or(seen, |lf| lf + 1);
    line.max(1)
}
