//! `lb-agent run`: the service is started, joined, left and stopped in this order.
//!
//! Services here end with the agent, so that a test that fails leaves none behind.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::{Running, eventually};
use crate::rig::{self, LONG, SERVICE, ip, put, text};

/// A shell script as the service.
fn service(directory: &Path, at: &str, front: &str, script: &str) -> Running {
    let mut command = rig::agent_run(at, "web1", front);
    command.args(["--stop-timeout", "60s", "--", "sh", "-c", script]);
    Running::start("web1", directory, &mut command)
}

fn joined(front: &str) {
    eventually("it has joined", LONG, || {
        rig::is(front, "web1", "alive").then_some(())
    });
}

#[test]
fn it_joins_when_the_port_opens_and_leaves_before_the_service_stops() {
    let directory = tempfile::tempdir().unwrap();
    let (front, own) = (ip(111, 1), ip(111, 10));
    let (begun, stopped, go) = (
        directory.path().join("begun"),
        directory.path().join("stopped"),
        directory.path().join("go"),
    );
    let _front = rig::start_front(directory.path(), &front);
    let script = format!(
        "trap 'echo > {stopped}; while kill -0 $PPID && ! test -e {go}; do sleep 0.02; done; exit 7' TERM; echo > {begun}; while kill -0 $PPID; do sleep 0.02; done",
        begun = begun.display(),
        stopped = stopped.display(),
        go = go.display()
    );
    let mut agent = service(directory.path(), &own, &front, &script);
    eventually("the service runs", LONG, || begun.exists().then_some(()));
    // It had every chance to join: this is what the test is about.
    std::thread::sleep(Duration::from_secs(1));
    assert!(
        rig::member(&front, "web1").is_none(),
        "it joined before the port was open"
    );

    let _listener = TcpListener::bind((own.as_str(), SERVICE)).expect("it is free");
    joined(&front);
    agent.signal(Signal::TERM);

    eventually("the service is asked to stop", LONG, || {
        stopped.exists().then_some(())
    });
    let log = agent.output();
    assert!(log.contains(" INFO left"), "the service was stopped first");
    eventually("all know", LONG, || {
        rig::is(&front, "web1", "left").then_some(())
    });
    put(&go, "");
    assert_eq!(agent.wait(LONG).code(), Some(7));
}

#[test]
fn a_service_that_ends_by_itself_ends_the_membership() {
    for (test, script, code) in [
        (112, "read x; exit 3", 3),
        (113, "read x; kill -KILL $$", 137),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (front, own) = (ip(test, 1), ip(test, 10));
        let go = directory.path().join("go");
        let _front = rig::start_front(directory.path(), &front);
        let _listener = TcpListener::bind((own.as_str(), SERVICE)).expect("it is free");
        let waits = format!(
            "while kill -0 $PPID && ! test -e {}; do sleep 0.02; done; ",
            go.display()
        );
        let script = format!("{waits}{}", script.trim_start_matches("read x; "));
        let mut agent = service(directory.path(), &own, &front, &script);
        joined(&front);

        put(&go, "");

        assert_eq!(agent.wait(LONG).code(), Some(code), "{script}");
        eventually("it has left", LONG, || {
            rig::is(&front, "web1", "left").then_some(())
        });
    }
}

#[test]
fn a_service_that_does_not_stop_is_killed_with_what_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let (front, own) = (ip(114, 1), ip(114, 10));
    let pids = directory.path().join("pids");
    let _front = rig::start_front(directory.path(), &front);
    let _listener = TcpListener::bind((own.as_str(), SERVICE)).expect("it is free");
    let script = format!(
        "trap '' TERM; (trap '' TERM; sleep 200) & echo $! > {0}.new; mv {0}.new {0}; while kill -0 $PPID; do sleep 0.05; done",
        pids.display()
    );
    let mut command = rig::agent_run(&own, "web1", &front);
    command.args(["--stop-timeout", "200ms", "--", "sh", "-c", &script]);
    let mut agent = Running::start("web1", directory.path(), &mut command);
    joined(&front);
    let pid = eventually("it has started another", LONG, || {
        text(&pids).trim().parse::<i32>().ok()
    });

    agent.signal(Signal::TERM);

    assert_eq!(agent.wait(LONG).code(), Some(137));
    eventually("the other is gone too", LONG, || {
        let stat = text(Path::new(&format!("/proc/{pid}/stat")));
        let runs = stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with('Z'));
        (!runs).then_some(())
    });
}

#[test]
fn signals_that_mean_nothing_to_the_agent_reach_the_service() {
    let directory = tempfile::tempdir().unwrap();
    let (front, own) = (ip(115, 1), ip(115, 10));
    let heard = directory.path().join("heard");
    let _front = rig::start_front(directory.path(), &front);
    let _listener = TcpListener::bind((own.as_str(), SERVICE)).expect("it is free");
    let script = format!(
        "for s in HUP USR1 USR2; do trap \"echo $s >> {0}\" $s; done; trap 'echo QUIT >> {0}; exit 0' QUIT; echo ready >> {0}; while kill -0 $PPID; do sleep 0.02; done",
        heard.display()
    );
    let mut agent = service(directory.path(), &own, &front, &script);
    joined(&front);
    let hears = |word: &str| {
        eventually(&format!("it hears {word}"), LONG, || {
            text(&heard).lines().any(|line| line == word).then_some(())
        });
    };
    hears("ready");

    for (signal, word) in [
        (Signal::HUP, "HUP"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
    ] {
        agent.signal(signal);
        hears(word);
    }
    assert!(rig::is(&front, "web1", "alive"));
    agent.signal(Signal::QUIT);

    assert_eq!(agent.wait(LONG).code(), Some(0));
    hears("QUIT");
    eventually("it has left", LONG, || {
        rig::is(&front, "web1", "left").then_some(())
    });
}

#[test]
fn a_service_that_is_not_there_is_told_as_a_shell_does() {
    let own = ip(116, 10);
    for (command, code) in [("/nonexistent/service", 127), ("/dev/null", 126)] {
        let output = rig::agent_run(&own, "web1", &own)
            .args(["--", command])
            .output();
        let output = output.expect("it runs");
        assert_eq!(output.status.code(), Some(code), "{command}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("lb-agent: {command}: ")), "{said}");
    }
    let usage = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_lb-agent"))
            .args(arguments)
            .output();
        output.expect("it runs").status.code()
    };
    assert_eq!(usage(&["run", "--role", "web"]), Some(2));
    assert_eq!(usage(&["run", "--role", "web", "--"]), Some(2));
    assert_eq!(usage(&["run", "--help"]), Some(0));
}

#[test]
fn a_stop_while_the_port_is_awaited_stops_the_service() {
    let directory = tempfile::tempdir().unwrap();
    let own = ip(117, 10);
    let begun = directory.path().join("begun");
    let script = format!(
        "trap 'exit 9' TERM; echo > {}; while kill -0 $PPID; do sleep 0.02; done",
        begun.display()
    );
    let mut agent = service(directory.path(), &own, &own, &script);
    eventually("the service runs", LONG, || begun.exists().then_some(()));

    agent.signal(Signal::TERM);

    assert_eq!(agent.wait(LONG).code(), Some(9));
}

#[test]
fn a_service_can_report_as_it_would_to_systemd() {
    let directory = tempfile::tempdir().unwrap();
    let (front, own) = (ip(118, 1), ip(118, 10));
    let socket = directory.path().join("check.sock");
    rig::web(&own);
    let _front = rig::start_front(directory.path(), &front);
    let script = format!(
        "test $WATCHDOG_USEC = 30000000 || exit 1; while kill -0 $PPID; do {} report pass; sleep 0.2; done",
        env!("CARGO_BIN_EXE_lb-agent")
    );
    let mut command = rig::agent_run(&own, "web1", &front);
    command
        .args(["--check", "ttl:30s", "--check-socket"])
        .arg(&socket);
    command.args(["--", "sh", "-c", &script]);
    let mut agent = Running::start("web1", directory.path(), &mut command);

    rig::until_backend(&front, "web1", "up", "");

    assert_eq!(rig::tag(&front, "web1", "state"), None);
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait(LONG).code(), Some(143));
}
