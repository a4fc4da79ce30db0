//! Streams as an id and bytes: one request, at most one answer, then closed.
//!
//! ```text
//! accepted ─▶ Incoming ──request──▶ answer, Close
//! Connect ──connected──▶ our request sent ─▶ PushPull | Ping ──answer──▶ Close
//!    └── closed, refused, timed out ─▶ the cause is told
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Cause, Delegate, Memberlist, Timer};
use crate::gossip::core::io::{JoinId, StreamAction, StreamId};
use crate::gossip::core::wire::WireError;
use crate::gossip::core::wire::message::{Ack, Ping};
use crate::gossip::core::wire::stream::{self, Decoder, PushNode, StreamMessage};

/// Streams opened by others at one time. Source: memberlist, `maxPushPullRequests`.
const INCOMING_MAX: usize = 128;

/// Bytes held for unfinished messages of all streams together.
const BUFFERED_BYTES_MAX: usize = 64 << 20;

/// Longest visit: who does not take a few nodes by then is as good as gone.
const VISIT_MAX: Duration = Duration::from_secs(3);

/// The peer closed, and that is all it said.
const CLOSED: &str = "closed before an answer";

/// Ends by which the other side says that it won't speak with us, and not only that the way is bad.
const REFUSALS: [&str; 3] = [CLOSED, "connection refused", "connection reset"];

/// One stream under way.
#[derive(Debug)]
pub(crate) struct Stream {
    peer: SocketAddr,
    purpose: Purpose,
    decoder: Decoder,
    received: usize,
    /// Our request is on its way.
    requested: bool,
}

#[derive(Clone, Debug)]
enum Purpose {
    /// Opened by a peer; its request is awaited.
    Incoming,
    /// Our state, then the peer's.
    PushPull(Cause),
    /// Nothing of ours, then the peer's state.
    Pull(JoinId),
    /// A few nodes that the peer shall take in, one after the other.
    Visit { errand: u64, nodes: Arc<[PushNode]> },
    /// A ping and its ack.
    Ping { seq_no: u32, node: String },
}

impl Memberlist {
    /// Begins a full exchange with `peer`; `Delegate::push_pull_ended` tells how it went.
    pub(crate) fn push_pull(&mut self, now: Instant, peer: SocketAddr, cause: Cause) {
        let deadline = now + self.timing.stream_timeout;
        self.connect(peer, Purpose::PushPull(cause), deadline);
    }

    /// Reads the whole state of `peer` and tells it nothing; `Delegate::pulled` has it.
    pub(crate) fn pull(&mut self, now: Instant, peer: SocketAddr, join: JoinId) {
        let deadline = now + self.timing.stream_timeout;
        self.connect(peer, Purpose::Pull(join), deadline);
    }

    /// Gives `peer` a few nodes to take in; `Delegate::visited` says that it is over, well or not.
    pub(crate) fn visit(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        errand: u64,
        nodes: Arc<[PushNode]>,
    ) {
        let deadline = now + VISIT_MAX.min(self.timing.stream_timeout);
        self.connect(peer, Purpose::Visit { errand, nodes }, deadline);
    }

    pub(super) fn ping_by_stream(
        &mut self,
        peer: SocketAddr,
        seq_no: u32,
        node: &str,
        deadline: Instant,
    ) -> StreamId {
        let node = node.to_owned();
        self.connect(peer, Purpose::Ping { seq_no, node }, deadline)
    }

    fn connect(&mut self, peer: SocketAddr, purpose: Purpose, deadline: Instant) -> StreamId {
        let id = self.add_stream(peer, purpose, deadline);
        self.actions
            .push_back(StreamAction::Connect { id, to: peer });
        id
    }

    fn add_stream(&mut self, peer: SocketAddr, purpose: Purpose, deadline: Instant) -> StreamId {
        self.last_stream += 1;
        let id = StreamId(self.last_stream);
        self.timers.set(Timer::Stream(id), deadline);
        let keys = self.sealer.as_ref().map(|sealer| Arc::clone(sealer.keys()));
        self.streams.insert(
            id,
            Stream {
                peer,
                purpose,
                decoder: Decoder::with_keys(keys),
                received: 0,
                requested: false,
            },
        );
        id
    }

    pub(crate) fn handle_stream_accepted(
        &mut self,
        now: Instant,
        from: SocketAddr,
    ) -> Option<StreamId> {
        let incoming = self
            .streams
            .values()
            .filter(|stream| matches!(stream.purpose, Purpose::Incoming))
            .count();
        if incoming >= INCOMING_MAX {
            self.refuse("too_many_streams");
            return None;
        }
        let deadline = now + self.timing.stream_timeout;
        Some(self.add_stream(from, Purpose::Incoming, deadline))
    }

    pub(crate) fn handle_stream_connected(
        &mut self,
        now: Instant,
        id: StreamId,
        delegate: &mut dyn Delegate,
    ) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let request = match stream.purpose.clone() {
            Purpose::Incoming => return,
            Purpose::PushPull(cause) => {
                // Connecting had its own deadline; the exchange has one as well.
                self.timers
                    .set(Timer::Stream(id), now + self.timing.stream_timeout);
                let join = matches!(cause, Cause::Join(_) | Cause::Reconnect);
                self.local_state(join, delegate)
            }
            Purpose::Pull(_) => self.nodes_only(&[]),
            Purpose::Visit { nodes, .. } => self.nodes_only(&nodes),
            Purpose::Ping { seq_no, node } => {
                self.check_stream_connected(id);
                let ping = Ping {
                    seq_no,
                    node,
                    source: self.own_source(),
                };
                stream::encode(&StreamMessage::Ping(ping), self.compress)
            }
        };
        self.send_encoded(id, request);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.requested = true;
        }
    }

    /// Whether a peer was told our state, and we do not know yet who is there.
    pub(crate) fn is_introducing_us(&self) -> bool {
        self.streams
            .values()
            .any(|stream| stream.requested && matches!(stream.purpose, Purpose::PushPull(_)))
    }

    pub(crate) fn handle_stream_bytes(
        &mut self,
        now: Instant,
        id: StreamId,
        bytes: &[u8],
        delegate: &mut dyn Delegate,
    ) {
        let held: usize = self.streams.values().map(|stream| stream.received).sum();
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.received += bytes.len();
        let message = if held + bytes.len() > BUFFERED_BYTES_MAX {
            Err(WireError::TooLarge)
        } else {
            stream.decoder.feed(bytes)
        };
        match message {
            Ok(None) => {}
            Ok(Some(message)) => self.on_stream_message(now, id, message, delegate),
            Err(error) => self.on_stream_error(id, &error, delegate),
        }
    }

    fn on_stream_message(
        &mut self,
        now: Instant,
        id: StreamId,
        message: StreamMessage,
        delegate: &mut dyn Delegate,
    ) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let (peer, purpose) = (stream.peer, stream.purpose.clone());
        match (purpose, message) {
            (Purpose::Incoming, StreamMessage::PushPull(_)) if self.silent => {
                self.refuse("silent");
                self.close_stream(id);
            }
            (Purpose::Incoming, StreamMessage::PushPull(remote)) => {
                // The answer goes out before anything is merged: each side learns what the other knew.
                let own = self.local_state(remote.join, delegate);
                self.send_encoded(id, own);
                self.close_stream(id);
                if self.merge(now, &remote, None, delegate).is_err() {
                    self.refuse("incompatible");
                }
            }
            (Purpose::Incoming, StreamMessage::Ping(ping)) => {
                if self.is_own_check(&ping) {
                    // Closed without an answer, as for another's name.
                } else if self.is_for_us(&ping.node) {
                    let ack = Ack {
                        seq_no: ping.seq_no,
                        payload: None,
                    };
                    self.send_on_stream(id, &StreamMessage::Ack(ack));
                } else {
                    self.refuse("ping_for_other");
                }
                self.close_stream(id);
            }
            (Purpose::Incoming, StreamMessage::User(message)) => {
                self.close_stream(id);
                delegate.user_message(now, &message);
            }
            (Purpose::PushPull(cause), StreamMessage::PushPull(remote)) => {
                self.close_stream(id);
                let outcome = self.merge(now, &remote, Some(cause), delegate);
                delegate.push_pull_ended(cause, peer, outcome);
            }
            (Purpose::Pull(join), StreamMessage::PushPull(remote)) => {
                self.close_stream(id);
                let pulled = self.look_through(&remote.nodes);
                delegate.pulled(join, peer, Ok(pulled));
            }
            // Its table is of no interest now; that it answered means that it has read ours.
            (Purpose::Visit { errand, .. }, StreamMessage::PushPull(_)) => {
                self.close_stream(id);
                delegate.visited(errand);
            }
            (Purpose::Ping { seq_no, .. }, StreamMessage::Ack(ack)) => {
                let answered = ack.seq_no == seq_no;
                if !self.check_stream_ended(id, answered, false, delegate) {
                    self.stream_ping_ended(id, answered);
                }
                self.close_stream(id);
            }
            (_, StreamMessage::Err(text)) => {
                let why = if text == stream::NO_KEY_OPENS {
                    self.another_key()
                } else {
                    format!("remote error: {text}")
                };
                self.end_stream(id, why, delegate);
            }
            _ => {
                self.refuse("unexpected");
                self.end_stream(id, "not the answer that was due".to_owned(), delegate);
            }
        }
    }

    fn on_stream_error(&mut self, id: StreamId, error: &WireError, delegate: &mut dyn Delegate) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let (peer, incoming) = (stream.peer, matches!(stream.purpose, Purpose::Incoming));
        // Whoever asked is told by the outcome; of a stream that a peer opened nobody else would hear.
        if incoming {
            self.refuse_peer(peer, error.clone());
        } else {
            self.refuse(error.reason());
        }
        // Only bad framing is answered; a bad body closes the stream in silence, as in Go.
        let text = match error {
            WireError::Encrypted => Some(stream::NOT_ENCRYPTING.to_owned()),
            WireError::Decrypt => Some(stream::NO_KEY_OPENS.to_owned()),
            WireError::Plaintext => Some(stream::NOT_ENCRYPTED.to_owned()),
            WireError::Compression => Some(error.to_string()),
            _ => None,
        };
        if let Some(text) = text.filter(|_| incoming) {
            self.send_on_stream(id, &StreamMessage::Err(text));
        }
        let why = match error {
            WireError::Decrypt => self.another_key(),
            WireError::Plaintext => "does not encrypt its gossip, and we have a key".to_owned(),
            WireError::Encrypted => {
                "encrypts its gossip, and we have no key; give us --encrypt-key-file".to_owned()
            }
            _ => error.to_string(),
        };
        self.end_stream(id, why, delegate);
    }

    /// Said when a peer can't open what we sealed, or we not what it did.
    fn another_key(&self) -> String {
        let ours = self
            .sealer
            .as_ref()
            .map_or_else(String::new, |sealer| sealer.keys().primary().fingerprint());
        format!(
            "uses another gossip key than ours ({ours}): {}",
            stream::NO_KEY_OPENS
        )
    }

    /// The peer closed, or the driver could not connect or read.
    pub(crate) fn handle_stream_closed(
        &mut self,
        id: StreamId,
        error: Option<String>,
        delegate: &mut dyn Delegate,
    ) {
        let why = error.unwrap_or_else(|| CLOSED.to_owned());
        if let Some(stream) = self.forget_stream(id) {
            self.tell_end(id, stream, why, delegate);
        }
    }

    pub(super) fn stream_timed_out(&mut self, id: StreamId, delegate: &mut dyn Delegate) {
        self.end_stream(id, "timed out".to_owned(), delegate);
    }

    fn end_stream(&mut self, id: StreamId, why: String, delegate: &mut dyn Delegate) {
        if let Some(stream) = self.close_stream(id) {
            self.tell_end(id, stream, why, delegate);
        }
    }

    fn tell_end(&mut self, id: StreamId, stream: Stream, why: String, delegate: &mut dyn Delegate) {
        match stream.purpose {
            Purpose::Incoming => {}
            Purpose::PushPull(cause) => delegate.push_pull_ended(cause, stream.peer, Err(why)),
            Purpose::Pull(join) => delegate.pulled(join, stream.peer, Err(why)),
            Purpose::Visit { errand, .. } => delegate.visited(errand),
            Purpose::Ping { .. } => {
                let refused = REFUSALS.contains(&why.as_str());
                if !self.check_stream_ended(id, false, refused, delegate) {
                    self.stream_ping_ended(id, false);
                }
            }
        }
    }

    pub(super) fn close_stream(&mut self, id: StreamId) -> Option<Stream> {
        let stream = self.forget_stream(id)?;
        self.actions.push_back(StreamAction::Close { id });
        Some(stream)
    }

    fn forget_stream(&mut self, id: StreamId) -> Option<Stream> {
        self.timers.cancel(&Timer::Stream(id));
        self.streams.remove(&id)
    }

    fn send_on_stream(&mut self, id: StreamId, message: &StreamMessage) {
        self.send_encoded(id, stream::encode(message, self.compress));
    }

    fn send_encoded(&mut self, id: StreamId, mut bytes: Vec<u8>) {
        if let Some(sealer) = &mut self.sealer {
            bytes = sealer.seal_stream(bytes);
        }
        self.actions.push_back(StreamAction::Send { id, bytes });
    }

    /// A push/pull of nodes alone, which is no join.
    fn nodes_only(&self, nodes: &[PushNode]) -> Vec<u8> {
        let lent = nodes.iter().map(PushNode::lend);
        stream::encode_state(false, nodes.len(), lent, &[], self.compress)
    }
}
