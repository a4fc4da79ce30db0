//! What the streams of one connection share: whose it is, and how much of their answers is under way.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::super::peer::Peer;
use super::super::worker::Worker;
use super::wire::Wire;

/// Bytes of answers that h2 may hold for one connection, over all streams, because its socket takes no more.
const HELD_MAX: usize = 256 * 1024;

/// Memory for answers that one connection may take, over all streams, before each reads no more than it needs.
const LOADED_MAX: usize = 512 * 1024;

/// That much: a stream whose window is shut must not keep the others from theirs.
const LOADED_STEP: usize = 16 * 1024;

/// What the streams of one connection share.
pub(super) struct Hub {
    pub(super) worker: Rc<Worker>,
    pub(super) peer: Peer,
    /// The address that it connected to.
    pub(super) local: Option<SocketAddr>,
    /// Within TLS.
    pub(super) secured: bool,
    /// Field lines about the client's certificate, where clients are asked for one.
    pub(super) told: Option<Rc<[u8]>>,
    pub(super) wire: Rc<Wire>,
    /// Under way.
    pub(super) streams: Cell<usize>,
    /// Memory that answers take.
    pub(super) loaded: Cell<usize>,
    /// Bytes of them that h2 holds.
    pub(super) held: Cell<usize>,
    /// Streams that wait until it holds less.
    pub(super) waiting: RefCell<Vec<Waker>>,
    /// The connection's task.
    pub(super) driver: RefCell<Option<Waker>>,
}

impl Hub {
    /// How much more of an answer a stream may read at once.
    pub(super) fn read_max(&self) -> usize {
        match self.loaded.get() < LOADED_MAX {
            true => usize::MAX,
            false => LOADED_STEP,
        }
    }

    /// Whether h2 may be given more; if not, the task is woken once it may.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.held.get() < HELD_MAX {
            return Poll::Ready(());
        }
        self.waiting.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }

    /// A stream is over. Time without any counts from the last one's end.
    pub(super) fn leave(&self) {
        let left = self.streams.get() - 1;
        self.streams.set(left);
        if left == 0
            && let Some(driver) = &*self.driver.borrow()
        {
            driver.wake_by_ref();
        }
    }

    pub(super) fn wake_waiting(&self) {
        if self.held.get() < HELD_MAX {
            for waker in self.waiting.borrow_mut().drain(..) {
                waker.wake();
            }
        }
    }
}
