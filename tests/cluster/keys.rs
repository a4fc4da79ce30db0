//! Every key of a cluster is changed while it serves: nobody is lost, and no request.
//!
//! ```text
//! client ─▶ front ─▶ web1, web2 (lb-agent), web3, web4, web5 (serf agent)      install, use, remove: each asked of another kind
//! ```

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Running, eventually, system_tests};
use crate::load::Load;
use crate::net::{Host, Network};
use crate::web;
use crate::world::get;

const KEYS: [&str; 2] = [
    "tDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=",
    "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3",
];

const WEBS: usize = 5;
const LONG: Duration = Duration::from_secs(120);
const WARM: Duration = Duration::from_secs(2);

/// `web1` and `web2` are ours, the others stock.
fn agent(host: &Host, number: usize, front: &Host, files: &Path) -> Running {
    let (name, front) = (format!("web{number}"), front.ip.to_string());
    let ring = files.join(format!("{name}.ring"));
    std::fs::write(&ring, format!("[\"{}\"]", KEYS[0])).expect("the keyring can be written");
    let mut command = if number <= 2 {
        let mut command = host.command(env!("CARGO_BIN_EXE_lb-agent"));
        command.args(["--role", "web", "--port", "80", "--node", &name]);
        command
            .args(["--join", &front, "--encrypt-key-file"])
            .arg(&ring);
        command.arg("--state-dir").arg(files.join("state"));
        command
    } else {
        let mut command = host.command("serf");
        command.args(["agent", "-role=web", "-tag", "port=80", "-node", &name]);
        command.args(["-bind", &host.ip.to_string(), "-join", &front]);
        command.arg(format!("-keyring-file={}", ring.display()));
        command
    };
    Running::start(&format!("{name}-agent"), files, &mut command)
}

fn front(host: &Host, files: &Path) -> Running {
    let key = files.join("key");
    std::fs::write(&key, KEYS[0]).expect("the key can be written");
    let mut command = host.command(env!("CARGO_BIN_EXE_lb"));
    command.args(["--cluster", "web", "--node", "front", "--workers", "2"]);
    command
        .args(["--discover", "off", "--encrypt-key-file"])
        .arg(key);
    command.arg("--state-dir").arg(files.join("state"));
    Running::start("front", files, &mut command)
}

/// Webs in the front's rotation.
fn in_rotation(front: &Host) -> usize {
    let admin = SocketAddr::from(([127, 0, 0, 1], 9901));
    let answer = front.run(move || get(admin, "/api/v1/pools")).join();
    let (_, body) = answer.expect("no panic").unwrap_or_default();
    let pools: Value = serde_json::from_str(&body).unwrap_or_default();
    let backends = pools["pools"][0]["backends"].as_array().cloned();
    let backends = backends.unwrap_or_default().into_iter();
    backends
        .filter(|backend| backend["in_rotation"] == true)
        .count()
}

#[test]
fn every_key_is_changed_under_load_without_a_lost_request() {
    if !system_tests(&["ip", "serf"]) {
        return;
    }
    let network = Network::new(WEBS as u8 + 2);
    let directory = tempfile::tempdir().expect("a directory");
    let files = directory.path();
    let (front_host, client) = (network.host(0), network.host(1));
    let mut front = front(&front_host, files);
    eventually("the front answers", LONG, || {
        let admin = SocketAddr::from(([127, 0, 0, 1], 9901));
        let answer = front_host.run(move || get(admin, "/healthz")).join();
        answer.expect("no panic")
    });
    let mut running = Vec::new();
    for number in 1..=WEBS {
        let (host, name) = (network.host(number + 1), format!("web{number}"));
        let notes = files.join(format!("{name}.posts"));
        let mut command = web::command(&host, &name, &notes);
        running.push(Running::start(&name, files, &mut command));
        running.push(agent(&host, number, &front_host, files));
    }
    eventually("all webs are in rotation", LONG, || {
        (in_rotation(&front_host) == WEBS).then_some(())
    });
    let load = Load::start(&client, SocketAddr::from((front_host.ip, 80)), 200);
    std::thread::sleep(WARM);

    let begun = Instant::now();
    let (ours, stock) = (env!("CARGO_BIN_EXE_lb-agent"), "serf");
    for (host, program, arguments) in [
        (5, stock, ["keys", "-install", KEYS[1]]),
        (2, ours, ["keys", "-use", KEYS[1]]),
        (0, stock, ["keys", "-remove", KEYS[0]]),
    ] {
        eventually(&format!("{arguments:?} of host {host}"), LONG, || {
            let mut command = network.host(host).command(program);
            let done = command.args(arguments).output().expect("it runs");
            done.status.success().then_some(())
        });
    }
    let taken = begun.elapsed();
    std::thread::sleep(WARM);
    let report = load.finish();

    println!("all keys changed in {taken:.1?}: {}", report.summary(begun));
    for post in [false, true] {
        let failed = report.failed(post);
        assert!(failed.is_empty(), "{}: {:?}", failed.len(), failed[0]);
    }
    assert_eq!(in_rotation(&front_host), WEBS);
    assert!(front.is_running());
    for host in [0, 2, 6] {
        let host = network.host(host);
        let says = |arguments: &[&str]| {
            let said = host.command(stock).args(arguments).output();
            String::from_utf8(said.expect("it runs").stdout).expect("text")
        };
        // A query whose answers came too late, on a busy machine, lists none.
        eventually("only the new key is left", LONG, || {
            let listed = says(&["keys", "-list"]);
            (listed.contains(KEYS[1]) && !listed.contains(KEYS[0])).then_some(())
        });
        eventually("everybody is alive", LONG, || {
            (says(&["members"]).matches("alive").count() == WEBS + 1).then_some(())
        });
    }
}
