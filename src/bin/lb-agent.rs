//! The agent: parse, run, exit code.

use std::process::ExitCode;

use dlmalloc::GlobalDlmalloc;
use lb::cli::agent::Todo;
use lb::{agent, cli};

/// Best fit and nothing put by. Of what the system's own keeps for the next request, most of it caches by size, an agent
/// among 300 would hold 100 kB for ever; and it asks for memory too rarely to notice that this one is slower.
#[global_allocator]
static ALLOCATOR: GlobalDlmalloc = GlobalDlmalloc;

fn main() -> ExitCode {
    match cli::agent::parse(std::env::args_os().collect()) {
        Ok(Todo {
            config,
            command: None,
        }) => agent::run(config),
        Ok(Todo {
            config,
            command: Some(command),
        }) => agent::run_with(config, command),
        Err(code) => code,
    }
}
