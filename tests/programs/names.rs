//! The built programs and their names: who is living keeps it, who is rebuilt gets it back.
//!
//! ```text
//! lb 127.x.y.1 ◀─gossip─▶ lb-agent web1 127.x.y.10 (killed) ┄┄▶ lb-agent web1 127.x.y.11
//!   ▲ one request after the other                                  web server beside it
//! ```

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{self, Running, eventually};
use crate::ip;

const LONG: Duration = Duration::from_secs(60);

/// What a rebuilt node takes, on a calm machine.
const MOMENT: Duration = Duration::from_millis(1500);

/// Longer than that on any, and less than until gossip gives up a silent node: a probe's second, and four of suspicion.
const GIVEN_UP: Duration = Duration::from_secs(4);

fn bare(program: &str) -> Command {
    let mut command = common::bare(program);
    command.args(["--state-dir", "none", "--discover", "off"]);
    command
}

/// An agent named `node` for a service on port 8081.
fn agent(node: &str, at: &str, join: &str) -> Command {
    let mut command = bare(env!("CARGO_BIN_EXE_lb-agent"));
    let bind = format!("{at}:7946");
    command.args(["--role", "web", "--port", "8081", "--node", node]);
    command.args(["--bind", &bind, "--join", join]);
    command
}

fn front(node: &str, at: &str, more: &[&str]) -> Command {
    let mut command = bare(env!("CARGO_BIN_EXE_lb"));
    command.args(["--cluster", "web", "--node", node]);
    command.args(["--bind", &format!("{at}:7946")]);
    command.args(["--listen", &format!("{at}:8080")]);
    command.args(["--admin", &format!("{at}:9901")]);
    command.args(more);
    command
}

/// Body of the answer to a GET, if it is one.
fn get(address: &str, path: &str) -> Option<String> {
    let mut socket = TcpStream::connect(address).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

/// A web server that tells its address, for as long as the test runs.
fn web(at: &str) {
    let text = at.to_owned();
    let listener = TcpListener::bind((at, 8081)).expect("the address is free");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 2048];
            let _ = stream.read(&mut buffer);
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                text.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

/// Whether the front sees `node` alive at `at` in rotation.
fn serves(front: &str, at: &str) -> bool {
    get(&format!("{front}:8080"), "/").as_deref() == Some(at)
}

fn ended(name: &str, directory: &Path, mut command: Command) -> (Option<i32>, String, Duration) {
    let begun = Instant::now();
    let mut running = Running::start(name, directory, command.stdin(Stdio::null()));
    let status = running.wait(LONG);
    (status.code(), running.output(), begun.elapsed())
}

#[test]
fn an_agent_whose_name_is_a_living_nodes_ends_with_4_and_harms_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let (front_at, living) = (ip(71, 1), ip(71, 10));
    web(&living);
    let _front = Running::start(
        "front",
        directory.path(),
        &mut front("front", &front_at, &[]),
    );
    let mut first = Running::start(
        "web1",
        directory.path(),
        &mut agent("web1", &living, &front_at),
    );
    eventually("the living one serves", LONG, || {
        serves(&front_at, &living).then_some(())
    });

    for round in 0..3 {
        // Through the front, and through the living one itself.
        let via = if round == 1 { &living } else { &front_at };
        let claimant = agent("web1", &ip(71, 20 + round), via);
        let (code, said, taken) = ended(&format!("claimant{round}"), directory.path(), claimant);
        assert_eq!(code, Some(4), "{said}");
        let line = format!(
            "lb-agent: the name \"web1\" is in use by a living node at {living}:7946; choose another with --node, or stop that one"
        );
        assert!(said.contains(&line), "{said}");
        assert!(taken >= Duration::from_secs(2), "confirmed after {taken:?}");
        assert!(serves(&front_at, &living));
    }
    let (code, said, _) = ended(
        "lb",
        directory.path(),
        front("web1", &ip(71, 30), &["--join", &front_at]),
    );
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("lb: the name \"web1\" is in use"), "{said}");
    assert!(first.is_running());
    assert!(!first.output().contains("claimed"), "{}", first.output());
}

#[test]
fn a_rebuilt_agent_serves_at_its_new_address_within_a_moment() {
    let directory = tempfile::tempdir().unwrap();
    let front_at = ip(72, 1);
    let _front = Running::start(
        "front",
        directory.path(),
        &mut front("front", &front_at, &[]),
    );
    let other = ip(72, 5);
    let _other = Running::start(
        "other",
        directory.path(),
        &mut agent("other", &other, &front_at),
    );
    let mut web1 = Running::start(
        "web1",
        directory.path(),
        &mut agent("web1", &ip(72, 10), &front_at),
    );
    web(&ip(72, 10));
    eventually("the first one serves", LONG, || {
        serves(&front_at, &ip(72, 10)).then_some(())
    });
    let mut best = LONG;
    for round in 1..=3 {
        let at = ip(72, 10 + round);
        web1.kill();
        web(&at);
        let begun = Instant::now();
        web1 = Running::start("web1", directory.path(), &mut agent("web1", &at, &front_at));
        eventually("the new one serves", LONG, || {
            serves(&front_at, &at).then_some(())
        });
        let taken = begun.elapsed();
        println!("rebuilt, round {round}: first answer after {taken:?}");
        assert!(taken < GIVEN_UP, "{taken:?}");
        best = best.min(taken);
    }
    assert!(best < MOMENT, "{best:?}");
}

#[test]
fn a_front_that_runs_takes_another_name_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (living, lone, own_web) = (ip(73, 10), ip(73, 1), ip(73, 5));
    web(&own_web);
    let seed = ip(73, 20);
    let backend = format!("{own_web}:8081");
    let command = &mut front("web1", &lone, &["--join", &seed, "--backend", &backend]);
    let mut front = Running::start("front", directory.path(), command);
    eventually("it serves alone", LONG, || {
        serves(&lone, &own_web).then_some(())
    });
    // Longer than what counts as its start: this is what the test is about.
    thread::sleep(Duration::from_secs(10));

    let _seed = Running::start("seed", directory.path(), &mut agent("seed", &seed, &living));
    let _web1 = Running::start("web1", directory.path(), &mut agent("web1", &living, &seed));
    eventually("the seed is met under another name", LONG, || {
        let metrics = get(&format!("{lone}:9901"), "/metrics")?;
        let met = metrics.contains("lb_gossip_members{status=\"alive\"} 3");
        (met && metrics.contains("lb_gossip_conflicts_total 1")).then_some(())
    });

    assert!(front.is_running());
    assert!(
        front.output().contains("we are web1-"),
        "{}",
        front.output()
    );
    assert!(get(&format!("{lone}:8080"), "/").is_some());
}
