//! The agent: parse, run, exit code.

use std::process::ExitCode;

use lb::cli::agent::Todo;
use lb::{agent, cli};

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
