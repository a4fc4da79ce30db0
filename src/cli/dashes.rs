//! Serf's spelling of flags becomes ours: `-status=alive` is `--status=alive`.
//!
//! ```text
//! argv ─▶ for each -word of one dash: is it a flag of this verb? ─▶ --word
//! ```
//!
//! Go's flags have one dash or two. What is no flag of the verb stays as it is, so that a payload may begin with a dash.

use std::ffi::OsString;

use clap::Command;

/// `argv` with two dashes before each long flag that has only one.
pub(super) fn doubled(command: &Command, argv: Vec<OsString>) -> Vec<OsString> {
    let verb = argv.get(1).and_then(|verb| verb.to_str());
    let verb = verb.and_then(|verb| command.find_subcommand(verb));
    let flags: Vec<&str> = verb
        .unwrap_or(command)
        .get_arguments()
        .filter_map(|argument| argument.get_long())
        .collect();
    let mut literal = false;
    argv.into_iter()
        .map(|argument| {
            literal |= argument == "--";
            match argument.to_str() {
                Some(text) if !literal && is_single(text, &flags) => format!("-{text}").into(),
                _ => argument,
            }
        })
        .collect()
}

fn is_single(text: &str, flags: &[&str]) -> bool {
    let Some(flag) = text.strip_prefix('-') else {
        return false;
    };
    let name = flag.split('=').next().unwrap_or_default();
    name.len() > 1 && (flags.contains(&name) || name == "help")
}
