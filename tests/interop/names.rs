//! Names at two addresses: rebuilt nodes, ours and stock, and living ones that keep theirs.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use lb::gossip::core::member::Status;

use crate::common::{self, system_tests};
use crate::peers::{Agent, LONG, Ours, address, member_at};

/// What our rebuilt member takes, on a calm machine.
const MOMENT: Duration = Duration::from_millis(1500);

/// Longer than that on any, and less than until gossip gives up a silent node: a probe's second, and four of suspicion.
const GIVEN_UP: Duration = Duration::from_secs(4);

/// How `serf` shows where a member is.
fn place(agent: &Agent, name: &str) -> Option<String> {
    let output = agent.run(&["members", "-format=json"]);
    let whole: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let members = whole["members"].as_array()?;
    let member = members.iter().find(|member| member["name"] == name)?;
    (member["status"] == "alive").then(|| member["addr"].as_str().map(str::to_owned))?
}

/// Stock agents that know each other.
fn agents(directory: &Path, test: u8, hosts: std::ops::RangeInclusive<u8>) -> Vec<Agent> {
    let join = format!("-join={}", address(test, *hosts.start()));
    let name = |host| format!("stock{host}");
    let agents: Vec<Agent> = hosts
        .clone()
        .map(|host| Agent::start(directory, &name(host), &address(test, host), &[&*join]))
        .collect();
    for agent in &agents {
        for host in hosts.clone() {
            agent.sees(&name(host), "alive");
        }
    }
    agents
}

/// How long until `seen` says so.
fn timed(what: &str, mut seen: impl FnMut() -> bool) -> Duration {
    #[allow(clippy::disallowed_methods, reason = "a test that measures")]
    let begun = Instant::now();
    common::eventually(what, LONG, || seen().then_some(()));
    begun.elapsed()
}

#[test]
fn our_rebuilt_member_is_back_at_once_among_stock_agents() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let agents = agents(directory.path(), 61, 2..=4);
    let join = address(61, 2);
    let mut ours = Ours::start("web1", &member_at(61, 10), &[&join]);
    for agent in &agents {
        agent.sees("web1", "alive");
    }
    let mut best = LONG;
    for (round, status) in ["alive", "failed", "left"].into_iter().enumerate() {
        let host = 11 + round as u8;
        ours.kill();
        if status != "alive" {
            for agent in &agents {
                agent.sees("web1", "failed");
            }
        }
        if status == "left" {
            assert!(agents[0].run(&["force-leave", "web1"]).status.success());
            for agent in &agents {
                agent.sees("web1", "left");
            }
        }
        ours = Ours::start("web1", &member_at(61, host), &[&join]);
        let taken = timed("the new address is shown", || {
            let wanted = format!("{}:7946", address(61, host));
            agents
                .iter()
                .all(|agent| place(agent, "web1").as_ref() == Some(&wanted))
        });
        println!("ours rebuilt among stock agents that hold it {status}: {taken:?}");
        assert!(taken < GIVEN_UP, "{taken:?}");
        best = best.min(taken);
        let wanted = format!("{}:7946", address(61, host));
        for agent in &agents {
            assert_eq!(place(agent, "web1").as_ref(), Some(&wanted));
        }
    }
    assert!(best < MOMENT, "{best:?}");
}

#[test]
fn a_rebuilt_stock_agent_is_brought_in_by_our_member() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let agents = agents(directory.path(), 62, 2..=3);
    let front = Ours::start("front", &member_at(62, 1), &[&address(62, 2)]);
    let join = format!("-join={}", address(62, 2));
    let mut web = Agent::start(directory.path(), "web1", &address(62, 10), &[&join]);
    front.sees("web1", Status::Alive);
    for round in 0..3 {
        web.process.kill();
        for agent in &agents {
            agent.sees("web1", "failed");
        }
        front.sees("web1", Status::Failed);
        let ip = address(62, 11 + round);
        web = Agent::start(directory.path(), "web1", &ip, &[&join]);
        let taken = timed("the new address is shown", || {
            let wanted = format!("{ip}:7946");
            let ours = front.member("web1");
            ours.is_some_and(|seen| {
                seen.status == Status::Alive && seen.address.to_string() == wanted
            }) && agents
                .iter()
                .all(|agent| place(agent, "web1").as_ref() == Some(&wanted))
        });
        println!("stock agent rebuilt, round {round}: {taken:?} after its RPC answered");
        assert!(taken < Duration::from_secs(8), "{taken:?}");
    }
    // Still there when the newcomer's own vote, had it lost one, would be over.
    thread::sleep(Duration::from_secs(5));
    assert!(web.process.is_running());
    front.sees("web1", Status::Alive);
}

#[test]
fn a_living_stock_agent_keeps_the_name_that_we_claim() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut agents = agents(directory.path(), 63, 2..=4);
    for round in 0..5 {
        // Through a peer, and through the living one itself.
        let join = address(63, 2 + round % 3);
        let claimant = Ours::start("stock3", &member_at(63, 20 + round), &[&join]);
        let taken = claimant.call(async {
            tokio::time::timeout(LONG, claimant.handle.name_taken())
                .await
                .expect("it is told")
        });
        assert_eq!(taken.holder.to_string(), member_at(63, 3));
        assert!(taken.at_start);
        claimant.kill();
        for agent in &agents {
            let wanted = format!("{}:7946", address(63, 3));
            assert_eq!(place(agent, "stock3"), Some(wanted));
        }
    }
    thread::sleep(Duration::from_secs(10));
    for agent in &mut agents {
        assert!(agent.process.is_running());
        agent.sees("stock3", "alive");
        let log = agent.process.output();
        for word in [
            "onflicting",
            "minority",
            "member-failed",
            "EventMemberFailed",
        ] {
            assert!(!log.contains(word), "{word}: {log}");
        }
    }
}

#[test]
fn a_living_member_of_ours_keeps_the_name_that_a_stock_agent_claims() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let agents = agents(directory.path(), 64, 2..=3);
    let ours = Ours::start("web1", &member_at(64, 1), &[&address(64, 2)]);
    for agent in &agents {
        agent.sees("web1", "alive");
    }
    for round in 0..3 {
        let join = format!("-join={}", address(64, 1 + round));
        let mut claimant =
            Agent::start(directory.path(), "web1", &address(64, 20 + round), &[&join]);
        claimant.process.wait(Duration::from_secs(30));
        for agent in &agents {
            let wanted = format!("{}:7946", address(64, 1));
            assert_eq!(place(agent, "web1"), Some(wanted));
        }
        ours.sees("web1", Status::Alive);
    }
    for agent in &agents {
        assert!(!agent.process.output().contains("EventMemberFailed: web1"));
    }
}

#[test]
fn a_living_stock_agent_among_ours_keeps_the_name_that_another_claims() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let seed = address(65, 1);
    let front = Ours::start("front", &member_at(65, 1), &[]);
    let other = Ours::start("other", &member_at(65, 2), &[&seed]);
    let join = format!("-join={seed}");
    let mut web = Agent::start(directory.path(), "web1", &address(65, 3), &[&join]);
    front.sees("web1", Status::Alive);
    other.sees("web1", Status::Alive);
    web.sees("other", "alive");
    let before = front.call(front.handle.stats()).repairs;
    for round in 0..3 {
        // Through the living one itself, which then puts its name to the vote, and through us.
        let join = format!("-join={}", address(65, [3, 1, 2][usize::from(round)]));
        let at = address(65, 20 + round);
        let mut claimant = Agent::start(directory.path(), "claimant", &at, &["-node=web1", &join]);
        claimant.process.wait(Duration::from_secs(30));
    }
    assert!(web.process.is_running(), "{}", web.process.output());
    for ours in [&front, &other] {
        let seen = ours.sees("web1", Status::Alive);
        assert_eq!(seen.address.to_string(), member_at(65, 3));
    }
    assert_eq!(front.call(front.handle.stats()).repairs, before);
}

/// Stock agents, and ours beside them in a cluster of its own, with an `x` in each; the two clusters become one.
fn two_clusters(test: u8, stock: u8) -> (tempfile::TempDir, Vec<Agent>, Vec<Ours>) {
    let directory = tempfile::tempdir().unwrap();
    let last = 1 + stock;
    let mut agents = agents(directory.path(), test, 2..=last);
    let join = format!("-join={}", address(test, 2));
    agents.push(Agent::start(
        directory.path(),
        "x",
        &address(test, 40),
        &[&join],
    ));
    let seed = address(test, 50);
    let ours = vec![
        Ours::start("hub", &member_at(test, 50), &[]),
        Ours::start("hub2", &member_at(test, 51), &[&seed]),
        Ours::renaming("x", &member_at(test, 30), &[&seed]),
    ];
    for agent in &agents {
        agent.sees("x", "alive");
    }
    ours[0].sees("x", Status::Alive);
    ours[0].sees("hub2", Status::Alive);
    ours[2].sees("hub2", Status::Alive);
    // Longer than what counts as the start of ours.
    thread::sleep(Duration::from_secs(11));
    let joined = ours[0].call(ours[0].handle.join(vec![address(test, 2)]));
    assert_eq!(joined.reached, 1);
    (directory, agents, ours)
}

#[test]
fn a_member_of_ours_that_stock_agents_outvote_goes_on_under_another_name() {
    if !system_tests(&["serf"]) {
        return;
    }
    // Four stock agents hold the stock one, two of ours hold ours.
    let (_files, mut agents, ours) = two_clusters(66, 4);
    let renamed = common::eventually("ours has another name", 3 * LONG, || {
        let name = ours[2].handle.name();
        (*name != *"x").then_some(name)
    });
    for (name, host) in [("x", 40), (&*renamed, 30)] {
        let wanted = member_at(66, host);
        for agent in &agents {
            common::eventually(&format!("{name} is shown at {wanted}"), LONG, || {
                (place(agent, name)? == wanted).then_some(())
            });
        }
        for ours in &ours {
            let seen = || {
                ours.member(name)
                    .filter(|seen| seen.status == Status::Alive)
            };
            common::eventually(&format!("we show {name} at {wanted}"), LONG, || {
                (seen()?.address.to_string() == wanted).then_some(())
            });
        }
    }
    for agent in &mut agents {
        assert!(agent.process.is_running(), "{}", agent.process.output());
    }
    assert_eq!(ours[2].call(ours[2].handle.stats()).renames, 1);
}

#[test]
fn a_member_of_ours_that_outvotes_a_stock_agent_keeps_its_name() {
    if !system_tests(&["serf"]) {
        return;
    }
    // One stock agent holds the stock one, two of ours hold ours.
    let (_files, mut agents, ours) = two_clusters(67, 1);
    let mut other = agents.pop().expect("the stock x");
    other.process.wait(3 * LONG);
    let wanted = member_at(67, 30);
    for agent in &agents {
        common::eventually(&format!("x is shown at {wanted}"), LONG, || {
            (place(agent, "x")? == wanted).then_some(())
        });
    }
    for one in &ours {
        common::eventually(&format!("we show x at {wanted}"), LONG, || {
            let seen = one.member("x")?;
            (seen.status == Status::Alive && seen.address.to_string() == wanted).then_some(())
        });
    }
    assert_eq!(&*ours[2].handle.name(), "x");
    assert_eq!(ours[2].call(ours[2].handle.stats()).renames, 0);
}
