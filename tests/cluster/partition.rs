//! A cluster cut in two, and whole again: real programs on both sides, requests all the while.
//!
//! ```text
//!   client ─▶ front1 ─▶ web1, web2   ┃ cut ┃   client ─▶ front2 ─▶ web3, web4
//!             └────────── one gossip cluster, four backends ──────────┘
//! ```
//!
//! The profile `local` stands for the ten minutes of `tests/sim`: everyone is failed after some 15 s, and 15 s later
//! memberlist forgets them, so that nothing but the recall of ours and Serf's reconnect can bring the halves together.
//! `LB_TEST_CUT=600` keeps the cut as many seconds, `LB_TEST_PROFILE=lan` takes the shipped constants.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Running, eventually, system_tests};
use crate::load::{Load, Report, Sample};
use crate::net::{Host, Network};
use crate::web;
use crate::world::{Agents, get};

type Names = BTreeSet<String>;

/// Who tells what a node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voice {
    /// The front's admin.
    Front,
    /// The log of an `lb-agent`.
    Log,
    /// `serf members`.
    Serf,
}

/// A gossip member.
struct Node {
    name: String,
    half: usize,
    voice: Voice,
    host: Host,
    process: Running,
}

/// Both halves.
struct Cluster {
    // Processes before the namespaces that they run in.
    nodes: Vec<Node>,
    _servers: Vec<Running>,
    _files: tempfile::TempDir,
    network: Network,
}

/// Hosts of one half: its front, its client, its two webs.
const HOSTS: usize = 4;

impl Cluster {
    /// Starts both halves, whose webs are announced by `agents`, as one cluster.
    fn start(agents: [Agents; 2]) -> Self {
        let network = Network::new(2 * HOSTS as u8);
        let files = tempfile::tempdir().expect("a directory for logs");
        let profile = std::env::var("LB_TEST_PROFILE").unwrap_or_else(|_| "local".to_owned());
        let first = network.host(0).ip.to_string();
        let (mut nodes, mut servers) = (Vec::new(), Vec::new());
        for (half, agents) in agents.into_iter().enumerate() {
            let front = network.host(half * HOSTS);
            let name = format!("front{}", half + 1);
            let mut command = front.command(env!("CARGO_BIN_EXE_lb"));
            command.args(["--cluster", "web", "--node", &name, "--workers", "2"]);
            command.args(["--state-dir", "none", "--profile", &profile]);
            if half > 0 {
                command.args(["--join", &first]);
            }
            let process = Running::start(&name, files.path(), &mut command);
            nodes.push(Node::new(name, half, Voice::Front, front.clone(), process));
            let front = front.ip.to_string();
            for number in 1..=2 {
                let host = network.host(half * HOSTS + 1 + number);
                let name = format!("web{}", half * 2 + number);
                let log = format!("{name}-server");
                let notes = files.path().join(format!("{name}.posts"));
                let mut command = web::command(&host, &name, &notes);
                servers.push(Running::start(&log, files.path(), &mut command));
                let (mut command, voice) = match agents {
                    Agents::Ours => {
                        let mut command = host.command(env!("CARGO_BIN_EXE_lb-agent"));
                        command.args(["--role", "web", "--port", "80", "--node", &name]);
                        command.args(["--join", &front, "--state-dir", "none"]);
                        command.args(["--profile", &profile]);
                        (command, Voice::Log)
                    }
                    Agents::Stock => {
                        let mut command = host.command("serf");
                        command.args(["agent", "-role=web", "-tag", "port=80", "-node", &name]);
                        command.args(["-retry-join", &front, "-retry-interval=1s"]);
                        command.args(["-bind", &host.ip.to_string(), "-profile", &profile]);
                        (command, Voice::Serf)
                    }
                };
                let process = Running::start(&name, files.path(), &mut command);
                nodes.push(Node::new(name, half, voice, host, process));
            }
        }
        Self {
            nodes,
            _servers: servers,
            _files: files,
            network,
        }
    }

    /// 100 requests a second from the client of each half to its front.
    fn load(&self) -> [Load; 2] {
        [0, 1].map(|half| {
            let front = self.network.host(half * HOSTS).ip;
            let client = self.network.host(half * HOSTS + 1);
            Load::start(&client, SocketAddr::from((front, 80)), 100)
        })
    }

    /// Nothing passes from one half to the other, without a word to anybody.
    fn cut(&self) {
        for index in 0..2 * HOSTS {
            let other = HOSTS - index / HOSTS * HOSTS;
            let ip = |index: usize| self.network.host(index).ip;
            let sources = format!("ip saddr {}-{}", ip(other), ip(other + HOSTS - 1));
            let host = self.network.host(index);
            host.drop_packets(&sources, "ip daddr 0.0.0.0");
        }
    }

    fn heal(&self) {
        for index in 0..2 * HOSTS {
            self.network.host(index).pass_packets();
        }
    }

    /// Names of the members of some halves.
    fn names(&self, of: impl Fn(&Node) -> bool) -> Names {
        let nodes = self.nodes.iter().filter(|node| of(node));
        nodes.map(|node| node.name.clone()).collect()
    }

    /// Waits until everyone holds exactly those for alive whom `expected` says.
    fn until_all_hold_alive(&self, what: &str, limit: Duration, expected: impl Fn(&Node) -> Names) {
        let begun = Instant::now();
        for node in &self.nodes {
            let (expected, left) = (expected(node), limit.saturating_sub(begun.elapsed()));
            let what = format!("{what}: {} holds {expected:?} for alive", node.name);
            eventually(&what, left, || (node.alive()? == expected).then_some(()));
        }
    }

    /// Waits until both fronts use all four webs.
    fn until_all_rotate(&self, limit: Duration) {
        let begun = Instant::now();
        let webs = self.names(|node| node.voice != Voice::Front);
        for front in self.nodes.iter().filter(|node| node.voice == Voice::Front) {
            let left = limit.saturating_sub(begun.elapsed());
            eventually(&format!("{} uses all webs", front.name), left, || {
                (front.rotation()? == webs).then_some(())
            });
        }
    }
}

impl Node {
    fn new(name: String, half: usize, voice: Voice, host: Host, process: Running) -> Self {
        Self {
            name,
            half,
            voice,
            host,
            process,
        }
    }

    /// Whom it holds for alive; `None` while it does not say.
    fn alive(&self) -> Option<Names> {
        match self.voice {
            Voice::Front => {
                let members = self.ask("/api/v1/members")?;
                let members = members["members"].as_array()?.iter();
                let alive = members.filter(|member| member["status"] == "alive");
                alive
                    .map(|member| member["name"].as_str().map(str::to_owned))
                    .collect()
            }
            Voice::Serf => {
                let mut command = self.host.command("serf");
                command.args(["members", "-status=alive", "-format=json"]);
                let output = command.output().expect("serf runs");
                let members: Value = serde_json::from_slice(&output.stdout).ok()?;
                let members = members["members"].as_array()?.iter();
                members
                    .map(|member| member["name"].as_str().map(str::to_owned))
                    .collect()
            }
            Voice::Log => {
                let mut alive = Names::from([self.name.clone()]);
                for line in self.process.output().lines() {
                    let about = |words| {
                        let (before, _) = line.split_once(words)?;
                        before.rsplit(' ').next().map(str::to_owned)
                    };
                    alive.extend(about(" joined the cluster address="));
                    if let Some(gone) = about(" stopped answering gossip") {
                        alive.remove(&gone);
                    }
                }
                Some(alive)
            }
        }
    }

    /// Backends in rotation, of a front.
    fn rotation(&self) -> Option<Names> {
        let pools = self.ask("/api/v1/pools")?;
        let backends = pools["pools"][0]["backends"].as_array()?.iter();
        let used = backends.filter(|backend| backend["in_rotation"] == true);
        used.map(|backend| backend["node"].as_str().map(str::to_owned))
            .collect()
    }

    fn ask(&self, path: &'static str) -> Option<Value> {
        let admin = SocketAddr::from(([127, 0, 0, 1], 9901));
        let answer = self.host.run(move || get(admin, path)).join();
        let (_, body) = answer.expect("a client does not panic")?;
        Some(serde_json::from_str(&body).expect("the admin gives JSON"))
    }
}

/// From a second after the cut on nothing fails, and until the repair only the own half answers.
fn nobody_was_hurt(report: &Report, own: &Names, cut: Instant, healed: Instant) {
    let after = |sample: &&Sample| sample.begun > cut + Duration::from_secs(1);
    let failed: Vec<&Sample> = report
        .samples
        .iter()
        .filter(after)
        .filter(|sample| sample.outcome.is_err())
        .collect();
    assert!(
        failed.is_empty(),
        "{} failed: {:?}",
        failed.len(),
        failed[0]
    );
    let apart = report.samples.iter().filter(after);
    let answered: Names = apart
        .filter(|sample| sample.begun < healed)
        .filter_map(|sample| sample.outcome.clone().ok())
        .collect();
    assert_eq!(answered, *own, "who answered while the halves were apart");
}

fn halves_apart(agents: [Agents; 2]) {
    let cluster = Cluster::start(agents);
    let all = cluster.names(|_| true);
    cluster.until_all_hold_alive("at first", START, |_| all.clone());
    cluster.until_all_rotate(START);
    let loads = cluster.load();
    std::thread::sleep(WARM);

    cluster.cut();
    let cut = Instant::now();
    let half = |node: &Node| cluster.names(|other| other.half == node.half);
    cluster.until_all_hold_alive("cut", FAILED_MAX, half);
    let failed = cut.elapsed();
    let seconds = std::env::var("LB_TEST_CUT").ok();
    let length = seconds.map_or(CUT, |text| {
        Duration::from_secs(text.parse().expect("LB_TEST_CUT: seconds"))
    });
    std::thread::sleep(length.max(failed + FORGOTTEN) - cut.elapsed());
    cluster.until_all_hold_alive("still cut", Duration::ZERO, half);

    let healed = Instant::now();
    cluster.heal();
    cluster.until_all_rotate(HEAL_MAX);
    let rotating = healed.elapsed();
    cluster.until_all_hold_alive("healed", HEAL_MAX.saturating_sub(rotating), |_| all.clone());
    let met = healed.elapsed();
    std::thread::sleep(WARM);
    let reports = loads.map(Load::finish);

    println!(
        "halves apart, {agents:?}: all failed after {failed:.1?}, cut for {:.1?}; all rotate {rotating:.1?} and all met {met:.1?} after the repair",
        healed - cut
    );
    for (index, report) in reports.iter().enumerate() {
        println!("    half {}: {}", index + 1, report.summary(cut));
        let own = cluster.names(|node| node.half == index && node.voice != Voice::Front);
        nobody_was_hurt(report, &own, cut, healed);
        let gets = report.failed(false);
        assert!(gets.is_empty(), "{} GETs: {:?}", gets.len(), gets[0]);
        for web in cluster.names(|node| node.voice != Voice::Front) {
            let answered = report.first_of(&web, healed);
            assert!(
                answered.is_some(),
                "half {}: {web} serves no more",
                index + 1
            );
        }
    }
}

#[test]
fn two_halves_of_ours_that_were_apart_route_on_and_meet_again() {
    if system_tests(&["ip", "nft"]) {
        halves_apart([Agents::Ours, Agents::Ours]);
    }
}

#[test]
fn a_half_of_ours_and_a_half_of_stock_agents_route_on_and_meet_again() {
    if system_tests(&["ip", "nft", "serf"]) {
        halves_apart([Agents::Ours, Agents::Stock]);
    }
}

const WARM: Duration = Duration::from_secs(2);
const START: Duration = Duration::from_secs(30);

/// Of the whole cut.
const CUT: Duration = Duration::from_secs(45);

/// Three of six are dead at once: whoever probes doubts itself first.
const FAILED_MAX: Duration = Duration::from_secs(60);

/// After the last one failed: for so long memberlist gossips to the dead (`local`), and a round of probes.
const FORGOTTEN: Duration = Duration::from_secs(20);

/// The bound of the promise.
const HEAL_MAX: Duration = Duration::from_secs(30);
