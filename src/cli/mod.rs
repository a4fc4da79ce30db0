//! Command lines of both programs: flags to settings, verbs to answers, faults to exit codes.
//!
//! ```text
//! argv ─▶ usage ─┬─▶ lb    ─▶ Todo: serve, demo, or done (check-config, pools)
//!                ├─▶ agent ─▶ run, or done        ◀─ config::serf: the flags of `serf agent`
//!                └─▶ serf  ─▶ a verb of Serf's, asked of a running member
//! ```
//!
//! Data goes to stdout, all else to stderr. No settings are judged here: see `crate::config`.

pub mod agent;
mod ask;
mod companion;
pub mod exit;
pub mod lb;
mod serf;
mod upgrade;
mod usage;

/// A line on stderr, behind the program's name; a closed stderr is no reason to die.
fn complain(program: &str, lines: impl std::fmt::Display) {
    use std::io::Write;
    let mut stderr = std::io::stderr().lock();
    for line in lines.to_string().lines() {
        let _ = writeln!(stderr, "{program}: {line}");
    }
}
