//! Machines that come back: a web node rebuilt under its old name at a new address, and the front itself.

use std::time::{Duration, Instant};

use super::{at_most, burn, system_tests, under_fire};
use crate::peers::Front;
use crate::world::{Agents, World};

/// How much of the old entry is left when the rebuilt node starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// The cluster still believes the old one alive.
    Early,
    /// It has declared it dead.
    Late,
}

/// Web2's machine is gone, and soon or later there is another one of its name.
fn rebuilt(others: Agents, web2: Agents, when: When, longest: Duration) {
    // HAProxy asks no agent, and nginx is driven by Serf's: one run of each will do.
    let wanted = match Front::chosen() {
        Front::Lb => true,
        Front::Haproxy => others == Agents::Ours,
        Front::Nginx => (others, web2) == (Agents::Stock, Agents::Stock),
    };
    if !wanted || !system_tests(&["ip", "serf"]) {
        return;
    }
    let mut world = World::new(3, others);
    world.webs[1].agents = web2;
    world.start_webs();
    let scenario = |world: &mut World| {
        world.expect_out();
        world.lose_machine(1);
        match when {
            When::Early => std::thread::sleep(Duration::from_millis(300)),
            When::Late => world.until_failed("web2"),
        }
        world.move_web(1);
        world.start_server(1);
        world.repaired = Some(Instant::now());
        world.start_agent(1);
        world.until_in(3);
    };
    let name = format!("rebuilt {when:?}, {web2:?} among {others:?}");
    let after = Duration::from_secs(1);
    let (world, report, _) = burn(&name, world, after, scenario);
    if Front::chosen() != Front::Lb {
        return;
    }
    at_most(&report, 0, 3);
    let started = world.repaired.expect("it was rebuilt");
    let first = report.first_of("web2", started).expect("it serves again");
    assert!(first <= longest, "{first:?}");
    assert_eq!(report.failed_since(started), 0, "after it was rebuilt");
}

#[test]
fn our_agent_among_ours_rebuilt_early() {
    rebuilt(Agents::Ours, Agents::Ours, When::Early, OURS);
}

#[test]
fn our_agent_among_ours_rebuilt_late() {
    rebuilt(Agents::Ours, Agents::Ours, When::Late, OURS);
}

#[test]
fn our_agent_among_stock_agents_rebuilt_early() {
    rebuilt(Agents::Stock, Agents::Ours, When::Early, OURS);
}

#[test]
fn our_agent_among_stock_agents_rebuilt_late() {
    rebuilt(Agents::Stock, Agents::Ours, When::Late, OURS);
}

#[test]
fn a_stock_agent_rebuilt_early() {
    rebuilt(Agents::Stock, Agents::Stock, When::Early, STOCK);
}

#[test]
fn a_stock_agent_rebuilt_late() {
    rebuilt(Agents::Stock, Agents::Stock, When::Late, STOCK);
}

/// The front is killed and started again with what it kept.
fn front_restarted(agents: Agents) {
    let mut back = None;
    let restart = |world: &mut World| {
        world.front.kill();
        std::thread::sleep(Duration::from_secs(1));
        back = Some(Instant::now());
        world.restart_front();
        world.until_in(3);
        std::thread::sleep(Duration::from_secs(2));
    };
    let after = Duration::from_secs(1);
    let Some((_world, report, _)) =
        under_fire("front killed and restarted", agents, after, restart)
    else {
        return;
    };
    let back = back.expect("it was started again");
    let good = report.first_good(back).expect("it answers again");
    let failed = report.failed_since(back + good);
    println!("    first good answer {good:?} after the start, {failed} failed after that");
    if Front::chosen() == Front::Lb {
        assert!(good < Duration::from_secs(1), "{good:?}");
        assert_eq!(failed, 0);
    }
}

#[test]
fn the_front_restarted_among_our_agents() {
    if Front::chosen() != Front::Nginx {
        front_restarted(Agents::Ours);
    }
}

#[test]
fn the_front_restarted_among_stock_agents() {
    if Front::chosen() != Front::Haproxy {
        front_restarted(Agents::Stock);
    }
}

const OURS: Duration = Duration::from_secs(4);
const STOCK: Duration = Duration::from_secs(16);
