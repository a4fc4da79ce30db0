//! The wait for room at a backend, and the opening of a connection for all who wait.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::super::link::Secure;
use super::super::site::Site;
use super::super::worker::Worker;
use super::conn::{self, Change};
use super::mux::{Place, Seat};
use crate::proxy_header::Version;

/// The wait for room at a backend.
pub(in super::super) struct Join {
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
    pub(in super::super) fn new(
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

    /// Has a connection opened, unless one is on its way, or has room for who is before this one in the queue, or there are
    /// enough.
    fn dial(&self) {
        let mux = &self.site.mux;
        if mux.dials.get() > 0 || mux.is_roomy() || !mux.has_room(self.site.connections_max()) {
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
    type Output = io::Result<Seat>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mux = &this.site.mux;
        let seat = match &this.place {
            None => mux.seat(),
            Some(place) if mux.is_turn_of(place) => mux.take_seat(),
            Some(_) => None,
        };
        if let Some(seat) = seat {
            if let Some(place) = this.place.take() {
                mux.leave(&place);
                mux.call_next();
            }
            return Poll::Ready(Ok(seat));
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

/// What a connection's driver tells those who wait at `site`, as long as anybody knows that.
fn tell(site: &Rc<Site>) -> impl Fn(Change) + use<> {
    let site = Rc::downgrade(site);
    move |change| {
        let Some(site) = site.upgrade() else { return };
        match change {
            Change::Closing => site.mux.call_next(),
            Change::Over(ended) => {
                if let Err(why) = ended {
                    tracing::debug!(backend = %site.key.id, address = %site.key.address, why, "an HTTP/2 connection ended");
                }
                site.mux.call_all();
            }
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
            tokio::task::spawn_local(driver.run(conn, tell(&site)));
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
