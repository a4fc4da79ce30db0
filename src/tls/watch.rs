//! Whether files have changed, without asking the kernel to tell.
//!
//! A look costs one `stat` each. Tools replace certificates by rename, by symbolic link (certbot, Kubernetes) or in place;
//! all three show in inode, size or time of change, while events of directories would miss the links.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a file looks like from outside; `None`: it is not there.
type Look = Option<(u64, u64, u64, i64, i64)>;

/// Files as they looked when last read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen(Vec<(PathBuf, Look)>);

impl Seen {
    /// How `files` look now. Links are followed.
    pub(super) fn now<'f>(files: impl Iterator<Item = &'f Path>) -> Self {
        Self(files.map(|file| (file.to_owned(), look(file))).collect())
    }

    /// The newest change in it, in seconds of wall time; clocks of file systems are coarse, so what follows within the
    /// same moment may look the same.
    pub(super) fn newest(&self) -> i64 {
        let times = self.0.iter().filter_map(|(_, look)| Some(look.as_ref()?.3));
        times.max().unwrap_or(i64::MIN)
    }
}

fn look(file: &Path) -> Look {
    let meta = std::fs::metadata(file).ok()?;
    Some((
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec(),
    ))
}
