//! The front: parse, run, exit code.

use std::process::ExitCode;
use std::time::Duration;

use lb::cli::lb::Todo;
use lb::{cli, demo, front};

fn main() -> ExitCode {
    match cli::lb::parse(std::env::args_os().collect()) {
        Todo::Serve(config) => front::run(*config),
        Todo::Demo(given) => demo::run(demo::Options {
            nodes: given.nodes,
            chaos: given.chaos,
            listen: given.listen,
            admin: given.admin,
            run_for: given.seconds.map(Duration::from_secs),
            seed: given.seed,
        }),
        Todo::DemoChild(role) => demo::run_child(&role),
        Todo::Exit(code) => code,
    }
}
