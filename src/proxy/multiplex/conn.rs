//! One HTTP/2 connection to a backend, and the task that turns it.
//!
//! ```text
//! connect ─▶ preface, SETTINGS ─▶ the backend's SETTINGS ─▶ Conn + Driver
//! quiet with requests under way ─▶ PING ─▶ nothing comes back ─▶ lost, and all requests on it
//! ```
//!
//! gRPC servers close connections that PING more often than each 5 minutes while they have nothing to say
//! (gRFC A8): in a silence there is one PING early and then one each 5 minutes. Whoever else knows of a backend that
//! went down has its connections asked at once.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, SendStream};
use http::Request;
use http::uri::Scheme;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::alarm::Alarm;
use super::super::fault::in_words;
use super::super::link::{Link, Secure, Stream, is_theirs};
use super::empties::Empties;
use crate::proxy_header::Version;
use crate::{clock, proxy_header};

/// Requests on one connection, whatever the backend allows: a lost packet holds up all of them.
pub(super) const STREAMS_MAX: usize = 100;

/// Of one answer, as much as is held for a client that doesn't take it.
const STREAM_WINDOW: u32 = 128 * 1024;

/// Of all answers: those that nobody takes must not hold up the others.
const WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX as u32;

/// Of what small DATA frames cost beyond their bytes (the h2 crate reckons 256 for each), while they wait for their
/// clients; beyond it the connection ends. Twice what fits one stream's window in frames of one byte: one client that
/// doesn't read must not end what others have under way, and neither must 40 whose answers come 20 bytes at a time. So
/// much memory a connection takes at worst, next to its window.
const FRAMES_BUDGET: usize = 2 * 256 * STREAM_WINDOW as usize;

/// Of one request's body, as much as is taken from its client before it is written.
const SEND_BUFFER: usize = 64 * 1024;

/// Fields of an answer's head, or of its trailers, in bytes.
const HEAD_MAX: u32 = 64 * 1024;

/// Streams that were given up are remembered so long that what still comes for them is known as theirs.
const RESETS_KEPT: usize = 1024;

/// Silence before the first PING.
const PING_AFTER: Duration = Duration::from_secs(20);

/// Between two PINGs in one silence: what gRPC servers put up with.
const PING_AGAIN: Duration = Duration::from_secs(310);

/// For the answer to a PING.
const PING_WAIT: Duration = Duration::from_secs(5);

/// One connection, as requests see it.
pub(super) struct Conn {
    /// `None`: it takes no more.
    requests: RefCell<Option<SendRequest<Bytes>>>,
    pub(super) scheme: Scheme,
    seats: Cell<usize>,
    /// Requests so far.
    carried: Cell<u64>,
    /// When the last of its requests ended, or the first of several began.
    turned: Cell<Instant>,
    traffic: Rc<Traffic>,
    suspect: Cell<bool>,
    /// The driver's.
    waker: RefCell<Option<Waker>>,
    over: Cell<bool>,
    /// Why it is over, where only the driver knows.
    why: RefCell<Option<&'static str>>,
}

/// Bytes both ways.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) written: Cell<u64>,
    pub(super) read: Cell<u64>,
    empties: Empties,
}

/// Why a connection could not be opened.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) why: String,
    /// It says something about the backend.
    pub(super) theirs: bool,
}

impl Conn {
    /// Counts one in, if there is room for it.
    pub(super) fn enter(&self, most: usize) -> bool {
        if !self.has_room(most) {
            return false;
        }
        if self.seats.get() == 0 {
            self.turned.set(clock::now());
        }
        self.seats.set(self.seats.get() + 1);
        true
    }

    /// For one more.
    pub(super) fn has_room(&self, most: usize) -> bool {
        if !self.is_open() {
            return false;
        }
        let requests = self.requests.borrow();
        let open = requests.as_ref();
        open.is_some_and(|open| self.seats.get() < open.current_max_send_streams().min(most))
    }

    /// It takes requests, or will once there is room.
    pub(super) fn is_open(&self) -> bool {
        let mut requests = self.requests.borrow_mut();
        let Some(open) = &mut *requests else {
            return false;
        };
        // A GOAWAY has come, or the end, or the numbers of streams are used up.
        let ready = open.poll_ready(&mut Context::from_waker(Waker::noop()));
        if matches!(ready, Poll::Ready(Err(_))) || self.traffic.empties.are_enough() {
            *requests = None;
        }
        requests.is_some()
    }

    /// Counts a request. True: it is not the first one.
    pub(super) fn carry(&self) -> bool {
        self.carried.replace(self.carried.get() + 1) > 0
    }

    /// One request less.
    pub(super) fn leave(&self, now: Instant) {
        self.seats.set(self.seats.get() - 1);
        if self.seats.get() == 0 {
            self.turned.set(now);
        }
    }

    /// The only request under way is the one that asks.
    pub(super) fn is_alone(&self) -> bool {
        self.seats.get() == 1
    }

    /// Nothing is under way, for that long.
    pub(super) fn is_idle_since(&self, now: Instant, age: Duration) -> bool {
        self.seats.get() == 0 && now.saturating_duration_since(self.turned.get()) >= age
    }

    /// Takes no more requests, and closes after the last.
    pub(super) fn retire(&self) {
        self.requests.borrow_mut().take();
    }

    /// Its backend is said to be down: it has to prove that it lives.
    pub(super) fn suspect(&self) {
        self.suspect.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Closed.
    pub(super) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Why, where it was given up from here.
    pub(super) fn why(&self) -> Option<&'static str> {
        *self.why.borrow()
    }

    /// Bytes both ways.
    pub(super) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Begins a request; `None`: the connection takes none any more.
    pub(super) fn begin(
        &self,
        request: Request<()>,
        end: bool,
    ) -> Option<Result<(ResponseFuture, SendStream<Bytes>), h2::Error>> {
        let mut requests = self.requests.borrow_mut();
        // A clone: what waits in there for room must not keep others out.
        let mut open = requests.as_mut()?.clone();
        Some(open.send_request(request, end))
    }
}

/// Opens a connection. The caller limits the time.
pub(super) async fn open(
    address: SocketAddr,
    header: Option<Version>,
    secure: Option<Secure>,
) -> Result<(Rc<Conn>, Driver), Refused> {
    let io = |error: &io::Error| Refused {
        why: in_words(error),
        theirs: is_theirs(error),
    };
    let scheme = match secure {
        Some(_) => Scheme::HTTPS,
        None => Scheme::HTTP,
    };
    let preamble = header.map(proxy_header::own);
    let link = Link::connect(address, preamble, secure).await;
    let link = link.map_err(|error| io(&error))?;
    let traffic = Rc::new(Traffic::default());
    let tapped = Tapped {
        stream: link.stream,
        traffic: traffic.clone(),
    };
    let (requests, mut connection) = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .data_frame_budget(FRAMES_BUDGET)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(HEAD_MAX)
        .max_concurrent_reset_streams(RESETS_KEPT)
        .max_local_error_reset_streams(None)
        .enable_push(false)
        // None before its SETTINGS have come.
        .initial_max_send_streams(0)
        .handshake(tapped)
        .await
        .map_err(|error| no_http2(&error))?;
    poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(Err(no_http2(&error))),
        Poll::Ready(Ok(())) => Poll::Ready(Err(Refused {
            why: "closed before its HTTP/2 settings came".to_owned(),
            theirs: true,
        })),
        Poll::Pending if requests.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    let pings = connection.ping_pong();
    let conn = Conn {
        requests: RefCell::new(Some(requests)),
        scheme,
        seats: Cell::new(0),
        carried: Cell::new(0),
        turned: Cell::new(clock::now()),
        traffic,
        suspect: Cell::new(false),
        waker: RefCell::new(None),
        over: Cell::new(false),
        why: RefCell::new(None),
    };
    let driver = Driver {
        connection,
        watch: Watch::new(pings),
    };
    Ok((Rc::new(conn), driver))
}

fn no_http2(error: &h2::Error) -> Refused {
    let why = match error.get_io() {
        Some(error) => format!("no HTTP/2 there: {}", in_words(error)),
        None => format!("no HTTP/2 there: {error}"),
    };
    Refused { why, theirs: true }
}

/// What whoever waits for room has to know of a connection.
pub(super) enum Change {
    /// It takes no more requests: another may take its place.
    Closing,
    /// It is over; in order, or why.
    Over(Result<(), String>),
}

/// What turns a connection.
pub(super) struct Driver {
    connection: Connection<Tapped, Bytes>,
    watch: Watch,
}

impl Driver {
    /// Until it is closed. Whatever still waits on it then fails, and whoever waits for room looks elsewhere.
    pub(super) async fn run(mut self, conn: Rc<Conn>, tell: impl Fn(Change)) {
        let mut told = false;
        let ended = poll_fn(|cx| {
            if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(cx) {
                return Poll::Ready(ended.map_err(|error| error.to_string()));
            }
            // Another may take its place: somebody who waits has to open it.
            if !told && !conn.is_open() {
                told = true;
                tell(Change::Closing);
            }
            let mut waker = conn.waker.borrow_mut();
            if !waker
                .as_ref()
                .is_some_and(|known| known.will_wake(cx.waker()))
            {
                *waker = Some(cx.waker().clone());
            }
            drop(waker);
            self.watch.poll_lost(cx, &conn).map(|why| {
                *conn.why.borrow_mut() = Some(why);
                Err(why.to_owned())
            })
        })
        .await;
        conn.over.set(true);
        conn.retire();
        drop(self.connection);
        tell(Change::Over(ended));
    }
}

/// Looks whether a connection on which nothing moves still lives.
struct Watch {
    pings: Option<PingPong>,
    alarm: Alarm,
    /// Bytes read when it last looked.
    seen: u64,
    quiet_since: Instant,
    /// When the last PING of this silence was sent.
    pinged: Option<Instant>,
    /// Since when its answer is awaited.
    asked: Option<Instant>,
}

impl Watch {
    fn new(pings: Option<PingPong>) -> Self {
        Self {
            pings,
            alarm: Alarm::default(),
            seen: 0,
            quiet_since: clock::now(),
            pinged: None,
            asked: None,
        }
    }

    /// Ready: it is lost, and why.
    fn poll_lost(&mut self, cx: &mut Context<'_>, conn: &Conn) -> Poll<&'static str> {
        let Some(pings) = &mut self.pings else {
            return Poll::Pending;
        };
        let now = clock::now();
        let read = conn.traffic.read.get();
        if self.asked.is_some() && pings.poll_pong(cx).is_ready() {
            self.asked = None;
            self.seen = read;
        }
        if self.seen != read {
            self.seen = read;
            self.quiet_since = now;
            self.pinged = None;
            self.asked = self.asked.map(|_| now);
        }
        let due = match self.asked {
            Some(since) if now >= since + PING_WAIT => {
                return Poll::Ready("no answer to a PING");
            }
            Some(since) => since + PING_WAIT,
            None if conn.seats.get() == 0 => {
                conn.suspect.set(false);
                return Poll::Pending;
            }
            None => {
                let early = self.quiet_since.max(conn.turned.get()) + PING_AFTER;
                let again = self.pinged.map(|at| at + PING_AGAIN);
                let due = again.map_or(early, |again| again.max(early));
                if !conn.suspect.take() && now < due {
                    due
                } else {
                    // Where one is on its way already, its answer is awaited.
                    let _ = pings.send_ping(Ping::opaque());
                    let _ = pings.poll_pong(cx);
                    (self.asked, self.pinged) = (Some(now), Some(now));
                    now + PING_WAIT
                }
            }
        };
        self.alarm.wake_by(cx, due);
        Poll::Pending
    }
}

/// A stream whose bytes are counted.
pub(super) struct Tapped {
    stream: Stream,
    traffic: Rc<Traffic>,
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = room.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, room);
        let bytes = &room.filled()[before..];
        let traffic = &self.traffic;
        traffic.read.set(traffic.read.get() + bytes.len() as u64);
        traffic.empties.hear(bytes);
        polled
    }
}

impl Tapped {
    fn count(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &polled {
            let written = self.traffic.written.get() + *bytes as u64;
            self.traffic.written.set(written);
        }
        polled
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.count(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
