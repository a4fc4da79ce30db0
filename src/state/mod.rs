//! What outlives a restart: one directory for each node, held under a lock.
//!
//! ```text
//! DIR/NODE/ lock             ours while we run; ends with the process, however it ends
//!           peers.snapshot   members last seen alive ─────▶ joined at the next start
//!           keyring.json     keys as the cluster changed them ─▶ used instead of the key file
//!           backends.json    backends last known (front) ─▶ checked first thing at the next start
//!
//! save(file, render) ─▶ newest of each file, one write a second ─▶ temp ─ fsync ─ rename
//! ```
//!
//! Nothing here is needed to run: what can't be read or written is told once, and life goes on without.

mod backends;
mod file;
pub mod keyring_file;
mod peers;
pub mod snapshot;
pub mod tags_file;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use self::writer::Writer;
use crate::clock;
use crate::gossip::core::keyring::Keyring;
use crate::gossip::core::member::Members;
use crate::pool::spec::Spec;

/// Another process of this name runs on this machine.
#[derive(Debug, thiserror::Error)]
#[error(
    "the state directory {} is in use by another process; stop that one, or give this one its own --node or --state-dir",
    directory.display()
)]
pub struct Busy {
    /// Whose lock it is.
    pub directory: PathBuf,
}

/// The directory of one node, ours until dropped.
#[derive(Debug)]
pub struct State {
    directory: PathBuf,
    /// As in /etc/machine-id; `None`: unknown.
    machine: Option<String>,
    writer: Writer,
    /// Peers found at the start.
    found: Arc<[SocketAddr]>,
    /// We left for good.
    forgotten: AtomicBool,
    /// Another process writes.
    others: AtomicBool,
    opened: Instant,
    lock: File,
}

/// The text of one file, with what all files have.
#[derive(Debug, PartialEq)]
struct Saved<T> {
    machine: Option<String>,
    content: T,
}

impl State {
    /// Takes `root/node`; `None` where nothing can be kept, which is then told. A lock that is held is tried
    /// for ten seconds: at a restart the old process may not be quite gone. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn open(
        root: &Path,
        node: &str,
        machine: Option<String>,
    ) -> Result<Option<Arc<Self>>, Busy> {
        let directory = root.join(file_name(node));
        let deadline = clock::now() + BUSY_MAX;
        let mut told = false;
        let lock = loop {
            match file::lock(&directory) {
                Ok(lock) => break lock,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    warn!(
                        "nothing is kept over a restart: {}: {error}; choose a directory with --state-dir, or none",
                        directory.display()
                    );
                    return Ok(None);
                }
                Err(_) if clock::now() >= deadline => return Err(Busy { directory }),
                Err(_) if told => {}
                Err(_) => {
                    warn!(
                        "the state directory {} is in use; trying for {} s",
                        directory.display(),
                        BUSY_MAX.as_secs()
                    );
                    told = true;
                }
            }
            tokio::time::sleep(BUSY_PAUSE).await;
        };
        Ok(Some(Arc::new(Self::locked(directory, machine, lock))))
    }

    /// Takes over `root/node` from another process that hands its `lock` on; `None` if it is another directory's.
    /// Nothing is written before [`Self::own`] is called. Needs a tokio runtime.
    pub fn inherit(
        root: &Path,
        node: &str,
        machine: Option<String>,
        lock: File,
    ) -> Option<Arc<Self>> {
        let directory = root.join(file_name(node));
        if !file::is_lock(&lock, &directory) {
            return None;
        }
        let state = Self::locked(directory, machine, lock);
        state.disown();
        Some(Arc::new(state))
    }

    fn locked(directory: PathBuf, machine: Option<String>, lock: File) -> Self {
        let mut state = Self {
            writer: Writer::start(directory.clone()),
            directory,
            machine,
            found: Arc::default(),
            forgotten: AtomicBool::new(false),
            others: AtomicBool::new(false),
            opened: clock::now(),
            lock,
        };
        state.found = state.load(PEERS, peers::parse).into();
        if !state.found.is_empty() {
            info!(
                peers = state.found.len(),
                "members of the last run are known from {}",
                state.directory.display()
            );
        }
        state
    }

    /// From now on nothing is written: another process does. What was given before, [`Self::flush`] writes first.
    pub fn disown(&self) {
        self.others.store(true, Ordering::Relaxed);
    }

    /// From now on this process is the one that writes.
    pub fn own(&self) {
        self.others.store(false, Ordering::Relaxed);
    }

    /// Another descriptor of the lock, to hand on.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn lock(&self) -> io::Result<File> {
        self.lock.try_clone()
    }

    /// Where [`Self::open`] would keep what it keeps for `node`.
    pub fn directory(root: &Path, node: &str) -> PathBuf {
        root.join(file_name(node))
    }

    fn save(&self, file: &'static str, render: impl FnOnce() -> Vec<u8> + Send + 'static) {
        if !self.others.load(Ordering::Relaxed) {
            self.writer.save(file, render);
        }
    }

    /// Addresses of members that were alive when the last run ended, most recent first; none of another machine's.
    pub fn peers(&self) -> &[SocketAddr] {
        &self.found
    }

    /// Soon writes who is alive beside `own`. That nobody is, is not written: it may be us who are cut off.
    pub fn save_peers(&self, members: Arc<Members>, own: &str) {
        if self.forgotten.load(Ordering::Relaxed) || !peers::is_anyone_there(&members, own) {
            return;
        }
        let (machine, own) = (self.machine.clone(), own.to_owned());
        // A cluster that starts anew is met one by one; a second crash must not find a list of one.
        let before = match self.opened.elapsed() < REUNION {
            true => Arc::clone(&self.found),
            false => Arc::default(),
        };
        self.save(PEERS, move || {
            let content = peers::content(&members, &own, &before);
            peers::text(&Saved { machine, content }).into_bytes()
        });
    }

    /// Soon writes that there is nobody, and keeps to it: who left for good does not come back by itself.
    pub fn forget_peers(&self) {
        self.forgotten.store(true, Ordering::Relaxed);
        let machine = self.machine.clone();
        self.save(PEERS, move || {
            let content = Vec::new();
            peers::text(&Saved { machine, content }).into_bytes()
        });
    }

    /// Backends of each pool when the last run ended.
    pub fn backends(&self) -> BTreeMap<String, Vec<Spec>> {
        self.load(BACKENDS, backends::parse)
    }

    /// `pools` as text, for another process.
    pub fn text_of_backends(pools: BTreeMap<String, Vec<Spec>>) -> String {
        backends::text(&Saved {
            machine: None,
            content: pools,
        })
    }

    /// What [`Self::text_of_backends`] made; `None` for anything else.
    pub fn backends_of_text(text: &str) -> Option<BTreeMap<String, Vec<Spec>>> {
        backends::parse(text).ok().map(|saved| saved.content)
    }

    /// Soon writes `pools`.
    pub fn save_backends(&self, pools: BTreeMap<String, Vec<Spec>>) {
        let machine = self.machine.clone();
        self.save(BACKENDS, move || {
            let content = pools;
            backends::text(&Saved { machine, content }).into_bytes()
        });
    }

    /// Keys as the cluster changed them during the last run. Of any machine: a clone knows the key file as well.
    pub fn keyring(&self) -> Option<Keyring> {
        self.load(KEYRING, |text| {
            let content = Keyring::parse(text).map_err(|error| error.to_string())?;
            Ok(Saved {
                machine: None,
                content: Some(content),
            })
        })
    }

    /// Where [`Self::keyring`] comes from.
    pub fn keyring_file(&self) -> PathBuf {
        self.directory.join(KEYRING)
    }

    /// Writes `keyring` at once, as `serf agent -keyring-file` does and can read: a node that is killed before would
    /// come back with keys that the cluster may have removed.
    pub fn save_keyring(&self, keyring: Keyring) {
        if self.others.load(Ordering::Relaxed) {
            return;
        }
        self.writer
            .save_now(KEYRING, move || keyring.to_json().into_bytes());
    }

    /// Forgets what [`Self::save_keyring`] wrote: another file has the keys now.
    pub async fn forget_keyring(&self) {
        // One that is still to be written would come back.
        self.flush().await;
        match std::fs::remove_file(self.keyring_file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => warn!(
                "{} cannot be deleted: {error}; its keys will be used at the next start",
                self.keyring_file().display()
            ),
            _ => {}
        }
    }

    /// Returns when everything given so far was written, at the latest after two seconds.
    pub async fn flush(&self) {
        let _ = tokio::time::timeout(FLUSH_MAX, self.writer.flush()).await;
    }

    /// What a file holds; nothing when it is absent, bad, or of another machine.
    fn load<T: Default>(&self, name: &str, parse: impl Fn(&str) -> Result<Saved<T>, String>) -> T {
        let path = self.directory.join(name);
        let text = match file::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return T::default(),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(error.to_string()),
            Err(error) => {
                warn!(
                    "{} cannot be read: {error}; going on without",
                    path.display()
                );
                return T::default();
            }
        };
        match text.and_then(|text| parse(&text)) {
            Ok(saved) if self.is_of_another_machine(saved.machine.as_deref()) => {
                warn!(
                    "{} was written on another machine (machine-id differs): not used, so that a cloned image does not join its original's cluster",
                    path.display()
                );
                T::default()
            }
            Ok(saved) => saved.content,
            Err(reason) => {
                let kept = file::set_aside(&path);
                warn!(
                    "{} is damaged: {reason}; going on without{}",
                    path.display(),
                    kept.map_or_else(String::new, |kept| format!(", kept as {}", kept.display()))
                );
                T::default()
            }
        }
    }

    /// Where either is unknown there is nothing to go by.
    fn is_of_another_machine(&self, saved: Option<&str>) -> bool {
        let own = self.machine.as_deref();
        saved.zip(own).is_some_and(|(saved, own)| saved != own)
    }
}

/// What `/etc/machine-id` says; `None` where it says nothing, as in many containers.
pub fn machine() -> Option<String> {
    let text = std::fs::read_to_string("/etc/machine-id").ok()?;
    let id = text.trim();
    // systemd writes the word into images that shall get an id at their first boot.
    let known = !id.is_empty() && id != "uninitialized" && !id.contains(char::is_whitespace);
    known.then(|| id.to_owned())
}

/// A node's name as the name of one directory, never of another one's.
fn file_name(node: &str) -> String {
    let mut name = String::new();
    for (at, letter) in node.char_indices() {
        match letter {
            '/' => name.push_str("%2F"),
            '%' => name.push_str("%25"),
            '.' if at == 0 => name.push_str("%2E"),
            letter => name.push(letter),
        }
    }
    name
}

const PEERS: &str = "peers.snapshot";
const KEYRING: &str = "keyring.json";
const BACKENDS: &str = "backends.json";

/// How long those of the last run who were not met yet are kept.
const REUNION: Duration = Duration::from_secs(60);

/// As for a port in use.
const BUSY_MAX: Duration = Duration::from_secs(10);
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// A disk that hangs must not keep a program from ending.
const FLUSH_MAX: Duration = Duration::from_secs(2);
