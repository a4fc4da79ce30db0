//! Nobody notices: no client, no member.

use rustix::process::Signal;

use crate::authority::Authority;
use crate::common::{Running, eventually, system_tests};
use crate::load::Load;
use crate::rig::{LONG, World, saw_nothing};
use crate::way::Way;

/// Far longer than any request of the load; what idles is let go then.
const TIMEOUTS: &str = "drain = \"20s\"";

fn rounds(count: usize) {
    let world = World::new();
    let authority = Authority::new();
    let (secure, tables) = Way::secure(world.address(1, 18443), &authority);
    world.configure(2, TIMEOUTS, &tables);
    let program = world.install();
    let mut front = world.front(&program);
    let agents = [world.agent(1), world.agent(2)];
    front.until_in(2);
    let load = Load::over(vec![Way::plain(world.vip()), secure]);
    load.flows(1);

    for round in 0..count {
        // Fewer workers, more, and as many as before: every queue that exists is served by somebody.
        world.configure([3, 1, 4, 2][round % 4], TIMEOUTS, &tables);
        let old = front.upgrade(&[]);
        load.flows(1);
        // Some follow at once, while the one before is still draining.
        if round % 3 != 2 {
            assert_eq!(front.ended(old), 0);
        }
        // No gap in the answers of the admin either.
        assert_eq!(front.admin("/healthz").map(|(status, _)| status), Some(200));
    }
    front.until_in(2);
    let answered = load.end();
    let [plain, secure] = answered[..] else {
        panic!("two ways: {answered:?}");
    };
    println!(
        "{plain} requests and {secure} within TLS over {count} upgrades, none failed, none reset"
    );

    for agent in &agents {
        saw_nothing(agent);
    }
    assert_eq!(front.stop(), 0);
}

#[test]
fn no_request_fails_and_no_member_notices() {
    rounds(3);
}

#[test]
fn nor_over_twenty_upgrades() {
    if system_tests(&[]) {
        rounds(20);
    }
}

#[test]
fn a_signal_does_the_same_and_the_rpc_answers_throughout() {
    let world = World::new();
    world.configure(2, TIMEOUTS, "");
    let program = world.install();
    let mut front = world.front(&program);
    let agent = world.agent(1);
    front.until_in(1);
    let load = Load::start(world.vip());
    load.flows(1);
    let rpc = world.address(1, 17373).to_string();
    let names = || {
        let mut command = World::clean(&program);
        let output = command
            .args(["members", "--rpc-addr", &rpc])
            .output()
            .expect("lb runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    };
    assert!(names().contains("front"));

    let old = front.pid();
    front.signal(Signal::USR2);
    // Whoever answers, somebody does.
    while !front.output().contains("took over from process") {
        names();
    }
    front.follow(old);

    eventually("the new one knows the members", LONG, || {
        let names = names();
        (names.contains("web1") && names.contains("front")).then_some(())
    });
    load.flows(1);
    load.end();
    assert_eq!(front.ended(old), 0);
    saw_nothing(&agent);
}

#[test]
fn tags_and_name_set_while_running_are_kept() {
    let world = World::new();
    world.configure(1, TIMEOUTS, "");
    let program = world.install();
    let mut front = world.front(&program);
    let rpc = world.address(1, 17373).to_string();
    let run = |arguments: &[&str]| {
        let mut command = World::clean(&program);
        let output = command
            .args(arguments)
            .args(["--rpc-addr", &rpc])
            .output()
            .expect("lb runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    run(&["tags", "--set", "rack=7"]);

    let old = front.upgrade(&[]);

    assert_eq!(front.ended(old), 0);
    assert!(run(&["members"]).contains("rack=7"));
    assert_eq!(front.stop(), 0);
}

#[test]
fn a_snapshot_goes_on_over_an_upgrade() {
    let world = World::new();
    world.configure(1, TIMEOUTS, "");
    let program = world.install();
    let snapshot = world.path("serf.snapshot");
    let with_snapshot = || {
        let mut command = world.command(&program);
        command.arg("--snapshot").arg(&snapshot);
        world.front_by(&mut command)
    };
    let lines = || {
        let text = std::fs::read_to_string(&snapshot).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let says = |what: &str| {
        eventually(what, LONG, || {
            lines()
                .iter()
                .any(|line| line.starts_with(what))
                .then_some(())
        });
    };
    let mut front = with_snapshot();
    let _one = world.agent(1);
    front.until_in(1);
    says("alive: web1 ");

    let old = front.upgrade(&[]);
    assert_eq!(front.ended(old), 0);
    let _two = world.agent(2);
    front.until_in(2);
    says("alive: web2 ");

    // Neither wrote over what the other had written.
    const KNOWN: [&str; 6] = [
        "alive: ",
        "not-alive: ",
        "clock: ",
        "event-clock: ",
        "query-clock: ",
        "leave",
    ];
    for line in lines() {
        assert!(KNOWN.iter().any(|word| line.starts_with(word)), "{line:?}");
    }
    // A later start knows both from there.
    assert_eq!(front.stop(), 0);
    drop(front);
    std::fs::remove_dir_all(world.path("state")).expect("it is there");
    let mut front = with_snapshot();
    front.until_in(2);
    assert_eq!(front.stop(), 0);
}

#[test]
fn a_stock_serf_agent_sees_one_member_that_never_goes() {
    if !system_tests(&["serf"]) {
        return;
    }
    // On a busy machine the front may answer later than a probe waits; one that upgrades make late is late in every run.
    let suspected = || {
        let log = five_upgrades_as_serf_sees_them();
        let suspected = log.contains("Suspect front");
        if suspected {
            println!("{log}");
        }
        suspected
    };
    assert!(
        !(0..3).all(|_| suspected()),
        "suspected in each of three runs"
    );
}

/// The log of a stock agent that saw the front come once and never go.
fn five_upgrades_as_serf_sees_them() -> String {
    let world = World::new();
    world.configure(2, TIMEOUTS, "");
    let program = world.install();
    let mut front = world.front(&program);
    let mut command = World::clean(&crate::common::find("serf").expect("it is there"));
    let at = |port| world.address(9, port).to_string();
    command.args(["agent", "-node=stock", "-log-level=debug"]);
    command.arg(format!("-bind={}", at(17946)));
    command.arg(format!("-rpc-addr={}", at(17373)));
    command.arg(format!("-join={}", world.gossip(1)));
    let stock = Running::start("stock", world.files.path(), &mut command);
    eventually("serf has met the front", LONG, || {
        stock
            .output()
            .contains("EventMemberJoin: front")
            .then_some(())
    });

    for _ in 0..5 {
        let old = front.upgrade(&[]);
        assert_eq!(front.ended(old), 0);
    }
    eventually("the last one knows serf", LONG, || {
        front
            .admin("/api/v1/members")?
            .1
            .contains("stock")
            .then_some(())
    });

    // Each of them acks, the front included.
    let mut reach = World::clean(&crate::common::find("serf").expect("it is there"));
    reach
        .arg("reachability")
        .arg(format!("-rpc-addr={}", at(17373)));
    let reached = reach.output().expect("serf runs");
    assert!(reached.status.success(), "{reached:?}");

    let output = stock.output();
    for word in ["EventMemberFailed", "EventMemberLeave", "EventMemberReap"] {
        assert!(!output.contains(word), "{word}:\n{output}");
    }
    assert_eq!(
        output.matches("EventMemberJoin: front").count(),
        1,
        "{output}"
    );
    assert_eq!(front.stop(), 0);
    output
}
