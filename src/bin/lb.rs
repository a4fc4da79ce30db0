//! The front: parse, run, exit code.

fn main() {}
