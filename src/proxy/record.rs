//! One request, counted while it lives, and once more when it ends; then its line of the access log is done too.

use std::fmt::Display;
use std::rc::Rc;
use std::time::Instant;

use super::access::entry::{End, Entry};
use super::fault::Fault;
use super::peer::Peer;
use super::site::Site;
use super::stats::{Counts, bump, drop_one};
use super::worker::{Home, Worker};
use crate::clock;

/// The class of a request whose client left before an answer; see `stats::CLASSES`.
const ABORTED: u8 = 5;

/// The class of a request whose answer broke off after it was begun.
const BROKEN: u8 = 6;

/// Where a request is counted: held within the worker, so that workers don't fight for one reference count.
#[derive(Default)]
pub(super) enum Books {
    #[default]
    None,
    /// No backend was asked.
    Pool(Rc<Home>),
    Backend(Rc<Site>),
}

impl Books {
    fn counts(&self) -> Option<&Counts> {
        match self {
            Self::None => None,
            Self::Pool(home) => Some(&home.unanswered),
            Self::Backend(site) => Some(&site.counts),
        }
    }
}

/// A request's line in the books.
pub(super) struct Record {
    worker: Rc<Worker>,
    begun: Instant,
    class: u8,
    counted: bool,
    /// A relayed connection, and no request.
    relayed: bool,
    /// Whose it is.
    peer: Peer,
    pub(super) books: Books,
    /// Its line of the access log, if there is one.
    entry: Option<Box<Entry>>,
}

impl Record {
    /// A request has come from `peer`.
    pub(super) fn begin(worker: &Rc<Worker>, peer: Peer) -> Self {
        Self::new(worker, peer, false)
    }

    /// A connection from `peer` is to be relayed as it is.
    pub(super) fn relayed(worker: &Rc<Worker>, peer: Peer) -> Self {
        let mut record = Self::new(worker, peer, true);
        record.class = End::Lb as u8;
        record.note(|entry, _| entry.is_relayed());
        record
    }

    fn new(worker: &Rc<Worker>, peer: Peer, relayed: bool) -> Self {
        let begun = worker.now();
        worker.count_request(begun);
        bump(&worker.stats.requests_in_flight, 1);
        let entry = || Box::new(Entry::new(clock::wall(), begun, peer.address()));
        Self {
            worker: worker.clone(),
            begun,
            class: ABORTED,
            counted: false,
            relayed,
            peer,
            books: Books::None,
            entry: worker.scribe.as_ref().map(|_| entry()),
        }
    }

    /// The number of the listener it came by.
    pub(super) fn listener(&self) -> u8 {
        self.peer.listener()
    }

    /// It is no request, but a connection.
    pub(super) fn is_relayed(&self) -> bool {
        self.relayed
    }

    /// Whose it is.
    pub(super) fn peer(&self) -> Peer {
        self.peer
    }

    /// Has the access log, if there is one, note something; with the time of this poll.
    pub(super) fn note(&mut self, note: impl FnOnce(&mut Entry, Instant)) {
        if let Some(entry) = &mut self.entry {
            note(entry, self.worker.now());
        }
    }

    /// Its answer is known.
    pub(super) fn answered(&mut self, status: u16) {
        self.class = (status / 100).clamp(1, 5) as u8 - 1;
        self.note(|entry, _| entry.answered(status));
    }

    /// Its answer ended before its end.
    pub(super) fn broke_off(&mut self, why: &dyn Display) {
        self.class = BROKEN;
        self.note(|entry, _| entry.ended(End::Backend, Some(why)));
    }

    /// A try at `site` gave no answer to pass on. What its client did is no try's fault.
    pub(super) fn failed_at(&mut self, site: &Site, why: &dyn Display) {
        let (node, address) = (&site.key.id.node, site.key.address);
        self.note(|entry, now| entry.failed(node, address, why, now));
    }

    /// There is no answer of a backend.
    pub(super) fn faulted(&mut self, fault: &Fault) {
        self.note(|entry, _| entry.ended(fault.whose(), Some(fault)));
    }

    /// A relayed connection ended.
    pub(super) fn ended(&mut self, end: End, why: Option<&dyn Display>) {
        self.class = end as u8;
        self.note(|entry, _| entry.ended(end, why));
    }

    /// Counts it now, where what follows is no answer any more.
    pub(super) fn count(&mut self) {
        if std::mem::replace(&mut self.counted, true) {
            return;
        }
        drop_one(&self.worker.stats.requests_in_flight);
        if let (true, Some(counts)) = (self.relayed, self.books.counts()) {
            return counts.add_connection(self.class.into());
        }
        if let Some(counts) = self.books.counts() {
            let now = self.worker.now();
            counts.add(self.class.into(), now.saturating_duration_since(self.begun));
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.count();
        if let (Some(mut entry), Some(scribe)) = (self.entry.take(), &self.worker.scribe) {
            entry.finish(self.books.counts(), self.worker.now());
            scribe.take(entry);
        }
    }
}
