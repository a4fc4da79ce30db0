//! Three members: what one stock agent says reaches the other, and us, whoever is in between.

use std::process::Command;

use lb::gossip::core::io::Event;
use lb::gossip::core::member::Status;

use crate::common::{Running, eventually, system_tests};
use crate::peers::{Agent, LONG, Ours, address, member_at, one_is_quiet};

#[test]
fn two_stock_agents_meet_through_us_and_their_events_and_queries_pass() {
    if system_tests(&["serf"]) {
        one_is_quiet(meet);
    }
}

fn meet() -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let ours = Ours::start("front", &member_at(41, 1), &[]);
    let mut events = ours.handle.events();
    let join = format!("-join={}", ours.at());
    let one = Agent::start(directory.path(), "web1", &address(41, 2), &[&join]);
    let heard = directory.path().join("heard");
    let handler = format!("-event-handler=user=cat >> {}", heard.display());
    let two = Agent::start(
        directory.path(),
        "web2",
        &address(41, 3),
        &[&join, &handler],
    );
    one.sees("web2", "alive");
    two.sees("web1", "alive");
    ours.sees("web1", Status::Alive);
    ours.sees("web2", Status::Alive);

    assert!(one.run(&["event", "deploy", "v1.2.3"]).status.success());

    let (name, payload) = ours.hears(&mut events, |event| match event {
        Event::User { name, payload, .. } => Some((name, payload)),
        _ => None,
    });
    assert_eq!((&name[..], &payload[..]), ("deploy", &b"v1.2.3"[..]));
    eventually("the other agent hears the event", LONG, || {
        let text = std::fs::read_to_string(&heard).unwrap_or_default();
        text.contains("v1.2.3").then_some(())
    });

    // Read as it goes: its time is meant for a busy machine, and it ends no sooner.
    let mut command = Command::new("serf");
    command.arg("query");
    command.arg(format!("-rpc-addr={}:7373", address(41, 2)));
    command.args(["-relay-factor=1", "-timeout=8s", "uptime"]);
    let query = Running::start("query", directory.path(), &mut command);
    eventually("the other agent acks the query", LONG, || {
        query.output().contains("from 'web2'").then_some(())
    });

    let stats = ours.call(ours.handle.stats());
    assert!(stats.dropped.is_empty(), "{stats:?}");
    one.is_quiet()?;
    two.is_quiet()
}
