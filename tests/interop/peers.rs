//! The two sides: a stock agent as a process, our member on a thread.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lb::announce::Tags;
use lb::gossip::core::io::Event;
use lb::gossip::core::keyring::Keyring;
use lb::gossip::core::member::{Member, Status};
use lb::gossip::core::timing::Profile;
use lb::gossip::core::wire::stream::{self, Decoder, PushNode, PushNodes, PushPull, StreamMessage};
use lb::gossip::driver::{self, Handle, Settings, WhenTaken};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::common::{self, Running};

/// Longer than anything here should take, also on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(90);

/// Port of every member; addresses differ.
pub(crate) const PORT: u16 = 7946;

/// `127.x.TEST.HOST`, where x tells runs at the same time apart.
pub(crate) fn address(test: u8, host: u8) -> String {
    let run = 64 + (std::process::id() % 128) as u8;
    format!("127.{run}.{test}.{host}")
}

/// `address` with the port.
pub(crate) fn member_at(test: u8, host: u8) -> String {
    format!("{}:{PORT}", address(test, host))
}

/// A stock agent.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) process: Running,
    rpc: String,
}

impl Agent {
    /// Starts it on an address with role `web` and port 8081 and waits for its RPC.
    pub(crate) fn start(directory: &Path, name: &str, ip: &str, more: &[&str]) -> Self {
        Self::bound(directory, name, &format!("{ip}:{PORT}"), ip, more)
    }

    /// The same with another address for gossip than for RPC.
    pub(crate) fn bound(
        directory: &Path,
        name: &str,
        bind: &str,
        rpc: &str,
        more: &[&str],
    ) -> Self {
        let rpc = format!("{rpc}:7373");
        let mut command = Command::new("serf");
        command
            .args([
                "agent",
                "-log-level=debug",
                "-role=web",
                "-tag",
                "port=8081",
            ])
            .arg(format!("-node={name}"))
            .arg(format!("-bind={bind}"))
            .arg(format!("-rpc-addr={rpc}"))
            .args(more);
        let process = Running::start(name, directory, &mut command);
        let agent = Self { process, rpc };
        common::eventually("the agent's RPC answers", LONG, || {
            agent.run(&["members"]).status.success().then_some(())
        });
        agent
    }

    /// One command of the CLI.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let (verb, rest) = arguments.split_first().expect("a verb");
        Command::new("serf")
            .arg(verb)
            .arg(format!("-rpc-addr={}", self.rpc))
            .args(rest)
            .output()
            .expect("serf runs")
    }

    /// Status and tags of `name`, as `serf members` tells them.
    pub(crate) fn member(&self, name: &str) -> Option<(String, BTreeMap<String, String>)> {
        let output = self.run(&["members", "-format=json"]);
        let whole: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let member = whole["members"]
            .as_array()?
            .iter()
            .find(|member| member["name"] == name)?;
        let tags = serde_json::from_value(member["tags"].clone()).ok()?;
        Some((member["status"].as_str()?.to_owned(), tags))
    }

    /// Waits until it shows `name` with `status`.
    pub(crate) fn sees(&self, name: &str, status: &str) {
        common::eventually(&format!("the agent shows {name} {status}"), LONG, || {
            self.member(name)
                .is_some_and(|(found, _)| found == status)
                .then_some(())
        });
    }

    /// Waits until it shows `name` with a tag.
    pub(crate) fn sees_tag(&self, name: &str, tag: &str, value: &str) {
        common::eventually(
            &format!("the agent shows {name} with {tag}={value}"),
            LONG,
            || {
                let (_, tags) = self.member(name)?;
                (tags.get(tag).map(String::as_str) == Some(value)).then_some(())
            },
        );
    }

    /// An error is what it complained of.
    pub(crate) fn is_quiet(&self) -> Result<(), String> {
        let complaints = self.complaints();
        let quiet = complaints.is_empty();
        quiet.then_some(()).ok_or_else(|| complaints.join("\n"))
    }

    /// Lines of its log that doubt somebody, or that could not read something.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let words = ["suspect", "[err]", "[warn]", "refut", "timeout reached"];
        self.process
            .output()
            .lines()
            .filter(|line| {
                let line = line.to_lowercase();
                words.iter().any(|word| line.contains(word))
            })
            .map(str::to_owned)
            .collect()
    }
}

/// Our member.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    /// For calls from the test's thread.
    caller: Runtime,
}

impl Ours {
    /// Starts it with role `lb`, joining `join` when given.
    pub(crate) fn start(name: &str, bind: &str, join: &[&str]) -> Self {
        Self::with_tags(name, bind, join, &[("role", "lb")])
    }

    /// The same with other tags.
    pub(crate) fn with_tags(name: &str, bind: &str, join: &[&str], tags: &[(&str, &str)]) -> Self {
        Self::with_settings(Settings {
            tags: tags_of(tags),
            ..settings(name, bind, join)
        })
    }

    /// As our programs are: it takes another name when its own is another's.
    pub(crate) fn renaming(name: &str, bind: &str, join: &[&str]) -> Self {
        Self::with_settings(Settings {
            when_taken: WhenTaken::Rename,
            ..settings(name, bind, join)
        })
    }

    /// With role `lb` and keys.
    pub(crate) fn with_keys(
        name: &str,
        bind: &str,
        join: &[&str],
        keyring: Option<Keyring>,
    ) -> Self {
        Self::with_settings(Settings {
            keyring,
            ..settings(name, bind, join)
        })
    }

    fn with_settings(settings: Settings) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (started, handle) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = runtime();
            runtime.block_on(async {
                let handle = driver::start(settings).await.expect("our member starts");
                started.send(handle).expect("the test waits");
                let _ = stopped.await;
            });
            // Dropping the runtime drops sockets and tasks without a word, like kill -9.
        });
        let handle = handle.recv().expect("our member starts");
        Self {
            handle,
            stop: Some(stop),
            thread: Some(thread),
            caller: runtime(),
        }
    }

    pub(crate) fn at(&self) -> SocketAddr {
        self.handle.advertised().address
    }

    pub(crate) fn member(&self, name: &str) -> Option<Member> {
        let members = self.handle.members();
        let members = members.borrow();
        members
            .by_name
            .get(name)
            .map(|member| Member::clone(member))
    }

    /// Waits until we show `name` with `status`.
    pub(crate) fn sees(&self, name: &str, status: Status) -> Member {
        common::eventually(&format!("we show {name} {status}"), LONG, || {
            self.member(name).filter(|member| member.status == status)
        })
    }

    /// Waits until we show `name` with a tag.
    pub(crate) fn sees_tag(&self, name: &str, tag: &str, value: &str) {
        common::eventually(&format!("we show {name} with {tag}={value}"), LONG, || {
            let member = self.member(name)?;
            (member.tags.get(tag) == Some(value)).then_some(())
        });
    }

    /// Runs a call of the handle.
    pub(crate) fn call<T>(&self, call: impl Future<Output = T>) -> T {
        self.caller.block_on(call)
    }

    /// Waits for an event.
    pub(crate) fn hears<T>(
        &self,
        events: &mut tokio::sync::broadcast::Receiver<Arc<Event>>,
        mut wanted: impl FnMut(Event) -> Option<T>,
    ) -> T {
        self.call(async {
            let found = async {
                loop {
                    let event = events.recv().await.expect("events go on");
                    if let Some(found) = wanted(Arc::unwrap_or_clone(event)) {
                        return found;
                    }
                }
            };
            tokio::time::timeout(LONG, found)
                .await
                .expect("the event comes")
        })
    }

    /// It doubted nobody and was not doubted; that it read all it got holds in any case.
    pub(crate) fn is_quiet(&self) -> Result<(), String> {
        let stats = self.call(self.handle.stats());
        assert!(stats.dropped.is_empty(), "{stats:?}");
        let doubts = (stats.probes_failed, stats.refutations);
        (doubts == (0, 0))
            .then_some(())
            .ok_or_else(|| format!("{stats:?}"))
    }

    pub(crate) fn leave(&self) {
        self.call(self.handle.leave());
    }

    /// Ends without a word.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.end();
    }
}

/// Repeats `run`, all of it afresh, until it is quiet once, three times at most.
///
/// On a busy machine one side may answer later than a probe waits, and is doubted; what one does not understand of the
/// other it says every time.
pub(crate) fn one_is_quiet(run: impl Fn() -> Result<(), String>) {
    let quiet = |number| {
        let said = run();
        if let Err(said) = &said {
            println!("run {number} was not quiet: {said}");
        }
        said.is_ok()
    };
    assert!((1..=3).any(quiet), "not one run of three was quiet");
}

/// Everyone that the member at `at` knows, in the bytes it sends: a push/pull that tells nothing.
pub(crate) fn pull(at: SocketAddr) -> Vec<PushNode> {
    let question = StreamMessage::PushPull(PushPull {
        join: false,
        nodes: PushNodes::default(),
        user_state: Vec::new(),
    });
    let mut socket = TcpStream::connect(at).expect("it listens");
    socket
        .write_all(&stream::encode(&question, false))
        .expect("it reads");
    let (mut decoder, mut buffer) = (Decoder::new(), [0; 4096]);
    loop {
        let len = socket.read(&mut buffer).expect("it answers");
        assert!(len > 0, "the answer is whole");
        match decoder.feed(&buffer[..len]).expect("a good answer") {
            Some(StreamMessage::PushPull(answer)) => {
                return answer.nodes.iter().map(|node| node.to_node()).collect();
            }
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }
}

fn settings(name: &str, bind: &str, join: &[&str]) -> Settings {
    Settings {
        bind: bind.parse().expect("an address"),
        advertise: None,
        iface: None,
        node: name.to_owned(),
        join: join.iter().map(|text| (*text).to_owned()).collect(),
        profile: Profile::Lan,
        tags: tags_of(&[("role", "lb")]),
        keyring: None,
        peers: Vec::new(),
        former: None,
        replay: false,
        discover: None,
        insecure: false,
        when_taken: WhenTaken::Wait,
    }
}

pub(crate) fn tags_of(tags: &[(&str, &str)]) -> Tags {
    tags.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}
