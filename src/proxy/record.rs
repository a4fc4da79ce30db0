//! One request, counted while it lives, and once more when it ends.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::stats::{Counts, bump, drop_one};
use super::worker::Worker;

/// The class of a request whose client left before an answer; see `stats::CLASSES`.
const ABORTED: usize = 5;

/// The class of a request whose answer broke off after it was begun.
const BROKEN: usize = 6;

/// A request's line in the books.
pub(super) struct Record {
    worker: Rc<Worker>,
    begun: Instant,
    class: usize,
    /// Where it is counted.
    pub(super) counts: Option<Arc<Counts>>,
}

impl Record {
    /// A request has come.
    pub(super) fn begin(worker: &Rc<Worker>) -> Self {
        let begun = worker.now();
        worker.count_request(begun);
        bump(&worker.stats.requests_in_flight, 1);
        Self {
            worker: worker.clone(),
            begun,
            class: ABORTED,
            counts: None,
        }
    }

    /// Its answer is known.
    pub(super) fn answered(&mut self, status: u16) {
        self.class = usize::from(status / 100).clamp(1, 5) - 1;
    }

    /// Counts it now, where what follows is no answer any more.
    pub(super) fn settle(&mut self) {
        if let Some(counts) = self.counts.take() {
            let now = self.worker.now();
            counts.add(self.class, now.saturating_duration_since(self.begun));
        }
    }

    /// Its answer ended before its end.
    pub(super) fn broke_off(&mut self) {
        self.class = BROKEN;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        drop_one(&self.worker.stats.requests_in_flight);
        self.settle();
    }
}
