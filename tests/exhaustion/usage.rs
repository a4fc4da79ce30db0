//! What a process holds, as the kernel says.

use std::fmt;
use std::fs;

/// Descriptors that a flood may leave open: those of the runtime, which come when they are first needed.
const DESCRIPTORS_MAX: usize = 16;

/// Memory that it may leave in use: buffers that are kept for reuse, and what the allocator keeps.
const MEMORY_MAX_KIB: u64 = 12 * 1024;

/// A process at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) resident_kib: u64,
    pub(crate) descriptors: usize,
}

/// Of a running process.
pub(crate) fn of(pid: i32) -> Usage {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|rest| rest.split_whitespace().next());
    Usage {
        resident_kib: resident.expect("Linux says it").parse().expect("a number"),
        descriptors: descriptors(pid),
    }
}

/// Open ones.
pub(crate) fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("it runs")
        .count()
}

/// CPU time so far, user and system.
pub(crate) fn cpu_ms(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, rest) = stat.rsplit_once(')').expect("a name in parentheses");
    let words: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| words[at].parse::<u64>().expect("ticks");
    1000 * (ticks(11) + ticks(12)) / rustix::param::clock_ticks_per_second()
}

/// Before, during and after a flood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) before: Usage,
    /// With the most connections open.
    pub(crate) during: Usage,
    pub(crate) after: Usage,
    /// Open at once.
    pub(crate) open: usize,
}

impl Report {
    /// Whether it leaves as much as it found.
    pub(crate) fn judge(&self) -> Result<(), String> {
        let descriptors = self
            .after
            .descriptors
            .saturating_sub(self.before.descriptors);
        let memory = self
            .after
            .resident_kib
            .saturating_sub(self.before.resident_kib);
        if descriptors > DESCRIPTORS_MAX {
            return Err(format!("{descriptors} descriptors more than before"));
        }
        if memory > MEMORY_MAX_KIB {
            return Err(format!("{memory} KiB of memory more than before"));
        }
        Ok(())
    }

    /// What one open connection costs.
    pub(crate) fn held_kib_each(&self) -> u64 {
        let held = self
            .during
            .resident_kib
            .saturating_sub(self.before.resident_kib);
        held / self.open.max(1) as u64
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "resident {} KiB, with {} open {} KiB, after {} KiB; descriptors {}, {}, {}",
            self.before.resident_kib,
            self.open,
            self.during.resident_kib,
            self.after.resident_kib,
            self.before.descriptors,
            self.during.descriptors,
            self.after.descriptors
        )
    }
}
