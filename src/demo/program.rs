//! One child process: this program again, in another role.

use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::Failure;

/// A process that was started; killed when this is dropped.
#[derive(Debug)]
pub(super) struct Program {
    name: String,
    child: Child,
    pid: u32,
    said: Said,
}

/// The last lines of a child's stderr.
type Said = Arc<Mutex<VecDeque<String>>>;

impl Program {
    /// Starts this program again with `role`, see [`super::run_child`].
    pub(super) fn start(name: &str, role: &[String]) -> Result<Self, Failure> {
        let failure = |source| Failure::Start {
            name: name.to_owned(),
            source,
        };
        let own = std::env::current_exe().map_err(failure)?;
        let mut command = Command::new(own);
        command
            .arg("demo-child")
            .arg(std::process::id().to_string())
            .args(role)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A terminal sends Ctrl-C to its whole process group: children must not hear it,
            // since we stop them in order.
            .process_group(0)
            .kill_on_drop(true);
        // What the caller's environment sets for a real front is not meant for this one.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("LB_") {
                command.env_remove(variable);
            }
        }
        let mut child = command.spawn().map_err(failure)?;
        let pid = child.id().unwrap_or_default();
        let said = Said::default();
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(listen(stderr, Arc::clone(&said)));
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            pid,
            said,
        })
    }

    /// As given to [`Program::start`].
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The process id; after its end, what it was.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// `signal`, unless it has ended.
    pub(super) fn signal(&self, signal: Signal) {
        // `id` is none once the end was seen, so the number can't be someone else's by now.
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It may have ended just now, which is what any signal here is about.
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits for its end, which was asked for; makes it end after `patience`.
    pub(super) async fn wait(&mut self, patience: Duration) {
        if tokio::time::timeout(patience, self.child.wait())
            .await
            .is_err()
        {
            // It fails only for what has ended.
            let _ = self.child.kill().await;
        }
    }

    /// Its end as a reason to give up, with what it said last.
    pub(super) async fn post_mortem(&mut self, status: ExitStatus) -> Failure {
        // Its last lines may still be in the pipe.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said: Vec<_> = said.iter().map(|line| format!("  {line}")).collect();
        Failure::Ended {
            name: self.name.clone(),
            status: status.to_string(),
            said: said.join("\n"),
        }
    }
}

async fn listen(stderr: impl AsyncRead + Unpin, said: Said) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() == LINES_MAX {
            said.pop_front();
        }
        said.push_back(line);
    }
}

/// Enough for the reason of an end.
const LINES_MAX: usize = 40;
