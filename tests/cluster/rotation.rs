//! The card's flow: start a front, start web nodes, curl, watch the names rotate.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::common::{eventually, system_tests};
use crate::load::Load;
use crate::world::{Agents, World, get};

fn thirty_curls_over_three_nodes_alternate_strictly(agents: Agents) {
    let world = World::started(3, agents);

    let answers: Vec<String> = (0..30).map(|_| world.curl()).collect();

    let mut counts = BTreeMap::new();
    for answer in &answers {
        *counts.entry(answer.as_str()).or_insert(0) += 1;
    }
    assert_eq!(
        counts,
        BTreeMap::from([("web1", 10), ("web2", 10), ("web3", 10)])
    );
    for pair in answers.windows(4) {
        assert_eq!(pair[0], pair[3], "not strictly alternating: {answers:?}");
        assert_ne!(pair[0], pair[1], "not strictly alternating: {answers:?}");
    }
}

#[test]
fn thirty_curls_over_three_agents_of_ours() {
    if system_tests(&["ip", "curl"]) {
        thirty_curls_over_three_nodes_alternate_strictly(Agents::Ours);
    }
}

#[test]
fn thirty_curls_over_three_stock_serf_agents() {
    if system_tests(&["ip", "curl", "serf"]) {
        thirty_curls_over_three_nodes_alternate_strictly(Agents::Stock);
    }
}

#[test]
fn a_joining_node_serves_soon_after_its_port_opens() {
    if !system_tests(&["ip"]) {
        return;
    }
    let mut world = World::started(2, Agents::Ours);
    // The third node joins and leaves ten times.
    let mut tenth = Vec::new();
    for _ in 0..10 {
        world.webs[1].agent.as_mut().expect("it runs").terminate();
        world.webs[1].server.as_mut().expect("it runs").kill();
        world.until_in(1);
        let load = Load::start(&world.client, world.vip(), 200);
        world.start_server(1);
        let open = Instant::now();
        world.start_agent(1);
        world.until_in(2);
        eventually("the node answers", Duration::from_secs(5), || {
            (world.curl() == "web2").then_some(())
        });
        let report = load.finish();

        assert_eq!(
            report.failed(false).len() + report.failed(true).len(),
            0,
            "{:?}",
            report.failed(false)
        );
        tenth.push(report.first_of("web2", open).expect("it answered"));
    }
    tenth.sort();
    println!(
        "port open → first request: median {:?}, worst {:?}",
        tenth[5], tenth[9]
    );
    assert!(tenth[5] < Duration::from_secs(2), "{tenth:?}");
}

#[test]
fn metrics_and_readiness_follow_the_pool() {
    if !system_tests(&["ip"]) {
        return;
    }
    let world = World::started(1, Agents::Ours);

    let (status, metrics) = world.get("/metrics").expect("the admin answers");

    assert_eq!(status, 200);
    let line = metrics
        .lines()
        .find(|line| line.starts_with("lb_backend_in_rotation{"))
        .expect("the metric is there");
    assert!(
        line.contains(r#"node="web1""#) && line.contains(r#"pool="web""#) && line.ends_with(" 1"),
        "{line}"
    );
    assert_eq!(world.get("/readyz").map(|(status, _)| status), Some(200));
}

#[test]
fn a_request_before_any_backend_is_answered_503_with_a_reason() {
    if !system_tests(&["ip"]) {
        return;
    }
    let world = World::new(0, Agents::Ours);
    let vip: SocketAddr = world.vip();

    let answer = world
        .client
        .run(move || get(vip, "/"))
        .join()
        .expect("a client does not panic")
        .expect("an answer");

    assert_eq!(answer.0, 503);
    assert!(answer.1.contains("web"), "{}", answer.1);
}
