//! Machines that come back: a web node rebuilt under its old name at a new address, and the front itself.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::{back_within, bar, burn, holds, system_tests, under_fire};
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
    let fresh = || {
        let mut world = World::new(3, others);
        world.webs[1].agents = web2;
        world.start_webs();
        world
    };
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
    holds(fresh, |world| {
        let (report, _) = burn(&name, world, Duration::from_secs(1), scenario);
        report.at_most(0, 3)?;
        back_within(world, &report, longest)?;
        let failed = report.failed_since(world.repaired.expect("it was rebuilt"));
        bar(failed == 0, || {
            format!("{failed} failed after it was rebuilt")
        })
    });
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
    let back = Cell::new(None);
    let restart = |world: &mut World| {
        world.front.kill();
        std::thread::sleep(Duration::from_secs(1));
        back.set(Some(Instant::now()));
        world.restart_front();
        world.until_in(3);
        std::thread::sleep(Duration::from_secs(2));
    };
    let (name, after) = ("front killed and restarted", Duration::from_secs(1));
    under_fire(name, agents, after, restart, |_, report, _| {
        let back = back.get().expect("it was started again");
        let good = report.first_good(back).expect("it answers again");
        let failed = report.failed_since(back + good);
        println!("    first good answer {good:?} after the start, {failed} failed after that");
        bar(good < Duration::from_secs(1), || {
            format!("first good answer after {good:?}")
        })?;
        bar(failed == 0, || {
            format!("{failed} failed after the first good answer")
        })
    });
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
