//! This process as the system sees it, under the names every Prometheus client library uses.

use std::fs;

/// `None` where `/proc` does not tell: a metric that is missing is better than one that lies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// User and system time.
    pub(super) cpu_s: Option<f64>,
    /// Resident memory.
    pub(super) resident_bytes: Option<u64>,
    /// Address space.
    pub(super) virtual_bytes: Option<u64>,
    /// Threads.
    pub(super) threads: Option<u64>,
    /// Start, as a Unix time.
    pub(super) started_s: Option<f64>,
    /// Open file descriptors.
    pub(super) open_fds: Option<u64>,
    /// How many there may be; `None` also when unlimited.
    pub(super) fds_max: Option<u64>,
}

/// Reads `/proc/self`.
pub(super) fn read() -> Process {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    Process {
        // One of them is the handle that reads the directory.
        open_fds: fs::read_dir("/proc/self/fd")
            .ok()
            .map(|entries| (entries.count() as u64).saturating_sub(1)),
        fds_max: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        ..of_stat(
            &stat,
            &boot,
            rustix::param::clock_ticks_per_second() as f64,
            rustix::param::page_size() as u64,
        )
    }
}

/// Fields of `/proc/PID/stat`, see proc(5), and the boot time of `/proc/stat`.
fn of_stat(stat: &str, boot: &str, ticks_per_second: f64, page_bytes: u64) -> Process {
    // The second field is the program's name in parentheses and may hold blanks and parentheses.
    let rest: Vec<u64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace())
        .into_iter()
        .flatten()
        // Letters and negative numbers are fields too; only their places matter here.
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    let field = |number: usize| rest.get(number - 3).copied();
    let seconds = |ticks: u64| ticks as f64 / ticks_per_second;
    let booted_s = boot
        .lines()
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    Process {
        cpu_s: field(14)
            .zip(field(15))
            .map(|(user, system)| seconds(user + system)),
        threads: field(20),
        started_s: field(22)
            .zip(booted_s)
            .map(|(started, booted)| booted + seconds(started)),
        virtual_bytes: field(23),
        resident_bytes: field(24).map(|pages| pages * page_bytes),
        open_fds: None,
        fds_max: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_a_hostile_program_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 1000 8192000 500 184467 1";
        let boot = "cpu 1 2 3\nbtime 1700000000\nprocesses 9\n";

        let process = of_stat(stat, boot, 100.0, 4096);

        assert_eq!(process.cpu_s, Some(3.0));
        assert_eq!(process.threads, Some(3));
        assert_eq!(process.started_s, Some(1_700_000_010.0));
        assert_eq!(process.virtual_bytes, Some(8_192_000));
        assert_eq!(process.resident_bytes, Some(500 * 4096));
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert_eq!(of_stat("", "", 100.0, 4096), Process::default());
        assert_eq!(of_stat("7 (lb) S 1", "", 100.0, 4096), Process::default());
    }

    #[test]
    fn this_process_is_read() {
        let process = read();

        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 100_000));
        assert!(process.threads.is_some_and(|threads| threads >= 1));
        assert!(process.open_fds.is_some_and(|open| open >= 3));
        assert!(
            process
                .started_s
                .is_some_and(|started| started > 1_000_000_000.0)
        );
    }
}
