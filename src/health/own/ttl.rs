//! A check that is a promise: the service says that it works, and says so again before the time is over.
//!
//! ```text
//! service ─▶ datagram "WATCHDOG=1" ─▶ Deadline ─▶ Passes ──nothing for the ttl──▶ Fails
//!                     "WATCHDOG=trigger\nSTATUS=queue full" ───────────────────▶ Fails
//! ```
//!
//! systemd's notify protocol on a Unix socket: what a service sends to `systemd` as its watchdog it may send here, and
//! needs no library, port or HTTP server for it.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::sync::watch;

use super::{Opinion, change};
use crate::clock;

/// Longest message that is read whole, in bytes; systemd's own limit.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Read and written by owner and group: whoever writes here decides whether the node gets requests.
const MODE: u32 = 0o660;

/// Sent by who reports that all is well, to `NOTIFY_SOCKET`.
pub const PASS: &str = "WATCHDOG=1";

/// What a service reported.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Works(String),
    Fails(String),
}

/// Where the service reports to.
#[derive(Debug)]
pub struct Deadline {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Deadline {
    /// Binds `path`, also where one of a dead process lies.
    ///
    /// # Errors
    /// The system's, as when another process listens there.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let is_socket =
            std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
        if is_socket && send(path, "").is_err() {
            std::fs::remove_file(path)?;
        }
        let socket = UnixDatagram::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
        Ok(Self {
            socket,
            path: path.to_owned(),
        })
    }

    /// Where it is bound.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Listens until nobody wants the opinion any more.
    pub async fn watch(self, ttl: Duration, opinion: watch::Sender<Opinion>) {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let mut due = clock::now() + ttl;
        while !opinion.is_closed() {
            tokio::select! {
                // Reports first: after a pause of ours one may have waited longer than the deadline is over.
                biased;
                received = self.socket.recv(&mut bytes) => {
                    // A lone failure of the socket is no word of the service.
                    let Ok(count) = received else { continue };
                    match heard(&bytes[..count]) {
                        Some(Word::Works(said)) => {
                            due = clock::now() + ttl;
                            change(&opinion, Opinion::Passes(said));
                        }
                        Some(Word::Fails(why)) => change(&opinion, Opinion::Fails(why)),
                        None => {}
                    }
                }
                () = tokio::time::sleep_until(due.into()) => {
                    let why = format!("no report within {}", clock::readable(ttl));
                    change(&opinion, Opinion::Fails(why));
                    due = clock::now() + ttl;
                }
                () = opinion.closed() => {}
            }
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Reports to the socket at `path`.
///
/// # Errors
/// The system's, as when nobody listens there.
pub fn send(path: &Path, message: &str) -> io::Result<()> {
    let socket = StdDatagram::unbound()?;
    socket.send_to(message.as_bytes(), path)?;
    Ok(())
}

/// What is sent to report that all is well, with a word about it.
pub fn success(said: &str) -> String {
    format!("{PASS}\nSTATUS={}", said.replace('\n', " "))
}

/// What is sent to report a failure.
pub fn failure(reason: &str) -> String {
    format!("WATCHDOG=trigger\nSTATUS={}", reason.replace('\n', " "))
}

/// The lines that matter here; `None` for a message without any, such as `RELOADING=1`.
fn heard(message: &[u8]) -> Option<Word> {
    let text = String::from_utf8_lossy(message);
    let lines = || text.lines().filter_map(|line| line.split_once('='));
    let has = |name, value| lines().any(|line| line == (name, value));
    let status = lines().find(|(name, _)| *name == "STATUS");
    let status = |otherwise: &str| status.map_or(otherwise, |(_, status)| status).to_owned();
    if has("WATCHDOG", "trigger") {
        Some(Word::Fails(status("the service reports a failure")))
    } else if has("STOPPING", "1") {
        Some(Word::Fails(status("the service is stopping")))
    } else if has("WATCHDOG", "1") || has("READY", "1") {
        Some(Word::Works(status("reported")))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_systemds_protocol_are_understood() {
        let works = |said: &str| Some(Word::Works(said.to_owned()));
        let fails = |why: &str| Some(Word::Fails(why.to_owned()));
        for (message, expected) in [
            ("WATCHDOG=1", works("reported")),
            ("WATCHDOG=1\n", works("reported")),
            ("READY=1\nSTATUS=12 workers", works("12 workers")),
            ("WATCHDOG=trigger", fails("the service reports a failure")),
            (&failure("queue\nfull"), fails("queue full")),
            ("STOPPING=1", fails("the service is stopping")),
            ("RELOADING=1", None),
            ("STATUS=all is well", None),
            ("WATCHDOG_USEC=1", None),
            ("", None),
            ("\u{fffd}", None),
        ] {
            assert_eq!(heard(message.as_bytes()), expected, "{message:?}");
        }
    }

    async fn until(opinion: &mut watch::Receiver<Opinion>, wanted: &Opinion) {
        let waiting = opinion.wait_for(|opinion| opinion == wanted);
        let waiting = tokio::time::timeout(Duration::from_secs(30), waiting);
        let _ = waiting.await.expect("in time").expect("it is watched");
    }

    #[tokio::test]
    async fn a_promise_that_is_not_renewed_is_broken() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("below").join("check.sock");
        let deadline = Deadline::bind(&path).expect("it is free");
        let (sender, mut opinion) = watch::channel(Opinion::Unproven("new".to_owned()));
        let watching = tokio::spawn(deadline.watch(Duration::from_millis(300), sender));

        send(&path, PASS).expect("somebody listens");
        until(&mut opinion, &Opinion::Passes("reported".to_owned())).await;
        let late = Opinion::Fails("no report within 300ms".to_owned());
        until(&mut opinion, &late).await;
        send(&path, PASS).expect("somebody listens");
        until(&mut opinion, &Opinion::Passes("reported".to_owned())).await;

        drop(opinion);
        watching.await.expect("it ends");
        assert!(!path.exists(), "the socket is left behind");
    }

    #[tokio::test]
    async fn the_socket_of_a_dead_process_is_replaced_and_that_of_a_living_one_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("check.sock");
        drop(StdDatagram::bind(&path).expect("it is free"));
        assert!(path.exists());

        let living = Deadline::bind(&path).expect("the old one is dead");

        assert!(Deadline::bind(&path).is_err());
        let mode = std::fs::metadata(&path).expect("it is there").permissions();
        assert_eq!(mode.mode() & 0o777, MODE);
        assert_eq!(living.path(), path);
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let file = tempfile::NamedTempFile::new().expect("a file");

        assert!(Deadline::bind(file.path()).is_err());

        assert!(file.path().exists());
    }
}
