//! `lb demo`: a whole cluster on this machine, in one command.
//!
//! ```text
//!   lb demo ──starts itself again as──▶ front            lb --cluster web --listen … --admin …
//!      │                                web1 … webN      toy web servers
//!      │                                agent1 … agentN  gossip members that announce them
//!      ├── each 100 ms: the front's /api/v1/pools ──differences──▶ a line for each change
//!      └── --chaos: kills, restarts, and a client that counts failed requests
//! ```
//!
//! Nothing is simulated: real processes, real gossip, the defaults of the real programs. The
//! children die with this process, however it ends.

mod chaos;
mod child;
mod client;
mod fleet;
mod ports;
mod program;
mod screen;
mod secure;
mod stage;
mod watch;
mod web;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

pub use child::run_child;
pub use web::run_web;

/// What the verb `demo` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Web servers with an agent each, 1 to [`NODES_MAX`].
    pub nodes: usize,
    /// Answer on https as well, by a certificate that nobody signed.
    pub tls: bool,
    /// Kill and restart nodes while counting failed requests; wants two nodes.
    pub chaos: bool,
    /// The front's proxy address; a busy port means the next free one, port 0 any.
    pub listen: SocketAddr,
    /// The front's admin address; likewise.
    pub admin: SocketAddr,
    /// End by itself after this; `None`: at Ctrl-C.
    pub run_for: Option<Duration>,
    /// Decides whom chaos kills; `None`: chosen, and printed.
    pub seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 3,
            tls: false,
            chaos: false,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin: SocketAddr::from(([127, 0, 0, 1], 9901)),
            run_for: None,
            seed: None,
        }
    }
}

/// Two processes each; more teaches nothing.
pub const NODES_MAX: usize = 50;

/// Runs until Ctrl-C, SIGTERM or `run_for`.
///
/// Call it on the main thread: the children are told to die with the thread that started them.
///
/// Exit codes: 0 stopped cleanly; 1 something did not start or the front died; 2 bad options or a
/// forbidden port; 3 a request failed under chaos.
pub fn run(options: Options) -> ExitCode {
    let nodes_min = if options.chaos { 2 } else { 1 };
    if !(nodes_min..=NODES_MAX).contains(&options.nodes) {
        eprintln!(
            "lb demo: --nodes {}: from {nodes_min} to {NODES_MAX}{}",
            options.nodes,
            if options.chaos {
                " with --chaos: somebody must be left to answer"
            } else {
                ""
            }
        );
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("lb demo: starting: {error}");
            return ExitCode::from(1);
        }
    };
    match runtime.block_on(stage::play(options)) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("lb demo: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

/// Why the demo could not go on.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{address}: {source}")]
    Port {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("no free port on 127.0.0.1: {0}")]
    NoPort(std::io::Error),
    #[error("making a certificate: {0}")]
    Secure(std::io::Error),
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
    #[error("starting {name}: {source}")]
    Start {
        name: String,
        source: std::io::Error,
    },
    #[error("{name} ended ({status}); it said:\n{said}")]
    Ended {
        name: String,
        status: String,
        said: String,
    },
    #[error("the front does not answer on {0} within 10 s")]
    Silent(SocketAddr),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Port { .. } => 2,
            _ => 1,
        }
    }
}
