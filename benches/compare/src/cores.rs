//! Who runs on which core.
//!
//!   one worker:    core 0: the proxy     core 1: load and backends
//!   two workers:   cores 0, 1: the proxy     cores 2, 3, or the same two: load and backends

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

use crate::failure::{During, Failure};

/// The cores this process may use.
pub(crate) struct Cores(Vec<usize>);

impl Cores {
    /// # Errors
    /// Fewer than two cores: the proxy would share its only core with the load.
    pub(crate) fn found() -> Result<Self, Failure> {
        let set = sched_getaffinity(None).during("asking for the cores")?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|&core| set.is_set(core))
            .collect();
        match cores.len() {
            0 | 1 => Err(Failure(
                "two cores are needed, one for the proxy".to_owned(),
            )),
            _ => Ok(Self(cores)),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn of_proxy(&self, workers: usize) -> &[usize] {
        &self.0[..workers.min(self.0.len())]
    }

    /// Behind the proxy's cores, or where there are none left, on all.
    pub(crate) fn of_load(&self, workers: usize) -> &[usize] {
        match self.0.len() >= 2 * workers {
            true => &self.0[workers..2 * workers],
            false => &self.0,
        }
    }
}

/// Puts a thread, or the calling one, on `cores`; what it starts inherits them.
pub(crate) fn pin(thread: Option<Pid>, cores: &[usize]) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    sched_setaffinity(thread, &set).during(format_args!("pinning to cores {cores:?}"))
}
