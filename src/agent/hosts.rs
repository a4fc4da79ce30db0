//! The living members in a file like `/etc/hosts`, in a block of our own.
//!
//! ```text
//! 127.0.0.1 localhost                 ◀─ never touched
//! # BEGIN lb-agent: …
//! 10.0.0.11    web1                     ◀─ replaced whole at each change
//! # END lb-agent
//! ```
//!
//! Whoever has written a name outside the block knows better: it is left out of it. The block stays when the agent
//! ends, since a name that leads nowhere helps nobody.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, warn};

use crate::gossip::core::member::{Members, Status};

const BEGIN: &str = "# BEGIN lb-agent";
const BEGIN_LINE: &str =
    "# BEGIN lb-agent: members of the cluster. What is changed in this block is lost.";
const END: &str = "# END lb-agent";

/// What happens together is written together.
const COLLECT: Duration = Duration::from_millis(200);

/// Until what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Of a file made by us.
const MODE: u32 = 0o644;

/// Keeps the block of `path` up to date until gossip ends.
pub(super) async fn follow(mut members: watch::Receiver<Arc<Members>>, path: PathBuf) {
    let mut written = None;
    let mut failing = false;
    loop {
        let living = living(&members.borrow_and_update());
        if written.as_ref() != Some(&living) {
            let (file, names) = (path.clone(), living.clone());
            // Not in this thread, which answers gossip: a disk may take its time.
            let write = tokio::task::spawn_blocking(move || update(&file, &names)).await;
            match write.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
                Ok(()) => {
                    debug!(members = living.len(), file = %path.display(), "written");
                    written = Some(living);
                    failing = false;
                }
                Err(error) if !std::mem::replace(&mut failing, true) => {
                    warn!(
                        "{} cannot be written: {error}; tried again every {RETRY:?}",
                        path.display()
                    );
                }
                Err(_) => {}
            }
        }
        let again = async {
            match failing {
                true => tokio::time::sleep(RETRY).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = members.changed() => match changed {
                Ok(()) => tokio::time::sleep(COLLECT).await,
                Err(_) => return,
            },
            () = again => {}
        }
    }
}

/// Names and addresses of those who are alive and have a name that a resolver can be asked for.
fn living(members: &Members) -> Vec<(String, IpAddr)> {
    let alive = |member: &&Arc<_>| -> bool {
        let member: &crate::gossip::core::member::Member = member;
        member.status == Status::Alive && is_host_name(&member.name)
    };
    let members = members.by_name.values().filter(alive);
    members
        .map(|member| (member.name.to_string(), member.address.ip()))
        .collect()
}

/// A name that stands for itself: no address, not this machine, nothing that would end the line.
fn is_host_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let lower = name.to_ascii_lowercase();
    !name.is_empty()
        && name.bytes().all(fits)
        && !name.starts_with(['-', '.'])
        && name.parse::<IpAddr>().is_err()
        && lower != "localhost"
        && !lower.starts_with("localhost.")
        && !lower.ends_with(".localhost")
}

/// Writes the block if it differs.
fn update(path: &Path, members: &[(String, IpAddr)]) -> io::Result<()> {
    let before = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    let after = with_block(&before, members);
    if before == after {
        return Ok(());
    }
    match replace(path, &after) {
        Ok(()) => Ok(()),
        // A file that is mounted by itself, as containers have it, or in a directory that is not ours.
        Err(_) if path.exists() => in_place(path, &after),
        Err(error) => Err(error),
    }
}

/// A new file under the old name: nobody ever reads half of it.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Where a link leads: it stays a link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let fresh = path.with_file_name(format!(
        ".{}.lb-agent-{}",
        name.to_string_lossy(),
        std::process::id()
    ));
    let written = write_like(&path, &fresh, bytes).and_then(|()| fs::rename(&fresh, &path));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

/// Owner, group and mode are those of the file at `path`, if there is one.
fn write_like(path: &Path, fresh: &Path, bytes: &[u8]) -> io::Result<()> {
    let like = fs::metadata(path).ok();
    let mut file = File::options().write(true).create_new(true).open(fresh)?;
    let mode = like.as_ref().map_or(MODE, |like| like.permissions().mode());
    if let Some(like) = like {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
            chown(fresh, Some(like.uid()), Some(like.gid()))?;
        }
    }
    fs::set_permissions(fresh, Permissions::from_mode(mode & 0o7777))?;
    file.write_all(bytes)?;
    // The name must not lead to an empty file after a crash.
    file.sync_all()
}

/// In one write, and shortened only then.
fn in_place(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}

/// `text` with our block in it, where it was, else at its end.
fn with_block(text: &[u8], members: &[(String, IpAddr)]) -> Vec<u8> {
    let (before, after) = around_block(text);
    let taken: BTreeSet<String> = [&before, &after]
        .into_iter()
        .flat_map(|part| names(part))
        .collect();
    let mut all = before;
    if all.last().is_some_and(|last| *last != b'\n') {
        all.push(b'\n');
    }
    all.extend(format!("{BEGIN_LINE}\n").bytes());
    for (name, ip) in members {
        if !taken.contains(&name.to_ascii_lowercase()) {
            all.extend(format!("{ip}\t{name}\n").bytes());
        }
    }
    all.extend(format!("{END}\n").bytes());
    all.extend(after);
    all
}

/// What stands before the first of our blocks, and what stands behind, without any other of them. A beginning without an end is
/// a block of one line: what follows may be anybody's.
fn around_block(text: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let (mut seen, mut at) = (false, 0);
    while let Some(line) = lines.get(at) {
        at += 1;
        if line.starts_with(BEGIN.as_bytes()) {
            seen = true;
            let rest = &lines[at..];
            let next = rest
                .iter()
                .position(|line| line.starts_with(BEGIN.as_bytes()));
            let end = rest
                .iter()
                .position(|line| line.starts_with(END.as_bytes()));
            if let Some(end) = end.filter(|end| next.is_none_or(|next| *end < next)) {
                at += end + 1;
            }
            continue;
        }
        match seen {
            true => after.extend_from_slice(line),
            false => before.extend_from_slice(line),
        }
    }
    (before, after)
}

/// Every name of a hosts file, in lower case.
fn names(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    lines
        .flat_map(|line| line.split_whitespace().skip(1))
        .map(str::to_ascii_lowercase)
        .collect()
}

#[cfg(test)]
mod tests;
