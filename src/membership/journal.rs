//! Serf's snapshot while the program runs, and what it says at the start.
//!
//! ```text
//! FILE ─▶ open ─▶ peers, clocks ─▶ driver::start
//!            └────▶ Journal ◀─ members, clocks (level-triggered), leave ── lines at most each 500 ms ─▶ FILE
//! ```
//!
//! The disk is waited for by a thread of its own, and nobody in gossip waits for that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::clock;
use crate::gossip::core::member::Members;
use crate::gossip::core::serf::snapshot::{Clocks, Snapshot, Write};
use crate::gossip::driver::{self, Handle};
use crate::state::snapshot::{Settings, SnapshotFile, Unusable};
use crate::task;

/// Between two writes. Source: serf `flushInterval`.
const EVERY: Duration = Duration::from_millis(500);

/// Between two tries to replace a file that could not be written. Source: serf `snapshotErrorRecoveryInterval`.
const RECOVER_EVERY: Duration = Duration::from_secs(30);

/// A disk that hangs must not keep a program from leaving or ending.
const DISK_MAX: Duration = Duration::from_secs(2);

/// A snapshot that was read, and not yet written to.
#[derive(Debug)]
pub struct Opened {
    file: SnapshotFile,
    snapshot: Snapshot,
}

/// Reads the snapshot, where there shall be one, and has `gossip` start from it.
///
/// # Errors
/// [`Unusable`].
pub fn open(
    settings: Option<&Settings>,
    gossip: &mut driver::Settings,
) -> Result<Option<Opened>, Unusable> {
    let Some(settings) = settings else {
        return Ok(None);
    };
    let (file, snapshot) = SnapshotFile::open(settings)?;
    gossip.former = Some(snapshot.clocks());
    gossip.peers = snapshot.peers(&gossip.node);
    // So that after an outage not all go to the same one.
    gossip.peers.shuffle(&mut clock::random());
    info!(
        members = gossip.peers.len(),
        "the snapshot {} was read",
        settings.path.display()
    );
    Ok(Some(Opened { file, snapshot }))
}

/// Where leaves are told; cheap to clone. Without a snapshot everything is done at once.
#[derive(Clone, Debug, Default)]
pub struct Journal(Option<mpsc::Sender<Order>>);

#[derive(Debug)]
enum Order {
    /// We leave: members of this run are no reason to join at the next start.
    Leave(oneshot::Sender<()>),
    Finish(oneshot::Sender<()>),
}

impl Journal {
    /// Records what becomes of `gossip` from now on, where a snapshot was opened.
    pub fn keep(opened: Option<Opened>, gossip: &Handle) -> Self {
        let Some(Opened { file, snapshot }) = opened else {
            return Self(None);
        };
        let (orders, ordered) = mpsc::channel(1);
        let keeper = Keeper {
            snapshot,
            file: Some(file),
            written: None,
            failed: None,
        };
        let own = gossip.names();
        task::spawn(keeper.run(gossip.members(), gossip.clocks(), own, ordered));
        Self(Some(orders))
    }

    /// To be called before the cluster hears of it. Returns once it is on the disk, or the disk takes too long.
    pub async fn leave(&self) {
        self.order(Order::Leave).await;
    }

    /// Returns once everything so far is on the disk, or the disk takes too long.
    pub async fn finish(&self) {
        self.order(Order::Finish).await;
    }

    async fn order(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) {
        let Some(orders) = &self.0 else { return };
        let (reply, done) = oneshot::channel();
        let ordered = async {
            if orders.send(order(reply)).await.is_ok() {
                let _ = done.await;
            }
        };
        if tokio::time::timeout(DISK_MAX, ordered).await.is_err() {
            warn!(
                "the snapshot is not written within {DISK_MAX:?}; a restart will find older news"
            );
        }
    }
}

/// The task.
struct Keeper {
    snapshot: Snapshot,
    /// `None` only while it is written to.
    file: Option<SnapshotFile>,
    written: Option<Instant>,
    /// When a write failed first, or was last tried to be made up for.
    failed: Option<Instant>,
}

impl Keeper {
    /// Until nobody can give orders any more.
    async fn run(
        mut self,
        mut members: watch::Receiver<Arc<Members>>,
        mut clocks: watch::Receiver<Clocks>,
        own: watch::Receiver<Arc<str>>,
        mut ordered: mpsc::Receiver<Order>,
    ) {
        loop {
            let now = Arc::clone(&members.borrow_and_update());
            self.snapshot.members(&now, &own.borrow());
            drop(now);
            self.snapshot.advance(*clocks.borrow_and_update());
            if self.due().is_some_and(|due| due <= clock::now()) {
                self.write(false).await;
            }
            tokio::select! {
                order = ordered.recv() => match order {
                    Some(Order::Leave(reply)) => {
                        self.snapshot.leave();
                        self.write(true).await;
                        let _ = reply.send(());
                    }
                    Some(Order::Finish(reply)) => {
                        self.snapshot.advance(*clocks.borrow());
                        self.write(true).await;
                        let _ = reply.send(());
                    }
                    None => return,
                },
                () = changed(&mut members) => {}
                () = changed(&mut clocks) => {}
                () = until(self.due()) => {}
            }
        }
    }

    /// When there is something to write.
    fn due(&self) -> Option<Instant> {
        if let Some(failed) = self.failed {
            return Some(failed + RECOVER_EVERY);
        }
        let spaced = self.written.map_or_else(clock::now, |last| last + EVERY);
        self.snapshot.is_pending().then_some(spaced)
    }

    async fn write(&mut self, sync: bool) {
        let write = match self.failed {
            // Nobody knows how much of the last write is there.
            Some(_) => Some(self.snapshot.compacted()),
            None => self.snapshot.take(),
        };
        let Some(mut file) = self.file.take() else {
            return;
        };
        let work = tokio::task::spawn_blocking(move || {
            let outcome = write
                .as_ref()
                .map_or(Ok(()), |write: &Write| file.write(write));
            let outcome = outcome.and_then(|()| if sync { file.sync() } else { Ok(()) });
            (file, outcome)
        });
        // It ends without a result only when the runtime ends too.
        let Ok((file, outcome)) = work.await else {
            return;
        };
        self.file = Some(file);
        self.written = Some(clock::now());
        match outcome {
            Ok(()) => self.failed = None,
            Err(error) => {
                if self.failed.replace(clock::now()).is_none() {
                    warn!(
                        "the snapshot cannot be written: {error}; trying on every {RECOVER_EVERY:?}"
                    );
                }
            }
        }
    }
}

/// Never, once gossip has ended.
async fn changed<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        std::future::pending().await
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
