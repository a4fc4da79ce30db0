//! The old process: starts the new one, gives it everything, and stays as it was if that one fails.
//!
//! ```text
//! spawn ─▶ give ─▶ Ready? ─▶ state and gossip silent ─▶ Turn ─▶ Serving? ─▶ gossip ended, Done
//!             └────────┴──────────────────────────────────────────┴─ no: kill it, gossip and state go on
//! ```

use std::ffi::OsString;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::info;

use super::channel::{self, Channel};
use super::{DESCRIPTORS_MAX, Estate, Facts, Place, VERSION, WORD_MAX, Word, changes};
use crate::front::control::Order;
use crate::gossip::core::member::Status;
use crate::gossip::driver::{Handle, Sockets, Suspended};
use crate::membership::journal::Journal;
use crate::state::State;
use crate::{clock, config, membership, notify};

/// Of what a new process prints, so much is kept for the words about its failure.
const LAST_BYTES: usize = 2 << 10;

/// Of these, so many lines are told.
const LAST_LINES: usize = 5;

/// How long the last words of a process that has ended are waited for.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// How this process was started.
#[derive(Clone, Debug)]
pub(in crate::front) struct Program {
    /// Its file. By the time of an upgrade another one has this name.
    pub(in crate::front) file: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// As of now: to be called at the start, while the file is the one that runs.
    pub(in crate::front) fn of_process() -> Self {
        let mut arguments = std::env::args_os();
        let called = arguments.next().unwrap_or_default();
        Self {
            file: std::env::current_exe().unwrap_or_else(|_| called.into()),
            arguments: arguments.collect(),
        }
    }
}

/// All that an upgrade needs; copies, so that the front lives on beside it.
#[derive(Debug)]
pub(in crate::front) struct Plan {
    pub(in crate::front) program: Program,
    pub(in crate::front) estate: Arc<Estate>,
    pub(in crate::front) gossip: Handle,
    pub(in crate::front) state: Option<Arc<State>>,
    pub(in crate::front) journal: Journal,
    pub(in crate::front) orders: mpsc::Sender<Order>,
    pub(in crate::front) config: config::Front,
}

/// Who serves now.
#[derive(Debug)]
pub(in crate::front) struct Successor {
    pub(in crate::front) pid: u32,
    pub(in crate::front) version: String,
}

/// Why nothing has changed.
#[derive(Debug, thiserror::Error)]
pub(in crate::front) enum Failed {
    #[error("{} cannot be started: {source}", file.display())]
    Start { file: PathBuf, source: io::Error },
    #[error("the new process ended before it served ({status}){last}")]
    Ended { status: ExitStatus, last: String },
    #[error("the new process was not ready within {}{last}", clock::readable(*limit))]
    Slow { limit: Duration, last: String },
    #[error("the new process could not be given what it needs: {source}{last}")]
    Given { source: io::Error, last: String },
    #[error("the new process does not speak as expected: {said}{last}")]
    Strange { said: String, last: String },
}

/// Has a new process take over; from then on this one is to stop, without a leave. On failure all is as before.
pub(in crate::front) async fn upgrade(plan: Plan) -> Result<Successor, Failed> {
    let file = plan.program.file.clone();
    info!("upgrade: starting {}", file.display());
    // Dropped after the new process, so that never two speak at a time, also where this ends in the middle.
    let mut silent = None;
    let mut young = Young::start(&plan.program).map_err(|source| Failed::Start { file, source })?;
    let limit = plan.config.proxy.timeouts.successor;
    let ready = async {
        young.give(&plan).await.map_err(Trouble::Given)?;
        young.hear().await
    };
    let version = match timeout(limit, ready).await {
        Ok(Ok(Word::Ready { version })) => version,
        Ok(Ok(word)) => return Err(young.failed(Trouble::Strange(word)).await),
        Ok(Err(trouble)) => return Err(young.failed(trouble).await),
        Err(_) => return Err(young.failed(Trouble::Slow(limit)).await),
    };
    let silence = silent.insert(Silence::begin(&plan).await);
    let heritage = silence.gossip.as_ref().map(|gossip| gossip.heritage.into());
    let serving = async {
        young.say(&Word::Turn { heritage }).await?;
        young.hear().await
    };
    let trouble = match timeout(WORD_MAX, serving).await {
        Ok(Ok(Word::Serving)) => None,
        Ok(Ok(word)) => Some(Trouble::Strange(word)),
        Ok(Err(trouble)) => Some(trouble),
        Err(_) => Some(Trouble::Slow(WORD_MAX)),
    };
    if let Some(trouble) = trouble {
        return Err(young.failed(trouble).await);
    }
    if let Some(silence) = silent {
        silence.keep();
    }
    young.grown = true;
    let pid = young.pid;
    // In this order: a manager that believes only the main process believes each.
    notify::main_is(pid);
    let _ = young.say(&Word::Done).await;
    Ok(Successor { pid, version })
}

/// What goes wrong with a new process.
#[derive(Debug)]
enum Trouble {
    Given(io::Error),
    /// Its end of the channel is closed.
    Gone(io::Error),
    Slow(Duration),
    Strange(Word),
}

/// A process that does not serve yet; it dies with this.
#[derive(Debug)]
struct Young {
    child: Child,
    pid: u32,
    channel: Channel,
    /// The end of what it printed.
    last: Arc<Mutex<Vec<u8>>>,
    listening: Option<JoinHandle<()>>,
    /// It stands on its own, and lives on when this process ends.
    grown: bool,
}

impl Young {
    fn start(program: &Program) -> io::Result<Self> {
        let (channel, theirs) = channel::pair()?;
        let mut command = Command::new(&program.file);
        command
            .args(&program.arguments)
            .stdin(Stdio::from(theirs))
            .stderr(Stdio::piped())
            // Of the service manager, and about this process; the sockets go another way.
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .env_remove("WATCHDOG_PID");
        let mut child = command.spawn()?;
        let pid = child.id().unwrap_or_default();
        let last = Arc::default();
        let listening = child
            .stderr
            .take()
            .map(|stderr| tokio::spawn(pass_on(stderr, Arc::clone(&last))));
        Ok(Self {
            child,
            pid,
            channel,
            last,
            listening,
            grown: false,
        })
    }

    async fn give(&self, plan: &Plan) -> io::Result<()> {
        let sockets = plan.gossip.sockets().await.transpose()?;
        let facts = facts_file(&facts(plan, sockets.is_some()).await)?;
        let lock = match &plan.state {
            Some(state) => Some(state.lock()?),
            None => None,
        };
        let stderr = io::stderr();
        let mut all: Vec<(Place, BorrowedFd<'_>)> = vec![
            (Place::Facts, facts.as_fd()),
            (Place::Stderr, stderr.as_fd()),
        ];
        if let Some(Sockets { tcp, udp }) = &sockets {
            all.push((Place::GossipTcp, tcp.as_fd()));
            all.push((Place::GossipUdp, udp.as_fd()));
        }
        let Estate {
            proxy,
            admin,
            rpc,
            door,
        } = &*plan.estate;
        let optional = [
            (Place::Lock, lock.as_ref().map(AsFd::as_fd)),
            (Place::Admin, admin.as_ref().map(AsFd::as_fd)),
            (Place::Rpc, rpc.as_ref().map(AsFd::as_fd)),
            (Place::Door, door.as_ref().map(AsFd::as_fd)),
        ];
        all.extend(
            optional
                .into_iter()
                .filter_map(|(place, descriptor)| Some((place, descriptor?))),
        );
        all.extend(proxy.iter().map(|handed| {
            let (name, named) = (handed.name.clone(), handed.named);
            (Place::Proxy { name, named }, handed.socket.as_fd())
        }));
        for some in all.chunks(DESCRIPTORS_MAX) {
            let (places, descriptors): (Vec<_>, Vec<_>) = some.iter().cloned().unzip();
            self.channel
                .say_with(&Word::Take { places }, &descriptors)
                .await?;
        }
        self.channel.say(&Word::Prepare { version: VERSION }).await
    }

    async fn say(&self, word: &Word) -> Result<(), Trouble> {
        self.channel.say(word).await.map_err(Trouble::Gone)
    }

    async fn hear(&self) -> Result<Word, Trouble> {
        let (word, _) = self.channel.hear().await.map_err(Trouble::Gone)?;
        Ok(word)
    }

    /// Ends it, and says what was wrong with it.
    async fn failed(mut self, trouble: Trouble) -> Failed {
        // One that closes its end is about to end by itself, with a status that says more.
        if !matches!(trouble, Trouble::Slow(_) | Trouble::Strange(_)) {
            let _ = timeout(LAST_WORDS_MAX, self.child.wait()).await;
        }
        let own_end = self.child.try_wait().ok().flatten();
        let _ = self.child.kill().await;
        if let Some(listening) = self.listening.take() {
            let _ = timeout(LAST_WORDS_MAX, listening).await;
        }
        let last = last_lines(&self.last.lock().unwrap_or_else(PoisonError::into_inner));
        match (own_end, trouble) {
            (Some(status), _) => Failed::Ended { status, last },
            (None, Trouble::Slow(limit)) => Failed::Slow { limit, last },
            (None, Trouble::Given(source) | Trouble::Gone(source)) => {
                Failed::Given { source, last }
            }
            (None, Trouble::Strange(word)) => Failed::Strange {
                said: format!("{word:?}"),
                last,
            },
        }
    }
}

impl Drop for Young {
    fn drop(&mut self) {
        if !self.grown {
            let _ = self.child.start_kill();
        }
    }
}

/// State and gossip of this process are silent for as long as this lives, or for good.
#[derive(Debug)]
struct Silence {
    state: Option<Arc<State>>,
    gossip: Option<Suspended>,
}

impl Silence {
    async fn begin(plan: &Plan) -> Self {
        let state = plan.state.clone();
        if let Some(state) = &state {
            state.flush().await;
            state.disown();
        }
        // Most of it while gossip still speaks; nothing is added while it is silent.
        plan.journal.finish().await;
        let gossip = plan.gossip.suspend().await;
        plan.journal.finish().await;
        Self { state, gossip }
    }

    /// For good.
    fn keep(mut self) {
        self.state = None;
        if let Some(gossip) = self.gossip.take() {
            gossip.end();
        }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Some(state) = &self.state {
            state.own();
        }
    }
}

async fn facts(plan: &Plan, member: bool) -> Facts {
    let gossip = &plan.gossip;
    let own = gossip.name();
    let members = Arc::clone(&gossip.members().borrow());
    let others = members
        .by_name
        .values()
        .filter(|member| member.status == Status::Alive && member.name != *own);
    let configured = &plan.config.gossip.tags;
    let now = membership::own_tags(gossip).await;
    let (tags_set, tags_deleted) =
        now.map_or_else(Default::default, |now| changes(configured, &now));
    let (reply, told) = oneshot::channel();
    let _ = plan.orders.send(Order::Recall { reply }).await;
    Facts {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        configured: plan.config.gossip.node.clone(),
        name: own.to_string(),
        bind: Some(plan.config.gossip.bind),
        admin: plan.config.admin.listen,
        rpc: plan.config.rpc.listen,
        member,
        keyring: gossip
            .keyring()
            .borrow()
            .as_ref()
            .map(|keys| keys.to_json()),
        tags_set,
        tags_deleted,
        alive: others
            .map(|member| (member.name.to_string(), member.address))
            .collect(),
        backends: State::text_of_backends(told.await.unwrap_or_default()),
    }
}

/// In memory, and gone with its last descriptor: a cluster's worth of facts is too long for a word.
fn facts_file(facts: &Facts) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("lb-facts", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(file);
    file.write_all(&serde_json::to_vec(facts)?)?;
    file.rewind()?;
    Ok(file.into())
}

/// Its words are ours for as long as it has no stderr of its own.
async fn pass_on(mut stderr: ChildStderr, last: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = vec![0; LAST_BYTES];
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        let _ = io::stderr().write_all(&chunk[..read]);
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        last.extend_from_slice(&chunk[..read]);
        let surplus = last.len().saturating_sub(LAST_BYTES);
        last.drain(..surplus);
    }
}

/// "; it printed last: …"; nothing for one that printed nothing.
fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    if last.is_empty() {
        return String::new();
    }
    format!("; it printed last: {}", last.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_told_on_one_line() {
        assert_eq!(last_lines(b""), "");
        assert_eq!(last_lines(b"a\n\nb\n"), "; it printed last: a | b");
        assert_eq!(
            last_lines(b"1\n2\n3\n4\n5\n6\n"),
            "; it printed last: 2 | 3 | 4 | 5 | 6"
        );
    }
}
