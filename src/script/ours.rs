//! Whose processes they are: ours to wait for, or orphans that process 1 has to bury.
//!
//! ```text
//! spawn ─▶ Ours (until it was waited for)
//! SIGCHLD ─▶ children in state Z, of /proc ─▶ ours? let be : waitpid
//! ```
//!
//! Only process 1 of a container gets orphans, and only it looks for them. It may not wait for "any child": the exit
//! code of a check, a handler or a service would be gone before its own waiter asks.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{debug, warn};

/// Children that somebody here waits for.
static OURS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Orphans that end together are buried together.
const COLLECT: Duration = Duration::from_millis(100);

/// A child that is waited for, as long as this lives.
#[derive(Debug)]
pub struct Ours(u32);

impl Drop for Ours {
    fn drop(&mut self) {
        OURS.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.0);
    }
}

/// Starts `command`; its exit code is the caller's for as long as it keeps what comes with the child.
///
/// # Errors
/// The system's.
pub fn spawn(command: &mut Command) -> io::Result<(Child, Ours)> {
    // Held over the start: nobody may look for orphans in between.
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    let child = command.spawn()?;
    let pid = child.id().unwrap_or_default();
    ours.insert(pid);
    Ok((child, Ours(pid)))
}

/// As process 1: buries orphans for ever. As any other: returns at once.
pub async fn bury_orphans() {
    if !getpid().is_init() {
        return;
    }
    let mut deaths = match signal(SignalKind::child()) {
        Ok(deaths) => deaths,
        Err(error) => return warn!("orphans stay unburied: {error}"),
    };
    loop {
        match bury() {
            Ok(0) => {}
            Ok(count) => debug!(count, "orphans buried"),
            Err(error) => return warn!("orphans stay unburied: /proc: {error}"),
        }
        deaths.recv().await;
        tokio::time::sleep(COLLECT).await;
    }
}

fn bury() -> io::Result<usize> {
    let ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut count = 0;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Who is gone meanwhile was not ours to bury.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if ours.contains(&pid) || !is_dead_child(&stat, 1) {
            continue;
        }
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if let Ok(Some(_)) = waitpid(pid, WaitOptions::NOHANG) {
            count += 1;
        }
    }
    Ok(count)
}

/// Whether a line of `/proc/PID/stat` is of a child of `parent` that waits to be waited for. The program's name is in
/// brackets, and may have brackets in it.
fn is_dead_child(stat: &str, parent: u32) -> bool {
    let Some((_, rest)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut words = rest.split_whitespace();
    words.next() == Some("Z") && words.next().and_then(|word| word.parse().ok()) == Some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dead_children_of_that_parent_are_meant() {
        assert!(is_dead_child("7 (sh) Z 1 7 7 0 -1", 1));
        assert!(is_dead_child("7 (a) Z 9 (b)) Z 1 7", 1));
        for other in ["7 (sh) S 1 7", "7 (sh) Z 2 7", "7 (Z 1", ""] {
            assert!(!is_dead_child(other, 1), "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_child_is_ours_until_nobody_wants_its_code() {
        let mut command = Command::new("sh");
        command.args(["-c", "exit 3"]);
        let (mut child, ours) = spawn(&mut command).expect("it starts");
        let pid = child.id().expect("it runs");
        let known = || OURS.lock().expect("no panic").contains(&pid);

        assert!(known());
        assert_eq!(child.wait().await.expect("it ends").code(), Some(3));
        drop(ours);
        assert!(!known());
    }
}
