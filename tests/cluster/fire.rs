//! Faults that the systems before this one fail at, under 200 requests a second: hosts go dark, cables are cut,
//! servers hang or turn sick. Each runs with `lb-agent` and with stock `serf agent` on the webs.
//!
//! `LB_TEST_FRONT=haproxy` or `nginx` (driven by Serf's handlers) runs the same against those, with figures and
//! no bounds; `benches/faults.md` has them beside ours. Bounds are about three times what is expected: the figures
//! printed are the result, the bars the fuse, by the rule of [`holds`].

mod machines;

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::system_tests;
use crate::load::{Held, Load, Report, bar, holds};
use crate::peers::Front;
use crate::world::{Agents, World};

/// Runs `scenario` on a world of three web nodes under load, prints what came of it, and holds that to `bars`.
fn under_fire(
    name: &str,
    agents: Agents,
    after: Duration,
    scenario: impl Fn(&mut World),
    bars: impl Fn(&World, &Report, Instant) -> Held,
) {
    let programs: &[&str] = match agents {
        Agents::Ours => &["ip", "nft"],
        Agents::Stock => &["ip", "nft", "serf"],
    };
    if !system_tests(programs) {
        return;
    }
    let name = format!("{name}, {agents:?}");
    let fresh = || World::started(3, agents);
    holds(fresh, |world| {
        let (report, fault) = burn(&name, world, after, &scenario);
        bars(world, &report, fault)
    });
}

/// One run, on a world that stands already.
fn burn(
    name: &str,
    world: &mut World,
    after: Duration,
    scenario: impl Fn(&mut World),
) -> (Report, Instant) {
    let load = Load::start(&world.client, world.vip(), 200);
    std::thread::sleep(Duration::from_secs(1));
    let fault = Instant::now();
    scenario(world);
    std::thread::sleep(after);
    let report = load.finish();
    let mut line = format!("{name}: {}", report.summary(fault));
    let seconds = |what: &str, at: Option<Duration>| match at {
        Some(at) => format!(", {what} {:.2} s", at.as_secs_f64()),
        None => format!(", {what} never"),
    };
    if let Some(out) = world.out.take() {
        line += &seconds("out after", out.try_recv().ok().map(|at| at - fault));
    }
    if let Some(repaired) = world.repaired {
        line += &seconds("back after", report.first_of("web2", repaired));
    }
    let front = Front::chosen();
    println!(
        "{front:?}: {line}, went out {} times",
        world.went_out().len()
    );
    for (reason, count) in report.reasons() {
        println!("    {count} × {reason}");
    }
    (report, fault)
}

fn back_within(world: &World, report: &Report, longest: Duration) -> Held {
    let repaired = world.repaired.expect("it was repaired");
    let back = report.first_of("web2", repaired);
    bar(back.is_some_and(|back| back <= longest), || {
        format!("back after {back:?}")
    })
}

fn nobody_went_out(world: &World) -> Held {
    let out = world.went_out();
    bar(out.is_empty(), || format!("{out:#?}"))
}

fn host_off(agents: Agents) {
    let dark = |world: &mut World| {
        world.expect_out();
        world.web_host(1).set_link(false);
    };
    let after = Duration::from_secs(10);
    under_fire("host off", agents, after, dark, |_, report, fault| {
        report.at_most(0, 3)?;
        report.hurt_within(fault, Duration::from_secs(2))
    });
}

fn front_cut_from_one_web(agents: Agents) {
    let cut = |world: &mut World| {
        world.expect_out();
        let front = world.front_host().ip;
        world
            .web_host(1)
            .drop_packets(&format!("ip saddr {front}"), &format!("ip daddr {front}"));
    };
    let (name, after) = ("front cut from one web", Duration::from_secs(10));
    under_fire(name, agents, after, cut, |_, report, fault| {
        report.at_most(0, 3)?;
        report.hurt_within(fault, Duration::from_secs(2))
    });
}

fn udp_cut(agents: Agents) {
    let cut = |world: &mut World| {
        for index in 0..3 {
            world
                .web_host(index)
                .drop_packets("meta l4proto udp", "meta l4proto udp");
        }
    };
    let (name, after) = ("UDP cut everywhere", Duration::from_secs(15));
    under_fire(name, agents, after, cut, |world, report, _| {
        world.until_in(3);
        report.at_most(0, 0)
    });
}

fn web_cut_from_all(agents: Agents) {
    let cut = |world: &mut World| {
        world.expect_out();
        let host = world.web_host(1);
        host.drop_packets("ip saddr 10.99.0.0/24", "ip daddr 10.99.0.0/24");
        std::thread::sleep(Duration::from_secs(45));
        host.pass_packets();
        world.repaired = Some(Instant::now());
        world.until_in(3);
    };
    let (name, after) = ("web cut from all 45 s", Duration::from_secs(3));
    under_fire(name, agents, after, cut, |world, report, fault| {
        report.at_most(0, 3)?;
        report.hurt_within(fault, Duration::from_secs(2))?;
        back_within(world, report, Duration::from_secs(6))
    });
}

fn udp_loss(agents: Agents) {
    let lose = |world: &mut World| {
        let rule = "meta l4proto udp numgen random mod 100 < 25";
        for index in 0..3 {
            world.web_host(index).drop_packets(rule, "ip daddr 0.0.0.0");
        }
        world.front_host().drop_packets(rule, "ip daddr 0.0.0.0");
    };
    let after = Duration::from_secs(30);
    under_fire("25 % UDP loss", agents, after, lose, |world, report, _| {
        report.at_most(0, 0)?;
        nobody_went_out(world)
    });
}

fn loss_of_everything(agents: Agents) {
    let lose = |world: &mut World| {
        let front = world.front_host().ip;
        for index in 0..3 {
            let host = world.web_host(index);
            let ip = host.ip;
            host.drop_packets("numgen random mod 100 < 25", "ip daddr 0.0.0.0");
            assert_ne!(ip, front);
        }
        world.front_host().drop_packets(
            "ip saddr 10.99.0.3-10.99.0.9 numgen random mod 100 < 25",
            "ip daddr 0.0.0.0",
        );
    };
    let (name, after) = ("25 % loss of everything", Duration::from_secs(30));
    under_fire(name, agents, after, lose, |world, report, _| {
        // Without requests there is no good news, and it is as true.
        std::thread::sleep(Duration::from_secs(10));
        let (gets, posts) = (report.failed(false).len(), report.failed(true).len());
        bar(gets + posts <= 10, || {
            format!("{gets} GETs and {posts} POSTs failed")
        })?;
        nobody_went_out(world)
    });
}

fn web_hung(agents: Agents) {
    let hang = |world: &mut World| {
        world.expect_out();
        let server = world.webs[1].server.as_ref().expect("it runs");
        server.signal(Signal::STOP);
        std::thread::sleep(Duration::from_secs(15));
        server.signal(Signal::CONT);
        world.repaired = Some(Instant::now());
        world.until_in(3);
    };
    let after = Duration::from_secs(2);
    under_fire("web hung 15 s", agents, after, hang, |_, report, fault| {
        report.at_most(0, 12)?;
        report.hurt_within(fault, Duration::from_secs(4))
    });
}

fn agent_hung(agents: Agents) {
    let hang = |world: &mut World| {
        let agent = world.webs[1].agent.as_ref().expect("it runs");
        agent.signal(Signal::STOP);
        std::thread::sleep(Duration::from_secs(15));
        agent.signal(Signal::CONT);
        std::thread::sleep(Duration::from_secs(5));
    };
    let after = Duration::from_secs(1);
    under_fire(
        "agent hung 15 s",
        agents,
        after,
        hang,
        |world, report, _| {
            report.at_most(0, 0)?;
            nobody_went_out(world)
        },
    );
}

fn web_answers_503(agents: Agents, what: &'static str) {
    let sick = |world: &mut World| {
        world.expect_out();
        world.set_sick("web2", Some(what));
        std::thread::sleep(Duration::from_secs(12));
        world.set_sick("web2", None);
        world.repaired = Some(Instant::now());
        world.until_in(3);
    };
    let name = format!("web answers 503 ({what}) for 12 s");
    let after = Duration::from_secs(2);
    under_fire(&name, agents, after, sick, |_, report, _| {
        report.at_most(0, 9)
    });
}

fn flapping_agent(agents: Agents) {
    let flap = |world: &mut World| {
        for _ in 0..5 {
            world.webs[1].agent.as_mut().expect("it runs").kill();
            std::thread::sleep(Duration::from_millis(700));
            world.start_agent(1);
            std::thread::sleep(Duration::from_millis(1300));
        }
        world.until_in(3);
    };
    let after = Duration::from_secs(1);
    under_fire("flapping agent", agents, after, flap, |_, report, _| {
        report.at_most(0, 0)
    });
}

fn front_stopped(agents: Agents) {
    let pause = |world: &mut World| {
        world.front.signal_all(Signal::STOP);
        std::thread::sleep(Duration::from_secs(10));
        world.front.signal_all(Signal::CONT);
        std::thread::sleep(Duration::from_secs(8));
    };
    let (name, after) = ("front SIGSTOPped 10 s", Duration::from_secs(1));
    under_fire(name, agents, after, pause, |world, report, fault| {
        nobody_went_out(world)?;
        // Nothing answers while the only front is stopped; afterwards all is as before.
        report.hurt_within(fault, Duration::from_secs(13))
    });
}

fn cpu_hog(agents: Agents) {
    let hog = |world: &mut World| {
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            std::thread::sleep(Duration::from_secs(10));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(world.front.is_running());
    };
    let (name, after) = ("CPU hog beside the front", Duration::from_secs(1));
    under_fire(name, agents, after, hog, |world, report, _| {
        report.at_most(0, 0)?;
        nobody_went_out(world)
    });
}

/// As seen from everything else, a gossip task that is wedged or gone: no news in, no news out, and the rest goes on.
/// The program has no switch that would stop this one task, and shall not have one for a test's sake.
fn gossip_deaf_while_a_web_dies(agents: Agents) {
    let deaf = |world: &mut World| {
        world.front_host().drop_packets(
            "meta l4proto { tcp, udp } th dport 7946",
            "meta l4proto { tcp, udp } th dport 7946",
        );
        world.expect_out();
        world.webs[1].server.as_mut().expect("it runs").kill();
        world.webs[1].agent.as_mut().expect("it runs").kill();
        std::thread::sleep(Duration::from_secs(25));
    };
    let (name, after) = ("front deaf to gossip, web dies", Duration::from_secs(1));
    under_fire(name, agents, after, deaf, |world, report, fault| {
        world.until_in(2);
        report.at_most(0, 3)?;
        report.hurt_within(fault, Duration::from_secs(2))
    });
}

fn many_changes(agents: Agents) {
    if !system_tests(&["ip", "nft"]) {
        return;
    }
    let changes = |world: &mut World| {
        let load = Load::start(&world.client, world.vip(), 600);
        let fault = Instant::now();
        for change in 0..12 {
            let index = change % 4;
            world.webs[index]
                .agent
                .as_mut()
                .expect("it runs")
                .terminate();
            world.start_agent(index);
            world.until_in(4);
        }
        let report = load.finish();
        println!(
            "{:?}: 24 membership changes at 600 req/s, {agents:?}: {}",
            Front::chosen(),
            report.summary(fault)
        );
        report.at_most(0, 0)
    };
    holds(|| World::started(4, agents), changes);
}

/// A test with `lb-agent` and one with stock agents.
macro_rules! both {
    ($($name:ident($($extra:expr),*);)*) => {$(
        mod $name {
            use crate::peers::Front;
            use crate::world::Agents;

            // HAProxy asks no agent, and nginx is driven by Serf's: one run of each will do.
            #[test]
            fn with_our_agents() {
                if Front::chosen() != Front::Nginx {
                    super::$name(Agents::Ours $(, $extra)*);
                }
            }

            #[test]
            fn with_stock_agents() {
                if Front::chosen() != Front::Haproxy {
                    super::$name(Agents::Stock $(, $extra)*);
                }
            }
        }
    )*};
}

both! {
    host_off();
    front_cut_from_one_web();
    udp_cut();
    web_cut_from_all();
    udp_loss();
    loss_of_everything();
    web_hung();
    agent_hung();
    flapping_agent();
    front_stopped();
    cpu_hog();
    gossip_deaf_while_a_web_dies();
}

#[test]
fn a_web_that_answers_503_to_everything() {
    web_answers_503(Agents::Ours, "all");
}

#[test]
fn a_web_that_answers_503_to_all_but_checks() {
    web_answers_503(Agents::Ours, "requests");
}

#[test]
fn twenty_four_membership_changes() {
    many_changes(Agents::Ours);
}
