//! One worker's lines on their way to the writer.
//!
//! ```text
//! Entry ─▶ batch ──256 of them, 256 KiB or 100 ms──▶ Desk ─▶ writer
//! ```
//!
//! A batch wakes the writer once, so that a request costs no system call.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::Notify;

use super::entry::Entry;

/// Of one batch; see [`Desk`].
pub(super) type Batch = Vec<Box<Entry>>;

pub(super) type Batches = mpsc::SyncSender<Batch>;

/// Lines of one batch.
const LINES_MAX: usize = 256;

/// Bytes of one batch, roughly.
const BYTES_MAX: usize = 256 * 1024;

/// How long a line may wait for others.
const EVERY: Duration = Duration::from_millis(100);

/// Where lines are handed over; one for all workers.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Desk {
    batches: Batches,
    lost: Arc<AtomicU64>,
}

impl Desk {
    pub(super) fn new(batches: Batches, lost: Arc<AtomicU64>) -> Self {
        Self { batches, lost }
    }

    /// Has the writer look what is to be done.
    pub(super) fn wake(&self) {
        let _ = self.batches.try_send(Vec::new());
    }

    /// Lines that were not written.
    pub(in crate::proxy) fn lost(&self) -> Arc<AtomicU64> {
        self.lost.clone()
    }

    /// A disk that is too slow costs lines, never requests.
    fn hand_over(&self, batch: Batch) {
        let lines = batch.len() as u64;
        if self.batches.try_send(batch).is_err() {
            self.lost.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

/// One worker's side.
#[derive(Debug)]
pub(in crate::proxy) struct Scribe {
    desk: Desk,
    batch: RefCell<Batch>,
    bytes: Cell<usize>,
    /// A batch has begun.
    begun: Notify,
}

impl Scribe {
    /// Hands over lines that have waited long enough; never ends.
    pub(in crate::proxy) async fn flush_in_time(&self) {
        loop {
            self.begun.notified().await;
            tokio::time::sleep(EVERY).await;
            self.flush();
        }
    }

    /// Nothing collected yet.
    pub(in crate::proxy) fn new(desk: Desk) -> Self {
        Self {
            desk,
            batch: RefCell::default(),
            bytes: Cell::new(0),
            begun: Notify::new(),
        }
    }

    /// Takes a finished line.
    pub(in crate::proxy) fn take(&self, entry: Box<Entry>) {
        let bytes = self.bytes.get() + entry.weight();
        self.bytes.set(bytes);
        let lines = {
            let mut batch = self.batch.borrow_mut();
            batch.push(entry);
            batch.len()
        };
        if lines >= LINES_MAX || bytes >= BYTES_MAX {
            self.flush();
        } else if lines == 1 {
            self.begun.notify_one();
        }
    }

    fn flush(&self) {
        self.bytes.set(0);
        let batch = self.batch.take();
        if !batch.is_empty() {
            self.desk.hand_over(batch);
        }
    }
}

/// With the worker's end.
impl Drop for Scribe {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn entry() -> Box<Entry> {
        let peer = "192.0.2.1:1000".parse().unwrap();
        Box::new(Entry::new(clock::wall(), clock::now(), peer))
    }

    #[test]
    fn what_finds_no_room_is_counted_and_nobody_waits() {
        let (batches, queue) = mpsc::sync_channel(1);
        let scribe = Scribe::new(Desk::new(batches, Arc::default()));

        for _ in 0..LINES_MAX * 3 + 1 {
            scribe.take(entry());
        }

        let lost = scribe.desk.lost();
        assert_eq!(lost.load(Ordering::Relaxed), 2 * LINES_MAX as u64);
        assert_eq!(queue.recv().unwrap().len(), LINES_MAX);
        drop(scribe);
        assert_eq!(queue.recv().unwrap().len(), 1);
        assert!(queue.recv().is_err());
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_too() {
        let (batches, queue) = mpsc::sync_channel(1);
        let scribe = Scribe::new(Desk::new(batches, Arc::default()));
        let line = vec![b'x'; 100_000];

        // Each is cut to 8 KiB.
        for _ in 0..32 {
            let mut entry = entry();
            entry.came(&line, None);
            scribe.take(entry);
        }

        let lines = queue.try_recv().expect("a full batch").len();
        assert!((20..32).contains(&lines), "{lines}");
    }
}
