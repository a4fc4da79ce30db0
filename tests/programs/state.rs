//! What outlives a restart: the built programs on loopback addresses of this test's own, killed and started again.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use lb::gossip::core::keyring::{Key, Keyring};
use lb::gossip::core::member::Status;
use lb::gossip::core::serf::keys::KeyRequest;
use lb::gossip::core::timing::Profile;
use lb::gossip::driver;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::common::{Running, bare, eventually};

/// Long enough for a machine that is busy with other tests; what was measured is printed.
const LONG: Duration = Duration::from_secs(30);

/// Each test has addresses of its own: 127.x.y.1 … of the process and the count.
static WORLDS: AtomicU8 = AtomicU8::new(0);

struct World {
    net: [u8; 2],
    files: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let pid = std::process::id();
        let world = WORLDS.fetch_add(1, Ordering::Relaxed);
        Self {
            net: [100 + (pid % 100) as u8, (pid / 100 % 16) as u8 * 16 + world],
            files: tempfile::tempdir().expect("a directory"),
        }
    }

    fn address(&self, host: u8, port: u16) -> SocketAddr {
        let [x, y] = self.net;
        (Ipv4Addr::new(127, x, y, host), port).into()
    }

    fn gossip(&self, host: u8) -> SocketAddr {
        self.address(host, 17946)
    }

    fn vip(&self) -> SocketAddr {
        self.address(1, 18080)
    }

    /// What a node keeps, once it is there.
    fn kept(&self, node: &str, file: &str) -> Option<String> {
        std::fs::read_to_string(self.files.path().join("state").join(node).join(file)).ok()
    }

    fn command(&self, program: &str, node: &str, host: u8, join: Option<u8>) -> Command {
        let mut command = bare(program);
        command.args(["--node", node, "--bind", &self.gossip(host).to_string()]);
        command.args(["--discover", "off", "--rpc-addr", "off", "--state-dir"]);
        command.arg(self.files.path().join("state"));
        if let Some(join) = join {
            command.args(["--join", &self.gossip(join).to_string()]);
        }
        command
    }

    fn front(&self) -> Running {
        let mut command = self.command(env!("CARGO_BIN_EXE_lb"), "front", 1, None);
        command.args(["--cluster", "web", "--workers", "2"]);
        command.args(["--listen", &self.vip().to_string()]);
        command.args(["--admin", &self.address(1, 19901).to_string()]);
        Running::start("front", self.files.path(), &mut command)
    }

    /// The agent of `web` on host `web + 1`.
    fn agent(&self, web: u8, join: Option<u8>) -> Running {
        let name = format!("web{web}");
        let mut command = self.command(env!("CARGO_BIN_EXE_lb-agent"), &name, web + 1, join);
        command.args(["--role", "web", "--port", "18080"]);
        Running::start(&name, self.files.path(), &mut command)
    }

    /// A web server that says its name, for as long as the tests run.
    fn web(&self, web: u8) {
        let listener = TcpListener::bind(self.address(web + 1, 18080)).expect("a free address");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut head = [0; 4096];
                    while stream.read(&mut head).is_ok_and(|read| read > 0) {
                        let body = format!("web{web}");
                        let answer = format!(
                            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                            body.len()
                        );
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
    }

    fn api(&self, path: &str) -> Option<Value> {
        let (status, body) = get(self.address(1, 19901), path)?;
        assert_eq!(status, 200, "{body}");
        Some(serde_json::from_str(&body).expect("the admin gives JSON"))
    }

    fn backends(&self) -> Vec<Value> {
        let pools = self.api("/api/v1/pools");
        let backends = pools.and_then(|pools| pools["pools"][0]["backends"].as_array().cloned());
        backends.unwrap_or_default()
    }

    fn until_in(&self, count: usize) {
        eventually(&format!("{count} backends in rotation"), LONG, || {
            let backends = self.backends();
            let inside = backends.iter().filter(|one| one["in_rotation"] == true);
            (inside.count() == count).then_some(())
        });
    }

    /// Waits until `node` keeps all of `texts` in `file`.
    fn until_kept(&self, node: &str, file: &str, texts: &[String]) {
        eventually(&format!("{node} keeps {texts:?} in {file}"), LONG, || {
            let kept = self.kept(node, file)?;
            texts
                .iter()
                .all(|text| kept.contains(text.as_str()))
                .then_some(())
        });
    }

    /// From now until a request is answered with 200.
    fn first_answer(&self) -> Duration {
        let started = Instant::now();
        eventually("an answer", LONG, || {
            get(self.vip(), "/").filter(|(status, _)| *status == 200)
        });
        started.elapsed()
    }
}

fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(LONG)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// For people: cargo test --test programs state -- --nocapture.
fn print(what: &str, took: Duration) {
    println!("{what}: {} ms", took.as_millis());
}

#[test]
fn a_front_killed_and_restarted_without_join_meets_its_agents_again() {
    let world = World::new();
    let mut front = world.front();
    let agents: Vec<_> = (1..=2)
        .map(|web| {
            world.web(web);
            world.agent(web, Some(1))
        })
        .collect();
    world.until_in(2);
    let both = [2, 3].map(|host| world.gossip(host).to_string());
    world.until_kept("front", "peers.snapshot", &both);
    world.until_kept(
        "front",
        "backends.json",
        &["web1", "web2"].map(str::to_owned),
    );

    front.kill();
    drop(front);
    let front = world.front();
    print(
        "front killed, restarted: first answer",
        world.first_answer(),
    );

    let started = Instant::now();
    world.until_in(2);
    eventually("gossip shows both again", LONG, || {
        let backends = world.backends();
        let met = |one: &Value| {
            one["reason"]
                .as_str()
                .is_some_and(|why| why.starts_with("check "))
        };
        (backends.len() == 2 && backends.iter().all(met)).then_some(())
    });
    print("… and in gossip again", started.elapsed());
    assert!(!front.output().contains("panic"), "{}", front.output());
    drop(agents);
}

#[test]
fn a_front_restarted_alone_answers_from_memory_and_the_cluster_forms_anew() {
    let world = World::new();
    let mut nodes = vec![world.front()];
    for web in 1..=3 {
        world.web(web);
        nodes.push(world.agent(web, Some(1)));
    }
    world.until_in(3);
    for (host, node) in [(1, "front"), (2, "web1"), (3, "web2"), (4, "web3")] {
        let others = (1..=4).filter(|other| *other != host);
        let others: Vec<_> = others.map(|host| world.gossip(host).to_string()).collect();
        world.until_kept(node, "peers.snapshot", &others);
    }
    let names = ["web1", "web2", "web3"].map(str::to_owned);
    world.until_kept("front", "backends.json", &names);

    for node in &nodes {
        node.signal(rustix::process::Signal::KILL);
    }
    drop(nodes);
    let front = world.front();
    print("front restarted alone: first answer", world.first_answer());
    world.until_in(3);
    for backend in world.backends() {
        let reason = backend["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("known from before the restart"), "{reason}");
        assert_eq!(backend["state"], "up");
    }

    let started = Instant::now();
    let agents: Vec<_> = [3, 1, 2].map(|web| world.agent(web, None)).into();
    eventually("all four are alive again", LONG, || {
        let members = world.api("/api/v1/members")?;
        let members = members["members"].as_array()?.clone();
        let alive = members.iter().filter(|one| one["status"] == "alive");
        (alive.count() == 4).then_some(())
    });
    print(
        "all killed, restarted without join: re-formed",
        started.elapsed(),
    );
    eventually("gossip speaks for all of them", LONG, || {
        let backends = world.backends();
        let saved = |one: &Value| {
            one["reason"]
                .as_str()
                .is_some_and(|why| why.contains("restart"))
        };
        (backends.len() == 3 && !backends.iter().any(saved)).then_some(())
    });
    world.until_in(3);
    drop((agents, front));
}

#[test]
fn a_stop_by_signal_keeps_the_peers() {
    let world = World::new();
    let _front = world.front();
    let mut agent = world.agent(1, Some(1));
    world.web(1);
    world.until_in(1);

    assert_eq!(agent.terminate().code(), Some(0));
    let peers = world.kept("web1", "peers.snapshot").expect("it is written");
    assert!(peers.contains(&world.gossip(1).to_string()), "{peers}");

    let _again = world.agent(1, None);
    world.until_in(1);
}

#[test]
fn a_second_process_of_one_name_is_refused_with_the_directory() {
    let world = World::new();
    let _first = world.agent(1, None);
    eventually("it has its directory", LONG, || world.kept("web1", "lock"));

    let mut second = world.command(env!("CARGO_BIN_EXE_lb-agent"), "web1", 3, None);
    let mut second = Running::start("second", world.files.path(), second.args(["--role", "web"]));
    let status = second.wait(LONG);

    assert_eq!(status.code(), Some(1));
    let directory = world.files.path().join("state/web1");
    let said = second.output();
    assert!(said.contains(&directory.display().to_string()), "{said}");
    assert!(said.contains("--state-dir"), "{said}");
}

#[test]
fn damaged_files_are_told_kept_and_replaced() {
    let world = World::new();
    let directory = world.files.path().join("state/front");
    std::fs::create_dir_all(&directory).expect("a directory");
    for file in ["peers.snapshot", "backends.json"] {
        std::fs::write(directory.join(file), "lb peers 1\nmach").expect("a file");
    }

    let front = world.front();
    let _agent = world.agent(1, Some(1));
    world.web(1);
    world.until_in(1);

    for file in ["peers.snapshot", "backends.json"] {
        let path = directory.join(file);
        let said = front.output();
        assert!(
            said.contains(&format!("{} is damaged: ", path.display())),
            "{said}"
        );
        assert!(Path::new(&format!("{}.bad", path.display())).exists());
        world.until_kept("front", file, &["web1".to_owned()]);
    }
}

#[test]
fn a_place_that_can_t_be_written_costs_a_line_only() {
    let world = World::new();
    std::fs::write(world.files.path().join("state"), "a file").expect("a file");

    let front = world.front();
    let agent = world.agent(1, Some(1));
    world.web(1);
    world.until_in(1);

    for program in [&front, &agent] {
        let said = program.output();
        assert!(said.contains("nothing is kept over a restart"), "{said}");
    }
}

const OLD_KEY: &str = "tDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=";
const NEW_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

/// An agent that is given the old key, and knows what the cluster did since.
fn keyed_agent(world: &World) -> Running {
    let mut command = world.command(env!("CARGO_BIN_EXE_lb-agent"), "web1", 2, Some(1));
    command.args(["--role", "web", "--port", "18080"]);
    command.env("LB_ENCRYPT_KEY", OLD_KEY);
    Running::start("web1", world.files.path(), &mut command)
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// A member in this process, on a thread of its own, with the old key.
fn operator(bind: SocketAddr) -> driver::Handle {
    let settings = driver::Settings {
        bind,
        advertise: None,
        iface: None,
        node: "operator".to_owned(),
        join: Vec::new(),
        profile: Profile::Lan,
        tags: lb::announce::Tags::new(),
        keyring: Some(Keyring::parse(OLD_KEY).expect("a key")),
        peers: Vec::new(),
        former: None,
        replay: false,
        discover: None,
        insecure: false,
        when_taken: driver::WhenTaken::Wait,
    };
    let (started, handle) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let handle = driver::start(settings).await.expect("gossip starts");
            started.send(handle).expect("the test waits");
            std::future::pending::<()>().await;
        });
    });
    handle.recv().expect("gossip starts")
}

#[test]
fn keys_that_the_cluster_turned_outlive_a_restart_and_win_over_those_given() {
    let world = World::new();
    let operator = operator(world.gossip(1));
    let caller = runtime();
    let is = |status: Status| {
        eventually(&format!("the agent is {status}"), LONG, || {
            let members = operator.members().borrow().clone();
            let agent = members.by_name.get("web1")?;
            (agent.status == status).then_some(())
        });
    };
    let mut agent = keyed_agent(&world);
    is(Status::Alive);
    let key = |text| Key::parse(text).expect("a key");
    for request in [
        KeyRequest::Install(key(NEW_KEY)),
        KeyRequest::Use(key(NEW_KEY)),
        KeyRequest::Remove(key(OLD_KEY)),
    ] {
        eventually("both obey", LONG, || {
            let report = caller.block_on(operator.keys(request.clone()));
            let report = report.expect("it may ask");
            (report.responses == 2 && report.errors == 0).then_some(())
        });
    }
    let wanted = format!("[\n  \"{NEW_KEY}\"\n]");
    eventually("the agent keeps the new key alone", LONG, || {
        (world.kept("web1", "keyring.json")? == wanted).then_some(())
    });

    agent.kill();
    is(Status::Failed);
    let agent = keyed_agent(&world);
    is(Status::Alive);

    let said = agent.output();
    assert!(
        said.contains("keyring.json: the cluster changed its keys"),
        "{said}"
    );
    assert!(
        said.contains(&format!("key {}", key(NEW_KEY).fingerprint())),
        "{said}"
    );
    assert!(!said.contains(NEW_KEY), "no key is shown");
}
