//! The companion on a web node: announces a service, leaves properly.

use std::process::ExitCode;

use crate::config;

/// Runs until told to stop.
pub fn run(_config: config::Agent) -> ExitCode {
    unimplemented!()
}
