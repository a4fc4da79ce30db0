//! Two clusters with a name in common become one: both nodes of that name live, and one of them takes another.
//!
//! ```text
//!   client ─▶ front1 ─▶ s1, s2   │   client ─▶ front2 ─▶ s3, s4, s5
//!                    one more agent, which joins both ┘
//! ```
//!
//! Real programs, requests all the while: whoever is renamed goes on routing, or being routed to.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Running, eventually, system_tests};
use crate::load::{Load, Report};
use crate::net::{Host, Network};
use crate::web;
use crate::world::get;

/// Front, client and webs of each cluster; the last host is the bridge's.
const FRONTS: [usize; 2] = [0, 4];
const CLIENTS: [usize; 2] = [1, 5];
const WEBS: [&[usize]; 2] = [&[2, 3], &[6, 7, 8]];
const BRIDGE: usize = 9;

/// Both clusters; node names are given host by host.
struct Clusters {
    // Processes before the namespaces that they run in.
    fronts: Vec<Running>,
    agents: Vec<(usize, Running)>,
    _servers: Vec<Running>,
    files: tempfile::TempDir,
    network: Network,
}

impl Clusters {
    fn start(name: impl Fn(usize) -> String) -> Self {
        let network = Network::new(BRIDGE as u8 + 1);
        let files = tempfile::tempdir().expect("a directory for logs");
        let (mut fronts, mut agents, mut servers) = (Vec::new(), Vec::new(), Vec::new());
        for (front, webs) in FRONTS.into_iter().zip(WEBS) {
            let host = network.host(front);
            let mut command = host.command(env!("CARGO_BIN_EXE_lb"));
            command.args(["--cluster", "web", "--node", &name(front)]);
            command.args(["--workers", "2", "--discover", "off"]);
            command.args(["--state-dir", "none", "--profile", "local"]);
            let log = format!("front-{front}");
            fronts.push(Running::start(&log, files.path(), &mut command));
            for &web in webs {
                let server = format!("s{web}");
                let notes = files.path().join(format!("{server}.posts"));
                let mut command = web::command(&network.host(web), &server, &notes);
                servers.push(Running::start(&server, files.path(), &mut command));
                let mut command = agent(&network.host(web), &name(web));
                command.args(["--role", "web", "--port", "80"]);
                command.args(["--join", &host.ip.to_string()]);
                let log = format!("agent-{web}");
                agents.push((web, Running::start(&log, files.path(), &mut command)));
            }
        }
        Self {
            fronts,
            agents,
            _servers: servers,
            files,
            network,
        }
    }

    /// What a front shows under `path`.
    fn ask(&self, front: usize, path: &'static str) -> Option<Value> {
        let admin = SocketAddr::from(([127, 0, 0, 1], 9901));
        let host = self.network.host(FRONTS[front]);
        let answer = host.run(move || get(admin, path)).join();
        let (_, body) = answer.expect("a client does not panic")?;
        Some(serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    /// Name and address of all whom a front holds alive.
    fn alive(&self, front: usize) -> Option<BTreeSet<(String, String)>> {
        let members = self.ask(front, "/api/v1/members")?;
        let members = members["members"].as_array()?.iter();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        members
            .filter(|member| member["status"] == "alive")
            .map(|member| Some((text(&member["name"])?, text(&member["address"])?)))
            .collect()
    }

    /// Addresses in a front's rotation.
    fn rotation(&self, front: usize) -> Option<BTreeSet<String>> {
        let pools = self.ask(front, "/api/v1/pools")?;
        let backends = pools["pools"][0]["backends"].as_array()?.iter();
        let used = backends.filter(|backend| backend["in_rotation"] == true);
        used.map(|backend| backend["address"].as_str().map(str::to_owned))
            .collect()
    }

    fn until_in(&self, front: usize, webs: &[usize]) {
        let wanted: BTreeSet<String> = webs
            .iter()
            .map(|&web| SocketAddr::from((self.network.host(web).ip, 80)).to_string())
            .collect();
        eventually(&format!("front {front} uses {wanted:?}"), LONG, || {
            (self.rotation(front)? == wanted).then_some(())
        });
    }

    /// 100 requests a second from the client of each cluster to its front.
    fn load(&self) -> [Load; 2] {
        [0, 1].map(|cluster| {
            let front = self.network.host(FRONTS[cluster]).ip;
            let client = self.network.host(CLIENTS[cluster]);
            Load::start(&client, SocketAddr::from((front, 80)), 100)
        })
    }

    /// One more agent, which knows of both clusters.
    fn bridge(&self) -> Running {
        let mut command = agent(&self.network.host(BRIDGE), "bridge");
        for front in FRONTS {
            command.args(["--join", &self.network.host(front).ip.to_string()]);
        }
        Running::start("bridge", self.files.path(), &mut command)
    }

    /// The name of the node at `host`, once both fronts agree on it and on all others.
    fn name_at(&self, host: usize, count: usize) -> String {
        let address = SocketAddr::from((self.network.host(host).ip, 7946)).to_string();
        eventually("both fronts hold the same alive", LONG, || {
            let (one, other) = (self.alive(0)?, self.alive(1)?);
            let agreed = one == other && one.len() == count;
            let named = one.into_iter().find(|(_, at)| *at == address);
            named.filter(|_| agreed).map(|(name, _)| name)
        })
    }
}

fn agent(host: &Host, name: &str) -> std::process::Command {
    let mut command = host.command(env!("CARGO_BIN_EXE_lb-agent"));
    command.args(["--node", name, "--discover", "off"]);
    command.args(["--state-dir", "none", "--profile", "local"]);
    command
}

/// Nobody's request failed. For how long each server of the own cluster was left out is printed.
fn nobody_was_hurt(report: &Report, webs: &[usize]) {
    for (post, kind) in [(false, "GETs"), (true, "POSTs")] {
        let failed = report.failed(post);
        assert!(
            failed.is_empty(),
            "{} {kind}: {:?}",
            failed.len(),
            failed[0]
        );
    }
    for web in webs {
        let name = format!("s{web}");
        let answers = report.samples.iter().enumerate();
        let own = answers.filter(|(_, sample)| sample.outcome.as_ref() == Ok(&name));
        let own: Vec<usize> = own.map(|(at, _)| at).collect();
        let gap = own.windows(2).map(|pair| pair[1] - pair[0]).max();
        println!("    {name}: at most each {}th request", gap.unwrap_or(0));
    }
}

#[test]
fn an_agent_whose_name_is_anothers_stays_in_rotation_under_a_new_one() {
    if !system_tests(&["ip"]) {
        return;
    }
    // In each cluster the first web has that name.
    let mut clusters = Clusters::start(|host| match host {
        2 | 6 => "web1".to_owned(),
        0 | 4 => format!("front{host}"),
        _ => format!("web-at-{host}"),
    });
    clusters.until_in(0, WEBS[0]);
    clusters.until_in(1, WEBS[1]);
    // Longer than what counts as anybody's start.
    std::thread::sleep(SETTLED);
    let loads = clusters.load();
    std::thread::sleep(WARM);
    let begun = Instant::now();
    let _bridge = clusters.bridge();
    let all = [WEBS[0], WEBS[1]].concat();
    clusters.until_in(0, &all);
    clusters.until_in(1, &all);
    let names = [2, 6].map(|host| clusters.name_at(host, 8));
    let taken = begun.elapsed();
    std::thread::sleep(WARM);
    let reports = loads.map(Load::finish);

    println!("one of two agents is renamed, and everyone knows both, after {taken:.1?}");
    for (report, webs) in reports.iter().zip(WEBS) {
        println!("    {}", report.summary(begun));
        nobody_was_hurt(report, webs);
    }
    // Which of the two depends on whose the bridge heard of first.
    let renamed: Vec<usize> = (0..2).filter(|&web| names[web] != "web1").collect();
    assert_eq!(renamed.len(), 1, "{names:?}");
    let name = &names[renamed[0]];
    assert!(name.starts_with("web1-"), "{names:?}");
    let line = format!("we are {name} from now on");
    for (web, process) in &mut clusters.agents {
        assert!(process.is_running(), "{}", process.output());
        let told = usize::from(*web == [2, 6][renamed[0]]);
        assert_eq!(process.output().matches(&line).count(), told);
    }
}

#[test]
fn a_front_whose_name_is_anothers_routes_on_under_a_new_one() {
    if !system_tests(&["ip"]) {
        return;
    }
    let mut clusters = Clusters::start(|host| match host {
        0 | 4 => "front".to_owned(),
        _ => format!("web-at-{host}"),
    });
    clusters.until_in(0, WEBS[0]);
    clusters.until_in(1, WEBS[1]);
    std::thread::sleep(SETTLED);
    let loads = clusters.load();
    std::thread::sleep(WARM);
    let begun = Instant::now();
    let _bridge = clusters.bridge();
    let all = [WEBS[0], WEBS[1]].concat();
    clusters.until_in(0, &all);
    clusters.until_in(1, &all);
    let names = FRONTS.map(|host| clusters.name_at(host, 8));
    let taken = begun.elapsed();
    std::thread::sleep(WARM);
    let reports = loads.map(Load::finish);

    println!("one of two fronts is renamed, and both know it, after {taken:.1?}");
    for (report, webs) in reports.iter().zip(WEBS) {
        println!("    {}", report.summary(begun));
        nobody_was_hurt(report, webs);
    }
    let renamed: Vec<usize> = (0..2).filter(|&front| names[front] != "front").collect();
    assert_eq!(renamed.len(), 1, "{names:?}");
    for (front, name) in names.iter().enumerate() {
        assert!(clusters.fronts[front].is_running());
        let line = format!("we are {name} from now on");
        let (told, counted) = if renamed[0] == front { (1, 1) } else { (0, 0) };
        let said = clusters.fronts[front].output();
        assert_eq!(said.matches(&line).count(), told);
        let metrics = clusters.ask(front, "/metrics").expect("it answers");
        let metrics = metrics.as_str().expect("text");
        let line = format!("lb_gossip_renames_total {counted}");
        assert!(metrics.lines().any(|found| found == line), "{line}");
        let own = clusters.ask(front, "/api/v1/members").expect("it answers");
        assert_eq!(own["self"], **name);
    }
}

/// Longer than what counts as a start.
const SETTLED: Duration = Duration::from_secs(11);
const WARM: Duration = Duration::from_secs(2);

/// For what takes half a minute, on a busy machine.
const LONG: Duration = Duration::from_secs(180);
