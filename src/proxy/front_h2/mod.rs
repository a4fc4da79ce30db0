//! Clients that speak HTTP/2: one task drives the connection, and each stream is a task of its own.
//!
//! ```text
//! socket ─▶ wire (collects writes, counts frames) ─▶ h2 ─▶ accept ─▶ stream (a task) ─▶ request ─▶ service ─▶ answer
//!                ▲                                    │                                                        │
//!                └── one write per turn ◀─────────────┴◀── HEADERS, DATA as windows allow ◀────────────────────┘
//! ```
//!
//! By the h2 crate itself, since hyper's server over it hides resets, windows and the moment of a write. Nothing here
//! waits for a stream: what is slow is slow alone.

mod answer;
mod body;
mod calm;
mod fields;
mod grpc;
mod hub;
mod piece;
mod request;
mod stream;
mod turn;
mod wire;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use h2::Reason;
use h2::server::{Builder, Connection, Handshake};

use self::hub::Hub;
use self::piece::Piece;
use self::wire::{Io, Wire};
use super::buffer::Buffer;
use super::guards::Counted;
use super::linger;
use super::peer::Peer;
use super::socket::Socket;
use super::wakers::Slot;

/// The same for one stream.
const STREAM_HELD_MAX: usize = 128 * 1024;

/// What small DATA frames of one connection may cost in h2 beyond their bytes (it reckons 256 for each) until the tasks
/// of their streams have had a turn, and have moved them into [`body`]. As many as can come in one turn of the connection
/// cost less, so nobody is ended for it; and as each turn empties it, h2 takes no more memory for them.
const FRAMES_BUDGET: usize = 4 * 1024 * 1024;

/// What h2 counts for each field besides its text (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// After the last word, until the client has heard it.
const FAREWELL: Duration = Duration::from_secs(1);

/// The beginning of an HTTP/2 connection, as far as it looks like a request's head.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// Whether these are the first bytes of an HTTP/2 connection.
pub(super) fn is_preface(bytes: &[u8]) -> bool {
    bytes.starts_with(PREFACE)
}

/// Serves a connection to its end, in a task of its own. `early` was read from it already.
pub(super) fn begin(worker: Counted, socket: Socket, mut early: Buffer, peer: Peer) {
    // Its turn may come after that of all who came with it.
    early.rest();
    let life = Life::new(worker, socket, early, peer);
    tokio::task::spawn_local(life.live());
}

enum Stage {
    Greeting(Box<Handshake<Io, Piece>>),
    Open(Box<Connection<Io, Piece>>),
    Over,
}

/// One client's connection.
struct Life {
    hub: Rc<Hub>,
    _counted: Counted,
    stage: Stage,
    slot: Option<Slot>,
    begun: Instant,
    /// Since when there has been no stream.
    idle_since: Option<Instant>,
    /// When the client was told to open no more streams.
    told: Option<Instant>,
    /// When it was told that this is the end.
    ended: Option<Instant>,
}

impl Drop for Life {
    fn drop(&mut self) {
        let worker = &self.hub.worker;
        if let Some(slot) = self.slot {
            worker.wakers.remove(slot);
        }
    }
}

impl Life {
    /// Counted until it is dropped.
    fn new(worker: Counted, socket: Socket, early: Buffer, peer: Peer) -> Self {
        // The time that the worker knows is that of its last poll of a connection, perhaps long ago.
        worker.begin_poll();
        let begun = worker.now();
        socket.keep_alive();
        let local = socket.local().ok();
        let (secured, told) = (socket.is_secured(), socket.told());
        let wire = Rc::new(Wire::new(&worker, socket, early));
        let limits = &worker.settings.limits;
        let list_max = limits.head_bytes + limits.header_fields * FIELD_OVERHEAD;
        let handshake = Builder::new()
            .max_concurrent_streams(limits.h2_streams as u32)
            .initial_window_size(limits.h2_stream_window_bytes as u32)
            .initial_connection_window_size(limits.h2_window_bytes as u32)
            .max_header_list_size(list_max as u32)
            .data_frame_budget(FRAMES_BUDGET)
            .max_send_buffer_size(STREAM_HELD_MAX)
            // Their price is in `calm` too; a page that is left at once is no attack.
            .max_pending_accept_reset_streams(limits.h2_streams.max(20))
            .handshake(Io(wire.clone()));
        Self {
            hub: Rc::new(Hub {
                worker: worker.clone(),
                peer,
                local,
                secured,
                told,
                wire,
                streams: Cell::new(0),
                loaded: Cell::new(0),
                held: Cell::new(0),
                waiting: RefCell::default(),
                driver: RefCell::default(),
            }),
            stage: Stage::Greeting(Box::new(handshake)),
            slot: None,
            _counted: worker,
            begun,
            idle_since: None,
            told: None,
            ended: None,
        }
    }

    async fn live(mut self) {
        let in_order = poll_fn(|cx| self.poll(cx)).await;
        self.stage = Stage::Over;
        if in_order {
            let mut socket = self.hub.wire.socket.take();
            Box::pin(linger::close(&mut socket)).await;
        }
    }

    /// Ready with true: the client was told why, and should get to read it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let hub = self.hub.clone();
        hub.worker.begin_poll();
        hub.wire.begin_turn();
        if self.slot.is_none() {
            self.slot = Some(hub.worker.wakers.add(cx.waker().clone()));
            *hub.driver.borrow_mut() = Some(cx.waker().clone());
        }
        let over = self.poll_stage(cx);
        // Once for all that this turn brought.
        let written = hub.wire.poll_out(cx);
        hub.wake_waiting();
        match (over, written) {
            (Poll::Ready(in_order), Poll::Ready(_)) => return Poll::Ready(in_order),
            (_, Poll::Ready(Err(_))) => return Poll::Ready(false),
            _ => {}
        }
        match self.limit() {
            Some(limit) if hub.worker.now() >= limit => self.time_is_up(cx),
            limit => self.wake_at(limit),
        }
    }

    /// Ready: the connection has ended; with true, by a last word of ours.
    fn poll_stage(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            match &mut self.stage {
                Stage::Over => return Poll::Ready(true),
                Stage::Greeting(handshake) => match Pin::new(handshake).poll(cx) {
                    Poll::Ready(Ok(connection)) => self.stage = Stage::Open(Box::new(connection)),
                    Poll::Ready(Err(_)) => {
                        self.stage = Stage::Over;
                        return Poll::Ready(true);
                    }
                    Poll::Pending => return Poll::Pending,
                },
                Stage::Open(connection) => {
                    let worker = &self.hub.worker;
                    if worker.stopping.get() && self.told.is_none() {
                        self.told = Some(worker.now());
                        connection.graceful_shutdown();
                    }
                    if self.hub.wire.is_flooded() && self.ended.is_none() {
                        self.ended = Some(worker.now());
                        tracing::debug!(client = %self.hub.peer.address(), "too many frames of no use");
                        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    }
                    match connection.poll_accept(cx) {
                        Poll::Ready(Some(Ok((request, respond)))) => {
                            turn::begin(&self.hub, request, respond);
                        }
                        Poll::Ready(Some(Err(_)) | None) => {
                            self.stage = Stage::Over;
                            return Poll::Ready(true);
                        }
                        Poll::Pending if self.hub.wire.is_flooded() && self.ended.is_none() => {}
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        }
    }

    /// When the wait for the client ends, whatever it is for.
    fn limit(&mut self) -> Option<Instant> {
        let hub = &self.hub;
        let now = hub.worker.now();
        let timeouts = &hub.worker.settings.timeouts;
        match hub.streams.get() {
            0 => self.idle_since = self.idle_since.or(Some(now)),
            _ => self.idle_since = None,
        }
        if let Some(since) = hub.wire.stuck_since() {
            // Nothing more is read from it either, and that is no fault of what it says.
            let stuck = since + timeouts.body_progress;
            return Some(
                self.ended
                    .map_or(stuck, |ended| stuck.min(ended + FAREWELL)),
            );
        }
        let calm = hub.wire.calm.borrow();
        let idle = self.idle_since.map(|since| match self.told {
            None => since + timeouts.client_idle,
            Some(told) => since.max(told) + FAREWELL,
        });
        let slow = calm.slow_since();
        let unacknowledged = (!calm.is_acked()).then_some(self.begun);
        [
            self.ended.map(|ended| ended + FAREWELL),
            slow.map(|since| since + timeouts.request_head),
            unacknowledged.map(|since| since + timeouts.request_head),
            idle,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Says so, where there is somebody to say it to.
    fn time_is_up(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let now = self.hub.worker.now();
        let stuck = self.hub.wire.stuck_since().is_some();
        let Stage::Open(connection) = &mut self.stage else {
            return Poll::Ready(false);
        };
        if stuck || self.ended.is_some() {
            return Poll::Ready(false);
        }
        let timeouts = &self.hub.worker.settings.timeouts;
        let reason = {
            let calm = self.hub.wire.calm.borrow();
            let slow = calm.slow_since();
            if slow.is_some_and(|since| now >= since + timeouts.request_head) {
                Some(Reason::ENHANCE_YOUR_CALM)
            } else if !calm.is_acked() && now >= self.begun + timeouts.request_head {
                Some(Reason::SETTINGS_TIMEOUT)
            } else {
                // Idle, or it does not say that it has heard to open no more.
                self.told.map(|_| Reason::NO_ERROR)
            }
        };
        match reason {
            Some(reason) => {
                self.ended = Some(now);
                connection.abrupt_shutdown(reason);
            }
            None => {
                self.told = Some(now);
                connection.graceful_shutdown();
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The worker's sweep wakes it, which costs no timer.
    fn wake_at(&self, limit: Option<Instant>) -> Poll<bool> {
        if let Some(slot) = self.slot {
            self.hub.worker.wakers.set_limit(slot, limit);
        }
        Poll::Pending
    }
}
