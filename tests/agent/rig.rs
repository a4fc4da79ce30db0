//! Addresses, commands and questions.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::common::{self, Running, eventually};

/// Longer than anything here should take, also on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(90);

/// Port of every service.
pub(crate) const SERVICE: u16 = 8081;

/// `127.x.TEST.HOST`, where x tells runs at the same time apart.
pub(crate) fn ip(test: u8, host: u8) -> String {
    let run = 64 + (std::process::id() % 128) as u8;
    format!("127.{run}.{test}.{host}")
}

/// One of our programs, without variables of ours that the surroundings may have.
fn bare(program: &str, at: &str, node: &str) -> Command {
    let mut command = common::bare(program);
    command.args(common_flags(at, node));
    command
}

/// A member of no role at `at`, with an RPC.
pub(crate) fn plain(at: &str, node: &str) -> Command {
    let mut command = common::bare(env!("CARGO_BIN_EXE_lb-agent"));
    command.args(flags(at, node, &format!("{at}:7373")));
    command
}

/// What every member here is told.
pub(crate) fn common_flags(at: &str, node: &str) -> Vec<String> {
    flags(at, node, "off")
}

fn flags(at: &str, node: &str, rpc: &str) -> Vec<String> {
    let bind = format!("{at}:7946");
    let flags = [
        ["--state-dir", "none"],
        ["--discover", "off"],
        ["--profile", "local"],
        ["--rpc-addr", rpc],
        ["--node", node],
        ["--bind", &bind],
    ];
    flags
        .as_flattened()
        .iter()
        .map(|flag| (*flag).to_owned())
        .collect()
}

/// An agent at `at` with a role and a port.
pub(crate) fn agent(at: &str, node: &str, join: &str) -> Command {
    let mut command = bare(env!("CARGO_BIN_EXE_lb-agent"), at, node);
    command.args([
        "--role",
        "web",
        "--port",
        &SERVICE.to_string(),
        "--join",
        join,
    ]);
    command
}

/// `lb-agent run` with the flags of [`agent`]; `-- COMMAND` is still to come.
pub(crate) fn agent_run(at: &str, node: &str, join: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-agent"));
    command.arg("run").args(common_flags(at, node));
    command.args([
        "--role",
        "web",
        "--port",
        &SERVICE.to_string(),
        "--join",
        join,
    ]);
    command
}

/// A verb asked of the member at `at`; what it printed.
pub(crate) fn verb(at: &str, verb: &[&str]) -> String {
    let mut command = common::bare(env!("CARGO_BIN_EXE_lb-agent"));
    command.args(verb);
    command.env("SERF_RPC_ADDR", format!("{at}:7373"));
    let output = command.output().expect("it runs");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", said(&output.stdout), said(&output.stderr))
}

/// A front at `at`, with its admin on port 9901.
pub(crate) fn front(at: &str) -> Command {
    let mut command = bare(env!("CARGO_BIN_EXE_lb"), at, "front");
    command.args(["--cluster", "web"]);
    command.args(["--listen", &format!("{at}:8080")]);
    command.args(["--admin", &format!("{at}:9901")]);
    command
}

/// Starts a front and waits for its admin.
pub(crate) fn start_front(directory: &Path, at: &str) -> Running {
    let front = Running::start("front", directory, &mut front(at));
    eventually("the front's admin answers", LONG, || ask(at, "/healthz"));
    front
}

/// The body of an answer with status 200.
pub(crate) fn ask(front: &str, path: &str) -> Option<String> {
    let mut socket = TcpStream::connect((front, 9901)).ok()?;
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

/// The backend of `node` in the front's pool.
pub(crate) fn backend(front: &str, node: &str) -> Option<serde_json::Value> {
    let pools: serde_json::Value = serde_json::from_str(&ask(front, "/api/v1/pools")?).ok()?;
    let backends = pools["pools"][0]["backends"].as_array()?;
    let found = backends.iter().find(|backend| backend["node"] == node);
    found.cloned()
}

/// Waits until the front says `state` of `node`, with `reason` in its reason.
pub(crate) fn until_backend(front: &str, node: &str, state: &str, reason: &str) {
    let mut last = None;
    let there = || {
        let backend = backend(front, node);
        let told = |key: &str| {
            let value = backend.as_ref().map(|backend| &backend[key]);
            value
                .and_then(|value| value.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let seen = (told("state"), told("reason"));
        let right = seen.0 == state && seen.1.contains(reason);
        if !right && last.as_ref() != Some(&seen) {
            println!("{node}: {seen:?}");
            last = Some(seen);
        }
        right.then_some(())
    };
    eventually(&format!("{node} {state}: {reason}"), LONG, there);
}

/// The member `node` as the front knows it.
pub(crate) fn member(front: &str, node: &str) -> Option<serde_json::Value> {
    let all: serde_json::Value = serde_json::from_str(&ask(front, "/api/v1/members")?).ok()?;
    let members = all["members"].as_array()?;
    let found = members.iter().find(|member| member["name"] == node);
    found.cloned()
}

/// Whether the front knows `node` with `status`.
pub(crate) fn is(front: &str, node: &str, status: &str) -> bool {
    member(front, node).is_some_and(|member| member["status"] == status)
}

/// The value of a tag of `node`, as the front knows it.
pub(crate) fn tag(front: &str, node: &str, name: &str) -> Option<String> {
    let value = member(front, node)?["tags"][name].clone();
    value.as_str().map(str::to_owned)
}

/// A web server for as long as the test runs.
pub(crate) fn web(at: &str) {
    let listener = TcpListener::bind((at, SERVICE)).expect("the address is free");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 2048];
            let _ = stream.read(&mut buffer);
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

/// Replaces a file at once, so that nobody reads half of it.
pub(crate) fn put(path: &Path, text: &str) {
    let fresh = path.with_extension("fresh");
    std::fs::write(&fresh, text).expect("it is written");
    std::fs::rename(fresh, path).expect("it is replaced");
}

/// A file's text, or none.
pub(crate) fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
