//! SIGHUP: other tags, checks and handlers, or all as before.

use rustix::process::Signal;

use crate::common::{Running, eventually};
use crate::rig::{self, LONG, ip, put, tag};

#[test]
fn tags_are_read_again_and_what_needs_a_restart_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (front, own) = (ip(131, 1), ip(131, 10));
    let file = directory.path().join("agent.toml");
    put(&file, "[gossip.tags]\nzone = \"a\"\n");
    let _front = rig::start_front(directory.path(), &front);
    let mut agent = rig::agent(&own, "web1", &front);
    agent.arg("--config").arg(&file);
    let agent = Running::start("web1", directory.path(), &mut agent);
    let shows = |name: &str, value: &str| {
        eventually(&format!("{name}={value}"), LONG, || {
            (tag(&front, "web1", name)? == value).then_some(())
        });
    };
    shows("zone", "a");

    put(
        &file,
        "[agent]\nweight = 7\ncheck = \"exec:echo no; exit 2\"\n[gossip.tags]\nzone = \"b\"\n",
    );
    agent.signal(Signal::HUP);
    shows("zone", "b");
    shows("weight", "7");
    shows("state", "fail:no");

    put(
        &file,
        "[gossip]\niface = \"lo\"\n[gossip.tags]\nzone = \"c\"\n[agent]\nhosts_file = \"/x\"\n",
    );
    agent.signal(Signal::HUP);
    eventually("it is refused", LONG, || {
        let refused = "reload refused, the running configuration stays: gossip.iface, agent.hosts_file changed, which needs a restart";
        agent.output().contains(refused).then_some(())
    });
    assert_eq!(tag(&front, "web1", "zone").as_deref(), Some("b"));

    put(&file, "[gossip.tags]\nzone = \"d\"\n");
    agent.signal(Signal::HUP);
    shows("zone", "d");
    assert_eq!(tag(&front, "web1", "weight"), None);
    assert_eq!(tag(&front, "web1", "state"), None);
}

#[test]
fn handlers_are_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let (front, own, other) = (ip(132, 1), ip(132, 10), ip(132, 11));
    let file = directory.path().join("agent.toml");
    let log = directory.path().join("log");
    put(&file, "");
    let _front = rig::start_front(directory.path(), &front);
    let mut agent = rig::agent(&own, "web1", &front);
    agent.arg("--config").arg(&file);
    let agent = Running::start("web1", directory.path(), &mut agent);
    eventually("it is there", LONG, || {
        rig::is(&front, "web1", "alive").then_some(())
    });

    let handler = format!(
        "[gossip]\nevent_handler = \"member-join=cut -f1 >> {}\"\n",
        log.display()
    );
    put(&file, &handler);
    agent.signal(Signal::HUP);
    eventually("it is reloaded", LONG, || {
        agent.output().contains("reloaded").then_some(())
    });
    let _other = Running::start(
        "web2",
        directory.path(),
        &mut rig::agent(&other, "web2", &front),
    );

    eventually("the handler is told", LONG, || {
        rig::text(&log)
            .lines()
            .any(|line| line == "web2")
            .then_some(())
    });
}

#[test]
fn a_check_follows_its_port_and_its_command() {
    let directory = tempfile::tempdir().unwrap();
    let (front, own) = (ip(133, 1), ip(133, 10));
    let file = directory.path().join("agent.toml");
    let agent_toml = |port: u16, check: &str| {
        put(
            &file,
            &format!(
                "[agent]\nrole = \"web\"\nport = {port}\ncheck = \"{check}\"\ncheck_interval = \"50ms\"\n"
            ),
        );
    };
    rig::web(&own);
    agent_toml(rig::SERVICE, "tcp");
    let _front = rig::start_front(directory.path(), &front);
    let mut agent = std::process::Command::new(env!("CARGO_BIN_EXE_lb-agent"));
    agent
        .args(rig::common_flags(&own, "web1"))
        .args(["--join", &front]);
    agent.arg("--config").arg(&file);
    let agent = Running::start("web1", directory.path(), &mut agent);
    let fails = |why: &str| {
        eventually(why, LONG, || {
            (tag(&front, "web1", "state")? == format!("fail:{why}")).then_some(())
        });
    };
    rig::until_backend(&front, "web1", "up", "");

    agent_toml(rig::SERVICE + 1, "tcp");
    agent.signal(Signal::HUP);
    fails("connection refused");
    agent_toml(rig::SERVICE, "tcp");
    agent.signal(Signal::HUP);
    rig::until_backend(&front, "web1", "up", "");
    agent_toml(rig::SERVICE, "exec:echo no; exit 2");
    agent.signal(Signal::HUP);
    fails("no");
    agent_toml(rig::SERVICE, "ttl:30s");
    agent.signal(Signal::HUP);
    eventually("it is refused", LONG, || {
        let refused = "agent.check, agent.check_socket changed, which needs a restart";
        agent.output().contains(refused).then_some(())
    });
}
