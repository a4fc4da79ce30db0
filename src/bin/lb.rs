//! The front: parse, run, exit code.

use std::process::ExitCode;

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
        }),
        Todo::DemoWeb(web) => demo::run_web(web.name, web.listen),
        Todo::Exit(code) => code,
    }
}
