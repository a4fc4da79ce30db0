//! An agent bound to 0.0.0.0 sends its IPv4 address as 16 octets, and means it.

use std::net::Ipv6Addr;
use std::process::Command;

use lb::gossip::core::member::Status;

use crate::common::{free_address, system_tests};
use crate::peers::{Agent, Ours, address, one_is_quiet, pull};

/// Set for the copy of this program that runs in the namespace.
const INSIDE: &str = "LB_TEST_INSIDE";

/// It advertises the first private address of the machine, so the machine is a network namespace with exactly one.
const NAMESPACE: &str = "ip link set lo up && ip link add private0 type veth peer name private1 && ip addr add 10.99.7.1/24 dev private0 \
     && ip link set private0 up && ip link set private1 up && ip route add default dev private0 && exec \"$@\"";

#[test]
fn an_address_of_sixteen_octets_is_kept_and_no_conflict() {
    if std::env::var_os(INSIDE).is_some() {
        return one_is_quiet(inside);
    }
    if !system_tests(&["serf", "unshare", "ip"]) {
        return;
    }
    let output = Command::new("unshare")
        .args(["--net", "--map-root-user", "sh", "-c", NAMESPACE, "sh"])
        .arg(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "octets::an_address_of_sixteen_octets_is_kept_and_no_conflict",
        ])
        .args(["--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "it ran: {text}");
}

fn inside() -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let ours = Ours::start("front", "0.0.0.0:7947", &["10.99.7.1"]);
    assert_eq!(ours.at().to_string(), "10.99.7.1:7947");
    assert_eq!(
        ours.handle.advertised().why,
        "first private address, of private0"
    );

    let one = Agent::bound(directory.path(), "web1", "0.0.0.0:7946", "127.0.0.1", &[]);
    ours.sees("web1", Status::Alive);
    one.sees("front", "alive");
    // The third hears of the first from us as well: in the octets that it chose, or the agents see a conflict.
    let join = format!("-join={}", ours.at());
    let two = Agent::bound(
        directory.path(),
        "web2",
        "0.0.0.0:7948",
        "127.0.0.2",
        &[&join],
    );
    for name in ["web1", "web2"] {
        let seen = ours.sees(name, Status::Alive);
        assert_eq!(seen.address.ip().to_string(), "10.99.7.1");
    }
    one.sees("web2", "alive");
    two.sees("web1", "alive");
    two.sees("front", "alive");

    // So it is on the wire, from its own mouth and from ours; we are in four.
    for at in ["10.99.7.1:7946", "10.99.7.1:7947"] {
        for node in pull(at.parse().unwrap()) {
            let octets = if node.name == "front" { 4 } else { 16 };
            assert_eq!(node.addr.octets.len(), octets, "{node:?} of {at}");
        }
    }

    assert!(two.run(&["leave"]).status.success());
    ours.sees("web2", Status::Left);
    one.sees("web2", "left");
    for agent in [&one, &two] {
        let output = agent.process.output();
        assert!(!output.to_lowercase().contains("conflict"), "{output}");
    }
    one.is_quiet()
}

#[test]
fn an_agent_on_ipv6_and_we_meet() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ours = Ours::start("front", "[::1]:0", &[]);
    assert_eq!(ours.handle.advertised().why, "the address it is bound to");
    // Only one such address exists, so the agent takes another port; free a moment ago.
    let port = free_address(Ipv6Addr::LOCALHOST).port();
    let join = format!("-join={}", ours.at());

    let bind = format!("[::1]:{port}");
    let agent = Agent::bound(directory.path(), "web6", &bind, &address(51, 2), &[&join]);

    let seen = ours.sees("web6", Status::Alive);
    assert_eq!(seen.address.to_string(), bind);
    agent.sees("front", "alive");
    ours.leave();
    agent.sees("front", "left");
}
