//! mDNS on a real switch: ours and stock agents find one another without any address.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Running, eventually, system_tests};
use crate::net::{Host, Network};
use crate::world::get;

const LONG: Duration = Duration::from_secs(30);

/// Hosts 10.99.0.1 and up, and the place of their logs.
struct Segment {
    // Namespaces end after the processes, which tests keep.
    network: Network,
    files: tempfile::TempDir,
}

impl Segment {
    fn new(count: u8) -> Self {
        Self {
            network: Network::new(count),
            files: tempfile::tempdir().expect("a directory for logs"),
        }
    }

    fn host(&self, index: usize) -> Host {
        self.network.host(index)
    }

    fn run(&self, index: usize, name: &str, program: &str, arguments: &[&str]) -> Running {
        let mut command = self.host(index).command(program);
        command.args(arguments);
        Running::start(name, self.files.path(), &mut command)
    }

    /// `lb` with `more`, its members shown by its admin.
    fn front(&self, index: usize, name: &str, more: &[&str]) -> Running {
        let all = [&["--node", name, "--state-dir", "none"], more].concat();
        self.run(index, name, env!("CARGO_BIN_EXE_lb"), &all)
    }

    fn agent(&self, index: usize, name: &str, more: &[&str]) -> Running {
        let all = [&["--node", name, "--state-dir", "none"], more].concat();
        self.run(index, name, env!("CARGO_BIN_EXE_lb-agent"), &all)
    }

    /// A stock agent. Its `-iface` ends in a panic on machines without IPv6, so the way of multicast is given by a route.
    fn stock(&self, index: usize, name: &str, discover: &str) -> Running {
        let host = self.host(index);
        let route = host
            .command("ip")
            .args(["route", "add", "224.0.0.0/4", "dev", "eth0"])
            .status();
        assert!(route.expect("ip runs").success());
        let bind = format!("-bind={}", host.ip);
        let discover = format!("-discover={discover}");
        self.run(
            index,
            name,
            "serf",
            &["agent", "-node", name, &bind, &discover],
        )
    }

    /// Waits until the front on host `index` knows exactly `names`, all alive.
    fn knows(&self, index: usize, names: &[&str]) {
        eventually(&format!("it knows {names:?}"), LONG, || {
            let (_, body) = self
                .host(index)
                .run(|| get(SocketAddr::from(([127, 0, 0, 1], 9901)), "/api/v1/members"))
                .join()
                .expect("a client does not panic")?;
            let members: Value = serde_json::from_str(&body).expect("the admin gives JSON");
            let mut alive: Vec<&str> = Vec::new();
            for member in members["members"].as_array()? {
                alive.push((member["status"] == "alive").then_some(member["name"].as_str()?)?);
            }
            alive.sort_unstable();
            (alive == names).then_some(())
        });
    }

    /// Names that the stock agent on host `index` knows as alive.
    fn stock_knows(&self, index: usize, names: &[&str]) {
        eventually(&format!("serf knows {names:?}"), LONG, || {
            let output = self
                .host(index)
                .command("serf")
                .args(["members", "-status=alive", "-format=json"])
                .output()
                .expect("serf runs");
            let members: Value = serde_json::from_slice(&output.stdout).ok()?;
            let mut alive: Vec<&str> = Vec::new();
            for member in members["members"].as_array()? {
                alive.push(member["name"].as_str()?);
            }
            alive.sort_unstable();
            (alive == names).then_some(())
        });
    }
}

#[test]
fn a_front_and_agents_find_one_another_and_other_names_stay_apart() {
    if !system_tests(&["ip"]) {
        return;
    }
    let segment = Segment::new(5);
    let started = Instant::now();
    let front = segment.front(0, "front", &["--cluster", "web"]);
    let _web1 = segment.agent(1, "web1", &["--role", "web"]);
    let _other = segment.front(2, "other", &["--cluster", "we", "--cluster", "web"]);
    let _web2 = segment.agent(3, "web2", &["--role", "web"]);
    let _db1 = segment.agent(4, "db1", &["--role", "db", "--discover", "we"]);

    segment.knows(0, &["front", "web1", "web2"]);
    println!("three met in {} ms", started.elapsed().as_millis());
    // The other two found each other too, so mDNS passed there, and nothing else did.
    segment.knows(2, &["db1", "other"]);
    segment.knows(0, &["front", "web1", "web2"]);
    assert!(
        !front.output().contains("answers mDNS"),
        "{}",
        front.output()
    );
}

#[test]
fn we_find_stock_agents_and_they_find_us() {
    if !system_tests(&["ip", "serf"]) {
        return;
    }
    let segment = Segment::new(5);
    let _stock1 = segment.stock(0, "stock1", "web");
    segment.stock_knows(0, &["stock1"]);

    // Ours asks, the stock one answers.
    let _front = segment.front(1, "front", &["--cluster", "web"]);
    segment.knows(1, &["front", "stock1"]);

    // The stock one asks. Ours answers in a cluster of another name, where it is told to join nobody in reach.
    let join = ["--join", "10.99.0.200"];
    let ours = [&["--role", "db"], &join[..]].concat();
    let ours = segment.agent(2, "ours", &ours);
    // A stock agent asks at its start and then a minute later only, so ours has to be there first.
    eventually("ours is up", LONG, || {
        ours.output().contains("nobody to join yet").then_some(())
    });
    let _stock2 = segment.stock(3, "stock2", "db");
    segment.stock_knows(3, &["ours", "stock2"]);

    segment.stock_knows(0, &["front", "stock1"]);
}

#[test]
fn silence_is_told_once_with_what_to_do() {
    if !system_tests(&["ip"]) {
        return;
    }
    let segment = Segment::new(2);
    let front = segment.front(0, "front", &["--cluster", "web"]);

    eventually("it says that nobody answers", LONG, || {
        let said = front.output();
        (said.contains("answers mDNS on eth0") && said.contains("--join")).then_some(())
    });

    // A late one is found all the same, and silence was told once.
    let _late = segment.agent(1, "late", &["--role", "web"]);
    segment.knows(0, &["front", "late"]);
    assert_eq!(front.output().matches("answers mDNS").count(), 1);
}

#[test]
fn discovery_that_is_off_neither_asks_nor_answers() {
    if !system_tests(&["ip"]) {
        return;
    }
    let segment = Segment::new(3);
    let _off = segment.front(0, "off", &["--cluster", "web", "--discover", "off"]);
    let _one = segment.front(1, "one", &["--cluster", "web"]);
    let _two = segment.agent(2, "two", &["--role", "web"]);

    segment.knows(1, &["one", "two"]);
    segment.knows(0, &["off"]);
}
