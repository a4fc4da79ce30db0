//! Dying without a word shows as `failed`, on either side, and coming back as `alive`.

use lb::gossip::core::member::Status;

use crate::common::system_tests;
use crate::peers::{Agent, Ours, address, member_at};

#[test]
fn a_killed_agent_shows_as_failed_and_its_return_as_alive() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ours = Ours::start("front", &member_at(31, 1), &[]);
    let join = format!("-join={}", ours.at());
    let mut agent = Agent::start(directory.path(), "web1", &address(31, 2), &[&join]);
    ours.sees("web1", Status::Alive);

    agent.process.kill();
    ours.sees("web1", Status::Failed);

    let agent = Agent::start(directory.path(), "web1", &address(31, 2), &[&join]);
    ours.sees("web1", Status::Alive);
    agent.sees("front", "alive");
}

#[test]
fn our_death_shows_as_failed_and_our_return_as_alive() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::start(directory.path(), "web1", &address(32, 2), &[]);
    let ours = Ours::start("front", &member_at(32, 1), &[&address(32, 2)]);
    agent.sees("front", "alive");

    ours.kill();
    agent.sees("front", "failed");
    assert!(
        !agent.complaints().is_empty(),
        "what the quiet minute looks for is found where it must be"
    );

    let ours = Ours::start("front", &member_at(32, 1), &[&address(32, 2)]);
    agent.sees("front", "alive");
    ours.sees("web1", Status::Alive);
}

#[test]
fn a_killed_agent_that_returns_before_anyone_noticed_stays_alive() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ours = Ours::start("front", &member_at(33, 1), &[]);
    let join = format!("-join={}", ours.at());
    let mut agent = Agent::start(directory.path(), "web1", &address(33, 2), &[&join]);
    ours.sees("web1", Status::Alive);

    agent.process.kill();
    let agent = Agent::start(
        directory.path(),
        "web1",
        &address(33, 2),
        &[&join, "-tag", "life=2"],
    );

    ours.sees_tag("web1", "life", "2");
    ours.sees("web1", Status::Alive);
    agent.sees("front", "alive");
}
