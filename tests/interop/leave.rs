//! Leaving on purpose shows as `left`, on either side, and coming back as `alive`.

use lb::gossip::core::member::Status;

use crate::common::system_tests;
use crate::peers::{Agent, Ours, address, member_at};

#[test]
fn our_leave_shows_as_left_and_our_return_as_alive() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::start(directory.path(), "web1", &address(21, 2), &[]);
    let ours = Ours::start("front", &member_at(21, 1), &[&address(21, 2)]);
    agent.sees("front", "alive");

    ours.leave();
    agent.sees("front", "left");
    assert!(
        !agent.process.output().contains("EventMemberFailed"),
        "it was never failed"
    );
    drop(ours);

    let _again = Ours::start("front", &member_at(21, 1), &[&address(21, 2)]);
    agent.sees("front", "alive");
}

#[test]
fn a_stock_leave_shows_as_left_and_its_return_as_alive() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ours = Ours::start("front", &member_at(22, 1), &[]);
    let join = format!("-join={}", ours.at());
    let agent = Agent::start(directory.path(), "web1", &address(22, 2), &[&join]);
    ours.sees("web1", Status::Alive);

    assert!(agent.run(&["leave"]).status.success());
    ours.sees("web1", Status::Left);
    drop(agent);

    let agent = Agent::start(directory.path(), "web1", &address(22, 2), &[&join]);
    ours.sees("web1", Status::Alive);
    agent.sees("front", "alive");
}

#[test]
fn a_forced_leave_turns_failed_into_left_on_both_sides() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ours = Ours::start("front", &member_at(23, 1), &[]);
    let join = format!("-join={}", ours.at());
    let agent = Agent::start(directory.path(), "web1", &address(23, 2), &[&join]);
    let mut victims: Vec<Agent> = [3, 4]
        .iter()
        .map(|host| {
            let name = format!("web{host}");
            Agent::start(directory.path(), &name, &address(23, *host), &[&join])
        })
        .collect();
    for name in ["web3", "web4"] {
        agent.sees(name, "alive");
        ours.sees(name, Status::Alive);
    }
    for victim in &mut victims {
        victim.process.kill();
    }
    for name in ["web3", "web4"] {
        agent.sees(name, "failed");
        ours.sees(name, Status::Failed);
    }

    assert!(agent.run(&["force-leave", "web3"]).status.success());
    ours.sees("web3", Status::Left);

    ours.call(ours.handle.force_leave("web4", false))
        .expect("it is known");
    agent.sees("web4", "left");
}
