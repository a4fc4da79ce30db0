//! The namespace, the backend, and who is flooded.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Running, eventually};
use crate::flood::Flood;
use crate::leaky;
use crate::net::{Host, Network};
use crate::usage::{self, Report, Usage};

const FRONT: &str = "127.0.0.1:8080";
const BACKEND: &str = "127.0.0.1:9000";

/// Of the large answer; the kernel holds some MiB of it.
const LARGE: usize = 8 << 20;

static BODY: [u8; LARGE] = [b'x'; LARGE];

/// A host with a backend on it.
pub(crate) struct Stage {
    host: Host,
    files: tempfile::TempDir,
    _network: Network,
}

impl Stage {
    /// With a backend that serves until the test program ends.
    pub(crate) fn new() -> Self {
        raise_descriptor_limit();
        let network = Network::new(1);
        let host = network.host(0);
        let listener = host.run(|| TcpListener::bind(BACKEND).expect("a free port"));
        let listener = listener.join().expect("it listens");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || backend(stream));
            }
        });
        Self {
            host,
            files: tempfile::tempdir().expect("a directory"),
            _network: network,
        }
    }

    /// A fresh `lb`, serving.
    pub(crate) fn lb(&self) -> Running {
        self.lb_in_mode("http", "")
    }

    /// The same, whose backend takes one request at a time; others wait in line.
    pub(crate) fn lb_one_by_one(&self) -> Running {
        let line = "max_in_flight = 1\nqueue = 10_000\nqueue_timeout = \"3s\"";
        self.lb_in_mode("http", line)
    }

    /// The same, where it relays what comes as it is.
    pub(crate) fn lb_relaying(&self) -> Running {
        self.lb_in_mode("tcp", "")
    }

    fn lb_in_mode(&self, mode: &str, pool: &str) -> Running {
        let config = self.config(mode, pool);
        let mut command = self.host.command(env!("CARGO_BIN_EXE_lb"));
        command.arg("--config").arg(config);
        self.start("lb", command)
    }

    /// The same, with so many descriptors and no more.
    pub(crate) fn lb_with_descriptors(&self, most: usize) -> Running {
        let config = self.config("http", "");
        let mut command = self.host.command("sh");
        let line = format!(
            "ulimit -n {most}; exec {} --config {}",
            env!("CARGO_BIN_EXE_lb"),
            config.display()
        );
        command.arg("-c").arg(line);
        self.start("lb", command)
    }

    /// A server that leaks `what`.
    pub(crate) fn leaky(&self, what: &str) -> Running {
        let program = std::env::current_exe().expect("a test program");
        let mut command = self
            .host
            .command(program.to_str().expect("a readable path"));
        command
            .args(["--exact", "leaky_server", "--nocapture"])
            .env(leaky::ORDER, format!("{FRONT} {what}"));
        self.start("leaky", command)
    }

    fn start(&self, name: &str, mut command: Command) -> Running {
        let running = Running::start(name, self.files.path(), &mut command);
        for _ in 0..20 {
            self.serves(&running);
        }
        running
    }

    fn config(&self, mode: &str, pool: &str) -> std::path::PathBuf {
        let file = self.files.path().join("lb.toml");
        let text = format!(
            r#"[gossip]
bind = "127.0.0.1:7946"
discover = "off"
node = "exhaustion"
[admin]
listen = "off"
[state]
dir = "none"
[listener.web]
listen = ["{FRONT}"]
mode = "{mode}"
[cluster.web]
{pool}
[cluster.web.check]
spec = "none"
[[cluster.web.backend]]
address = "{BACKEND}"
[limits]
workers = 2
[timeouts]
request_head = "2s"
body_progress = "2s"
upstream_idle = "1s"
"#
        );
        fs::write(&file, text).expect("a writable file");
        file
    }

    /// Somebody gets an answer, if not at once.
    pub(crate) fn serves(&self, _: &Running) {
        let asked = self.host.run(|| {
            eventually("an answer", Duration::from_secs(15), || {
                let mut stream = TcpStream::connect(FRONT).ok()?;
                stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
                stream
                    .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    .ok()?;
                let mut text = String::new();
                stream.read_to_string(&mut text).ok()?;
                text.starts_with("HTTP/1.1 200 ").then_some(())
            });
        });
        asked.join().expect("it serves");
    }

    /// Many connections that say nothing, until they are dropped.
    pub(crate) fn crowd(&self, _: &Running, count: usize) -> Vec<TcpStream> {
        let connecting = self.host.run(move || {
            (0..count)
                .map(|_| TcpStream::connect(FRONT).expect("the backlog takes it"))
                .collect()
        });
        connecting.join().expect("they connect")
    }

    /// What it holds more than before, while what `client` gives is open.
    pub(crate) fn held_kib<T: Send + 'static>(
        &self,
        subject: &Running,
        client: impl FnOnce(SocketAddr) -> T + Send + 'static,
    ) -> u64 {
        let before = usage::of(subject.pid());
        let running = self
            .host
            .run(move || client(FRONT.parse().expect("an address")));
        let open = running.join().expect("the client runs");
        let during = usage::of(subject.pid());
        drop(open);
        during.resident_kib.saturating_sub(before.resident_kib)
    }

    /// Floods it twice, and measures before, meanwhile, and each time once all is closed (or `patience` is over).
    pub(crate) fn flood(
        &self,
        subject: &Running,
        flood: &'static Flood,
        patience: Duration,
    ) -> Report {
        let before = usage::of(subject.pid());
        let (during, after) = self.flood_once(subject, flood, before, patience);
        let (_, again) = self.flood_once(subject, flood, before, patience);
        Report {
            before,
            during,
            after,
            again,
            open: flood.at_once,
        }
    }

    fn flood_once(
        &self,
        subject: &Running,
        flood: &'static Flood,
        before: Usage,
        patience: Duration,
    ) -> (Usage, Usage) {
        let pid = subject.pid();
        let address: SocketAddr = FRONT.parse().expect("an address");
        let flooding = self.host.run(move || {
            let mut during = before;
            let mut asleep = flood.asleep.then(|| Asleep::new(pid));
            flood.run(address, || {
                asleep = None;
                during = during.max(usage::of(pid));
            });
            during
        });
        let during = flooding.join().expect("the flood runs");
        let begun = Instant::now();
        while usage::descriptors(pid) > before.descriptors && begun.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(20));
        }
        (during, usage::of(pid))
    }
}

/// A process that does not run until this is dropped.
struct Asleep(Pid);

impl Asleep {
    fn new(pid: i32) -> Self {
        let pid = Pid::from_raw(pid).expect("a process");
        kill_process(pid, Signal::STOP).expect("it runs");
        Self(pid)
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// Reads a head, then answers; a body is read first.
fn backend(mut stream: TcpStream) {
    let mut got = Vec::new();
    let mut room = [0; 16 * 1024];
    loop {
        while let Some(end) = got.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&got[..end]).to_lowercase();
            let mut lines = head.lines();
            let length = lines.find_map(|line| line.strip_prefix("content-length: "));
            let mut left = length.map_or(0, |text| text.parse::<usize>().expect("a length"));
            got.drain(..end + 4);
            let taken = left.min(got.len());
            got.drain(..taken);
            left -= taken;
            while left > 0 {
                match stream.read(&mut room) {
                    Ok(bytes) if bytes > 0 => left = left.saturating_sub(bytes),
                    _ => return,
                }
            }
            // It is told so only through a relay.
            let last = head.contains("connection: close");
            let most = if head.contains("/large ") {
                LARGE
            } else {
                1024
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {most}\r\n\r\n");
            let body = &BODY[..most];
            if stream.write_all(head.as_bytes()).is_err() || stream.write_all(body).is_err() || last
            {
                return;
            }
        }
        match stream.read(&mut room) {
            Ok(bytes) if bytes > 0 => got.extend_from_slice(&room[..bytes]),
            _ => return,
        }
    }
}

fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the hard limit");
}
