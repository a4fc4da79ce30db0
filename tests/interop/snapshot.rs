//! One snapshot file, written and read by stock agents and by ours in turn.
//!
//! ```text
//! serf agent n -snapshot=F ─SIGTERM─▶ F ─▶ lb-agent n --snapshot=F ─SIGTERM─▶ F ─▶ serf agent n …
//! ```
//!
//! Nobody is told whom to join after the first start: what a node knows then is in the file.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::common::{eventually, system_tests};
use crate::nodes::{Cli, Kind, Node};
use crate::peers::{LONG, address};

/// A node with a snapshot and a handler that writes down user events.
struct Place {
    directory: PathBuf,
    name: &'static str,
    at: String,
}

impl Place {
    fn snapshot(&self) -> PathBuf {
        self.directory.join(format!("{}.snapshot", self.name))
    }

    fn heard(&self) -> String {
        let file = self.directory.join(format!("{}.heard", self.name));
        std::fs::read_to_string(file).unwrap_or_default()
    }

    fn start(&self, kind: Kind, join: Option<&str>, more: &[&str]) -> Node {
        let heard = self.directory.join(format!("{}.heard", self.name));
        let snapshot = format!("--snapshot={}", self.snapshot().display());
        let handler = format!(
            "--event-handler=user=echo $SERF_USER_EVENT >> {}",
            heard.display()
        );
        let mut all = vec!["--profile=local", &snapshot, &handler];
        all.extend(more);
        Node::start(&self.directory, kind, self.name, &self.at, join, &all)
    }

    fn until_heard(&self, event: &str) {
        eventually(&format!("{} hears {event}", self.name), LONG, || {
            self.heard().lines().any(|line| line == event).then_some(())
        });
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.snapshot()).unwrap_or_default()
    }
}

fn places<const N: usize>(directory: &Path, test: u8, names: [&'static str; N]) -> [Place; N] {
    let mut host = 0;
    names.map(|name| {
        host += 1;
        Place {
            directory: directory.to_owned(),
            name,
            at: address(test, host),
        }
    })
}

#[test]
fn what_one_kind_wrote_the_other_goes_on_with() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let [home, moving] = places(directory.path(), 141, ["home", "moving"]);
    let stays = home.start(Kind::Stock, None, &[]);
    let mut node = moving.start(Kind::Stock, Some(&home.at), &[]);
    stays.sees("moving", "alive");
    stays.done(Cli::Serf, &["event", "-coalesce=false", "first"]);
    moving.until_heard("first");

    let mut expected = vec!["first".to_owned()];
    let kinds = [
        Kind::Agent,
        Kind::Stock,
        Kind::Front,
        Kind::Stock,
        Kind::Agent,
    ];
    for (round, kind) in kinds.into_iter().enumerate() {
        node.process.terminate();
        let event = format!("missed-{round}");
        stays.done(Cli::Serf, &["event", "-coalesce=false", &event]);
        node = moving.start(kind, None, &[]);
        node.sees("home", "alive");
        stays.sees("moving", "alive");
        moving.until_heard(&event);
        expected.push(event);
    }

    // Each once, in order: nothing of a former life was heard again.
    stays.done(Cli::Serf, &["event", "-coalesce=false", "last"]);
    moving.until_heard("last");
    expected.push("last".to_owned());
    let heard = moving.heard();
    assert_eq!(heard.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_leave_of_one_kind_is_one_for_the_other() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let [home, moving] = places(directory.path(), 142, ["home", "moving"]);
    let stays = home.start(Kind::Agent, None, &[]);

    for (writes, reads) in [(Kind::Stock, Kind::Agent), (Kind::Agent, Kind::Stock)] {
        let mut node = moving.start(writes, Some(&home.at), &[]);
        stays.sees("moving", "alive");
        node.process.signal(Signal::INT);
        node.process.wait(LONG);
        stays.sees("moving", "left");
        assert!(
            moving.text().lines().any(|line| line == "leave"),
            "{}",
            moving.text()
        );

        let mut alone = moving.start(reads, None, &[]);
        eventually("it has begun", LONG, || {
            let own = format!("alive: moving {}:7946", moving.at);
            let since = moving.text();
            let since = since.rsplit("leave\n").next()?.to_owned();
            (reads == Kind::Stock || since.contains(&own)).then_some(())
        });
        let known = alone.done(Cli::Serf, &["members"]).stdout;
        assert_eq!(known.lines().count(), 1, "{known}");
        alone.process.terminate();
        drop(alone);

        let mut back = moving.start(reads, None, &["--rejoin"]);
        stays.sees("moving", "alive");
        back.process.terminate();
        std::fs::remove_file(moving.snapshot()).unwrap();
    }
}

#[test]
fn six_of_every_kind_come_back_by_their_snapshots() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let names = ["s1", "s2", "s3", "l1", "l2", "f1"];
    let all = places(directory.path(), 143, names);
    let kind = |name: &str| match &name[..1] {
        "s" => Kind::Stock,
        "l" => Kind::Agent,
        _ => Kind::Front,
    };
    let mut nodes: Vec<Node> = Vec::new();
    for place in &all {
        let join = (place.name != "s1").then_some(all[0].at.as_str());
        nodes.push(place.start(kind(place.name), join, &[]));
    }
    let met = |nodes: &[Node]| {
        for node in nodes {
            names.iter().for_each(|name| node.sees(name, "alive"));
        }
    };
    met(&nodes);
    // Serf writes a line when the next one comes half a second later: at the end it writes all.
    for (at, place) in all.iter().enumerate() {
        nodes[at].process.terminate();
        let again = match kind(place.name) {
            Kind::Stock => Kind::Agent,
            Kind::Agent => Kind::Stock,
            Kind::Front => Kind::Front,
        };
        nodes[at] = place.start(again, None, &[]);
        met(&nodes);
    }
    // All at once, as by a power cut. Whoever starts later finds one of those before.
    for node in &mut nodes {
        node.process.kill();
    }
    nodes.clear();
    for place in &all {
        nodes.push(place.start(kind(place.name), None, &[]));
    }
    met(&nodes);
    for place in &all {
        let bad = nodes
            .iter()
            .map(|node| node.process.output())
            .find(|output| {
                output.contains("nrecognized snapshot line") || output.contains("Failed to parse")
            });
        assert_eq!(bad, None, "{}", place.name);
    }
}
