//! A front with its successors, a web server in this process, and an agent that watches them.
//!
//! ```text
//! Front: config.toml ─▶ lb ─upgrade─▶ lb ─upgrade─▶ lb     (children of this process, as it adopts orphans)
//! ```

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, waitpid};

use crate::common::{Running, eventually};

/// Long enough for a machine that is busy with other tests.
pub(crate) const LONG: Duration = Duration::from_secs(60);

static WORLDS: AtomicU8 = AtomicU8::new(0);

/// Addresses and files of one test.
pub(crate) struct World {
    net: [u8; 2],
    pub(crate) files: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let _ = set_child_subreaper(Some(rustix::process::getpid()));
        let pid = std::process::id();
        let world = WORLDS.fetch_add(1, Ordering::Relaxed);
        // Those of one run lie together, and beside them those of other runs.
        assert!(world < 32, "there are more worlds than addresses for them");
        Self {
            net: [100 + (pid % 100) as u8, (pid / 100 % 8) as u8 * 32 + world],
            files: tempfile::tempdir().expect("a directory"),
        }
    }

    pub(crate) fn address(&self, host: u8, port: u16) -> SocketAddr {
        let [x, y] = self.net;
        (Ipv4Addr::new(127, x, y, host), port).into()
    }

    pub(crate) fn vip(&self) -> SocketAddr {
        self.address(1, 18080)
    }

    pub(crate) fn gossip(&self, host: u8) -> SocketAddr {
        self.address(host, 17946)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// What the front reads; `more` are further lines, `timeouts` keys of that table.
    pub(crate) fn configure(&self, workers: usize, timeouts: &str, more: &str) {
        let text = format!(
            "[limits]\nworkers = {workers}\n[gossip]\nnode = \"front\"\nbind = \"{}\"\ndiscover = \"off\"\nrpc_addr = \"{}\"\n\
             [admin]\nlisten = \"{}\"\n[state]\ndir = \"{}\"\n[listener.web]\nlisten = \"{}\"\n\
             [cluster.web]\n[timeouts]\n{timeouts}\n{more}\n",
            self.gossip(1),
            self.address(1, 17373),
            self.address(1, 19901),
            self.path("state").display(),
            self.vip(),
        );
        let new = self.path("lb.toml.new");
        std::fs::write(&new, text).expect("the configuration can be written");
        std::fs::rename(new, self.path("lb.toml")).expect("and replaced");
    }

    /// Our program under a name of its own, so that it can be replaced.
    pub(crate) fn install(&self) -> PathBuf {
        let own = self.path("lb");
        put(Path::new(env!("CARGO_BIN_EXE_lb")), &own);
        own
    }

    pub(crate) fn clean(program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if ["LB_", "LISTEN_", "NOTIFY_", "WATCHDOG_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
            {
                command.env_remove(&*name);
            }
        }
        command
    }

    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Self::clean(program);
        command.arg("--config").arg(self.path("lb.toml"));
        command
    }

    pub(crate) fn front(&self, program: &Path) -> Front<'_> {
        self.front_by(&mut self.command(program))
    }

    /// A front that `command` starts.
    pub(crate) fn front_by(&self, command: &mut Command) -> Front<'_> {
        self.front_given(command.stdin(Stdio::null()))
    }

    /// The same with the stdin that `command` has.
    pub(crate) fn front_given(&self, command: &mut Command) -> Front<'_> {
        let process = Running::start_given("front", self.files.path(), command);
        let first = process.pid();
        let mut front = Front {
            world: self,
            process,
            all: Mutex::new(vec![first]),
        };
        eventually("the front is ready", LONG, || {
            assert!(front.process.is_running(), "{}", front.output());
            (front.admin("/readyz")?.0 == 200).then_some(())
        });
        front
    }

    /// A member that is a backend: the agent, and the web server that it speaks for.
    pub(crate) fn agent(&self, number: u8) -> Running {
        let host = number + 1;
        web(self.address(host, 18080));
        let mut command = Self::clean(Path::new(env!("CARGO_BIN_EXE_lb-agent")));
        let name = format!("web{number}");
        command.args(["--node", &name, "--role", "web", "--port", "18080"]);
        command.args(["--bind", &self.gossip(host).to_string()]);
        command.args(["--join", &self.gossip(1).to_string(), "--discover", "off"]);
        command.args([
            "--rpc-addr",
            "off",
            "--state-dir",
            "none",
            "--check",
            "none",
        ]);
        Running::start(&name, self.files.path(), &mut command)
    }
}

/// Puts a copy of `program` in place of `there`, as an installer does.
pub(crate) fn put(program: &Path, there: &Path) {
    let new = there.with_extension("new");
    let _ = std::fs::remove_file(&new);
    if std::fs::hard_link(program, &new).is_err() {
        std::fs::copy(program, &new).expect("a copy of the program");
    }
    std::fs::rename(new, there).expect("the program is replaced");
}

/// The front, whichever process it is.
pub(crate) struct Front<'w> {
    world: &'w World,
    pub(crate) process: Running,
    /// Every process that has been it; the last one is it now.
    all: Mutex<Vec<i32>>,
}

impl Front<'_> {
    pub(crate) fn pid(&self) -> i32 {
        let all = self.all.lock().unwrap();
        *all.last().expect("one at least")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        signal_to(self.pid(), signal);
    }

    /// Everything that any of them printed.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    pub(crate) fn admin(&self, path: &str) -> Option<(u16, String)> {
        get(self.world.address(1, 19901), path)
    }

    /// Waits until so many backends take requests.
    pub(crate) fn until_in(&self, count: usize) {
        eventually(&format!("{count} backends in rotation"), LONG, || {
            let (_, body) = self.admin("/api/v1/pools")?;
            let pools: serde_json::Value = serde_json::from_str(&body).ok()?;
            let backends = pools["pools"][0]["backends"].as_array()?.clone();
            let inside = backends.iter().filter(|one| one["in_rotation"] == true);
            (inside.count() == count).then_some(())
        });
    }

    /// `lb upgrade`, as an operator calls it.
    pub(crate) fn ask(&self, more: &[&str]) -> Output {
        let mut command = self.asking(more);
        command.output().expect("lb runs")
    }

    pub(crate) fn asking(&self, more: &[&str]) -> Command {
        let mut command = World::clean(Path::new(env!("CARGO_BIN_EXE_lb")));
        command.arg("upgrade").arg("--state-dir");
        command.arg(self.world.path("state")).args(more);
        command.stdin(Stdio::null());
        command
    }

    /// An upgrade that must succeed; the process that was replaced.
    pub(crate) fn upgrade(&self, more: &[&str]) -> i32 {
        let old = self.pid();
        let output = self.ask(more);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let new = number_after(&said, "process ");
        assert_eq!(number_after(&said, "; process "), old, "{said}");
        assert_ne!(new, old);
        self.all.lock().unwrap().push(new);
        old
    }

    /// Takes note of a successor that nobody was told of.
    pub(crate) fn follow(&self, before: i32) -> i32 {
        let pid = eventually("somebody took over", LONG, || {
            let output = self.output();
            let line = output
                .lines()
                .rfind(|line| line.contains("upgraded: process "))?;
            Some(number_after(line, "upgraded: process ")).filter(|pid| *pid != before)
        });
        self.all.lock().unwrap().push(pid);
        pid
    }

    /// Waits for the end of a process that has been it; its exit code.
    pub(crate) fn ended(&mut self, pid: i32) -> i32 {
        if pid == self.process.pid() {
            return self.process.wait(LONG).code().unwrap_or(-1);
        }
        let code = eventually(&format!("process {pid} has ended"), LONG, || {
            let (_, status) = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG).ok()??;
            Some(status.exit_status().unwrap_or(-1))
        });
        self.all.lock().unwrap().retain(|other| *other != pid);
        code
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal(Signal::TERM);
        self.ended(self.pid())
    }
}

impl Drop for Front<'_> {
    fn drop(&mut self) {
        let own = self.process.pid();
        for pid in self.all.lock().unwrap().iter().filter(|pid| **pid != own) {
            signal_to(*pid, Signal::KILL);
            let _ = waitpid(Pid::from_raw(*pid), WaitOptions::empty());
        }
    }
}

pub(crate) fn signal_to(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("a pid is not 0");
    let _ = kill_process(pid, signal);
}

/// False once it has ended, collected or not.
pub(crate) fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim().chars().next());
    state.is_some_and(|state| state != 'Z')
}

fn number_after(text: &str, what: &str) -> i32 {
    let at = text
        .find(what)
        .unwrap_or_else(|| panic!("no {what:?} in {text:?}"));
    let digits: String = text[at + what.len()..]
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits
        .parse()
        .unwrap_or_else(|_| panic!("no number behind {what:?} in {text:?}"))
}

/// One request on a connection of its own.
pub(crate) fn get(to: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(to).ok()?;
    stream.set_read_timeout(Some(LONG)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}

/// A web server for as long as the tests run: GET says where, POST gives back what came, `/slow` takes its time, `/echo`
/// is a WebSocket that sends back what it gets.
pub(crate) fn web(at: SocketAddr) {
    let listener = TcpListener::bind(at).expect("a free address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let reading = stream.try_clone().expect("a second descriptor");
                let _ = serve(&mut BufReader::new(reading), stream);
            });
        }
    });
}

const SWITCHED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn serve(input: &mut impl BufRead, mut output: TcpStream) -> std::io::Result<()> {
    loop {
        let mut first = String::new();
        if input.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let length = head(input)?.0;
        if first.contains(" /echo") {
            output.write_all(SWITCHED)?;
            return std::io::copy(input, &mut output).map(drop);
        }
        let mut body = vec![0; length];
        input.read_exact(&mut body)?;
        if first.contains(" /slow") {
            std::thread::sleep(Duration::from_millis(300));
        }
        if body.is_empty() {
            body = b"here".to_vec();
        }
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        output.write_all(&[answer.as_bytes(), &body].concat())?;
    }
}

/// The rest of a head: the body's length, and whether the connection is to be closed.
pub(crate) fn head(input: &mut impl BufRead) -> std::io::Result<(usize, bool)> {
    let (mut length, mut closes) = (0, false);
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            return Ok((length, closes));
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        closes |= line.starts_with("connection:") && line.contains("close");
    }
}

/// Collects what a member printed about the front: nothing but that it joined.
pub(crate) fn saw_nothing(agent: &Running) {
    let output = agent.output();
    for line in output.lines().filter(|line| line.contains("front")) {
        let fine = line.contains("joined") || line.contains("changed its tags");
        assert!(fine, "the agent saw the front change:\n{output}");
    }
    assert_eq!(output.matches("front joined").count(), 1, "{output}");
}

/// A list that threads add to.
pub(crate) type Notes = Arc<Mutex<Vec<String>>>;
