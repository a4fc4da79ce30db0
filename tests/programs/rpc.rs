//! The built programs commanded through their RPC, by our own verbs.
//!
//! ```text
//! lb 127.x.y.1 ◀─gossip─▶ lb-agent web1 127.x.y.2 ◀─gossip─▶ lb-agent web2 127.x.y.3
//!   ▲ RPC                    ▲ RPC
//!   └── lb-agent members, event, query, … ──┘
//! ```

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::common::{Running, bare, eventually};
use crate::ip;

const LONG: Duration = Duration::from_secs(60);

/// A program of ours at an address, with an RPC.
struct Node {
    process: Running,
    at: String,
}

/// What a verb said.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Node {
    fn start(directory: &Path, name: &str, at: &str, mut command: Command) -> Self {
        command.args(["--discover", "off", "--node", name]);
        command.args(["--bind", &format!("{at}:7946")]);
        command.args(["--rpc-addr", &format!("{at}:7373")]);
        let process = Running::start(name, directory, &mut command);
        let at = at.to_owned();
        eventually("its RPC listens", LONG, || {
            TcpStream::connect(format!("{at}:7373")).ok()
        });
        Self { process, at }
    }

    fn agent(directory: &Path, name: &str, at: &str, more: &[&str]) -> Self {
        let mut command = bare(env!("CARGO_BIN_EXE_lb-agent"));
        command.args(["--state-dir", "none", "--role", "web", "--port", "8081"]);
        command.args(more);
        Self::start(directory, name, at, command)
    }

    fn front(directory: &Path, name: &str, at: &str, more: &[&str]) -> Self {
        let mut command = bare(env!("CARGO_BIN_EXE_lb"));
        command.args(["--state-dir", "none", "--cluster", "web"]);
        command.args(["--listen", &format!("{at}:8080")]);
        command.args(["--admin", &format!("{at}:9901")]);
        command.args(more);
        Self::start(directory, name, at, command)
    }

    fn verb(&self, verb: &[&str]) -> Command {
        let mut command = bare(env!("CARGO_BIN_EXE_lb-agent"));
        command.args(verb);
        command.env("LB_RPC_ADDR", format!("{}:7373", self.at));
        command
    }

    fn ask(&self, verb: &[&str]) -> Said {
        said(&mut self.verb(verb))
    }

    /// Succeeds, with this at the end of what it prints; a busy machine may lose an answer or two.
    fn says(&self, verb: &[&str], end: &str) {
        for attempt in 1.. {
            let said = self.ask(verb);
            if said.code == Some(0) && said.stdout.ends_with(end) {
                return;
            }
            let all = said.stdout + &said.stderr;
            assert!(attempt < 10, "{verb:?}: {:?} {all}", said.code);
        }
    }

    /// Waits until it lists `count` members that are alive.
    fn sees(&self, count: usize) {
        eventually(&format!("{count} are alive"), LONG, || {
            let said = self.ask(&["members", "--status", "alive"]);
            (said.stdout.lines().count() == count).then_some(())
        });
    }
}

fn said(command: &mut Command) -> Said {
    let output = command.output().expect("it runs");
    Said {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A web server that tells its address, for as long as the test runs.
fn web(at: &str) {
    let text = at.to_owned();
    let listener = TcpListener::bind((at, 8081)).expect("the address is free");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 2048]);
            let length = text.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

/// Body of the front's answer, if it is one.
fn get(front: &Node) -> Option<String> {
    let mut socket = TcpStream::connect(format!("{}:8080", front.at)).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

#[test]
fn a_verb_is_answered_by_agent_and_front_alike() {
    let directory = tempfile::tempdir().unwrap();
    let (at, other) = (ip(91, 1), ip(91, 2));
    let front = Node::front(directory.path(), "front", &at, &[]);
    let join = format!("{at}:7946");
    let agent = Node::agent(directory.path(), "web1", &other, &["--join", &join]);

    for node in [&front, &agent] {
        node.sees(2);
        let said = node.ask(&["members", "-name", "web."]);
        let line = format!("web1  {other}:7946  alive  port=8081,role=web,v=1\n");
        assert_eq!((said.code, said.stdout), (Some(0), line), "{}", said.stderr);
        node.says(&["reachability"], "Successfully contacted all live nodes\n");
        node.says(
            &["query", "--timeout", "300ms", "uptime"],
            "Total Acks: 2\nTotal Responses: 0\n",
        );
        let said = node.ask(&["info", "--json"]);
        let info: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
        assert_eq!(info["serf"]["members"], "2");
    }

    let said = agent.ask(&["tags", "-set", "zone=a", "-delete", "nothing"]);
    assert_eq!(
        said.stdout, "Successfully updated agent tags\n",
        "{}",
        said.stderr
    );
    let said = agent.ask(&["tags", "-set", "rack=1"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    eventually("the front has both tags", LONG, || {
        let said = front.ask(&["members", "-tag", "zone=a", "-tag", "rack=1"]);
        said.stdout.starts_with("web1").then_some(())
    });
    let said = agent.ask(&["members", "--wide"]);
    assert!(said.stdout.contains("web1   "), "{}", said.stdout);
    assert!(said.stdout.contains("web   8081  ready"), "{}", said.stdout);
}

#[test]
fn who_does_not_answer_is_named_and_the_exit_code_is_3() {
    let directory = tempfile::tempdir().unwrap();
    let agent = Node::agent(directory.path(), "web1", &ip(92, 1), &[]);

    // Long enough for its own answer, also on a busy machine.
    let said = agent.ask(&["query", "--timeout=5s", "--node=web1", "--node=web9", "x"]);

    assert_eq!(said.code, Some(3), "{}", said.stdout);
    assert_eq!(said.stderr, "lb-agent: no answer from web9\n");
    let said = agent.ask(&["query", "--timeout=200ms", "--node=web9", "--json", "x"]);
    let answers: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(answers["Missing"], serde_json::json!(["web9"]));
    assert_eq!(said.code, Some(3));
}

#[test]
fn what_is_refused_is_told_and_the_exit_code_is_1() {
    let directory = tempfile::tempdir().unwrap();
    let agent = Node::agent(directory.path(), "web1", &ip(93, 1), &[]);

    for (verb, part) in [
        (&["event", "x", &"y".repeat(600)][..], "limit of 512 bytes"),
        (&["query", "_serf_conflict"], "'_serf_' prefix"),
        (
            &["tags", "--set", &format!("a={}", "x".repeat(600))],
            "512 bytes",
        ),
        (
            &["join", &format!("{}:7946", ip(93, 200))],
            "connection refused",
        ),
        (&["keys", "--list"], "nodes reported failure"),
        (&["rtt", "nobody"], "Could not find a coordinate"),
    ] {
        let said = agent.ask(verb);
        assert_eq!(said.code, Some(1), "{verb:?}: {}", said.stderr);
        assert!(said.stderr.contains(part), "{verb:?}: {}", said.stderr);
    }
}

#[test]
fn leave_ends_an_agent_and_a_front_goes_on_routing() {
    let directory = tempfile::tempdir().unwrap();
    let (at, one, two) = (ip(94, 1), ip(94, 2), ip(94, 3));
    web(&one);
    let join = format!("{at}:7946");
    let mut front = Node::front(directory.path(), "front", &at, &[]);
    let mut web1 = Node::agent(directory.path(), "web1", &one, &["--join", &join]);
    let web2 = Node::agent(directory.path(), "web2", &two, &["--join", &join]);
    web2.sees(3);
    eventually("the front serves", LONG, || get(&front));

    let said = front.ask(&["leave"]);
    assert_eq!(said.stdout, "Graceful leave complete\n", "{}", said.stderr);

    eventually("the others see it gone", LONG, || {
        let said = web2.ask(&["members", "-name", "front", "-status", "left"]);
        (said.stdout.lines().count() == 1).then_some(())
    });
    assert_eq!(get(&front).as_deref(), Some(one.as_str()));
    let said = web1.ask(&["leave"]);
    assert_eq!(said.stdout, "Graceful leave complete\n", "{}", said.stderr);
    let ended = web1.process.wait(LONG);
    assert_eq!(ended.code(), Some(0), "{}", web1.process.output());
    // Nobody tells the front any more; its checks say that the server beside the agent still works.
    assert_eq!(get(&front).as_deref(), Some(one.as_str()));
    let output = front.process.output();
    assert!(
        output.contains("routing goes on by checks alone"),
        "{output}"
    );
    assert_eq!(front.ask(&["leave"]).code, Some(0), "a second time");
    assert_eq!(front.process.terminate().code(), Some(0));
}

#[test]
fn leave_forgets_the_peers_and_a_signal_keeps_them() {
    let directory = tempfile::tempdir().unwrap();
    let (at, other) = (ip(95, 1), ip(95, 2));
    let first = Node::agent(directory.path(), "web1", &at, &[]);
    let state = directory.path().join("state");
    let start = |join: &[&str]| {
        let mut command = bare(env!("CARGO_BIN_EXE_lb-agent"));
        command.args(["--role", "web", "--port", "8081"]).args(join);
        command.arg("--state-dir").arg(&state);
        Node::start(directory.path(), "web2", &other, command)
    };
    let join = format!("{at}:7946");
    let mut second = start(&["--join", &join]);
    first.sees(2);
    second.sees(2);
    assert!(second.process.terminate().success());

    let mut second = start(&[]);
    second.sees(2);
    assert_eq!(second.ask(&["leave"]).code, Some(0));
    assert!(second.process.wait(LONG).success());

    let saved = std::fs::read_to_string(state.join("web2/peers.snapshot")).expect("a file");
    assert!(saved.ends_with("end 0\n"), "{saved}");
}

#[test]
fn who_does_not_know_the_secret_is_kept_out() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    std::fs::write(&key, "s3cret\n").unwrap();
    let key = key.to_str().unwrap();
    let more = ["--rpc-auth-key-file", key];
    let agent = Node::agent(directory.path(), "web1", &ip(96, 1), &more);

    for verb in [&["members"][..], &["info"], &["leave"], &["keys", "--list"]] {
        let said = agent.ask(verb);
        assert_eq!(said.code, Some(1), "{verb:?}");
        assert!(
            said.stderr
                .contains("Authentication required; give the member's secret"),
            "{verb:?}: {}",
            said.stderr
        );
    }
    assert_eq!(
        agent.ask(&["members", "-rpc-auth-key-file", key]).code,
        Some(0)
    );
    let with = |name: &str, value: &str| said(agent.verb(&["members"]).env(name, value));
    assert_eq!(with("LB_RPC_AUTH_KEY_FILE", key).code, Some(0));
    assert_eq!(with("LB_RPC_AUTH_KEY", "s3cret").code, Some(0));
    assert_eq!(with("SERF_RPC_AUTH", "s3cret").code, Some(0));
    let wrong = with("SERF_RPC_AUTH", "s3cre");
    assert!(
        wrong.stderr.contains("Invalid authentication token"),
        "{}",
        wrong.stderr
    );
    let said = agent.ask(&["members", "-rpc-auth=s3cret"]);
    assert_eq!(said.code, Some(0));
    assert!(
        said.stderr.contains("use --rpc-auth-key-file"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_monitor_shows_the_log_and_what_happens() {
    let directory = tempfile::tempdir().unwrap();
    let agent = Node::agent(directory.path(), "web1", &ip(97, 1), &[]);
    let mut monitor = agent
        .verb(&["monitor", "--log-level", "debug", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let stdout = BufReader::new(monitor.stdout.take().expect("a pipe"));
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let come = |part: &str| lines.try_iter().find(|line| line.contains(part));

    // At this level only while somebody follows it: each client that ends is told of.
    eventually("a line that is not written", LONG, || {
        agent.ask(&["info"]);
        come("[DEBUG]")
    });
    let sent = agent.ask(&["event", "-coalesce=false", "hoge", "1234567890"]);
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let event = eventually("the event", LONG, || come("\"hoge\""));
    let event: serde_json::Value = serde_json::from_str(&event).expect("JSON");
    assert_eq!(
        (&event["event"], &event["payload"]),
        (&"user".into(), &"1234567890".into())
    );
    assert!(!agent.process.output().contains("DEBUG"));
    drop(agent);
    assert_eq!(monitor.wait().expect("it ends").code(), Some(1));
}

#[test]
fn a_busy_address_that_was_asked_for_ends_the_program() {
    let directory = tempfile::tempdir().unwrap();
    let at = ip(98, 1);
    let _holder = TcpListener::bind(format!("{at}:7373")).expect("a port");
    let mut command = bare(env!("CARGO_BIN_EXE_lb-agent"));
    command.args(["--state-dir", "none", "--discover", "off", "--role", "web"]);
    command.args([
        "--bind",
        &format!("{at}:7946"),
        "--rpc-addr",
        &format!("{at}:7373"),
    ]);

    let mut agent = Running::start("busy", directory.path(), &mut command);

    assert_eq!(agent.wait(LONG).code(), Some(1));
    let output = agent.output();
    assert!(output.contains("RPC cannot listen on"), "{output}");
}

#[test]
fn the_flags_of_a_serf_agent_start_one_of_ours() {
    let directory = tempfile::tempdir().unwrap();
    let at = ip(99, 1);
    let config = directory.path().join("serf.json");
    std::fs::write(
        &config,
        r#"{"tags": {"port": "8081"}, "leave_on_terminate": true}"#,
    )
    .unwrap();
    let mut command = bare(env!("CARGO_BIN_EXE_lb-agent"));
    command.args([
        "agent",
        "-node=old",
        "-role=web",
        "-log-level=INFO",
        "-syslog",
    ]);
    command.arg(format!("-bind={at}:7946"));
    command.arg(format!("-rpc-addr={at}:7373"));
    command.arg("-config-file").arg(&config);
    command.args(["-encrypt", "tDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw="]);
    command.args(["--state-dir", "none"]);
    let process = Running::start("old", directory.path(), &mut command);
    eventually("its RPC listens", LONG, || {
        TcpStream::connect(format!("{at}:7373")).ok()
    });
    let agent = Node {
        process,
        at: at.clone(),
    };

    let said = agent.ask(&["members"]);
    assert_eq!(
        said.stdout,
        format!("old  {at}:7946  alive  port=8081,role=web\n")
    );
    let said = agent.ask(&["keys", "-list"]);
    assert!(
        said.stdout.contains("[1/1]"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    let output = agent.process.output();
    for part in [
        "-encrypt shows the key",
        "-syslog of serf agent",
        "encrypted (key",
    ] {
        assert!(output.contains(part), "{part}: {output}");
    }
}
