//! Requests that wait because every backend of their pool is full.
//!
//! ```text
//! join ──▶ [ 7 8 9 … ]  in order of arrival, over all workers
//!             │ serve: a lease was released (its backend has room), or a snapshot was stored
//!             │        (somebody came in, a limit changed, nobody is left)
//!             ▼
//!          a place for the first in line, and a wake
//! ```
//!
//! What keeps wakes from being lost: while somebody waits, every open backend is full. A release
//! frees its place and then looks at `length`; a joiner raises `length` and then looks for a place;
//! one of the two sees the other. All else happens under the lock, which nobody takes while nobody waits.
//!
//! A place is held for the first in line before that one runs, so several are served at once and in
//! order, and nobody who comes later gets past. Retries don't wait; they may.
//!
//! What a place is (`P`, a lease) and where there is room, it is told by those who know backends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How much a pool takes; keys of `[cluster.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Requests under way at one backend, over all workers; 0: no limit.
    pub max_in_flight: u32,
    /// Requests that may wait while all are full.
    pub queue: usize,
    /// How long they may.
    pub queue_timeout: Duration,
}

impl Default for Settings {
    /// No limit: how much a backend can take, only its owner knows. Where one is set, a thousand may wait as in
    /// Envoy's circuit breakers (1024 pending), and 5 s as in HAProxy's examples of `timeout queue`.
    fn default() -> Self {
        Self {
            max_in_flight: 0,
            queue: 1000,
            queue_timeout: Duration::from_secs(5),
        }
    }
}

/// The waiting requests of one pool, shared by its workers.
#[derive(Debug)]
pub struct Queue<P> {
    /// How many wait, for who does not want the lock.
    length: AtomicUsize,
    line: Mutex<Line<P>>,
}

#[derive(Debug)]
struct Line<P> {
    next: u64,
    /// `None`: has not said yet whom to wake.
    waiting: BTreeMap<u64, Option<Waker>>,
    /// Places held for those who were woken.
    granted: BTreeMap<u64, P>,
}

/// What became of an attempt to join.
#[derive(Debug)]
pub enum Joined<P, R> {
    /// There was room after all.
    Room(R),
    /// In line.
    Waits(Ticket<P>),
    /// Too many wait.
    Full,
}

/// One request's position; dropping it leaves the line.
#[derive(Debug)]
pub struct Ticket<P> {
    queue: Arc<Queue<P>>,
    number: u64,
}

impl<P> Default for Queue<P> {
    /// Nobody waits.
    fn default() -> Self {
        let line = Line {
            next: 0,
            waiting: BTreeMap::new(),
            granted: BTreeMap::new(),
        };
        Self {
            length: AtomicUsize::new(0),
            line: Mutex::new(line),
        }
    }
}

impl<P> Queue<P> {
    /// Requests waiting now.
    pub fn len(&self) -> usize {
        // As strong as the store in `update`: see the head of this module.
        self.length.load(Ordering::SeqCst)
    }

    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Joins at the end, if fewer than `max` wait. `look` looks for room in the newest snapshot; it must not
    /// let go of a place.
    pub fn join<R>(self: &Arc<Self>, max: usize, look: impl FnOnce() -> Option<R>) -> Joined<P, R> {
        let mut line = self.lock();
        if let Some(room) = self.look(&mut line, look) {
            return Joined::Room(room);
        }
        if line.waiting.len() >= max {
            self.update(&line);
            return Joined::Full;
        }
        let number = line.next;
        line.next += 1;
        line.waiting.insert(number, None);
        self.update(&line);
        drop(line);
        Joined::Waits(Ticket {
            queue: Arc::clone(self),
            number,
        })
    }

    /// Gives those who wait the `places` there are, of which no more is taken than somebody wants. `hopeless`: where
    /// nobody is left to have any, all others are woken to hear of it.
    pub(super) fn serve(&self, mut places: impl Iterator<Item = P>, hopeless: bool) {
        let mut woken = Vec::new();
        // Also when nobody waits: who joins from now on sees what the caller has just stored.
        let mut line = self.lock();
        while !line.waiting.is_empty() {
            let Some(place) = places.next() else {
                break;
            };
            woken.extend(line.grant(place));
        }
        if hopeless {
            woken.extend(line.waiting.values().flatten().cloned());
        }
        self.update(&line);
        drop(line);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Looks for room, unless others wait for it already. `update` must follow before the lock is released.
    fn look<R>(&self, line: &mut Line<P>, look: impl FnOnce() -> Option<R>) -> Option<R> {
        if !line.waiting.is_empty() {
            return None;
        }
        // From here on a release sees that somebody waits.
        self.length.store(1, Ordering::SeqCst);
        let found = look();
        if found.is_some() {
            self.update(line);
        }
        found
    }

    fn update(&self, line: &Line<P>) {
        self.length.store(line.waiting.len(), Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Line<P>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> Line<P> {
    /// Gives a place to the first, and says whom to wake.
    fn grant(&mut self, place: P) -> Option<Waker> {
        let (number, waker) = self.waiting.pop_first()?;
        self.granted.insert(number, place);
        waker
    }
}

impl<P> Ticket<P> {
    /// Ready with a place when it is this request's turn.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<P> {
        let mut line = self.queue.lock();
        if let Some(place) = line.granted.remove(&self.number) {
            return Poll::Ready(place);
        }
        if let Some(waker) = line.waiting.get_mut(&self.number) {
            match waker {
                Some(known) => known.clone_from(cx.waker()),
                None => *waker = Some(cx.waker().clone()),
            }
        }
        Poll::Pending
    }

    /// Back to where it was: the place it got was at a backend that is out meanwhile. `look`: as for [`Queue::join`].
    pub fn rejoin<R>(&self, look: impl FnOnce() -> Option<R>) -> Option<R> {
        let queue = &self.queue;
        let mut line = queue.lock();
        if let Some(room) = queue.look(&mut line, look) {
            return Some(room);
        }
        line.waiting.insert(self.number, None);
        queue.update(&line);
        None
    }
}

impl<P> Drop for Ticket<P> {
    fn drop(&mut self) {
        let mut line = self.queue.lock();
        line.waiting.remove(&self.number);
        let unused = line.granted.remove(&self.number);
        self.queue.update(&line);
        // A place that nobody took goes to the next, which needs the lock.
        drop(line);
        drop(unused);
    }
}

#[cfg(test)]
mod tests;
