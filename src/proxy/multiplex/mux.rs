//! The connections of one worker to one backend, and the queue of those who wait for room on one.
//!
//! ```text
//! seat ─▶ a connection with room ─▶ Seat ── given back ─▶ the first in the queue looks for room
//! ```

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::conn::{Conn, STREAMS_MAX};
use crate::clock;

/// Connections in all, for each of those that take requests: one that takes none any more still ends what it carries,
/// for hours where that is a stream, and must not keep a new one from taking its place.
const LEAVING_FACTOR: usize = 4;

/// The connections of one worker to one backend.
#[derive(Default)]
pub(in super::super) struct Mux {
    pub(super) conns: RefCell<Vec<Rc<Conn>>>,
    /// Connections that are being opened.
    pub(super) dials: Cell<usize>,
    /// How many could not be opened, and why the last could not.
    pub(super) failed: RefCell<(u64, String)>,
    pub(super) queue: RefCell<VecDeque<Rc<Place>>>,
    /// The backend's count of downs at the last sweep.
    downs: Cell<u64>,
}

/// One request's place in the queue.
#[derive(Default)]
pub(super) struct Place {
    pub(super) waker: RefCell<Option<Waker>>,
    /// It is to look for room. It keeps its place until it has got some.
    pub(super) called: Cell<bool>,
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
    pub(in super::super) fn sweep(
        &self,
        now: Instant,
        age_max: Duration,
        in_rotation: bool,
        downs: u64,
    ) {
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

    /// Room on a connection that is open, for whom nobody was before.
    pub(in super::super) fn seat(self: &Rc<Self>) -> Option<Seat> {
        match self.queue.borrow().is_empty() {
            true => self.take_seat(),
            false => None,
        }
    }

    /// The same, for whose turn it is.
    pub(super) fn take_seat(self: &Rc<Self>) -> Option<Seat> {
        let conn = self.take()?;
        Some(Seat {
            reused: conn.carry(),
            conn,
            mux: self.clone(),
        })
    }

    /// A connection that takes requests.
    fn take(&self) -> Option<Rc<Conn>> {
        let conns = self.conns.borrow();
        conns.iter().find(|conn| conn.enter(STREAMS_MAX)).cloned()
    }

    /// A connection could take a request now.
    pub(super) fn is_roomy(&self) -> bool {
        let conns = self.conns.borrow();
        conns.iter().any(|conn| conn.has_room(STREAMS_MAX))
    }

    /// There may be one more, of which `most` take requests.
    pub(super) fn has_room(&self, most: usize) -> bool {
        let mut conns = self.conns.borrow_mut();
        conns.retain(|conn| !conn.is_over());
        conns.len() < most.saturating_mul(LEAVING_FACTOR)
            && conns.iter().filter(|conn| conn.is_open()).count() < most
    }

    /// There may be room: the first in the queue is to look, and calls the next when it has got some.
    pub(super) fn call_next(&self) {
        let first = self.queue.borrow().front().cloned();
        if let Some(first) = first {
            first.call();
        }
    }

    pub(super) fn call_all(&self) {
        let all = self.queue.borrow().clone();
        for place in all {
            place.call();
        }
    }

    /// Whether it is this one's turn to look for room. Asked once for each call.
    pub(super) fn is_turn_of(&self, place: &Rc<Place>) -> bool {
        let first = self.queue.borrow().front().cloned();
        place.called.take() || first.is_some_and(|first| Rc::ptr_eq(&first, place))
    }

    pub(super) fn leave(&self, place: &Rc<Place>) {
        let mut queue = self.queue.borrow_mut();
        match queue.front() {
            Some(first) if Rc::ptr_eq(first, place) => drop(queue.pop_front()),
            _ => queue.retain(|other| !Rc::ptr_eq(other, place)),
        }
    }
}

/// One request's room on a connection.
pub(in super::super) struct Seat {
    pub(super) conn: Rc<Conn>,
    mux: Rc<Mux>,
    /// The connection has carried a request before this one.
    pub(super) reused: bool,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.conn.leave(clock::now());
        self.mux.call_next();
    }
}
