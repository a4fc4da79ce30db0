//! HTTP/2 to a backend: a few connections that carry many requests each.
//!
//! ```text
//! Join ─▶ Mux ─┬─ a connection has room ─▶ Seat ─▶ Stream (one request)
//!              ├─ none has: one is opened for all who wait (a task of its own)
//!              └─ as many as may be, all full: a Seat that is given back is the next one's
//! Conn ◀── driver (a task of its own): reads, writes, PINGs
//! ```
//!
//! A connection counts as open once the backend's SETTINGS have come: then it is known to speak HTTP/2, and how many
//! requests it takes at once. Nothing was sent before, so whatever fails until then may be tried elsewhere.

mod conn;
mod empties;
mod head;
mod stream;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use self::conn::Conn;
pub(super) use self::stream::Stream;
use super::hop::Way;
use super::link::Secure;
use super::site::Site;
use super::worker::Worker;
use crate::clock;
use crate::proxy_header::Version;

/// Requests on one connection, whatever the backend allows: a lost packet holds up all of them.
const STREAMS_MAX: usize = 100;

/// Connections in all, for each of those that take requests: one that takes none any more still ends what it carries,
/// for hours where that is a stream, and must not keep a new one from taking its place.
const LEAVING_FACTOR: usize = 4;

/// The connections of one worker to one backend.
#[derive(Default)]
pub(super) struct Mux {
    conns: RefCell<Vec<Rc<Conn>>>,
    /// Connections that are being opened.
    dials: Cell<usize>,
    /// How many could not be opened, and why the last could not.
    failed: RefCell<(u64, String)>,
    queue: RefCell<VecDeque<Rc<Place>>>,
    /// The backend's count of downs at the last sweep.
    downs: Cell<u64>,
}

/// One request's place in the queue.
#[derive(Default)]
struct Place {
    waker: RefCell<Option<Waker>>,
    /// It is to look for room. It keeps its place until it has got some.
    called: Cell<bool>,
}

impl Place {
    fn call(&self) {
        self.called.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Mux {
    /// Closes what idled for `age_max`, or all when the backend takes no requests; requests under way go on. Where the
    /// backend went down since the last sweep, its connections have to prove that they live.
    pub(super) fn sweep(&self, now: Instant, age_max: Duration, in_rotation: bool, downs: u64) {
        let suspect = self.downs.replace(downs) != downs;
        self.conns.borrow_mut().retain(|conn| {
            if suspect {
                conn.suspect();
            }
            if !in_rotation || conn.is_idle_since(now, age_max) {
                conn.retire();
            }
            !conn.is_over()
        });
    }

    /// No connection of it takes requests.
    fn take(&self) -> Option<Rc<Conn>> {
        let conns = self.conns.borrow();
        conns.iter().find(|conn| conn.enter(STREAMS_MAX)).cloned()
    }

    /// There may be one more, of which `most` take requests.
    fn has_room(&self, most: usize) -> bool {
        let mut conns = self.conns.borrow_mut();
        conns.retain(|conn| !conn.is_over());
        conns.len() < most.saturating_mul(LEAVING_FACTOR)
            && conns.iter().filter(|conn| conn.is_open()).count() < most
    }

    /// There may be room: the first in the queue is to look, and calls the next when it has got some.
    fn call_next(&self) {
        let first = self.queue.borrow().front().cloned();
        if let Some(first) = first {
            first.call();
        }
    }

    fn call_all(&self) {
        let all = self.queue.borrow().clone();
        for place in all {
            place.call();
        }
    }

    /// Whether it is this one's turn to look for room. Asked once for each call.
    fn is_turn_of(&self, place: &Rc<Place>) -> bool {
        let first = self.queue.borrow().front().cloned();
        place.called.take() || first.is_some_and(|first| Rc::ptr_eq(&first, place))
    }

    fn leave(&self, place: &Rc<Place>) {
        let mut queue = self.queue.borrow_mut();
        match queue.front() {
            Some(first) if Rc::ptr_eq(first, place) => drop(queue.pop_front()),
            _ => queue.retain(|other| !Rc::ptr_eq(other, place)),
        }
    }
}

impl Site {
    /// Room on a connection that is open, for whom nobody was before.
    pub(super) fn seat(self: &Rc<Self>) -> Option<Seat> {
        match self.mux.queue.borrow().is_empty() {
            true => self.take_seat(),
            false => None,
        }
    }

    fn take_seat(self: &Rc<Self>) -> Option<Seat> {
        let conn = self.mux.take()?;
        Some(Seat {
            reused: conn.carry(),
            conn,
            site: self.clone(),
        })
    }
}

/// One request's room on a connection.
pub(super) struct Seat {
    conn: Rc<Conn>,
    site: Rc<Site>,
    /// The connection has carried a request before this one.
    pub(super) reused: bool,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.conn.leave(clock::now());
        self.site.mux.call_next();
    }
}

/// The wait for room at a backend.
pub(super) struct Join {
    worker: Rc<Worker>,
    site: Rc<Site>,
    /// The PROXY header that a connection begins with. It names nobody: all clients share it.
    header: Option<Version>,
    secure: Option<Secure>,
    place: Option<Rc<Place>>,
    /// Failures when the wait began.
    failures: Option<u64>,
}

impl Join {
    /// Begins with the first poll.
    pub(super) fn new(
        worker: Rc<Worker>,
        site: Rc<Site>,
        header: Option<Version>,
        secure: Option<Secure>,
    ) -> Self {
        Self {
            worker,
            site,
            header,
            secure,
            place: None,
            failures: None,
        }
    }

    /// Has a connection opened, unless one is on its way or there are enough.
    fn dial(&self) {
        let mux = &self.site.mux;
        if mux.dials.get() > 0 || !mux.has_room(self.site.connections_max()) {
            return;
        }
        mux.dials.set(1);
        tokio::task::spawn_local(open(
            self.worker.clone(),
            self.site.clone(),
            self.header,
            self.secure.clone(),
        ));
    }
}

impl Future for Join {
    /// An error was reported already, by whoever dialled.
    type Output = io::Result<Way>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mux = &this.site.mux;
        let seat = match &this.place {
            None => this.site.seat(),
            Some(place) if mux.is_turn_of(place) => this.site.take_seat(),
            Some(_) => None,
        };
        if let Some(seat) = seat {
            if let Some(place) = this.place.take() {
                mux.leave(&place);
                mux.call_next();
            }
            return Poll::Ready(Ok(Way::Many(seat)));
        }
        let failed = mux.failed.borrow();
        let since = *this.failures.get_or_insert(failed.0);
        if failed.0 != since {
            return Poll::Ready(Err(io::Error::other(failed.1.clone())));
        }
        drop(failed);
        this.dial();
        let begun = this.place.is_none();
        let place = this.place.get_or_insert_default();
        *place.waker.borrow_mut() = Some(cx.waker().clone());
        if begun {
            // Room may have come without a word: a backend may take more at once than it said.
            mux.call_next();
            mux.queue.borrow_mut().push_back(place.clone());
        }
        Poll::Pending
    }
}

impl Drop for Join {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        self.site.mux.leave(&place);
        if place.called.get() {
            // What it was called for is there for somebody else.
            self.site.mux.call_next();
        }
    }
}

/// Opens a connection for whoever waits, even when that leaves meanwhile.
async fn open(worker: Rc<Worker>, site: Rc<Site>, header: Option<Version>, secure: Option<Secure>) {
    let limit = worker.settings.timeouts.connect;
    let opened = tokio::time::timeout(limit, conn::open(site.key.address, header, secure)).await;
    let mux = &site.mux;
    mux.dials.set(0);
    let refused = match opened {
        Ok(Ok((conn, driver))) => {
            worker.connected(&site);
            mux.conns.borrow_mut().push(conn.clone());
            tokio::task::spawn_local(driver.run(conn, Rc::downgrade(&site)));
            None
        }
        Ok(Err(refused)) => Some((refused.why, refused.theirs)),
        Err(_) => Some(("connect timed out".to_owned(), true)),
    };
    if let Some((why, theirs)) = refused {
        if theirs {
            worker.connect_failed(&site, &why);
        }
        let mut failed = mux.failed.borrow_mut();
        *failed = (failed.0 + 1, why);
    }
    mux.call_all();
}
