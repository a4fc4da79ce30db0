//! The front: everything wired together.

use std::process::ExitCode;

use crate::config;

/// Runs until told to stop.
pub fn run(_config: config::Front) -> ExitCode {
    unimplemented!()
}
