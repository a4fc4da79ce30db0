//! One front, some web nodes, one client: the built programs on hosts of their own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::common::{Running, eventually};
use crate::net::{Host, Network};
use crate::peers;
use crate::web;

/// What announces a web node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agents {
    /// Our `lb-agent`.
    Ours,
    /// Debian's `serf agent`.
    Stock,
}

/// Everything of one scenario; all of it ends with it.
pub(crate) struct World {
    // Processes before the namespaces that they run in.
    pub(crate) front: Running,
    pub(crate) webs: Vec<Web>,
    pub(crate) client: Host,
    front_host: Host,
    files: tempfile::TempDir,
    agents: Agents,
    kind: peers::Front,
    _network: Network,
}

/// A web node: a server and its agent.
pub(crate) struct Web {
    pub(crate) name: String,
    pub(crate) server: Option<Running>,
    pub(crate) agent: Option<Running>,
    host: Host,
}

impl World {
    /// A front with 2 workers and `count` web nodes, none of them started.
    pub(crate) fn new(count: u8, agents: Agents) -> Self {
        let network = Network::new(count + 2);
        let files = tempfile::tempdir().expect("a directory for logs");
        let front_host = network.host(0);
        let kind = peers::Front::chosen();
        let front = match kind {
            peers::Front::Lb => start_front(&front_host, files.path()),
            peers::Front::Haproxy => {
                peers::start_haproxy(&front_host, files.path(), &web_ips(&network, count))
            }
            peers::Front::Nginx => peers::start_nginx(&front_host, files.path()),
        };
        let webs = (1..=count)
            .map(|number| Web {
                name: format!("web{number}"),
                server: None,
                agent: None,
                host: network.host(usize::from(number) + 1),
            })
            .collect();
        let world = Self {
            front,
            webs,
            client: network.host(1),
            front_host,
            files,
            agents,
            kind,
            _network: network,
        };
        if kind != peers::Front::Lb {
            return world;
        }
        eventually("the front is up", START, || {
            world.get("/healthz").filter(|(status, _)| *status == 200)
        });
        world
    }

    /// The same, all started and in rotation.
    pub(crate) fn started(count: u8, agents: Agents) -> Self {
        let mut world = Self::new(count, agents);
        for index in 0..world.webs.len() {
            world.start_web(index);
        }
        world.until_in(usize::from(count));
        world
    }

    /// Where clients go.
    pub(crate) fn vip(&self) -> SocketAddr {
        SocketAddr::from((self.front_host.ip, 80))
    }

    /// Server and agent of a node.
    pub(crate) fn start_web(&mut self, index: usize) {
        self.start_server(index);
        self.start_agent(index);
    }

    /// The server alone; returns once its port is open.
    pub(crate) fn start_server(&mut self, index: usize) {
        let notes = self.notes(&self.webs[index].name);
        let web = &mut self.webs[index];
        let address = SocketAddr::from((web.host.ip, 80));
        let mut command = web::command(&web.host, &web.name, &notes);
        web.server = Some(Running::start(
            &format!("{}-server", web.name),
            self.files.path(),
            &mut command,
        ));
        let host = web.host.clone();
        host.run(move || {
            eventually("the web server's port opens", START, || {
                TcpStream::connect(address).ok()
            })
        })
        .join()
        .expect("it opens");
    }

    /// The agent alone; does not wait.
    pub(crate) fn start_agent(&mut self, index: usize) {
        let front = self.front_host.ip.to_string();
        let web = &mut self.webs[index];
        let mut command = match self.agents {
            Agents::Ours => {
                let mut command = web.host.command(env!("CARGO_BIN_EXE_lb-agent"));
                command.args([
                    "--role", "web", "--port", "80", "--node", &web.name, "--join", &front,
                ]);
                command.args(["--state-dir", "none"]);
                command
            }
            Agents::Stock => {
                let mut command = web.host.command("serf");
                command.args([
                    "agent",
                    "-role=web",
                    "-tag",
                    "port=80",
                    "-node",
                    &web.name,
                    "-join",
                    &front,
                ]);
                command.args(["-bind", &web.host.ip.to_string()]);
                command
            }
        };
        web.agent = Some(Running::start(
            &format!("{}-agent", web.name),
            self.files.path(),
            &mut command,
        ));
    }

    /// POSTs that `name` has read, in order.
    pub(crate) fn posts(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.notes(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// From now on `name` answers 503; `what` is `all`, or `requests` to leave checks out. `None`: well again.
    pub(crate) fn set_sick(&self, name: &str, what: Option<&str>) {
        let file = self.notes(name).with_extension("sick");
        match what {
            Some(what) => std::fs::write(file, what).expect("the file can be written"),
            None => std::fs::remove_file(file).expect("it was sick"),
        }
    }

    /// The host of a web node.
    pub(crate) fn web_host(&self, index: usize) -> Host {
        self.webs[index].host.clone()
    }

    /// The front's host.
    pub(crate) fn front_host(&self) -> Host {
        self.front_host.clone()
    }

    /// Everything that the front ever logged about a backend leaving rotation.
    pub(crate) fn front_log(&self) -> String {
        self.front.output()
    }

    fn notes(&self, name: &str) -> std::path::PathBuf {
        self.files.path().join(format!("{name}.posts"))
    }

    /// GET of the front's admin, as seen on the front.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        let path = path.to_owned();
        self.front_host
            .run(move || get(ADMIN.parse().expect("an address"), &path))
            .join()
            .expect("a client does not panic")
    }

    /// The backend called `name`, as `/api/v1/pools` shows it.
    pub(crate) fn backend(&self, name: &str) -> Option<Value> {
        let (_, body) = self.get("/api/v1/pools")?;
        let pools: Value = serde_json::from_str(&body).expect("the admin gives JSON");
        let backends = pools["pools"][0]["backends"].as_array()?.clone();
        backends.into_iter().find(|backend| backend["node"] == name)
    }

    /// Waits until `count` backends are in rotation.
    pub(crate) fn until_in(&self, count: usize) {
        if self.kind != peers::Front::Lb {
            let vip = self.vip();
            return peers::until_rotating(&self.client, vip, count);
        }
        eventually(&format!("{count} backends in rotation"), SETTLE, || {
            let (_, body) = self.get("/api/v1/pools")?;
            let pools: Value = serde_json::from_str(&body).expect("the admin gives JSON");
            let backends = pools["pools"][0]["backends"].as_array()?;
            (backends
                .iter()
                .filter(|backend| backend["in_rotation"] == true)
                .count()
                == count)
                .then_some(())
        });
    }

    /// Watches one backend every few milliseconds; the receiver gets the instant at which it left or entered rotation.
    pub(crate) fn watch(&self, name: &str, until_in: bool) -> mpsc::Receiver<std::time::Instant> {
        let (sender, receiver) = mpsc::channel();
        let name = name.to_owned();
        self.front_host.run(move || {
            let deadline = std::time::Instant::now() + SETTLE;
            while std::time::Instant::now() < deadline {
                let now_in = get(ADMIN.parse().expect("an address"), "/api/v1/pools").is_some_and(
                    |(_, body)| {
                        let pools: Value =
                            serde_json::from_str(&body).expect("the admin gives JSON");
                        let backends = pools["pools"][0]["backends"]
                            .as_array()
                            .cloned()
                            .unwrap_or_default();
                        backends.iter().any(|backend| {
                            backend["node"] == *name && backend["in_rotation"] == true
                        })
                    },
                );
                if now_in == until_in {
                    let _ = sender.send(std::time::Instant::now());
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        receiver
    }

    /// `curl` on the client host, its body trimmed.
    pub(crate) fn curl(&self) -> String {
        let output = self
            .client
            .command("curl")
            .args([
                "-sS",
                "--max-time",
                "10",
                &format!("http://{}/", self.vip()),
            ])
            .output();
        let output = output.expect("curl can be run");
        assert!(
            output.status.success(),
            "curl: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

fn web_ips(network: &Network, count: u8) -> Vec<std::net::Ipv4Addr> {
    (0..usize::from(count))
        .map(|index| network.host(index + 2).ip)
        .collect()
}

fn start_front(host: &Host, files: &Path) -> Running {
    let mut command: Command = host.command(env!("CARGO_BIN_EXE_lb"));
    command.args(["--cluster", "web", "--node", "front", "--workers", "2"]);
    command.arg("--state-dir").arg(files.join("state"));
    Running::start("front", files, &mut command)
}

/// One plain request on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream
        .write_all(
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

const ADMIN: &str = "127.0.0.1:9901";
const START: Duration = Duration::from_secs(10);
const SETTLE: Duration = Duration::from_secs(30);
