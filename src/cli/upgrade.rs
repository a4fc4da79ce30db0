//! Asks a running `lb` to have the program, as it is on disk now, take over.
//!
//! ```text
//! STATE/NODE/upgrade.sock ◀── the request ── lb upgrade ── how it went ──▶ stdout or stderr, exit code
//! ```

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::{complain, exit};
use crate::config::Surroundings;
use crate::front::upgrade::door::{NAME, Reply, Request};
use crate::state::State;

/// Far longer than any upgrade takes.
const ANSWER_MAX: Duration = Duration::from_secs(600);

/// What `lb upgrade` takes.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Upgrade {
    /// Where the running lb keeps its state [env: LB_STATE_DIR]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The node's name, where several have their state there [env: LB_NODE]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Another program than the one that runs
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

/// Why nobody was asked.
enum Unasked {
    Nobody(String),
    Usage(String),
}

/// Asks, waits, and tells.
pub(super) fn run(given: &Upgrade) -> ExitCode {
    let stream = match find(given) {
        Ok(stream) => stream,
        Err(Unasked::Nobody(why)) => {
            complain("lb", why);
            return exit::NOBODY.into();
        }
        Err(Unasked::Usage(why)) => {
            complain("lb", why);
            return exit::USAGE.into();
        }
    };
    match ask(stream, given.binary.clone()) {
        Ok(Reply::Done {
            pid,
            version,
            old_pid,
            old_version,
            drain,
        }) => {
            // A reader that has gone away changes nothing about the upgrade.
            let _ = writeln!(
                io::stdout(),
                "process {pid} (lb {version}) serves; process {old_pid} (lb {old_version}) ends when its requests are done, after {drain} at most"
            );
            ExitCode::SUCCESS
        }
        Ok(Reply::Failed { reason }) => {
            complain(
                "lb",
                format_args!("not upgraded, nothing has changed: {reason}"),
            );
            exit::FAILED.into()
        }
        Err(error) => {
            complain(
                "lb",
                format_args!("no answer from the running lb: {error}; its log says more"),
            );
            exit::FAILED.into()
        }
    }
}

fn find(given: &Upgrade) -> Result<UnixStream, Unasked> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let root = given
        .state_dir
        .clone()
        .or_else(|| variable("LB_STATE_DIR").map(PathBuf::from))
        .or_else(|| Surroundings::of_process().state_home);
    // As the flag of lb itself has it.
    if root.as_deref() == Some(Path::new("none")) {
        return Err(Unasked::Usage(
            "an lb without a state directory is not found by this verb; SIGUSR2 to its process does the same, like `kill -USR2 PID` or `systemctl kill --kill-whom=main --signal=SIGUSR2 lb`"
                .to_owned(),
        ));
    }
    let Some(root) = root else {
        return Err(Unasked::Usage(
            "where does it keep its state? give --state-dir; without any, SIGUSR2 does the same"
                .to_owned(),
        ));
    };
    let node = given
        .node
        .clone()
        .or_else(|| variable("LB_NODE").map(|name| name.to_string_lossy().into_owned()));
    if let Some(node) = node {
        let path = State::directory(&root, &node).join(NAME);
        return UnixStream::connect(&path).map_err(|error| {
            Unasked::Nobody(format!(
                "no lb called {node:?} listens at {}: {error}; is it running, with this --state-dir?",
                path.display()
            ))
        });
    }
    let mut found = living(&root).map_err(|error| {
        Unasked::Nobody(format!(
            "{}: {error}; is lb running, with this --state-dir?",
            root.display()
        ))
    })?;
    match (found.pop(), found.as_slice()) {
        (Some((_, one)), []) => Ok(one),
        (Some((last, _)), others) => {
            let names: Vec<&str> = others
                .iter()
                .map(|(name, _)| &**name)
                .chain([&*last])
                .collect();
            Err(Unasked::Usage(format!(
                "several run here: {}; say which with --node",
                names.join(", ")
            )))
        }
        (None, _) => Err(Unasked::Nobody(format!(
            "no running lb keeps its state in {}; see --state-dir; without any, SIGUSR2 does the same",
            root.display()
        ))),
    }
}

/// Who listens below `root`, by name of the directory.
fn living(root: &Path) -> io::Result<Vec<(String, UnixStream)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if let Ok(stream) = UnixStream::connect(entry.path().join(NAME)) {
            found.push((entry.file_name().to_string_lossy().into_owned(), stream));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

fn ask(mut stream: UnixStream, binary: Option<PathBuf>) -> io::Result<Reply> {
    // The running process has another directory than the one who asks.
    let binary = binary.map(std::path::absolute).transpose()?;
    let mut line = serde_json::to_vec(&Request { binary })?;
    line.push(b'\n');
    stream.write_all(&line)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let mut answer = String::new();
    if BufReader::new(stream).read_line(&mut answer)? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it closed the connection",
        ));
    }
    Ok(serde_json::from_str(&answer)?)
}
