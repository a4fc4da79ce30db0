//! Meeting, from either side.

use lb::gossip::core::member::Status;

use crate::common::system_tests;
use crate::peers::{Agent, Ours, address, member_at, tags_of};

#[test]
fn a_stock_agent_joins_us() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ours = Ours::start("front", &member_at(1, 1), &[]);

    let join = format!("-join={}", ours.at());
    let agent = Agent::start(directory.path(), "web1", &address(1, 2), &[&join]);

    agent.sees("front", "alive");
    agent.sees_tag("front", "role", "lb");
    let seen = ours.sees("web1", Status::Alive);
    assert_eq!(
        seen.tags.decode(),
        tags_of(&[("role", "web"), ("port", "8081")])
    );
    assert_eq!(seen.address.to_string(), member_at(1, 2));
    assert_eq!(seen.versions, [1, 5, 2, 2, 5, 5]);
}

#[test]
fn we_join_a_stock_agent_that_starts_later() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ours = Ours::start("front", &member_at(2, 1), &[&address(2, 2)]);
    let none = ours.call(ours.handle.join(vec![address(2, 2)]));
    assert_eq!(
        none.failures,
        [(member_at(2, 2), "connection refused".to_owned())]
    );

    let agent = Agent::start(directory.path(), "web1", &address(2, 2), &[]);

    ours.sees("web1", Status::Alive);
    agent.sees("front", "alive");
}

#[test]
fn changed_tags_reach_the_other_side() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::start(directory.path(), "web1", &address(3, 2), &[]);
    let ours = Ours::start("front", &member_at(3, 1), &[&address(3, 2)]);
    agent.sees("front", "alive");

    let long = "x".repeat(300);
    ours.call(
        ours.handle
            .set_tags(tags_of(&[("role", "lb"), ("zone", &long)])),
    )
    .expect("they fit");
    agent.sees_tag("front", "zone", &long);

    assert!(agent.run(&["tags", "-set", "port=8082"]).status.success());
    ours.sees_tag("web1", "port", "8082");
}
