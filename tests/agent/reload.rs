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

/// Members that a front's handler wrote down behind a word of its own.
fn front_toml(log: &std::path::Path, word: Option<&str>, more: &str) -> String {
    let handlers = word.map_or_else(String::new, |word| {
        format!(
            "event_handler = [\"member-join=while read name rest; do echo {word} $name; done >> {0}\", \"backend-up=echo {word} $SERF_EVENT $LB_BACKEND >> {0}\"]\n",
            log.display()
        )
    });
    format!("[gossip]\n{handlers}{more}[cluster.web]\n")
}

#[test]
fn a_front_s_handlers_are_replaced_added_and_taken_away() {
    let directory = tempfile::tempdir().unwrap();
    let front = ip(134, 1);
    let (file, log) = (
        directory.path().join("lb.toml"),
        directory.path().join("log"),
    );
    put(&file, &front_toml(&log, None, ""));
    let mut command = rig::front(&front);
    command.arg("--config").arg(&file);
    let running = Running::start("front", directory.path(), &mut command);
    eventually("it answers", LONG, || rig::ask(&front, "/healthz"));
    let reloads = |done: usize, what: &str| {
        running.signal(Signal::HUP);
        eventually(what, LONG, || {
            (running.output().matches(what).count() == done).then_some(())
        });
    };
    let mut agents = Vec::new();
    let mut joins = |host: u8, node: &str| {
        let own = ip(134, host);
        rig::web(&own);
        let mut agent = rig::agent(&own, node, &front);
        agents.push(Running::start(node, directory.path(), &mut agent));
        rig::until_backend(&front, node, "up", "");
    };
    let told = |line: &str| {
        eventually(line, LONG, || {
            rig::text(&log)
                .lines()
                .any(|told| told == line)
                .then_some(())
        });
    };

    // None at the start, so nobody listened.
    put(&file, &front_toml(&log, Some("first"), ""));
    reloads(1, " reloaded");
    joins(10, "web1");
    told("first web1");
    told("first backend-up web1");

    put(&file, &front_toml(&log, Some("second"), ""));
    reloads(2, " reloaded");
    joins(11, "web2");
    told("second web2");
    told("second backend-up web2");

    // What is refused changes no handler either.
    put(
        &file,
        &front_toml(&log, Some("refused"), "iface = \"lo\"\n"),
    );
    reloads(1, "reload refused");
    joins(12, "web3");
    told("second web3");
    told("second backend-up web3");

    put(&file, &front_toml(&log, None, ""));
    reloads(3, " reloaded");
    let handlers = rig::ask(&front, "/api/v1/handlers").expect("it answers");
    let handlers: serde_json::Value = serde_json::from_str(&handlers).expect("JSON");
    assert_eq!(handlers["handlers"], serde_json::json!([]));
    joins(13, "web4");
    put(&file, &front_toml(&log, Some("last"), ""));
    reloads(4, " reloaded");
    joins(14, "web5");
    told("last web5");

    // Serf collects joins for a second at least, so web4's was long told if anybody was there to tell it.
    let said = rig::text(&log);
    for never in ["first web2", "refused", "second web4", "first web4"] {
        assert!(!said.contains(never), "{never:?} in {said}");
    }
}
