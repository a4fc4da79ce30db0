//! Shutdown as a future that is passed in.
//!
//! ```text
//! Trigger ──trigger()──▶ Shutdown (cloned into every task) ──wait()──▶ returns
//! ```
//!
//! Dropping the `Trigger` counts as triggering: a task must not outlive who started it.

use tokio::sync::watch;

/// The side that says "stop".
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// The side that is told; cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// A connected pair.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Tells every `Shutdown`; calling it twice does no harm.
    pub fn trigger(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// True once triggered.
    pub fn is_triggered(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Returns when triggered, or when the `Trigger` is gone.
    pub async fn wait(&mut self) {
        // An error means that the trigger was dropped, which is the same to us.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
