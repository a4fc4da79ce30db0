//! The file of Serf's snapshot: read whole at the start, then appended to.
//!
//! ```text
//! open:  lines ─▶ Snapshot; a last line without its end is cut off
//! write: Append ─▶ end of the file      Replace ─▶ FILE.compact ─ fsync ─▶ rename
//! ```
//!
//! Here because it outlives a restart, but no part of the state directory: it lies where the operator says, and a
//! stock agent may take it over.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::file;
use crate::gossip::core::serf::snapshot::{Snapshot, Write};

/// Serf's ending of the file that is about to take the snapshot's place.
const COMPACT: &str = ".compact";

/// Who is in the cluster is nobody else's business; a file that is there keeps its mode.
const MODE: u32 = 0o600;

/// Far more than Serf lets a snapshot grow; what is longer is another file.
const BYTES_MAX: u64 = 64 << 20;

/// Bad lines that are told one by one.
const TOLD_MAX: usize = 10;

/// Where, and what a leave means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file.
    pub path: PathBuf,
    /// Join the members of the last run also after a leave.
    pub rejoin: bool,
}

/// A snapshot that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot {}: {source}; correct --snapshot", path.display())]
pub struct Unusable {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// The open file. Its methods wait for the disk.
#[derive(Debug)]
pub struct SnapshotFile {
    path: PathBuf,
    file: File,
}

impl SnapshotFile {
    /// Opens or makes the file and reads what it says; lines that say nothing are told.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn open(settings: &Settings) -> Result<(Self, Snapshot), Unusable> {
        let path = settings.path.clone();
        let unusable = |source| Unusable {
            path: settings.path.clone(),
            source,
        };
        let file = at_its_end(&path).map_err(unusable)?;
        let mut opened = Self { path, file };
        let snapshot = opened.replay(settings.rejoin).map_err(unusable)?;
        Ok((opened, snapshot))
    }

    fn replay(&mut self, rejoin: bool) -> io::Result<Snapshot> {
        if self.file.metadata()?.len() > BYTES_MAX {
            return Err(io::Error::other(format!("longer than {BYTES_MAX} bytes")));
        }
        let mut snapshot = Snapshot::new(rejoin);
        let mut reader = BufReader::new(&self.file);
        let (mut line, mut whole, mut bad) = (Vec::new(), 0, 0);
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)? as u64;
            // Whoever was killed while it wrote left half a line. Serf skips it too, but goes on writing behind it.
            if line.pop() != Some(b'\n') {
                break;
            }
            whole += read;
            if let Err(error) = snapshot.replay(&line) {
                bad += 1;
                if bad <= TOLD_MAX {
                    warn!("{}: {error}; skipped", self.path.display());
                }
            }
        }
        if bad > TOLD_MAX {
            warn!("{}: {bad} lines in all are skipped", self.path.display());
        }
        drop(reader);
        self.file.set_len(whole)?;
        Ok(snapshot)
    }

    /// Writes; what is replaced is also on the disk then.
    ///
    /// # Errors
    /// The system's; half of it may have been written.
    pub fn write(&mut self, write: &Write) -> io::Result<()> {
        match write {
            Write::Append(bytes) => self.file.write_all(bytes),
            Write::Replace(bytes) => self.replace(bytes),
        }
    }

    /// Returns once what was written is on the disk.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Whoever reads meanwhile finds the old one or the new one, where Serf has a moment without any.
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mode = self
            .file
            .metadata()
            .map_or(MODE, |known| known.permissions().mode() & 0o777);
        file::replace_by(&self.path, COMPACT, mode, bytes)?;
        self.file = at_its_end(&self.path)?;
        Ok(())
    }
}

/// Whatever else is written to it, by a predecessor about to go, nothing is written over.
fn at_its_end(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .mode(MODE)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::gossip::core::serf::snapshot::Clocks;

    fn open(path: &Path) -> (SnapshotFile, Snapshot) {
        let settings = Settings {
            path: path.to_owned(),
            rejoin: false,
        };
        SnapshotFile::open(&settings).expect("it is opened")
    }

    fn clock(member: u64) -> Clocks {
        Clocks {
            member,
            ..Clocks::default()
        }
    }

    #[test]
    fn what_is_written_is_read_at_the_next_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("serf.snapshot");
        let (mut file, mut snapshot) = open(&path);
        snapshot.advance(clock(3));
        file.write(&snapshot.take().expect("a line"))
            .expect("written");
        drop(file);

        let (mut file, mut snapshot) = open(&path);
        assert_eq!(snapshot.clocks(), clock(3));
        snapshot.advance(clock(4));
        file.write(&snapshot.take().expect("a line"))
            .expect("written");

        assert_eq!(
            fs::read_to_string(&path).expect("text"),
            "clock: 3\nclock: 4\n"
        );
        let mode = fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, MODE);
    }

    #[test]
    fn half_a_line_is_cut_off() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("serf.snapshot");
        fs::write(&path, "alive: a 10.0.0.1:7946\nclock: 12").expect("it is written");

        let (mut file, mut snapshot) = open(&path);
        assert_eq!(snapshot.clocks(), clock(0));
        snapshot.advance(clock(123));
        file.write(&snapshot.take().expect("a line"))
            .expect("written");

        let text = fs::read_to_string(&path).expect("text");
        assert_eq!(text, "alive: a 10.0.0.1:7946\nclock: 123\n");
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_is_appended_to() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("serf.snapshot");
        fs::write(&path, "clock: 1\nclock: 2\n").expect("it is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("its mode");
        let (mut file, mut snapshot) = open(&path);

        file.write(&snapshot.compacted()).expect("written");
        snapshot.advance(clock(3));
        file.write(&snapshot.take().expect("a line"))
            .expect("written");
        file.sync().expect("on the disk");

        let text = fs::read_to_string(&path).expect("text");
        assert_eq!(text, "clock: 2\nevent-clock: 0\nquery-clock: 0\nclock: 3\n");
        let mode = fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o640);
        assert!(!directory.path().join("serf.snapshot.compact").exists());
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = |path: PathBuf| Settings {
            path,
            rejoin: false,
        };

        assert!(SnapshotFile::open(&settings(directory.path().to_owned())).is_err());
        let nowhere = directory.path().join("not/there");
        let error = SnapshotFile::open(&settings(nowhere)).expect_err("no directory");
        assert!(
            error.to_string().ends_with("; correct --snapshot"),
            "{error}"
        );
    }
}
