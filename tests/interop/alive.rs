//! A minute together without a doubt on either side.

use std::thread;
use std::time::Duration;

use lb::gossip::core::member::Status;

use crate::common::system_tests;
use crate::peers::{Agent, Ours, address, member_at, one_is_quiet};

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
    one_is_quiet(|| {
        let directory = tempfile::tempdir().unwrap();
        let agent = Agent::start(directory.path(), "web1", &address(test, 2), more);
        let ours = Ours::start("front", &member_at(test, 1), &[&address(test, 2)]);
        agent.sees("front", "alive");
        ours.sees("web1", Status::Alive);

        // The one test that is about time itself.
        thread::sleep(MINUTE);

        agent.sees("front", "alive");
        agent.sees_tag("front", "role", "lb");
        let stats = ours.call(ours.handle.stats());
        assert!(stats.probes > 30, "{stats:?}");
        agent.is_quiet()?;
        ours.is_quiet()?;
        let seen = ours.sees("web1", Status::Alive);
        let trusted = !seen.suspect && seen.incarnation == 1;
        trusted.then_some(()).ok_or_else(|| format!("{seen:?}"))
    });
}
