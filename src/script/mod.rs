//! Runs a command of the operator's: bounded in time, in memory, and in what it leaves behind.
//!
//! ```text
//! Order ─▶ /bin/sh -c COMMAND, a process group of its own ─▶ Ran { end, output }
//! stdin ──▶ │ stdout and stderr, one pipe ──▶ Kept (first or last bytes)
//!           └─ too long: SIGKILL to the group
//! ```
//!
//! Nothing is spawned on the runtime: dropping the future kills the group. Who runs what and when is the caller's.

mod kept;
mod ours;

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command};

pub use self::kept::{Keep, Kept};
pub use self::ours::{Ours, bury_orphans, spawn};
use crate::clock;

/// What to run, and within which bounds.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// For `/bin/sh -c`.
    pub command: &'a str,
    /// Added to our own environment.
    pub env: &'a [(String, String)],
    /// Written to its stdin, which is then closed.
    pub stdin: &'a [u8],
    /// From its start to its end.
    pub timeout: Duration,
    /// Which part of its output is kept.
    pub keep: Keep,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It was killed, after this long.
    TimedOut(Duration),
    /// It did not begin.
    NotStarted(String),
}

impl End {
    /// Exit code 0.
    pub fn is_success(&self) -> bool {
        *self == Self::Exited(0)
    }
}

/// For a person: "exit code 3", "killed by signal 9", "no end within 5s".
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signalled(signal) => write!(f, "killed by signal {signal}"),
            Self::TimedOut(limit) => write!(f, "no end within {}", clock::readable(*limit)),
            Self::NotStarted(why) => write!(f, "cannot be started: {why}"),
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub end: End,
    /// What was kept of stdout and stderr, in the order of writing.
    pub output: Kept,
    /// How long it ran.
    pub took: Duration,
    /// It was killed, and that has not ended it yet.
    pub leftover: Option<Leftover>,
}

/// A process that was killed and is still there: it waits for a disk or a network file system.
#[derive(Debug)]
pub struct Leftover(
    Child,
    #[expect(dead_code, reason = "dropped with the child")] Ours,
);

impl Leftover {
    /// Returns once it is gone.
    pub async fn gone(mut self) {
        let _ = self.0.wait().await;
    }
}

/// Variables of ours that are secrets: nobody's child needs them.
pub const SECRETS: [&str; 2] = ["LB_ENCRYPT_KEY", "LB_RPC_AUTH_KEY"];

/// How long output is awaited after the end, from children that it left behind.
const DRAIN: Duration = Duration::from_millis(100);

/// How long a killed process may take to end before it is called a leftover.
const DEATH: Duration = Duration::from_millis(500);

/// Read at a time.
const READ_BYTES: usize = 2048;

/// The exit code as a shell tells it: 128 and the signal for who was killed.
pub fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// `signal` to every process of the group that `leader` leads; none is there any more: nothing.
pub fn signal_group(leader: u32, signal: Signal) {
    let leader = i32::try_from(leader).ok().and_then(Pid::from_raw);
    if let Some(leader) = leader {
        let _ = kill_process_group(leader, signal);
    }
}

/// Runs it to its end, or to its time's.
pub async fn run(order: &Order<'_>) -> Ran {
    let started = clock::now();
    let mut ran = Ran {
        end: End::NotStarted(String::new()),
        output: Kept::new(order.keep),
        took: Duration::ZERO,
        leftover: None,
    };
    match begin(order) {
        Ok((child, output)) => attend(order, started, child, output, &mut ran).await,
        Err(error) => ran.end = End::NotStarted(error.to_string()),
    }
    ran.took = clock::now().saturating_duration_since(started);
    ran
}

fn begin(order: &Order<'_>) -> io::Result<((Child, Ours), pipe::Receiver)> {
    // One pipe for both: what was written in turn is read in turn.
    let (reader, writer) = io::pipe()?;
    let reader = pipe::Receiver::from_owned_fd(reader.into())?;
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", order.command])
        .envs(order.env.iter().map(|(name, value)| (name, value)))
        .stdin(match order.stdin {
            [] => Stdio::null(),
            _ => Stdio::piped(),
        })
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0);
    for secret in SECRETS {
        command.env_remove(secret);
    }
    // The writers end with `command`, so that the pipe ends with the processes.
    Ok((spawn(&mut command)?, reader))
}

/// Kills the group unless it was let go.
struct Group(Option<u32>);

impl Group {
    fn kill(&mut self) {
        if let Some(leader) = self.0.take() {
            signal_group(leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn attend(
    order: &Order<'_>,
    started: Instant,
    (mut child, ours): (Child, Ours),
    output: pipe::Receiver,
    ran: &mut Ran,
) {
    let mut group = Group(child.id());
    let stdin = child.stdin.take();
    let ended = listen(order, started, &mut child, stdin, &output, &mut ran.output).await;
    if let Some(status) = ended {
        // What it has started to live on may live on.
        group.0 = None;
        take_rest(&output, &mut ran.output);
        ran.end = end_of(status);
        return;
    }
    group.kill();
    ran.end = End::TimedOut(order.timeout);
    take_rest(&output, &mut ran.output);
    if tokio::time::timeout(DEATH, child.wait()).await.is_err() {
        ran.leftover = Some(Leftover(child, ours));
    }
}

/// Feeds and reads until it has ended and said all; `None` where its time ran out.
async fn listen(
    order: &Order<'_>,
    started: Instant,
    child: &mut Child,
    stdin: Option<ChildStdin>,
    output: &pipe::Receiver,
    kept: &mut Kept,
) -> Option<ExitStatus> {
    let feeding = feed(stdin, order.stdin);
    tokio::pin!(feeding);
    let (mut fed, mut open, mut ended) = (false, true, None);
    let mut due = started + order.timeout;
    while open || ended.is_none() {
        tokio::select! {
            biased;
            more = read(output, kept), if open => open = more,
            status = child.wait(), if ended.is_none() => {
                // A child that nobody can ask any more has ended somehow.
                ended = Some(status.unwrap_or_default());
                due = clock::now() + DRAIN;
            }
            () = &mut feeding, if !fed => fed = true,
            () = tokio::time::sleep_until(due.into()) => break,
        }
    }
    ended
}

/// Who does not read to the end has heard enough.
async fn feed(stdin: Option<ChildStdin>, bytes: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(bytes).await;
    }
}

/// Waits for more; false at the end.
async fn read(output: &pipe::Receiver, kept: &mut Kept) -> bool {
    loop {
        if output.readable().await.is_err() {
            return false;
        }
        match take(output, kept) {
            Ok(count) => return count > 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
    }
}

/// Apart from `read`, so that no task carries the buffer while it waits.
fn take(output: &pipe::Receiver, kept: &mut Kept) -> io::Result<usize> {
    let mut bytes = [0; READ_BYTES];
    let count = output.try_read(&mut bytes)?;
    kept.push(&bytes[..count]);
    Ok(count)
}

/// What the runtime has not seen yet: it may have heard of the end first.
fn take_rest(output: &pipe::Receiver, kept: &mut Kept) {
    let mut bytes = [0; READ_BYTES];
    // Bounded, since a child left behind may write for ever.
    for _ in 0..PIPE_BYTES / READ_BYTES {
        match rustix::io::read(output.as_fd(), &mut bytes) {
            Ok(count) if count > 0 => kept.push(&bytes[..count]),
            _ => return,
        }
    }
}

/// What a pipe holds by default.
const PIPE_BYTES: usize = 64 << 10;

fn end_of(status: ExitStatus) -> End {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code),
        (None, signal) => End::Signalled(signal.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
