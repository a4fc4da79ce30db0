//! What tests of running programs share: the gate, and processes that die with their test.

#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(clippy::disallowed_methods, reason = "tests read the real clock")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// Whether tests that need namespaces or `programs` shall run.
///
/// Without `LB_TEST_SYSTEM=1` one visible line says that they were left out. A missing program is told in one
/// line too, and fails with `LB_TEST_REQUIRE_ALL=1`.
pub(crate) fn system_tests(programs: &[&str]) -> bool {
    if std::env::var_os("LB_TEST_SYSTEM").is_none() {
        say(&format!(
            "left out: {} (set LB_TEST_SYSTEM=1 to run it)",
            test_name()
        ));
        return false;
    }
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|program| find(program).is_none())
        .collect();
    if missing.is_empty() {
        take_turn();
        return true;
    }
    lacks(&missing.join(", "));
    false
}

/// The program, without variables that this one's surroundings may have for it or for Serf.
pub(crate) fn bare(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("LB_") || text.starts_with("SERF_") {
            command.env_remove(&name);
        }
    }
    command
}

/// An address on `host` that nobody has just now.
///
/// It was bound, and not listened on: between its fork and its exec the child of another test has every socket of this
/// process, and one that listens would still take connections there, only to reset them. No port is given twice: whoever was
/// given it may not have taken it yet.
pub(crate) fn free_address(host: impl Into<IpAddr>) -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
    let wanted = SocketAddr::from((host, 0));
    loop {
        let socket =
            Socket::new(Domain::for_address(wanted), Type::STREAM, None).expect("a socket");
        socket.bind(&wanted.into()).expect("a port");
        let bound = socket.local_addr().expect("an address").as_socket();
        let address = bound.expect("an address of the internet");
        if GIVEN.lock().expect("no holder panics").insert(address) {
            return address;
        }
    }
}

/// Waits until this machine has a core for another of the tests that load it, which this one holds until it ends.
///
/// More tests run at once than there are cores, as most of them wait for something (`.cargo/config.toml`). These
/// measure, or start hundreds of processes.
fn take_turn() {
    thread_local! {
        /// A test has a thread of its own: it ends with the test, however that ends.
        static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
    }
    TURN.with_borrow_mut(|turn| {
        turn.get_or_insert_with(Turn::wait);
    });
}

/// One of as many as there are cores.
struct Turn;

static TURNS: Mutex<usize> = Mutex::new(0);
static TURN_ENDED: Condvar = Condvar::new();

impl Turn {
    fn wait() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let taken = TURNS.lock().expect("nobody panics with it");
        let free = TURN_ENDED.wait_while(taken, |taken| *taken >= cores);
        *free.expect("nobody panics with it") += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Ok(mut taken) = TURNS.lock() {
            *taken -= 1;
        }
        TURN_ENDED.notify_one();
    }
}

/// Tells that this test is left out for what it needs; fails with `LB_TEST_REQUIRE_ALL=1`.
pub(crate) fn lacks(what: &str) {
    let line = format!("left out: {} needs {what}", test_name());
    assert!(
        std::env::var_os("LB_TEST_REQUIRE_ALL").is_none(),
        "{line}, and LB_TEST_REQUIRE_ALL is set"
    );
    say(&line);
}

/// Past the test runner's capture: a test left out must be seen.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(
        File::options()
            .append(true)
            .open("/dev/stderr")
            .map_or_else(
                |_| Box::new(std::io::sink()) as Box<dyn Write>,
                |file| Box::new(file)
            ),
        "{line}"
    );
}

fn test_name() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}

/// Full path of a program, also from the directories that only root has on its path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"])
        .map(|directory| Path::new(directory).join(program))
        .find(|candidate| candidate.is_file())
}

/// A process of a test: killed by its pid when dropped, its output kept in a file.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    output: PathBuf,
    name: String,
}

impl Running {
    /// Starts `command`, stdout and stderr into `directory/name.log` (appended).
    pub(crate) fn start(name: &str, directory: &Path, command: &mut Command) -> Self {
        Self::start_given(name, directory, command.stdin(Stdio::null()))
    }

    /// The same with the stdin that `command` has.
    pub(crate) fn start_given(name: &str, directory: &Path, command: &mut Command) -> Self {
        let output = directory.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&output)
            .expect("the log can be written");
        let child = command
            .stdout(file.try_clone().expect("a second descriptor"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("starting {name}: {error}"));
        Self {
            child,
            output,
            name: name.to_owned(),
        }
    }

    /// Process id.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid fits")
    }

    /// Everything printed so far.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Sends a signal to this process only.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).expect("a running child has a pid");
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// Sends a signal to this process and to all that it has started.
    pub(crate) fn signal_all(&self, signal: rustix::process::Signal) {
        let mut family = vec![self.pid()];
        let mut known = 0;
        while let Some(parent) = family.get(known) {
            let children =
                std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
            let children = children.unwrap_or_default();
            family.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<i32>().ok()),
            );
            known += 1;
        }
        for pid in family
            .into_iter()
            .filter_map(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait(Duration::from_secs(40))
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self, longest: Duration) -> ExitStatus {
        let deadline = Instant::now() + longest;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{} did not end within {longest:?}; it printed:\n{}",
                self.name,
                self.output()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// True while it runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("a child can be waited for")
            .is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- {} printed:\n{}", self.name, self.output());
        }
    }
}

/// Polls until `condition` gives something; panics with `what` after `longest`.
pub(crate) fn eventually<T>(
    what: &str,
    longest: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + longest;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {longest:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
