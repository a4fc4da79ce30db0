//! The load of HTTP/2: `h2load`, in clear and with prior knowledge, on this thread's core.

use std::process::Command;
use std::time::Duration;

use crate::failure::{During, Failure};
use crate::histogram::Histogram;
use crate::load::Outcome;

/// Where it is spoken: beside the port of HTTP/1, for those that need one of its own.
pub(crate) const BESIDE: u16 = 3;

/// So many connections, each with so many requests under way.
///
/// # Errors
/// There is no `h2load`, or it says nothing that can be understood.
pub(crate) fn run(
    port: u16,
    path: &str,
    (connections, streams): (usize, usize),
    length: Duration,
) -> Result<Outcome, Failure> {
    // It takes whole seconds only.
    let length = Duration::from_secs(length.as_secs_f64().ceil() as u64);
    let output = Command::new("h2load")
        .args(["-c", &connections.to_string(), "-m", &streams.to_string()])
        .args(["-D", &length.as_secs().to_string()])
        .args(["-H", "user-agent: compare/1.0 (X11; Linux x86_64)"])
        .args(["-H", "accept-encoding: gzip, deflate"])
        .args(["-H", "x-request-tag: 0123456789abcdef"])
        .arg(format!("http://127.0.0.1:{port}{path}"))
        .output()
        .during("h2load (Debian: apt-get install nghttp2-client)")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let count = |word: &str| -> Option<u64> {
        let line = said.lines().find(|line| line.starts_with("requests: "))?;
        let part = line.split(',').find(|part| part.ends_with(word))?;
        part.split_whitespace().next()?.parse().ok()
    };
    let (Some(answered), Some(errors)) = (count(" succeeded"), count(" errored")) else {
        return Err(Failure(format!("h2load said: {said}")));
    };
    Ok(Outcome {
        answered,
        errors: errors + count(" failed").unwrap_or(0),
        reason: None,
        elapsed: length,
        times: Histogram::new(),
    })
}
