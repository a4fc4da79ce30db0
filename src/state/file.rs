//! One file: read whole, replaced whole, set aside when bad; and the lock of the directory.
//!
//! ```text
//! replace:  NAME.tmp ─ write ─ fsync ─▶ rename to NAME ─ fsync of the directory
//! ```
//!
//! So whoever reads sees the old file or the new one, also after a power cut.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Far more than a pool of thousands takes; a file that grew beyond is not ours.
const BYTES_MAX: u64 = 16 << 20;

/// Makes `directory` and locks it for as long as the file lives; `WouldBlock` while another process has it.
pub(super) fn lock(directory: &Path) -> io::Result<File> {
    // Peers and backends are nobody else's business.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(directory.join("lock"))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(lock)
}

/// Whether `lock` is the one of `directory`.
pub(super) fn is_lock(lock: &File, directory: &Path) -> bool {
    let of = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let there = fs::metadata(directory.join("lock"));
    there.is_ok_and(|there| lock.metadata().is_ok_and(|held| of(held) == of(there)))
}

/// The text; the inner error says why it can't be one.
pub(super) fn read(path: &Path) -> io::Result<Result<String, String>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Ok(Err(format!("longer than {BYTES_MAX} bytes")));
    }
    Ok(String::from_utf8(bytes).map_err(|error| format!("not text: {error}")))
}

/// Puts `bytes` in place of whatever is there.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_by(path, ".tmp", 0o600, bytes)
}

/// The same by way of a file with that ending, and of that mode.
pub(super) fn replace_by(path: &Path, ending: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let new = with_ending(path, ending);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(mode)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        // Of a lone name it is where we are.
        Some(directory) if directory.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Renames a bad file, for whoever wants to know; `None` where that fails.
pub(super) fn set_aside(path: &Path) -> Option<PathBuf> {
    let bad = with_ending(path, ".bad");
    fs::rename(path, &bad).ok().map(|()| bad)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
