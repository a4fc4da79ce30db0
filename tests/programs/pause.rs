//! The built front is stopped for a while and continued: it was the sick one, and blames nobody.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::{Running, eventually, free_address};

/// Far beyond any wait that should be needed.
const DEADLINE: Duration = Duration::from_secs(30);

/// Several checks, probes and gossip rounds; longer than a check, its repetition and a probe together.
const PAUSE: Duration = Duration::from_secs(4);

/// On a network of loopback that no other test uses.
const FRONT: &str = "127.0.61.9";
const WEB: &str = "127.0.61.1";

/// Answers everything with 200, each connection once.
fn web(address: &str) -> SocketAddr {
    let listener = TcpListener::bind(address).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
    });
    address
}

/// A port that was free a moment ago.
fn port(host: &str) -> String {
    let host: IpAddr = host.parse().expect("an address");
    free_address(host).to_string()
}

fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

/// Node, whether it is in, and its state.
fn backends(admin: &str) -> Option<Vec<(String, bool, String)>> {
    let json: serde_json::Value = serde_json::from_str(&get(admin, "/api/v1/pools")?).ok()?;
    let all = json["pools"][0]["backends"].as_array()?.iter();
    let seen = all.map(|one| {
        let text = |key: &str| one[key].as_str().map(str::to_owned);
        Some((text("node")?, one["in_rotation"].as_bool()?, text("state")?))
    });
    seen.collect()
}

fn metric(admin: &str, name: &str) -> f64 {
    let page = get(admin, "/metrics").unwrap_or_default();
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok())
        .unwrap_or(0.0)
}

#[test]
fn a_front_that_was_stopped_takes_nobody_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let of_agent = web(&format!("{WEB}:0"));
    let fixed = web(&format!("{WEB}:0"));
    let (listen, admin, gossip) = (port(FRONT), port(FRONT), port(FRONT));
    let common = ["--state-dir", "none", "--discover", "off"];
    let mut front = Running::start(
        "front",
        directory.path(),
        Command::new(env!("CARGO_BIN_EXE_lb"))
            .args(["--cluster", "web", "--node", "front"])
            .args(["--listen", &listen, "--admin", &admin, "--bind", &gossip])
            .args(["--backend", &fixed.to_string()])
            .args(common),
    );
    let _agent = Running::start(
        "agent",
        directory.path(),
        Command::new(env!("CARGO_BIN_EXE_lb-agent"))
            .args(["--role", "web", "--node", "web1", "--join", &gossip])
            .args(["--port", &of_agent.port().to_string()])
            .args(["--bind", &port(WEB)])
            .args(common),
    );
    eventually("both are in", DEADLINE, || {
        let all = backends(&admin)?;
        (all.len() == 2 && all.iter().all(|one| one.1)).then_some(())
    });

    front.signal(Signal::STOP);
    std::thread::sleep(PAUSE);
    front.signal(Signal::CONT);

    eventually("both notice the pause", DEADLINE, || {
        let noticed = ["lb_pauses_total ", "lb_gossip_pauses_total "];
        noticed
            .iter()
            .all(|name| metric(&admin, name) >= 1.0)
            .then_some(())
    });
    // Until each was checked again after it.
    let checks = || metric(&admin, "lb_checks_total{result=\"pass\"} ");
    let before = checks();
    eventually("checks go on", DEADLINE, || {
        (checks() >= before + 4.0).then_some(())
    });
    let all = backends(&admin).expect("the pool is shown");
    assert!(all.iter().all(|one| one.1), "{all:?}");
    let log = front.output();
    for word in [" down: ", " ejected: ", " lost: ", "no backend is in"] {
        assert!(!log.contains(word), "{word}");
    }
    assert!(log.contains("this process slept for"));
    assert!(front.is_running());
}
