//! A minute together without a doubt on either side.

use std::thread;
use std::time::Duration;

use lb::gossip::core::member::Status;

use crate::common::system_tests;
use crate::peers::{Agent, Ours, address, member_at};

/// Sixty probes each way, and two push/pulls.
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_minute_with_compression_passes_without_suspicion() {
    minute(11, &[]);
}

#[test]
fn a_minute_without_compression_passes_without_suspicion() {
    minute(12, &["-disable-compression"]);
}

fn minute(test: u8, more: &[&str]) {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::start(directory.path(), "web1", &address(test, 2), more);
    let ours = Ours::start("front", &member_at(test, 1), &[&address(test, 2)]);
    agent.sees("front", "alive");
    ours.sees("web1", Status::Alive);

    // The one test that is about time itself.
    thread::sleep(MINUTE);

    agent.sees("front", "alive");
    agent.sees_tag("front", "role", "lb");
    assert_eq!(agent.complaints(), Vec::<String>::new());
    let stats = ours.call(ours.handle.stats());
    assert!(stats.probes > 30, "{stats:?}");
    assert_eq!(stats.probes_failed, 0, "{stats:?}");
    assert_eq!(stats.refutations, 0, "{stats:?}");
    assert!(stats.dropped.is_empty(), "{stats:?}");
    let seen = ours.sees("web1", Status::Alive);
    assert!(!seen.suspect);
    assert_eq!(seen.incarnation, 1);
}
