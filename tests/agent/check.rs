//! What the agent finds out about its service, a front obeys.

use std::process::Command;

use crate::common::{Running, eventually};
use crate::rig::{self, LONG, ip, put, tag, until_backend, web};

#[test]
fn a_check_that_fails_takes_its_node_out_and_one_that_passes_puts_it_back() {
    let directory = tempfile::tempdir().unwrap();
    let (front, own, other) = (ip(101, 1), ip(101, 10), ip(101, 11));
    let answer = directory.path().join("answer");
    put(&answer, "0 fine");
    web(&own);
    web(&other);
    let _front = rig::start_front(directory.path(), &front);
    // Else a node that only says itself that it fails would be used as the last one there is.
    let _other = Running::start(
        "web2",
        directory.path(),
        &mut rig::agent(&other, "web2", &front),
    );
    let check = format!(
        "exec:read code text < {}; echo $text; exit $code",
        answer.display()
    );
    let mut agent = rig::agent(&own, "web1", &front);
    agent.args([
        "--check",
        &check,
        "--check-interval",
        "100ms",
        "--check-timeout",
        "60s",
    ]);
    let mut agent = Running::start("web1", directory.path(), &mut agent);
    until_backend(&front, "web2", "up", "");
    until_backend(&front, "web1", "up", "");

    put(&answer, "2 disk full; call Eve");
    until_backend(
        &front,
        "web1",
        "down",
        "its own node says it fails: disk full; call Eve",
    );
    put(&answer, "1 nearly full");
    until_backend(&front, "web1", "up", "");
    assert_eq!(tag(&front, "web1", "state"), None);
    put(&answer, &format!("2 {}", "x".repeat(200)));
    until_backend(
        &front,
        "web1",
        "down",
        &format!("says it fails: {}", "x".repeat(64)),
    );
    let state = tag(&front, "web1", "state").expect("a state");
    assert_eq!(state, format!("fail:{}", "x".repeat(64)));

    assert!(agent.is_running());
    tell_delays(&agent.output(), &text_of(&directory, "front"));
}

fn text_of(directory: &tempfile::TempDir, name: &str) -> String {
    rig::text(&directory.path().join(format!("{name}.log")))
}

/// How long after the verdict the front had it out: a figure to look at, since a busy machine may take any time.
fn tell_delays(agent: &str, front: &str) {
    let times = |log: &str, what: &str| -> Vec<String> {
        let lines = log.lines().filter(|line| line.contains(what));
        lines
            .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
            .collect()
    };
    let verdicts = times(agent, "check fails");
    let downs = times(front, "web1 down");
    println!("verdicts at {verdicts:?}, out at {downs:?}");
    assert!(!verdicts.is_empty() && !downs.is_empty());
}

#[test]
fn a_check_that_hangs_is_a_failure_and_harms_no_membership() {
    let directory = tempfile::tempdir().unwrap();
    let (front, own) = (ip(102, 1), ip(102, 10));
    let _front = rig::start_front(directory.path(), &front);
    let mut agent = rig::agent(&own, "web1", &front);
    agent.args([
        "--check",
        "exec:trap '' TERM; sleep 200",
        "--check-timeout",
        "200ms",
    ]);
    agent.args(["--check-interval", "100ms"]);
    let mut agent = Running::start("web1", directory.path(), &mut agent);

    eventually("it says why", LONG, || {
        (tag(&front, "web1", "state")? == "fail:no end within 200ms").then_some(())
    });

    assert!(rig::is(&front, "web1", "alive"));
    assert!(agent.terminate().success());
    eventually("it has left", LONG, || {
        rig::is(&front, "web1", "left").then_some(())
    });
}

#[test]
fn a_service_that_is_not_checked_yet_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let (front, own) = (ip(103, 1), ip(103, 10));
    web(&own);
    let go = directory.path().join("go");
    let _front = rig::start_front(directory.path(), &front);
    let mut agent = rig::agent(&own, "web1", &front);
    let check = format!(
        "exec:while kill -0 $PPID && ! test -e {}; do sleep 0.01; done",
        go.display()
    );
    agent.args(["--check", &check, "--check-timeout", "600s"]);
    let _agent = Running::start("web1", directory.path(), &mut agent);

    eventually("it is announced as unproven", LONG, || {
        (tag(&front, "web1", "state")? == "fail:not checked yet").then_some(())
    });
    put(&go, "");

    until_backend(&front, "web1", "up", "check");
    assert_eq!(tag(&front, "web1", "state"), None);
}

#[test]
fn a_port_that_closes_is_told_by_its_own_node_too() {
    let directory = tempfile::tempdir().unwrap();
    let (front, own) = (ip(104, 1), ip(104, 10));
    let listener = std::net::TcpListener::bind((own.as_str(), rig::SERVICE)).expect("it is free");
    let _front = rig::start_front(directory.path(), &front);
    let mut agent = rig::agent(&own, "web1", &front);
    agent.args(["--check", "tcp", "--check-interval", "100ms"]);
    let _agent = Running::start("web1", directory.path(), &mut agent);
    until_backend(&front, "web1", "up", "");
    assert_eq!(tag(&front, "web1", "check").as_deref(), Some("tcp"));

    drop(listener);

    eventually("its state says why", LONG, || {
        (tag(&front, "web1", "state")? == "fail:connection refused").then_some(())
    });
}

#[test]
fn a_service_that_reports_is_in_for_as_long_as_it_does() {
    let directory = tempfile::tempdir().unwrap();
    let (front, own) = (ip(105, 1), ip(105, 10));
    web(&own);
    let socket = directory.path().join("check.sock");
    let report = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lb-agent"));
        command
            .arg("report")
            .args(arguments)
            .arg("--check-socket")
            .arg(&socket);
        let output = command.output().expect("it runs");
        output.status.code()
    };
    assert_eq!(report(&["pass"]), Some(5), "nobody listens");
    let _front = rig::start_front(directory.path(), &front);
    let mut agent = rig::agent(&own, "web1", &front);
    agent
        .args(["--check", "ttl:3s", "--check-socket"])
        .arg(&socket);
    let mut agent = Running::start("web1", directory.path(), &mut agent);
    eventually("it awaits a report", LONG, || {
        tag(&front, "web1", "state")?
            .starts_with("fail:no report")
            .then_some(())
    });

    // Again and again: on a busy machine one may be late.
    eventually("it is up", LONG, || {
        assert_eq!(report(&["pass"]), Some(0));
        (rig::backend(&front, "web1")?["state"] == "up").then_some(())
    });
    eventually("it is out without reports", LONG, || {
        (tag(&front, "web1", "state")? == "fail:no report within 3s").then_some(())
    });
    assert_eq!(report(&["fail", "queue full"]), Some(0));
    assert_eq!(report(&["pass"]), Some(0));
    assert_eq!(report(&["fail", "queue full"]), Some(0));
    eventually("it says why", LONG, || {
        (tag(&front, "web1", "state")? == "fail:queue full").then_some(())
    });

    assert!(agent.terminate().success());
    assert!(!socket.exists(), "the socket is left behind");
}

#[test]
fn words_of_haproxys_agent_check_set_weight_and_state() {
    let directory = tempfile::tempdir().unwrap();
    let (front, own, other) = (ip(106, 1), ip(106, 10), ip(106, 11));
    web(&own);
    web(&other);
    let line = directory.path().join("line");
    put(&line, "up 100%\n");
    let _front = rig::start_front(directory.path(), &front);
    let _other = Running::start(
        "web2",
        directory.path(),
        &mut rig::agent(&other, "web2", &front),
    );
    let mut agent = rig::agent(&own, "web1", &front);
    agent.args([
        "--weight",
        "200",
        "--agent-check",
        &format!("cat {}", line.display()),
    ]);
    agent.args(["--agent-check-interval", "50ms"]);
    let _agent = Running::start("web1", directory.path(), &mut agent);
    let weighs = |weight: u64| {
        eventually(&format!("it weighs {weight}"), LONG, || {
            (rig::backend(&front, "web1")?["weight"] == weight).then_some(())
        });
    };

    until_backend(&front, "web1", "up", "");
    weighs(200);
    put(&line, "75%\n");
    weighs(150);
    put(&line, "drain\n");
    until_backend(&front, "web1", "drain", "");
    put(&line, "nonsense\n");
    put(&line, "maint\n");
    until_backend(&front, "web1", "maint", "");
    put(&line, "ready down#no more licences\n");
    until_backend(&front, "web1", "down", "no more licences");
    put(&line, "up 100%\n");
    until_backend(&front, "web1", "up", "");
    weighs(200);
}

#[test]
fn a_failing_service_is_out_and_its_neighbour_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (front, own) = (ip(107, 1), ip(107, 10));
    let answer = directory.path().join("answer");
    let file = directory.path().join("agent.toml");
    put(&answer, "2 no licence; call Eve");
    put(&file, "");
    web(&own);
    let _front = rig::start_front(directory.path(), &front);
    let exec = format!(
        "api=exec:read code text < {}; echo $text; exit $code",
        answer.display()
    );
    let mut agent = rig::agent(&own, "web1", &front);
    agent.args(["--service", "api=8081;w=3", "--service", "db=1"]);
    agent.args(["--check", "tcp", "--check", &exec, "--check", "db=tcp"]);
    agent.args(["--check-interval", "100ms", "--check-timeout", "60s"]);
    agent.arg("--config").arg(&file);
    let agent = Running::start("web1", directory.path(), &mut agent);
    let shows = |name: &str, value: Option<&str>| {
        eventually(&format!("{name}={value:?}"), LONG, || {
            rig::is(&front, "web1", "alive").then_some(())?;
            (tag(&front, "web1", name).as_deref() == value).then_some(())
        });
    };

    shows("svc.api", Some("8081;w=3;s=fail:no licence, call Eve"));
    shows("svc.db", Some("1;c=tcp;s=fail:connection refused"));
    shows("state", None);
    until_backend(&front, "web1", "up", "");
    put(&answer, "0 fine");
    shows("svc.api", Some("8081;w=3"));
    let said = agent.output();
    assert!(
        said.contains("the service api's check fails: no licence; call Eve"),
        "{said}"
    );

    // Another tag from outside stays, and a reload keeps the checks.
    put(&file, "[gossip.tags]\nzone = \"b\"\n");
    agent.signal(rustix::process::Signal::HUP);
    shows("zone", Some("b"));
    put(&answer, "2 again");
    shows("svc.api", Some("8081;w=3;s=fail:again"));
    shows("svc.db", Some("1;c=tcp;s=fail:connection refused"));
}
