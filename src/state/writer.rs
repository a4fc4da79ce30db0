//! The task that writes: of each file the newest text only, and not more often than once a second.
//!
//! ```text
//! save ─▶ pending ──100 ms later, 1 s after the write before, or at a flush──▶ a blocking thread ─▶ disk
//! save_now ─▶ pending ──at once──────────────────────────────────────────────────▲
//! ```
//!
//! Not in the caller's task: that one answers gossip, and an fsync may take seconds.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::file;
use crate::clock;
use crate::task;

/// What happens together is written together.
const COLLECT: Duration = Duration::from_millis(100);

/// Between two writes: a flapping cluster must not wear out a disk.
const EVERY: Duration = Duration::from_secs(1);

/// Makes a file's bytes, on the thread that writes them.
type Render = Box<dyn FnOnce() -> Vec<u8> + Send>;

enum Order {
    Save(&'static str, Render),
    /// The same, at once.
    SaveNow(&'static str, Render),
    Flush(oneshot::Sender<()>),
}

/// The sending side; the task writes what is pending and ends when it is dropped.
pub(super) struct Writer(mpsc::UnboundedSender<Order>);

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    pub(super) fn start(directory: PathBuf) -> Self {
        let (orders, ordered) = mpsc::unbounded_channel();
        let task = Task {
            directory,
            pending: BTreeMap::new(),
            due: clock::now(),
            written: None,
            failing: false,
        };
        task::spawn(task.run(ordered));
        Self(orders)
    }

    /// Replaces what is pending for `file`.
    pub(super) fn save(
        &self,
        file: &'static str,
        render: impl FnOnce() -> Vec<u8> + Send + 'static,
    ) {
        // The task ends with the runtime only; then there is nobody to tell either.
        let _ = self.0.send(Order::Save(file, Box::new(render)));
    }

    /// The same without waiting for company.
    pub(super) fn save_now(
        &self,
        file: &'static str,
        render: impl FnOnce() -> Vec<u8> + Send + 'static,
    ) {
        let _ = self.0.send(Order::SaveNow(file, Box::new(render)));
    }

    /// Returns once nothing given before is pending.
    pub(super) async fn flush(&self) {
        let (reply, done) = oneshot::channel();
        if self.0.send(Order::Flush(reply)).is_ok() {
            let _ = done.await;
        }
    }
}

struct Task {
    directory: PathBuf,
    pending: BTreeMap<&'static str, Render>,
    due: Instant,
    written: Option<Instant>,
    failing: bool,
}

impl Task {
    async fn run(mut self, mut ordered: mpsc::UnboundedReceiver<Order>) {
        loop {
            let order = tokio::select! {
                order = ordered.recv() => order,
                () = tokio::time::sleep_until(self.due.into()), if !self.pending.is_empty() => {
                    self.write().await;
                    continue;
                }
            };
            match order {
                Some(Order::Save(file, render)) => {
                    if self.pending.is_empty() {
                        let collected = clock::now() + COLLECT;
                        let spaced = self.written.map(|written| written + EVERY);
                        self.due = spaced.map_or(collected, |spaced| spaced.max(collected));
                    }
                    self.pending.insert(file, render);
                }
                Some(Order::SaveNow(file, render)) => {
                    self.pending.insert(file, render);
                    self.write().await;
                }
                Some(Order::Flush(reply)) => {
                    self.write().await;
                    let _ = reply.send(());
                }
                None => return self.write().await,
            }
        }
    }

    async fn write(&mut self) {
        for (name, render) in std::mem::take(&mut self.pending) {
            let path = self.directory.join(name);
            let shown = path.display().to_string();
            let work = tokio::task::spawn_blocking(move || replace_if_new(&path, &render()));
            let outcome = work.await.unwrap_or_else(|error| Err(error.into()));
            self.written = Some(clock::now());
            match outcome {
                Ok(()) => self.failing = false,
                // Once, not every second: a full disk stays full for a while.
                Err(_) if self.failing => {}
                Err(error) => {
                    warn!("{shown} cannot be written: {error}; a restart will find older news");
                    self.failing = true;
                }
            }
        }
    }
}

fn replace_if_new(path: &std::path::Path, bytes: &[u8]) -> io::Result<()> {
    match std::fs::read(path) {
        Ok(there) if there == bytes => Ok(()),
        _ => file::replace(path, bytes),
    }
}
