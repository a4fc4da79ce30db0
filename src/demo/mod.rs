//! demo.

use std::net::SocketAddr;
use std::process::ExitCode;

/// What `lb demo` was told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Web servers.
    pub nodes: usize,
    /// Kill and restart nodes.
    pub chaos: bool,
    /// Where to serve.
    pub listen: SocketAddr,
    /// Where the admin listens.
    pub admin: SocketAddr,
}

/// Runs until told to stop.
pub fn run(_options: Options) -> ExitCode {
    unimplemented!()
}

/// Runs one toy web server.
pub fn run_web(_name: String, _listen: SocketAddr) -> ExitCode {
    unimplemented!()
}
