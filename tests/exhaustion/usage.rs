//! What a process holds, as the kernel says.

use std::fmt;
use std::fs;

/// Descriptors that a flood may leave open: those of the runtime, which come when they are first needed.
const DESCRIPTORS_MAX: usize = 16;

/// Memory that it may keep after the first flood: buffers for reuse, and what the allocator does not give back. It is of
/// the size of the peak, so it says that there is a bound, and no more.
const KEPT_MAX_KIB: u64 = 64 * 1024;

/// Memory that the same flood once more may add. What leaks, leaks again.
const MEMORY_MAX_KIB: u64 = 16 * 1024;

/// A process at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) resident_kib: u64,
    pub(crate) descriptors: usize,
}

impl Usage {
    /// The higher of each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            resident_kib: self.resident_kib.max(other.resident_kib),
            descriptors: self.descriptors.max(other.descriptors),
        }
    }
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

/// Before, during and after a flood, and after the same flood once more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) before: Usage,
    /// With the most connections open.
    pub(crate) during: Usage,
    pub(crate) after: Usage,
    pub(crate) again: Usage,
    /// Open at once.
    pub(crate) open: usize,
}

impl Report {
    /// Whether it leaves as much as it found.
    pub(crate) fn judge(&self) -> Result<(), String> {
        let most = self.after.descriptors.max(self.again.descriptors);
        let descriptors = most.saturating_sub(self.before.descriptors);
        if descriptors > DESCRIPTORS_MAX {
            return Err(format!("{descriptors} descriptors more than before"));
        }
        let more = |now: Usage, then: Usage| now.resident_kib.saturating_sub(then.resident_kib);
        let (kept, added) = (more(self.after, self.before), more(self.again, self.after));
        if kept > KEPT_MAX_KIB || added > MEMORY_MAX_KIB {
            return Err(format!(
                "{kept} KiB of memory more than before, {added} more by the second time"
            ));
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
            "resident {} KiB, with {} open {} KiB, after {} KiB, again {} KiB; descriptors {}, {}, {}, {}",
            self.before.resident_kib,
            self.open,
            self.during.resident_kib,
            self.after.resident_kib,
            self.again.resident_kib,
            self.before.descriptors,
            self.during.descriptors,
            self.after.descriptors,
            self.again.descriptors
        )
    }
}
