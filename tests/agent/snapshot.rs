//! What outlives a restart: Serf's snapshot and its tags file, and what `join -replay` brings.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::common::{Running, eventually};
use crate::rig::{self, LONG, ip, put, tag, text, verb};

/// A member without a role, with an RPC.
fn member(at: &str, node: &str, more: &[&str]) -> Command {
    let mut command = rig::plain(at, node);
    command.args(more);
    command
}

fn until_members(at: &str, count: usize) {
    eventually(&format!("{count} alive at {at}"), LONG, || {
        let shown = verb(at, &["members", "-status=alive"]);
        (shown.lines().filter(|line| line.contains("alive")).count() == count).then_some(())
    });
}

#[test]
fn a_stop_keeps_the_members_a_leave_forgets_them_and_rejoin_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (ip(151, 1), ip(151, 2));
    let file = directory.path().join("serf.snapshot");
    let path = file.display().to_string();
    let _seed = Running::start("one", directory.path(), &mut member(&one, "one", &[]));
    let start = |more: &[&str]| {
        let mut command = member(&two, "two", &["--snapshot", &path]);
        command.args(more);
        Running::start("two", directory.path(), &mut command)
    };

    let mut node = start(&["--join", &one]);
    until_members(&two, 2);
    node.terminate();
    assert!(!text(&file).contains("leave"), "{}", text(&file));

    let node = start(&[]);
    until_members(&two, 2);
    node.signal(Signal::INT);
    let mut node = node;
    node.wait(LONG);
    assert!(text(&file).contains("\nleave\n"), "{}", text(&file));

    let mut node = start(&[]);
    eventually("it says what it read", LONG, || {
        let said = node.output();
        said.lines()
            .rfind(|line| line.contains("was read"))?
            .contains("members=0")
            .then_some(())
    });
    node.terminate();
    let mut node = start(&["--rejoin"]);
    until_members(&two, 2);
    // The verb leave is a leave too; the agent ends by it.
    verb(&two, &["leave"]);
    node.wait(LONG);
    assert!(text(&file).ends_with("leave\n") || text(&file).matches("leave\n").count() > 1);
}

#[test]
fn nothing_is_heard_twice_and_what_was_missed_is_heard() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (ip(152, 1), ip(152, 2));
    let file = directory.path().join("serf.snapshot").display().to_string();
    let log = directory.path().join("heard");
    let handler = format!("user=echo $SERF_USER_EVENT >> {}", log.display());
    let _seed = Running::start("one", directory.path(), &mut member(&one, "one", &[]));
    until_members(&one, 1);
    let start = |more: &[&str]| {
        let mut command = member(
            &two,
            "two",
            &["--snapshot", &file, "--event-handler", &handler],
        );
        command.args(more);
        Running::start("two", directory.path(), &mut command)
    };
    let hears = |event: &str| {
        eventually(&format!("it hears {event}"), LONG, || {
            text(&log).lines().any(|line| line == event).then_some(())
        });
    };
    let send = |event: &str| verb(&one, &["event", "-coalesce=false", event]);
    let mut node = start(&["--join", &one]);
    until_members(&one, 2);
    send("a");
    hears("a");
    node.terminate();

    send("b");
    let mut node = start(&[]);
    hears("b");
    // Without a word of farewell: what was told half a second ago is in the file.
    eventually("the file knows of b", LONG, || {
        text(Path::new(&file))
            .contains("event-clock: 2")
            .then_some(())
    });
    node.kill();
    send("c");
    let mut node = start(&[]);
    hears("c");
    send("d");
    hears("d");
    // Who left for good comes as a new one, to whom the past means nothing.
    node.signal(Signal::INT);
    node.wait(LONG);
    let _node = start(&["--join", &one]);
    until_members(&one, 2);
    send("e");
    hears("e");

    assert_eq!(text(&log), "a\nb\nc\nd\ne\n");
}

#[test]
fn a_join_brings_old_events_only_if_asked() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (ip(153, 1), ip(153, 2));
    let mut nodes = vec![Running::start(
        "one",
        directory.path(),
        &mut member(&one, "one", &[]),
    )];
    let joins = &mut member(&other, "other", &["--join", &one]);
    nodes.push(Running::start("other", directory.path(), joins));
    until_members(&one, 2);
    until_members(&other, 2);
    verb(&one, &["event", "-coalesce=false", "old"]);
    let mut heard = |host: u8, name: &str, flags: &[&str], join: Option<&[&str]>| {
        // An event that still goes round may reach whoever joins before the answer to the join does.
        for host in 1..host {
            let said_to_all = format!("nobody tells more to others at {host}");
            eventually(&said_to_all, LONG, || {
                let info = verb(&ip(153, host), &["info"]);
                info.contains("event_queue = 0\n").then_some(())
            });
        }
        let at = ip(153, host);
        let log = directory.path().join(name);
        let handler = format!("user=echo $SERF_USER_EVENT >> {}", log.display());
        let mut command = member(&at, name, &["--event-handler", &handler]);
        command.args(flags);
        nodes.push(Running::start(name, directory.path(), &mut command));
        if let Some(join) = join {
            until_members(&at, 1);
            let said = verb(&at, &[&["join"], join, &[one.as_str()]].concat());
            assert!(said.contains("Successfully joined"), "{said}");
        }
        until_members(&at, usize::from(host));
        verb(&one, &["event", "-coalesce=false", name]);
        eventually(&format!("{name} hears its own"), LONG, || {
            text(&log).lines().any(|line| line == name).then_some(())
        });
        text(&log)
    };

    assert_eq!(heard(3, "plain", &[], Some(&[])), "plain\n");
    assert_eq!(
        heard(4, "asked", &[], Some(&["-replay"])),
        "old\nplain\nasked\n"
    );
    let at_start = ["--join", &one, "--replay"];
    assert_eq!(
        heard(5, "start", &at_start, None),
        "old\nplain\nasked\nstart\n"
    );
}

#[test]
fn tags_outlive_a_restart_in_their_file() {
    let directory = tempfile::tempdir().unwrap();
    let (front, own) = (ip(154, 1), ip(154, 10));
    let file = directory.path().join("tags.json");
    let path = file.display().to_string();
    let _front = rig::start_front(directory.path(), &front);
    let start = || {
        let mut command = member(&own, "web1", &["--join", &front, "--tags-file", &path]);
        Running::start("web1", directory.path(), &mut command)
    };
    let shows = |name: &str, value: Option<&str>| {
        eventually(&format!("{name}={value:?}"), LONG, || {
            rig::is(&front, "web1", "alive").then_some(())?;
            (tag(&front, "web1", name).as_deref() == value).then_some(())
        });
    };

    let mut agent = start();
    shows("role", None);
    verb(
        &own,
        &[
            "tags",
            "-set",
            "role=web",
            "-set",
            "port=8081",
            "-set",
            "dc=eu",
        ],
    );
    shows("role", Some("web"));
    let kept =
        "{\n  \"dc\": \"eu\",\n  \"port\": \"8081\",\n  \"role\": \"web\",\n  \"v\": \"1\"\n}";
    eventually("it is written", LONG, || {
        (text(&file) == kept).then_some(())
    });
    agent.terminate();
    let mut agent = start();
    shows("dc", Some("eu"));
    verb(&own, &["tags", "-delete", "dc"]);
    shows("dc", None);
    agent.signal(Signal::HUP);
    eventually("it reloads", LONG, || {
        agent.output().contains("reloaded").then_some(())
    });
    assert_eq!(tag(&front, "web1", "role").as_deref(), Some("web"));
    agent.terminate();

    // A file that cannot be written is told to who changes the tags.
    std::fs::remove_file(&file).unwrap();
    let _agent = start();
    shows("role", None);
    std::fs::create_dir(&file).unwrap();
    let said = verb(&own, &["tags", "-set", "dc=eu"]);
    assert!(said.contains("Failed to write tags file: "), "{said}");
}

#[test]
fn tags_have_one_source() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tags.json");
    let path = file.display().to_string();
    let refused = |more: &[&str]| {
        let mut command = member(&ip(155, 1), "x", &["--tags-file", &path]);
        let output = command.args(more).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };

    let said = refused(&["--tag", "dc=eu"]);
    assert!(
        said.contains("--tag dc=eu: is not allowed while using a tags file"),
        "{said}"
    );
    let said = refused(&["--role", "web"]);
    assert!(
        said.contains("--role web: is a tag, and those are in the tags file"),
        "{said}"
    );
    put(&file, "[\"role\"]");
    let said = refused(&[]);
    assert!(said.contains("is no JSON object of texts"), "{said}");
    // As a stock agent refuses it.
    let mut stock = Command::new(env!("CARGO_BIN_EXE_lb-agent"));
    stock.args(["agent", "-role=web", &format!("-tags-file={path}")]);
    let output = stock.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("is not allowed while using a tags file"),
        "{said}"
    );
}
