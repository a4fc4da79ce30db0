//! Where `lb upgrade` finds a running front: a socket in its state directory.
//!
//! ```text
//! lb upgrade ──connect, {"binary":…}──▶ STATE/NODE/upgrade.sock ──▶ Request ──▶ the front's main loop
//!            ◀────────────────────────── one JSON line: Reply ──────────────────┘
//! ```
//!
//! Only who may write there comes that far, and then must be the same user, or root: the request names a program to run.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// The socket's name within a node's directory.
pub const NAME: &str = "upgrade.sock";

/// A request is a line.
const REQUEST_BYTES_MAX: u64 = 8 << 10;

/// Whoever connects wants something at once.
const REQUEST_MAX: Duration = Duration::from_secs(5);

/// After a failed accept.
const PAUSE: Duration = Duration::from_millis(100);

/// What is asked.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Request {
    /// Another program than the one that runs, from where it was started.
    pub binary: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Another process serves.
    Done {
        /// Its process id.
        pid: u32,
        /// Its version.
        version: String,
        /// Of the one that ends.
        old_pid: u32,
        /// Of the one that ends.
        old_version: String,
        /// How long that one may take, for people.
        drain: String,
    },
    /// Nothing has changed.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Somebody who asked.
#[derive(Debug)]
pub(in crate::front) struct Caller {
    pub(in crate::front) request: Request,
    stream: UnixStream,
}

impl Caller {
    /// Answers; one that has gone away needs none.
    pub(in crate::front) async fn answer(mut self, reply: &Reply) {
        let mut line = serde_json::to_vec(reply).expect("texts and numbers can be written as JSON");
        line.push(b'\n');
        let _ = tokio::time::timeout(REQUEST_MAX, self.stream.write_all(&line)).await;
    }
}

/// The socket, listening.
#[derive(Debug)]
pub(in crate::front) struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    /// In `directory`, which is locked by us: so what is left there is of a process that has ended.
    pub(in crate::front) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// One that another process had opened in `directory`.
    pub(in crate::front) fn take(descriptor: OwnedFd, directory: &Path) -> io::Result<Self> {
        let listener = std::os::unix::net::UnixListener::from(descriptor);
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            path: directory.join(NAME),
        })
    }

    /// Another descriptor, to hand on.
    pub(in crate::front) fn copy(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Serves until the task is dropped. The queue is as long as it must be: an upgrade answers one caller at a time.
    pub(in crate::front) fn serve(self) -> Served {
        let (callers, queue) = mpsc::channel(1);
        let path = self.path.clone();
        let task = tokio::spawn(async move {
            loop {
                match self.listener.accept().await {
                    Ok((stream, _)) => {
                        tokio::spawn(admit(stream, callers.clone()));
                    }
                    Err(error) => {
                        debug!(%error, "the upgrade socket cannot accept");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        });
        Served {
            queue,
            task: task.abort_handle(),
            path,
        }
    }
}

/// The side that hears callers.
#[derive(Debug)]
pub(in crate::front) struct Served {
    queue: mpsc::Receiver<Caller>,
    task: tokio::task::AbortHandle,
    path: PathBuf,
}

impl Served {
    /// The next one.
    pub(in crate::front) async fn next(&mut self) -> Caller {
        match self.queue.recv().await {
            Some(caller) => caller,
            None => std::future::pending().await,
        }
    }

    /// A successor listens there.
    pub(in crate::front) fn hand_over(self) {
        self.task.abort();
    }

    /// Nobody listens there any more.
    pub(in crate::front) fn close(self) {
        self.task.abort();
        let _ = fs::remove_file(&self.path);
    }
}

async fn admit(mut stream: UnixStream, callers: mpsc::Sender<Caller>) {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == own || peer.uid() == 0 => {}
        Ok(peer) => {
            return warn!(
                uid = peer.uid(),
                "an upgrade asked for by another user: refused"
            );
        }
        Err(error) => return debug!(%error, "who asks for an upgrade is not known"),
    }
    let read = tokio::time::timeout(REQUEST_MAX, request(&mut stream)).await;
    match read {
        Ok(Ok(request)) => {
            let _ = callers.send(Caller { request, stream }).await;
        }
        Ok(Err(error)) => debug!(%error, "an upgrade that can't be understood"),
        Err(_) => debug!("nothing was asked for at the upgrade socket"),
    }
}

async fn request(stream: &mut UnixStream) -> io::Result<Request> {
    let mut line = Vec::new();
    let mut limited = stream.take(REQUEST_BYTES_MAX);
    while !line.ends_with(b"\n") {
        if limited.read_buf(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(serde_json::from_slice(&line)?)
}
