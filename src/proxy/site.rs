//! What one worker keeps about one backend: idle connections, counters, what it has reported.
//!
//! ```text
//! take_idle (newest first) ◀── idle ──▶ sweep: too old, closed, or out of rotation
//!                                ▲
//!                           put_idle
//! ```

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::link::Link;
use super::multiplex::mux::Mux;
use super::stats::Counts;
use crate::pool::registry::Key;
use crate::pool::upstream::Live;

/// One backend, for one worker.
pub(super) struct Site {
    pub(super) key: Key,
    pub(super) live: Arc<Live>,
    pub(super) counts: Arc<Counts>,
    idle: RefCell<VecDeque<Link>>,
    idle_max: usize,
    /// Connections that carry many requests.
    pub(super) mux: Rc<Mux>,
    /// Its last connect failed.
    pub(super) failing: Cell<bool>,
    /// When a failed request there was last reported.
    pub(super) failed_at: Cell<Option<Instant>>,
    /// When it was last reported as slow.
    pub(super) slow_since: Cell<Option<Instant>>,
    /// Since when no snapshot names it.
    pub(super) gone_since: Cell<Option<Instant>>,
}

impl Site {
    /// Nothing idle yet.
    pub(super) fn new(key: Key, live: Arc<Live>, counts: Arc<Counts>, idle_max: usize) -> Self {
        Self {
            key,
            live,
            counts,
            idle: RefCell::new(VecDeque::new()),
            idle_max,
            mux: Rc::default(),
            failing: Cell::new(false),
            failed_at: Cell::new(None),
            slow_since: Cell::new(None),
            gone_since: Cell::new(None),
        }
    }

    /// How many connections that carry many requests may take more of them.
    pub(super) fn connections_max(&self) -> usize {
        self.idle_max
    }

    /// The connection that was used last and still works. `thorough`: see [`Link::is_usable`].
    pub(super) fn take_idle(&self, thorough: bool) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut link) = idle.pop_back() {
            if link.is_usable(thorough) {
                return Some(link);
            }
        }
        None
    }

    /// Keeps a connection for the next request; the one unused longest makes room.
    pub(super) fn put_idle(&self, mut link: Link, now: Instant) {
        if link.bound || self.gone_since.get().is_some() {
            return;
        }
        link.reused = true;
        link.idle_since = now;
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= self.idle_max {
            idle.pop_front();
        }
        idle.push_back(link);
    }

    /// Drops what is closed or older than `age_max`; all of it when the backend takes no requests.
    pub(super) fn sweep(&self, now: Instant, age_max: Duration, in_rotation: bool) {
        self.mux.sweep(now, age_max, in_rotation, self.live.downs());
        let mut idle = self.idle.borrow_mut();
        if in_rotation {
            idle.retain_mut(|link| {
                now.saturating_duration_since(link.idle_since) < age_max && link.is_usable(false)
            });
        } else {
            idle.clear();
        }
    }
}
