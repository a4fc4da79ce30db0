//! Nodes die, leave and restart under 200 requests a second.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{eventually, system_tests};
use crate::load::{Held, Load, bar, holds};
use crate::peers::Front;
use crate::world::{Agents, World};

/// A load long enough to have its connections warm.
fn warm(world: &World) -> Load {
    let load = Load::start(&world.client, world.vip(), 200);
    std::thread::sleep(WARM);
    load
}

/// Every POST was read by one server once.
fn nothing_was_done_twice(world: &World) {
    let mut seen = BTreeSet::new();
    for web in &world.webs {
        for post in world.posts(&web.name) {
            assert!(seen.insert(post.clone()), "{post} was done twice");
        }
    }
    assert!(!seen.is_empty(), "the load sends POSTs");
}

fn web_and_agent_killed(agents: Agents) {
    let other = match Front::chosen() {
        Front::Lb => None,
        Front::Haproxy => Some(Agents::Stock),
        Front::Nginx => Some(Agents::Ours),
    };
    if other != Some(agents) {
        let fresh = || World::started(3, agents);
        holds(fresh, |world| web_and_agent_dead(world, agents));
    }
}

fn web_and_agent_dead(world: &mut World, agents: Agents) -> Held {
    let load = warm(world);

    let out = world.watch("web2", false);
    let killed = Instant::now();
    world.webs[1].server.as_mut().expect("it runs").kill();
    world.webs[1].agent.as_mut().expect("it runs").kill();
    let out = out.recv().expect("it leaves the rotation") - killed;
    std::thread::sleep(Duration::from_secs(8));
    world.start_server(1);
    let open = Instant::now();
    world.start_agent(1);
    world.until_in(3);
    eventually("it answers again", Duration::from_secs(5), || {
        (world.curl() == "web2").then_some(())
    });
    let report = load.finish();

    let back = report.first_of("web2", open).expect("it answered again");
    println!(
        "{:?}, {agents:?}: web and agent killed: {} requests, failed {} GET and {} POST, out after {out:?}, back after {back:?}",
        Front::chosen(),
        report.samples.len(),
        report.failed(false).len(),
        report.failed(true).len()
    );
    if Front::chosen() != Front::Lb {
        return Ok(());
    }
    nothing_was_done_twice(world);
    report.at_most(0, 3)?;
    bar(out < Duration::from_secs(2), || {
        format!("out only after {out:?}")
    })?;
    bar(back < Duration::from_secs(3), || {
        format!("back only after {back:?}")
    })
}

#[test]
fn web_and_our_agent_killed() {
    if system_tests(&["ip", "curl"]) {
        web_and_agent_killed(Agents::Ours);
    }
}

#[test]
fn web_and_stock_agent_killed() {
    if system_tests(&["ip", "curl", "serf"]) {
        web_and_agent_killed(Agents::Stock);
    }
}

#[test]
fn the_web_server_alone_killed_and_restarted() {
    if !system_tests(&["ip", "curl"]) {
        return;
    }
    let fresh = || World::started(3, Agents::Ours);
    holds(fresh, |world| {
        let load = warm(world);

        let out = world.watch("web2", false);
        let killed = Instant::now();
        world.webs[1].server.as_mut().expect("it runs").kill();
        let out = out.recv().expect("it leaves the rotation") - killed;
        let reason = world.backend("web2").expect("it is still a member")["reason"].to_string();
        world.start_server(1);
        let open = Instant::now();
        world.until_in(3);
        eventually("it answers again", Duration::from_secs(5), || {
            (world.curl() == "web2").then_some(())
        });
        let report = load.finish();

        let back = report.first_of("web2", open).expect("it answered again");
        println!(
            "web alone killed: failed {} POST, out after {out:?} ({reason}), back after {back:?}",
            report.failed(true).len()
        );
        nothing_was_done_twice(world);
        report.at_most(0, 3)
    });
}

#[test]
fn the_agent_alone_killed_and_the_web_keeps_serving_as_agent_lost() {
    if !system_tests(&["ip"]) {
        return;
    }
    let fresh = || World::started(3, Agents::Ours);
    holds(fresh, |world| {
        let load = warm(world);

        let killed = Instant::now();
        world.webs[1].agent.as_mut().expect("it runs").kill();
        let lost = eventually("it is shown as lost", Duration::from_secs(30), || {
            let backend = world.backend("web2")?;
            (backend["state"] == "lost").then_some(backend)
        });
        let after = killed.elapsed();
        std::thread::sleep(Duration::from_secs(3));
        let still = world.backend("web2").expect("it is still known");
        let report = load.finish();

        println!(
            "agent alone killed: lost after {after:?}: {}",
            lost["reason"]
        );
        report.at_most(0, 0)?;
        let reason = still["reason"].as_str().expect("a reason");
        let kept = still["in_rotation"] == true && reason.contains("agent lost");
        bar(kept, || still.to_string())?;
        let last = report.last_of("web2").expect("it serves");
        bar(last > killed + after, || {
            "it was not asked any more".to_owned()
        })
    });
}

/// A virtual machine that is paused and resumed: nothing on it says a word, and then all goes on as if nothing were.
fn a_node_stopped_until_it_failed(agents: Agents) {
    let fresh = || World::started(3, agents);
    holds(fresh, |world| node_stopped(world, agents));
}

fn node_stopped(world: &World, agents: Agents) -> Held {
    let load = warm(world);
    let web = &world.webs[1];
    let all = [&web.server, &web.agent].map(|program| program.as_ref().expect("it runs"));

    let stopped = Instant::now();
    for program in all {
        program.signal(Signal::STOP);
    }
    eventually("gossip gives it up", Duration::from_secs(60), || {
        let (_, members) = world.get("/api/v1/members")?;
        let members: Value = serde_json::from_str(&members).expect("the admin gives JSON");
        let mut members = members["members"].as_array()?.iter();
        let web = members.find(|member| member["name"] == "web2")?;
        (web["status"] == "failed").then_some(())
    });
    let failed = stopped.elapsed();
    world.until_in(2);
    let back = world.watch("web2", true);
    let resumed = Instant::now();
    for program in all {
        program.signal(Signal::CONT);
    }
    let back = back.recv().expect("it enters the rotation") - resumed;
    std::thread::sleep(WARM);
    let report = load.finish();

    let answered = report.first_of("web2", resumed).expect("it answered again");
    println!(
        "{agents:?}: node stopped until it failed ({failed:.1?}): {}, in rotation {back:.1?} and answers {answered:.1?} after it goes on",
        report.summary(stopped)
    );
    report.at_most(0, usize::MAX)?;
    bar(answered < Duration::from_secs(6), || {
        format!("answered after {answered:?}")
    })
}

#[test]
fn a_node_of_ours_stopped_until_it_failed_is_back_soon_after_it_goes_on() {
    if system_tests(&["ip"]) {
        a_node_stopped_until_it_failed(Agents::Ours);
    }
}

#[test]
fn a_node_with_a_stock_agent_stopped_until_it_failed_is_back_soon_after_it_goes_on() {
    if system_tests(&["ip", "serf"]) {
        a_node_stopped_until_it_failed(Agents::Stock);
    }
}

#[test]
fn an_agent_that_leaves_before_its_web_stops_costs_nothing() {
    if !system_tests(&["ip"]) {
        return;
    }
    let fresh = || World::started(3, Agents::Ours);
    holds(fresh, |world| {
        let load = warm(world);

        let out = world.watch("web2", false);
        let asked = Instant::now();
        let agent = world.webs[1].agent.as_mut().expect("it runs");
        let status = agent.terminate();
        let left = asked.elapsed();
        world.webs[1].server.as_mut().expect("it runs").kill();
        let out = out.recv().expect("it leaves the rotation") - asked;
        std::thread::sleep(WARM);
        let report = load.finish();

        println!("agent terminated: out of rotation after {out:?}, agent ended after {left:?}");
        assert!(status.success(), "{status}");
        nothing_was_done_twice(world);
        assert!(
            world.backend("web2").is_none(),
            "a node that left is forgotten"
        );
        report.at_most(0, 0)
    });
}

#[test]
fn a_rolling_restart_of_four_nodes_costs_nothing() {
    if !system_tests(&["ip"]) {
        return;
    }
    let fresh = || World::started(4, Agents::Ours);
    holds(fresh, |world| {
        let load = warm(world);

        for index in 0..4 {
            world.webs[index]
                .agent
                .as_mut()
                .expect("it runs")
                .terminate();
            world.webs[index].server.as_mut().expect("it runs").kill();
            world.start_web(index);
            world.until_in(4);
        }
        std::thread::sleep(WARM);
        let report = load.finish();

        println!("rolling restart: {} requests", report.samples.len());
        nothing_was_done_twice(world);
        report.at_most(0, 0)
    });
}

#[test]
fn all_webs_gone_and_one_back() {
    if !system_tests(&["ip", "curl"]) {
        return;
    }
    let fresh = || World::started(3, Agents::Ours);
    holds(fresh, |world| {
        for web in &mut world.webs {
            web.server.as_mut().expect("it runs").kill();
            web.agent.as_mut().expect("it runs").kill();
        }
        world.until_in(0);
        let load = Load::start(&world.client, world.vip(), 200);
        std::thread::sleep(WARM);

        world.start_server(0);
        let open = Instant::now();
        world.start_agent(0);
        world.until_in(1);
        eventually("it answers", Duration::from_secs(5), || {
            (world.curl() == "web1").then_some(())
        });
        std::thread::sleep(WARM);
        let report = load.finish();

        let back = report.first_of("web1", open).expect("it answered");
        let front = Front::chosen();
        println!("{front:?}: all gone, one back: first good answer after {back:?}");
        if front != Front::Lb {
            return Ok(());
        }
        let refused = |why: &String| why.starts_with("503");
        let all = &report.samples;
        assert!(
            all.iter()
                .any(|sample| sample.outcome.as_ref().is_err_and(refused))
        );
        let failed = report.failed_since(open + back);
        bar(failed == 0, || format!("{failed} failed after the first"))?;
        bar(back < Duration::from_secs(3), || {
            format!("back only after {back:?}")
        })
    });
}

#[test]
fn a_front_told_to_stop_finishes_what_is_under_way() {
    if !system_tests(&["ip"]) {
        return;
    }
    let mut world = World::started(2, Agents::Ours);
    let load = warm(&world);

    let stopped = Instant::now();
    let status = world.front.terminate();
    let report = load.finish();

    assert!(status.success(), "{status}");
    // Whoever had been accepted was answered; whoever came later was refused a connection.
    let cut: Vec<_> = report
        .samples
        .iter()
        .filter(|sample| {
            sample
                .outcome
                .as_ref()
                .is_err_and(|why| !why.starts_with("connect"))
        })
        .collect();
    assert!(
        cut.is_empty(),
        "stopping took {:?}; {} cut, first {:?}",
        stopped.elapsed(),
        cut.len(),
        cut.first()
    );
}

const WARM: Duration = Duration::from_secs(1);
