//! The access log: one line for each request, written beside the path of requests.
//!
//! ```text
//! worker: Record ─▶ Entry ─drop─▶ Scribe (batch) ──bounded, never waited for──▶ writer's thread ─▶ FILE
//!                                    │ full?                                     format, one write a batch
//!                                    └─▶ counted as lost                         SIGUSR1: FILE is opened anew
//! ```
//!
//! A worker only copies bytes: lines are made where they are written. Without a log there is no entry,
//! and a request is asked once whether it has one.

pub(super) mod entry;
mod line;
mod scribe;
mod settings;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

pub(super) use self::scribe::{Desk, Scribe};
pub use self::settings::{Format, Settings, To};
use self::writer::{Sink, Writer};
use super::fault::in_words;

/// Batches that may wait for the writer, over all workers: at most 8 MiB.
const QUEUE_MAX: usize = 32;

/// The log could not be begun.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its file could not be opened.
    #[error("access log {}: {}", path.display(), in_words(source))]
    File {
        /// As configured.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Nobody can write it.
    #[error("access log: {0}")]
    Thread(io::Error),
}

/// A log that is being written.
#[derive(Debug)]
pub struct Log {
    desk: Desk,
    reopen: Arc<AtomicBool>,
    /// Ends when all is written.
    ended: oneshot::Receiver<()>,
}

/// Opens the log and starts its writer.
///
/// # Errors
/// [`OpenError`]
pub fn open(settings: &Settings) -> Result<Log, OpenError> {
    let sink = Sink::open(&settings.to).map_err(|source| match &settings.to {
        To::File(path) => OpenError::File {
            path: path.clone(),
            source,
        },
        To::Stdout => OpenError::File {
            path: Path::new("stdout").to_owned(),
            source,
        },
    })?;
    let (batches, queue) = mpsc::sync_channel(QUEUE_MAX);
    let lost = Arc::new(AtomicU64::new(0));
    let reopen = Arc::new(AtomicBool::new(false));
    let writer = Writer::new(sink, settings.format, lost.clone(), reopen.clone());
    let (ends, ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || {
            writer.run(&queue);
            drop(ends);
        })
        .map_err(OpenError::Thread)?;
    Ok(Log {
        desk: Desk::new(batches, lost),
        reopen,
        ended,
    })
}

impl Log {
    /// Has the file opened anew under its name: what held it may have been renamed. Lines that were
    /// handed over before may go to either.
    ///
    /// If that fails, a warning says so and the old one is kept.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        // A full queue is no harm: the writer looks after each batch.
        self.desk.wake();
    }

    /// What workers hand their lines to.
    pub(super) fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// Waits until every line is written, once all workers have ended; at most `longest`, since a disk may hang.
    pub async fn close(self, longest: Duration) {
        drop(self.desk);
        // Dropping the sender is the message.
        if tokio::time::timeout(longest, self.ended).await.is_err() {
            tracing::warn!("the access log could not be written to its end");
        }
    }
}
