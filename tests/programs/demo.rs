//! `lb demo` as a stranger runs it: the built program, its screen, its children.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A running demo; killed when dropped, and its children with it.
struct Demo {
    program: Child,
    lines: mpsc::Receiver<String>,
    /// Everything read from the screen so far.
    screen: Vec<String>,
}

/// What the banner says.
struct Banner {
    proxy: SocketAddr,
    admin: SocketAddr,
    front: u32,
    /// Name, pid of the server, pid of the agent.
    nodes: Vec<(String, u32, u32)>,
}

impl Banner {
    fn pids(&self) -> Vec<u32> {
        let nodes = self.nodes.iter();
        let mut pids: Vec<_> = nodes.flat_map(|(_, web, agent)| [*web, *agent]).collect();
        pids.push(self.front);
        pids
    }
}

impl Demo {
    /// On any free ports, unless `arguments` say otherwise.
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
        command.arg("demo");
        for free in ["--listen", "--admin"] {
            if !arguments.contains(&free) {
                command.args([free, "127.0.0.1:0"]);
            }
        }
        let mut program = command
            .args(arguments)
            // It must not reach the demo's own cluster.
            .env("LB_JOIN", "192.0.2.1")
            .env("LB_ADMIN", "off")
            .stdout(Stdio::piped())
            .spawn()
            .expect("lb starts");
        let stdout = program.stdout.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            program,
            lines,
            screen: Vec::new(),
        }
    }

    /// The first line to come for which `wanted` holds.
    fn wait_for(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("no {what} on the screen:\n{}", self.screen.join("\n"));
            };
            self.screen.push(line.clone());
            if wanted(&line) {
                return line;
            }
        }
    }

    fn banner(&mut self) -> Banner {
        self.wait_for("end of the banner", |line| line.starts_with("Ctrl-C"));
        let field = |line: &str, before: &str, after: &str| {
            let (_, rest) = line.split_once(before).expect("the field");
            rest.split(after).next().expect("some").trim().to_owned()
        };
        let front = self
            .screen
            .iter()
            .find(|line| line.trim_start().starts_with("front "))
            .expect("a line for the front");
        let nodes = self
            .screen
            .iter()
            .filter(|line| line.contains(", agent pid "));
        Banner {
            proxy: field(front, "http://", "/").parse().expect("an address"),
            admin: field(front, "admin http://", "/")
                .parse()
                .expect("an address"),
            front: field(front, " pid ", " ").parse().expect("a pid"),
            nodes: nodes
                .map(|line| {
                    let name = line.split_whitespace().next().expect("a name").to_owned();
                    let web = field(line, "server pid ", ",").parse().expect("a pid");
                    let agent = field(line, "agent pid ", " ").parse().expect("a pid");
                    (name, web, agent)
                })
                .collect(),
        }
    }

    fn signal(&self, signal: Signal) {
        send(self.program.id(), signal);
    }

    /// Its exit, and the rest of the screen.
    fn wait(&mut self) -> ExitStatus {
        let status = until("the demo's end", || {
            self.program.try_wait().expect("it is our child")
        });
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.screen.push(line);
        }
        status
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
        if std::thread::panicking() {
            self.screen.extend(self.lines.try_iter());
            eprintln!("the screen:\n{}", self.screen.join("\n"));
        }
    }
}

/// Generous: machines that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(40);

/// Polls until there is something.
fn until<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    for _ in 0..PATIENCE.as_millis() / 20 {
        if let Some(found) = poll() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what} did not come within {PATIENCE:?}");
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).expect("a pid is not 0");
    kill_process(pid, signal).expect("it runs");
}

/// Runs and is a process of this program; a zombie that nobody buried does not run.
fn is_alive(pid: u32) -> bool {
    let read = |what| std::fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
    let stat = read("stat");
    let state = stat.rsplit_once(") ").map(|(_, rest)| &rest[..1]);
    read("cmdline").contains(env!("CARGO_BIN_EXE_lb")) && state != Some("Z")
}

fn assert_nobody_remains(banner: &Banner) {
    let pids = banner.pids();
    until("the end of all children", || {
        (!pids.iter().any(|pid| is_alive(*pid))).then_some(())
    });
}

/// Status line and body.
fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.lines().next().expect("a status line");
    (status.to_owned(), body.to_owned())
}

/// `web1` of `hello from web1 (pid 7)`.
fn name(body: &str) -> Option<&str> {
    body.strip_prefix("hello from ")?.split(' ').next()
}

fn wait_for_all_in(demo: &mut Demo, count: usize) {
    let all = format!("[{count} of {count}]");
    demo.wait_for("full rotation", |line| {
        line.contains("in rotation:") && line.ends_with(&all)
    });
}

#[test]
fn names_rotate_the_dead_leave_and_a_signal_ends_everything() {
    let mut demo = Demo::start(&[]);
    let banner = demo.banner();
    let names: Vec<_> = banner
        .nodes
        .iter()
        .map(|(name, ..)| name.as_str())
        .collect();
    assert_eq!(names, ["web1", "web2", "web3"]);
    assert!(banner.pids().iter().all(|pid| is_alive(*pid)));
    wait_for_all_in(&mut demo, 3);

    let bodies: Vec<_> = (0..9).map(|_| get(banner.proxy, "/").1).collect();
    let asked: Vec<_> = bodies.iter().map(|body| name(body)).collect();
    for name in names {
        let answers = asked.iter().filter(|other| **other == Some(name)).count();
        assert_eq!(answers, 3, "{name} in {asked:?}");
    }
    let (_, pools) = get(banner.admin, "/api/v1/pools");
    let pools: serde_json::Value = serde_json::from_str(&pools).expect("JSON");
    assert_eq!(pools["pools"][0]["name"], "web");
    assert_eq!(pools["pools"][0]["in_rotation"], 3);

    let (_, web, agent) = banner.nodes[1];
    send(web, Signal::KILL);
    send(agent, Signal::KILL);
    demo.wait_for("removal of web2", |line| {
        line.contains("web2  out of rotation") || line.contains("web2  removed")
    });
    for _ in 0..10 {
        let (status, body) = get(banner.proxy, "/");
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(
            ["web1", "web3"].contains(&name(&body).expect("a name")),
            "{body}"
        );
    }

    demo.signal(Signal::INT);
    let status = demo.wait();
    assert_eq!(status.code(), Some(0));
    for name in ["web1", "web3"] {
        let goodbye = format!("{name}  removed: its agent said goodbye");
        assert!(
            demo.screen.iter().any(|line| line.contains(&goodbye)),
            "{name} did not leave properly"
        );
    }
    let last = demo.screen.last().expect("some lines");
    assert!(last.ends_with("nothing is left running"), "{last}");
    assert_nobody_remains(&banner);
}

#[test]
fn with_tls_it_answers_on_https_too() {
    use lb::tls::client::{Client, Inside, Settings};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut demo = Demo::start(&["--nodes", "1", "--tls"]);
    let banner = demo.banner();
    let line = demo.screen.iter().find(|line| line.contains("curl -k"));
    let (_, url) = line
        .expect("a line to type")
        .split_once("https://")
        .unwrap();
    let address: SocketAddr = url.split('/').next().unwrap().parse().expect("an address");
    wait_for_all_in(&mut demo, 1);

    let answer = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async {
            // As curl -k does: nobody signed the certificate.
            let anybody = Settings {
                verify: false,
                ..Settings::default()
            };
            let client = Client::load(anybody).expect("it needs no files");
            let socket = tokio::net::TcpStream::connect(address)
                .await
                .expect("it listens");
            let shaken = client.shake(socket, "localhost", Inside::Http1).await;
            let mut stream = shaken.expect("it speaks TLS");
            let request = b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n";
            stream.write_all(request).await.expect("sent");
            let mut answer = String::new();
            stream
                .read_to_string(&mut answer)
                .await
                .expect("a whole answer");
            answer
        });

    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("hello from web1"), "{answer}");
    assert_eq!(get(banner.proxy, "/").0, "HTTP/1.1 200 OK");
    demo.signal(Signal::INT);
    assert_eq!(demo.wait().code(), Some(0));
    assert_nobody_remains(&banner);
}

#[test]
fn a_demo_that_is_killed_takes_its_children_along() {
    let mut demo = Demo::start(&["--nodes", "1"]);
    let banner = demo.banner();

    demo.signal(Signal::KILL);
    demo.wait();

    assert_nobody_remains(&banner);
}

#[test]
fn sigterm_is_as_good_as_ctrl_c() {
    let mut demo = Demo::start(&["--nodes", "1"]);
    let banner = demo.banner();

    demo.signal(Signal::TERM);

    assert_eq!(demo.wait().code(), Some(0));
    assert_nobody_remains(&banner);
}

#[test]
fn the_next_free_port_is_taken_and_told() {
    let busy = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let wanted = busy.local_addr().expect("bound").to_string();

    let mut demo = Demo::start(&["--nodes", "1", "--listen", &wanted]);
    let banner = demo.banner();

    assert_ne!(banner.proxy.to_string(), wanted);
    let told = format!("{wanted} is taken");
    assert!(
        demo.screen.iter().any(|line| line.contains(&told)),
        "{:?}",
        demo.screen
    );
    assert!(get(banner.proxy, "/").0.starts_with("HTTP/1.1 "));
}

#[test]
fn no_request_fails_under_chaos() {
    let mut demo = Demo::start(&["--chaos", "--seconds", "10", "--seed", "2"]);
    let banner = demo.banner();

    let status = demo.wait();

    let summary = demo
        .screen
        .iter()
        .rfind(|line| line.contains("chaos: "))
        .expect("a summary");
    assert!(summary.contains(" 0 failed, "), "{summary}");
    assert!(!summary.contains(" 0 kills"), "{summary}");
    assert!(!summary.contains("chaos: 0 requests"), "{summary}");
    assert_eq!(status.code(), Some(0));
    assert_nobody_remains(&banner);
}

#[test]
fn a_demo_that_nobody_reads_ends() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_lb"))
        .args(["demo", "--nodes", "1"])
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("lb starts");

    drop(program.stdout.take());

    let status = until("the demo's end", || {
        program.try_wait().expect("it is our child")
    });
    assert_eq!(status.code(), Some(0));
}

#[test]
fn numbers_of_nodes_that_make_no_sense_are_usage_errors() {
    for arguments in [
        vec!["--nodes", "0"],
        vec!["--nodes", "51"],
        vec!["--nodes", "1", "--chaos"],
    ] {
        let out = Command::new(env!("CARGO_BIN_EXE_lb"))
            .arg("demo")
            .args(&arguments)
            .output()
            .expect("lb runs");
        assert_eq!(out.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(said.contains("--nodes"), "{said}");
    }
}
