//! What a process and its children used.
//!
//! CPU is `/proc/PID/task/TID/schedstat`: nanoseconds on a core, user and system, exact whenever the
//! thread sleeps. Ticks of `utime` and `stime` are 10 ms and would need longer runs. Memory is Pss,
//! so that what nginx's processes share counts once.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// The process and all below it.
fn tree(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name may hold spaces and parentheses; behind its last one come the state and the parent.
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        found.extend(children.remove(&found[at]).unwrap_or_default());
        at += 1;
    }
    found
}

/// CPU time so far of the living threads of `root` and its children.
pub(crate) fn cpu(root: u32) -> Duration {
    let mut sum = 0;
    for pid in tree(root) {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            sum += text
                .split(' ')
                .next()
                .and_then(|number| number.parse::<u64>().ok())
                .unwrap_or(0);
        }
    }
    Duration::from_nanos(sum)
}

/// Proportional memory in kB of `root` and its children.
pub(crate) fn memory(root: u32) -> u64 {
    tree(root)
        .into_iter()
        .filter_map(|pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = text.lines().find(|line| line.starts_with("Pss:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::{cpu, memory};

    #[test]
    fn a_busy_process_uses_cpu_and_memory() {
        let me = std::process::id();
        let before = cpu(me);

        // Until the figure moves: a kernel without schedstat would never get there.
        let began = std::time::Instant::now();
        while cpu(me) == before && began.elapsed().as_secs() < 10 {}

        assert!(cpu(me) > before);
        assert!(memory(me) > 100);
    }
}
