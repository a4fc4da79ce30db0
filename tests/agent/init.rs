//! As process 1, which in a container gets every orphan.
//!
//! ```text
//! unshare ─▶ lb-agent run (pid 1) ─▶ service ─▶ children that it leaves behind ─▶ pid 1
//! ```

use std::path::Path;
use std::process::Command;

use crate::common::{Running, eventually, system_tests};
use crate::rig::{self, LONG, ip, put};

/// Pid and state of each child of `parent`, as this namespace numbers them.
fn children(parent: i32) -> Vec<(i32, String)> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut words = stat.rsplit_once(')')?.1.split_whitespace();
        let state = words.next()?.to_owned();
        (words.next()?.parse() == Ok(parent)).then_some((pid, state))
    })
    .collect()
}

/// An agent that is process 1 of a namespace of its own, and runs `script` as its service.
fn contained(directory: &Path, at: &str, more: &[&str], script: &str) -> (Running, i32) {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
    command.arg(env!("CARGO_BIN_EXE_lb-agent")).arg("run");
    command.args(rig::common_flags(at, "web1"));
    command.args(more).args(["--", "sh", "-c", script]);
    let unshare = Running::start("web1", directory, &mut command);
    let agent = eventually("it runs", LONG, || Some(children(unshare.pid()).first()?.0));
    (unshare, agent)
}

#[test]
fn orphans_are_buried_and_no_exit_code_is_lost() {
    if !system_tests(&["unshare"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (front, own) = (ip(161, 1), ip(161, 10));
    let path = |name: &str| directory.path().join(name).display().to_string();
    let _front = rig::start_front(directory.path(), &front);
    // Every round leaves a child behind that ends right away, and one that ends while others do.
    let script = format!(
        "n=0; while ! test -e {go}; do (exit 1 &); (sleep 0.05 &); n=$((n+1)); echo $n > {rounds}; sleep 0.01; done; exit 7",
        go = path("go"),
        rounds = path("rounds"),
    );
    let check = format!("exec:echo >> {}; exit 0", path("checks"));
    let more = [
        "--role",
        "web",
        "--join",
        &front,
        "--check",
        &check,
        "--check-timeout",
        "60s",
        "--check-interval",
        "50ms",
    ];
    let (mut unshare, _) = contained(directory.path(), &own, &more, &script);
    eventually("it has joined", LONG, || {
        rig::is(&front, "web1", "alive").then_some(())
    });
    let count = |name: &str| rig::text(&directory.path().join(name));

    eventually("hundreds of orphans, and checks between them", LONG, || {
        let rounds: u32 = count("rounds").trim().parse().ok()?;
        (rounds > 200 && count("checks").len() > 20).then_some(())
    });

    // A check whose code was lost would have failed.
    assert_eq!(rig::tag(&front, "web1", "state"), None);
    assert!(
        !unshare.output().contains("check fails"),
        "{}",
        unshare.output()
    );
    put(&directory.path().join("go"), "");
    assert_eq!(unshare.wait(LONG).code(), Some(7));
}

#[test]
fn nothing_dead_is_left_once_it_is_quiet() {
    if !system_tests(&["unshare"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let own = ip(162, 10);
    let done = directory.path().join("done");
    let script = format!(
        "for n in 1 2 3 4 5 6 7 8 9; do (exit 1 &); (sleep 0.1 &); done; wait; sleep 0.3; echo > {}; while :; do sleep 60; done",
        done.display()
    );
    let (_unshare, agent) = contained(directory.path(), &own, &[], &script);
    eventually("all were left behind", LONG, || done.exists().then_some(()));

    eventually("only the service is left", LONG, || {
        let left = children(agent);
        (left.len() == 1 && left.iter().all(|(_, state)| state != "Z")).then_some(())
    });
}
