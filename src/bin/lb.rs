//! The front: parse, run, exit code.

use std::process::ExitCode;
use std::time::Duration;

use lb::cli::lb::Todo;
use lb::{cli, config, demo, front};

/// Classes by size keep ten thousand waiting connections, of small pieces each, apart from what requests took and gave
/// back between them: two thirds of the memory that the system's allocator needs.
#[global_allocator]
static MEMORY: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match cli::lb::parse(std::env::args_os().collect()) {
        Todo::Serve(config) => front::run(*config),
        Todo::Demo(given) => demo::run(demo::Options {
            nodes: given.nodes,
            chaos: given.chaos,
            listen: given.listen.unwrap_or(cli::lb::DEMO),
            admin: given.admin.unwrap_or(config::ADMIN),
            tls: given.tls,
            run_for: given.seconds.map(Duration::from_secs),
            seed: given.seed,
        }),
        Todo::DemoChild(role) => demo::run_child(&role),
        Todo::Exit(code) => code,
    }
}
