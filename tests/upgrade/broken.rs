//! A new program that is no good changes nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

use rustix::process::Signal;

use crate::common::{eventually, system_tests};
use crate::load::Load;
use crate::rig::{LONG, World, lives, put, saw_nothing};

const TIMEOUTS: &str = "drain = \"20s\"";

fn script(world: &World, name: &str, text: &str) -> PathBuf {
    let path = world.path(name);
    std::fs::write(&path, text).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    path
}

fn refused(output: &Output, reasons: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("nothing has changed"), "{said}");
    for reason in reasons {
        assert!(said.contains(reason), "{reason:?} is not in: {said}");
    }
}

#[test]
fn whatever_is_wrong_with_it_the_old_one_serves_on() {
    let world = World::new();
    world.configure(2, TIMEOUTS, "");
    let program = world.install();
    let mut front = world.front(&program);
    let agent = world.agent(1);
    front.until_in(1);
    let load = Load::start(world.vip());
    load.flows(1);
    let first = front.pid();

    // Ends at once.
    let bad = script(&world, "bad", "#!/bin/sh\necho boom >&2\nexit 7\n");
    put(&bad, &program);
    refused(&front.ask(&[]), &["exit status: 7", "boom"]);
    // Closes the channel, and hangs.
    let closes = script(&world, "closes", "#!/bin/sh\nexec sleep 1000 <&-\n");
    refused(
        &front.ask(&["--binary", &closes.display().to_string()]),
        &["new process"],
    );
    // Can't be run.
    let plain = world.path("plain");
    std::fs::write(&plain, "no program").unwrap();
    refused(
        &front.ask(&["--binary", &plain.display().to_string()]),
        &["cannot be started"],
    );
    refused(
        &front.ask(&["--binary", "/nowhere/lb"]),
        &["cannot be started", "/nowhere/lb"],
    );
    load.flows(1);
    // The right one, with a wrong configuration.
    put(env!("CARGO_BIN_EXE_lb").as_ref(), &program);
    world.configure(2, TIMEOUTS, "[zebra]\nstripes = 1");
    refused(&front.ask(&[]), &["exit status: 2", "zebra"]);
    // With one that only a restart can take.
    world.configure(2, TIMEOUTS, "");
    let text = std::fs::read_to_string(world.path("lb.toml")).unwrap();
    let renamed = text.replace("node = \"front\"", "node = \"other\"");
    std::fs::write(world.path("lb.toml"), renamed).unwrap();
    refused(
        &front.ask(&[]),
        &["gossip.node was front and is other now", "restart"],
    );

    // None of that was noticed, and a good one still takes over.
    assert_eq!(front.pid(), first);
    world.configure(2, TIMEOUTS, "");
    load.flows(1);
    let old = front.upgrade(&[]);
    assert_eq!(old, first);
    load.flows(1);
    load.end();
    assert_eq!(front.ended(old), 0);
    saw_nothing(&agent);
}

#[test]
fn one_that_hangs_is_ended() {
    let world = World::new();
    // For a script that does nothing; the right program would need more on a busy machine.
    world.configure(1, "successor = \"1s\"", "");
    let program = world.install();
    let mut front = world.front(&program);
    let hangs = script(
        &world,
        "hangs",
        "#!/bin/sh\necho $$ > \"$0.pid\"\necho patience >&2\nexec sleep 1000\n",
    );

    let output = front.ask(&["--binary", &hangs.display().to_string()]);

    refused(&output, &["not ready within 1s"]);
    // Unless it was ended before its first line.
    if let Ok(pid) = std::fs::read_to_string(world.path("hangs.pid"))
        && let Ok(pid) = pid.trim().parse()
    {
        assert!(!lives(pid), "it was ended");
    }
    assert_eq!(front.stop(), 0);
}

#[test]
fn one_upgrade_at_a_time_and_the_second_is_told_so() {
    let world = World::new();
    world.configure(1, "", "");
    let program = world.install();
    let mut front = world.front(&program);
    let waits = script(
        &world,
        "waits",
        "#!/bin/sh\ntouch \"$0.here\"\nwhile [ ! -e \"$0.go\" ]; do sleep 0.05; done\nexit 3\n",
    );
    let waiting = front
        .asking(&["--binary", &waits.display().to_string()])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("lb runs");
    eventually("it waits", LONG, || {
        world.path("waits.here").exists().then_some(())
    });

    refused(&front.ask(&[]), &["under way already"]);

    std::fs::write(world.path("waits.go"), "").expect("a file");
    let first = waiting.wait_with_output().expect("it ends");
    refused(&first, &["exit status: 3"]);
    assert_eq!(front.stop(), 0);
}

#[test]
fn asked_to_stop_while_a_new_one_starts_it_ends_both() {
    let world = World::new();
    world.configure(1, "successor = \"50s\"", "");
    let program = world.install();
    let mut front = world.front(&program);
    let hangs = script(
        &world,
        "hangs",
        "#!/bin/sh\necho $$ > \"$0.pid\"\nexec sleep 1000\n",
    );
    let waiting = front
        .asking(&["--binary", &hangs.display().to_string()])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("lb runs");
    let pid: i32 = eventually("it hangs", LONG, || {
        let text = std::fs::read_to_string(world.path("hangs.pid")).ok()?;
        text.trim().parse().ok()
    });

    front.signal(Signal::TERM);

    assert_eq!(front.ended(front.pid()), 0);
    refused(
        &waiting.wait_with_output().expect("it ends"),
        &["asked to stop"],
    );
    eventually("the new one has ended", LONG, || {
        (!lives(pid)).then_some(())
    });
}

#[test]
fn where_nobody_runs_there_is_nobody_to_upgrade() {
    let world = World::new();
    let mut command = World::clean(env!("CARGO_BIN_EXE_lb").as_ref());
    command
        .arg("upgrade")
        .arg("--state-dir")
        .arg(world.files.path());

    let output = command.output().expect("lb runs");

    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no running lb keeps its state in"), "{said}");
}

/// Says that it is ready, hears that it is its turn, and ends.
const FAITHLESS: &str = r#"#!/usr/bin/env python3
import json, socket, sys
channel = socket.socket(fileno=0)
channel.setblocking(True)
def hear():
    words, descriptors, _, _ = socket.recv_fds(channel, 65536, 64)
    return json.loads(words)["say"]
while hear() != "prepare":
    pass
channel.send(json.dumps({"say": "ready", "version": "9"}).encode())
assert hear() == "turn"
print("my turn, and I faint", file=sys.stderr)
sys.exit(9)
"#;

#[test]
fn one_that_ends_when_its_turn_has_come_gives_everything_back() {
    if !system_tests(&["python3"]) {
        return;
    }
    let world = World::new();
    world.configure(2, TIMEOUTS, "");
    let program = world.install();
    let mut front = world.front(&program);
    let agents = [world.agent(1), world.agent(2)];
    front.until_in(2);
    let load = Load::start(world.vip());
    load.flows(1);
    let faithless = script(&world, "faithless", FAITHLESS).display().to_string();

    for _ in 0..3 {
        let output = front.ask(&["--binary", &faithless]);
        refused(&output, &["exit status: 9", "I faint"]);
        load.flows(1);
    }

    // Gossip goes on: who comes now is met, and nobody has missed us.
    let _third = world.agent(3);
    front.until_in(3);
    // So does the state: the next one takes it over.
    let old = front.upgrade(&[]);
    assert_eq!(front.ended(old), 0);
    load.flows(1);
    load.end();
    for agent in &agents {
        saw_nothing(agent);
    }
    assert_eq!(front.stop(), 0);
}

#[test]
fn an_lb_without_a_state_directory_is_not_looked_for_in_a_directory_named_none() {
    let mut command = World::clean(std::path::Path::new(env!("CARGO_BIN_EXE_lb")));
    let output = command.args(["upgrade", "--state-dir", "none"]).output();
    let output = output.expect("lb runs");

    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("SIGUSR2 to its process does the same"),
        "{told}"
    );
}
