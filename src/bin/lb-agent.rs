//! The agent: parse, run, exit code.

use std::process::ExitCode;

use lb::{agent, cli};

fn main() -> ExitCode {
    match cli::agent::parse(std::env::args_os().collect()) {
        Ok(config) => agent::run(config),
        Err(code) => code,
    }
}
