//! Every verb of the stock command line and of ours, asked of `lb`, `lb-agent` and a stock agent alike.
//!
//! ```text
//! serf VERB ─────┐    ┌─▶ serf agent s1 ─┐
//!                ├────┼─▶ lb-agent l1 ───┼─ one encrypted cluster
//! lb-agent VERB ─┘    └─▶ lb f1 ─────────┘
//! ```
//!
//! What both print is compared line by line, in an order of its own where Go's is chance.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::common::{self, Running, bare, system_tests};
use crate::nodes::{BOTH, Cli, KEY, Kind, Node, members, three};
use crate::peers::{LONG, PORT, address};

#[test]
fn every_verb_that_reads_tells_the_same_everywhere() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let all = three(directory.path(), 131);
    let everyone = members(&all[0].done(Cli::Serf, &["members", "-format=json"]));
    assert_eq!(everyone.len(), 3);
    assert_eq!(everyone["l1"]["tags"]["port"], "8081");

    for node in &all {
        for cli in BOTH {
            let said = node.done(cli, &["members", "-format=json"]);
            assert_eq!(members(&said), everyone, "{cli:?} of {}", node.name);
        }
        for verb in [
            &["members"][..],
            &["members", "-detailed"],
            &["members", "-status=alive", "-tag", "role=w.b"],
            &["members", "-name", "s."],
            &["members", "-name", "nobody"],
            &["keys", "-list"],
            &["reachability"],
            &["query", "-timeout=700ms", "nobody-answers", "pay load"],
            &[
                "query",
                "-timeout=700ms",
                "-node=l1",
                "-relay-factor=1",
                "x",
            ],
            &["query", "-timeout=700ms", "-tag", "role=db", "-no-ack", "x"],
            &["event", "-coalesce=false", "deploy", "v1"],
            &["event", "deploy"],
            &["force-leave", "nobody"],
        ] {
            // Nobody has a handler: without acks the one that was asked has not answered.
            let wanted = if verb.contains(&"-no-ack") { 3 } else { 0 };
            // A busy machine may lose an answer, of either; a difference stays.
            for attempt in 1.. {
                let serf = node.ask(Cli::Serf, verb);
                let ours = node.ask(Cli::Ours, verb);
                let same = serf.sorted() == ours.sorted();
                if same && (serf.code, ours.code) == (Some(0), Some(wanted)) {
                    break;
                }
                assert!(
                    attempt < 10,
                    "{verb:?} of {}:\n{:?} {}\n{:?} {}",
                    node.name,
                    serf.code,
                    serf.all,
                    ours.code,
                    ours.all
                );
            }
        }
        let list = node.done(Cli::Serf, &["keys", "-list"]);
        assert!(
            list.stdout.contains(&format!("{KEY}  [3/3]")),
            "{}",
            list.stdout
        );
        info_is_whole(node);
        let mut failed = node.ask(Cli::Serf, &["event", "big", &"x".repeat(600)]);
        assert_eq!(failed.code, Some(1));
        let limit = "user event exceeds configured limit of 512 bytes before encoding";
        assert!(failed.all.contains(limit), "{}", failed.all);
        failed = node.ask(Cli::Serf, &["query", "_serf_conflict"]);
        assert!(failed.all.contains("'_serf_' prefix"), "{}", failed.all);
    }
    distances_are_told(&all);
}

fn info_is_whole(node: &Node) {
    let info = |cli| node.done(cli, &["info", "-format=json"]).json();
    let (serf, ours) = (info(Cli::Serf), info(Cli::Ours));
    let keys = |json: &Value, section: &str| -> BTreeSet<String> {
        json[section]
            .as_object()
            .expect("a section")
            .keys()
            .cloned()
            .collect()
    };
    let expected = [
        ("agent", "name"),
        ("runtime", "arch cpu_count goroutines max_procs os version"),
        (
            "serf",
            "coordinate_resets encrypted event_queue event_time failed health_score intent_queue left member_time members query_queue query_time",
        ),
    ];
    for (section, names) in expected {
        let names: BTreeSet<String> = names.split(' ').map(str::to_owned).collect();
        assert_eq!(keys(&serf, section), names, "{section} of {}", node.name);
        assert_eq!(keys(&ours, section), names);
    }
    for json in [&serf, &ours] {
        assert_eq!(json["agent"]["name"], node.name);
        assert_eq!(json["serf"]["members"], "3");
        assert_eq!(json["serf"]["encrypted"], "true");
        assert!(json["tags"].is_object() && json["event_handlers"].is_object());
    }
}

/// Coordinates come with the first answered probes.
fn distances_are_told(all: &[Node]) {
    for (node, other) in all.iter().zip(all.iter().cycle().skip(1)) {
        for cli in BOTH {
            common::eventually("a round-trip time is known", LONG, || {
                let said = node.ask(cli, &["rtt", other.name]);
                let begin = format!("Estimated {} <-> {} rtt: ", other.name, node.name);
                let rest = said.stdout.strip_prefix(&begin)?.to_owned();
                let ms: f64 = rest.trim().strip_suffix(" ms")?.parse().ok()?;
                (ms >= 0.0).then_some(())
            });
        }
        let said = node.ask(Cli::Serf, &["rtt", "nobody", node.name]);
        assert!(
            said.all.contains("Could not find a coordinate"),
            "{}",
            said.all
        );
    }
}

#[test]
fn tags_are_changed_through_any_and_seen_by_all() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let all = three(directory.path(), 132);

    for node in &all {
        for (cli, value) in [(Cli::Serf, "1"), (Cli::Ours, "2")] {
            let rack = format!("rack={value}");
            let said = node.done(cli, &["tags", "-set", &rack, "-set", "gone=x"]);
            assert_eq!(said.stdout, "Successfully updated agent tags\n");
            node.done(cli, &["tags", "-delete", "gone"]);
            for other in &all {
                common::eventually("the tag is seen", LONG, || {
                    let said = other.ask(Cli::Serf, &["members", "-format=json"]);
                    let tags = members(&said)[node.name]["tags"].clone();
                    (tags["rack"] == value && tags["gone"].is_null()).then_some(())
                });
            }
        }
        let long = format!("long={}", "x".repeat(600));
        let said = node.ask(Cli::Serf, &["tags", "-set", &long]);
        assert!(
            said.all.contains("exceeds limit of 512 bytes"),
            "{}",
            said.all
        );
    }
}

#[test]
fn keys_are_turned_through_any() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let all = three(directory.path(), 133);
    let mut old = KEY.to_owned();

    for node in &all {
        for cli in BOTH {
            let new = node.done(cli, &["keygen"]).stdout.trim().to_owned();
            node.done(cli, &["keys", "-install", &new]);
            node.done(cli, &["keys", "-use", &new]);
            let said = node.done(cli, &["keys", "-remove", &old]);
            assert_eq!(
                said.stdout,
                "==> Removing key on all members...\n==> Successfully removed key!\n"
            );
            for other in &all {
                let list = other.done(cli, &["keys", "-list"]);
                let keys: Vec<&str> = list.stdout.lines().skip(3).collect();
                assert_eq!(keys, [format!("{new}  [3/3]")], "{}", list.all);
            }
            let said = node.ask(cli, &["keys", "-remove", &new]);
            assert_eq!(said.code, Some(1), "{}", said.all);
            assert!(
                said.all.contains("3/3 nodes reported failure"),
                "{}",
                said.all
            );
            assert!(
                said.all.contains("primary key is not allowed"),
                "{}",
                said.all
            );
            old = new;
        }
    }
}

#[test]
fn a_monitor_of_any_shows_events_of_any() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let all = three(directory.path(), 134);

    for (node, other) in all.iter().zip(all.iter().cycle().skip(1)) {
        for cli in BOTH {
            let (mut child, mut until) = node.monitor(cli);
            // Lines of the log come first, so that it is there when the first has come.
            node.done(Cli::Serf, &["info"]);
            until("[");
            other.done(
                Cli::Serf,
                &["event", "-coalesce=false", "hoge", "1234567890"],
            );
            until("Event Info:");
            until("hoge");
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn join_force_leave_and_leave_through_any() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let all = three(directory.path(), 135);
    let names = ["x1", "x2", "x3"];

    for ((node, host), name) in all.iter().zip(11..).zip(names) {
        let at = address(135, host);
        let mut extra = Node::start(directory.path(), Kind::Stock, name, &at, None, &[]);
        for cli in BOTH {
            let said = node.done(cli, &["join", &format!("{at}:{PORT}")]);
            assert_eq!(
                said.stdout,
                "Successfully joined cluster by contacting 1 nodes.\n"
            );
        }
        for other in &all {
            other.sees(name, "alive");
        }
        extra.process.kill();
        for other in &all {
            other.sees(name, "failed");
        }
        let said = node.done(Cli::Serf, &["force-leave", name]);
        assert_eq!(said.all, "");
        for other in &all {
            other.sees(name, "left");
        }
        node.done(Cli::Ours, &["force-leave", "-prune", name]);
        for other in &all {
            other.sees(name, "-");
        }
        let said = node.ask(Cli::Serf, &["join", &format!("{at}:{PORT}")]);
        assert_eq!(said.code, Some(1));
        let cause =
            format!("Failed to join {at}: dial tcp {at}:{PORT}: connect: connection refused");
        assert!(said.all.contains(&cause), "{}", said.all);
    }

    let [stock, mut agent, mut front] = all;
    for (node, cli) in [(&mut agent, Cli::Serf), (&mut front, Cli::Serf)] {
        let said = node.done(cli, &["leave"]);
        assert_eq!(said.stdout, "Graceful leave complete\n");
        stock.sees(node.name, "left");
    }
    assert_eq!(agent.process.wait(LONG).code(), Some(0));
    assert!(front.process.is_running(), "a front goes on routing");
    let said = stock.done(Cli::Ours, &["leave"]);
    assert_eq!(said.stdout, "Graceful leave complete\n");
}

#[test]
fn a_secret_is_asked_for_as_serf_does() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("rpc.key");
    std::fs::write(&key, "s3cret\n").unwrap();
    let key = key.to_str().unwrap();
    let agent = Node::start(
        directory.path(),
        Kind::Agent,
        "l1",
        &address(136, 1),
        None,
        &["--rpc-auth-key-file", key],
    );

    let without = agent.ask(Cli::Serf, &["members"]);
    let wrong = agent.ask(Cli::Serf, &["members", "-rpc-auth=x"]);
    let right = agent.ask(Cli::Serf, &["members", "-rpc-auth=s3cret"]);

    assert!(
        without.all.contains("Authentication required"),
        "{}",
        without.all
    );
    assert!(
        wrong.all.contains("Invalid authentication token"),
        "{}",
        wrong.all
    );
    assert_eq!(right.code, Some(0), "{}", right.all);
    assert!(right.stdout.starts_with("l1 "), "{}", right.stdout);
}

#[test]
fn a_unit_file_s_command_line_starts_ours_in_a_stock_cluster() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (address(137, 1), address(137, 2));
    let stock = Node::start(directory.path(), Kind::Stock, "s1", &first, None, &[]);
    // What stands behind ExecStart=/usr/bin/serf, with another program in front.
    let mut command = bare(env!("CARGO_BIN_EXE_lb-agent"));
    command.args(["agent", "-node=old", "-role=web", "-tag", "port=8081"]);
    command.args(["-encrypt", KEY, "-profile=lan", "-protocol=5", "-replay"]);
    command.arg(format!("-bind={second}:{PORT}"));
    command.arg(format!("-rpc-addr={second}:7373"));
    command.arg(format!("-retry-join={first}:{PORT}"));
    command.args(["-retry-interval=5s", "-log-level=debug"]);
    // Of a unit's own: systemd would give it this.
    command.env("STATE_DIRECTORY", directory.path().join("state"));

    let mut ours = Running::start("old", directory.path(), &mut command);

    stock.sees("old", "alive");
    let said = stock.done(Cli::Serf, &["members", "-name=old", "-format=json"]);
    let tags = &members(&said)["old"]["tags"];
    assert_eq!(
        (&tags["role"], &tags["port"]),
        (&"web".into(), &"8081".into())
    );
    ours.signal(rustix::process::Signal::INT);
    assert_eq!(ours.wait(Duration::from_secs(60)).code(), Some(0));
    stock.sees("old", "left");
}
