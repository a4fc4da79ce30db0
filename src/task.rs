//! Tasks that live as long as a connection or the program, and none of which is on the path of a request.
//!
//! ```text
//! future ─▶ a box ─▶ tokio: one copy of its machinery for all of them, not one for each kind of future
//! ```
//!
//! An agent starts thirty kinds of tasks, and tokio's part of each is kilobytes of code, resident on every web node. Where
//! tasks come by the thousand (connections of clients, requests) they are spawned as they are.

use std::future::Future;
use std::pin::Pin;

use tokio::task::JoinHandle;

/// Some work, whichever.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The same work, as one of a kind.
pub fn work(future: impl Future<Output = ()> + Send + 'static) -> Work {
    Box::pin(future)
}

/// A task of its own for `future`; it goes on when the handle is dropped.
pub fn spawn(future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(work(future))
}
