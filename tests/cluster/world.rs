//! One front, some web nodes, one client: the built programs on hosts of their own.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

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
    /// Tells when web2 is out, in scenarios that [`World::expect_out`].
    pub(crate) out: Option<mpsc::Receiver<Instant>>,
    /// When a fault was mended, in scenarios that say so.
    pub(crate) repaired: Option<Instant>,
    front_host: Host,
    /// Nobody lives there yet.
    spare: Host,
    files: tempfile::TempDir,
    kind: peers::Front,
    _network: Network,
}

/// A web node: a server and its agent.
pub(crate) struct Web {
    pub(crate) name: String,
    pub(crate) server: Option<Running>,
    pub(crate) agent: Option<Running>,
    pub(crate) agents: Agents,
    host: Host,
}

impl World {
    /// A front with 2 workers and `count` web nodes, none of them started.
    pub(crate) fn new(count: u8, agents: Agents) -> Self {
        let network = Network::new(count + 3);
        let files = tempfile::tempdir().expect("a directory for logs");
        let front_host = network.host(0);
        let kind = peers::Front::chosen();
        let front = start_front(kind, &front_host, files.path(), count);
        let webs = (1..=count)
            .map(|number| Web {
                name: format!("web{number}"),
                server: None,
                agent: None,
                agents,
                host: network.host(usize::from(number) + 1),
            })
            .collect();
        let world = Self {
            front,
            webs,
            client: network.host(1),
            out: None,
            repaired: None,
            front_host,
            spare: network.host(usize::from(count) + 2),
            files,
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
        world.start_webs();
        world
    }

    /// All webs, until they are in rotation.
    pub(crate) fn start_webs(&mut self) {
        for index in 0..self.webs.len() {
            self.start_web(index);
        }
        self.until_in(self.webs.len());
    }

    /// The same front once more, with what it kept; does not wait.
    pub(crate) fn restart_front(&mut self) {
        let count = u8::try_from(self.webs.len()).expect("a few webs");
        self.front = start_front(self.kind, &self.front_host, self.files.path(), count);
    }

    /// The machine of a web node is gone, with all that ran there.
    pub(crate) fn lose_machine(&mut self, index: usize) {
        let web = &mut self.webs[index];
        web.host.set_link(false);
        drop((web.server.take(), web.agent.take()));
    }

    /// From now on the node's machine is another one, at another address.
    pub(crate) fn move_web(&mut self, index: usize) {
        self.webs[index].host = self.spare.clone();
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
        let mut command = match web.agents {
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

    /// The lines by which the front told that a backend went out of rotation without having left.
    pub(crate) fn went_out(&self) -> Vec<String> {
        if self.kind != peers::Front::Lb {
            return peers::went_out(self.kind, self.files.path());
        }
        let (log, mut out, mut told) = (self.front.output(), BTreeSet::new(), Vec::new());
        for line in log.lines() {
            let about = |word: &str| {
                line.split_once(word)
                    .map(|(before, _)| before.rsplit(' ').next())
            };
            if let Some(node) = about(" up: ").or_else(|| about(" drain: ")) {
                out.remove(&node);
            } else if let Some(node) = about(" down: ").or_else(|| about(" ejected: ")) {
                out.insert(node);
                told.push(line.to_owned());
            } else if about(" removed: ").is_some_and(|node| !out.remove(&node))
                && !line.contains("removed: left")
            {
                told.push(line.to_owned());
            }
        }
        told
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
                .filter(|backend| backend["in_rotation"] == true && self.is_there(backend))
                .count()
                == count)
                .then_some(())
        });
    }

    /// Not where a web was before it moved: there it may be in rotation for a while yet.
    fn is_there(&self, backend: &Value) -> bool {
        let address = backend["address"]
            .as_str()
            .and_then(|text| text.parse().ok());
        address.is_some_and(|at: SocketAddr| self.webs.iter().any(|web| web.host.ip == at.ip()))
    }

    /// Waits until gossip calls `name` failed, or, where nobody tells, as long as that takes.
    pub(crate) fn until_failed(&self, name: &str) {
        if self.kind != peers::Front::Lb {
            return std::thread::sleep(Duration::from_secs(15));
        }
        eventually(&format!("{name} is known to have failed"), SETTLE, || {
            let (_, body) = self.get("/api/v1/members")?;
            let members: Value = serde_json::from_str(&body).expect("the admin gives JSON");
            let mut all = members["members"].as_array()?.iter();
            let member = all.find(|member| member["name"] == name)?;
            (member["status"] == "failed").then_some(())
        });
    }

    /// From now on the moment is of interest at which web2 leaves rotation.
    pub(crate) fn expect_out(&mut self) {
        self.out = Some(self.watch("web2", false));
    }

    /// Watches one backend every few milliseconds; the receiver gets the instant at which it left or entered rotation.
    pub(crate) fn watch(&self, name: &str, until_in: bool) -> mpsc::Receiver<Instant> {
        let (sender, receiver) = mpsc::channel();
        let (name, kind) = (name.to_owned(), self.kind);
        let files = self.files.path().to_owned();
        let web = self.webs.iter().find(|web| web.name == name);
        let ip = web.expect("a web of this world").host.ip;
        self.front_host.run(move || {
            let deadline = Instant::now() + SETTLE;
            while Instant::now() < deadline {
                let now_in = match kind {
                    peers::Front::Lb => in_rotation(&name),
                    _ => peers::in_rotation(kind, &files, &name, ip),
                };
                if now_in == until_in {
                    let _ = sender.send(Instant::now());
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
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

/// Where the first `count` webs are.
fn web_ips(count: u8) -> Vec<std::net::Ipv4Addr> {
    let ip = |number| std::net::Ipv4Addr::new(10, 99, 0, number + 2);
    (1..=count).map(ip).collect()
}

fn start_front(kind: peers::Front, host: &Host, files: &Path, webs: u8) -> Running {
    match kind {
        peers::Front::Lb => {
            let mut command: Command = host.command(env!("CARGO_BIN_EXE_lb"));
            command.args(["--cluster", "web", "--node", "front", "--workers", "2"]);
            command.arg("--state-dir").arg(files.join("state"));
            Running::start("front", files, &mut command)
        }
        peers::Front::Haproxy => peers::start_haproxy(host, files, &web_ips(webs)),
        peers::Front::Nginx => peers::start_nginx(host, files),
    }
}

/// As the front's own admin says, asked on the front.
fn in_rotation(name: &str) -> bool {
    let answer = get(ADMIN.parse().expect("an address"), "/api/v1/pools");
    answer.is_some_and(|(_, body)| {
        let pools: Value = serde_json::from_str(&body).expect("the admin gives JSON");
        let backends = pools["pools"][0]["backends"].as_array();
        backends.is_some_and(|all| {
            all.iter()
                .any(|backend| backend["node"] == name && backend["in_rotation"] == true)
        })
    })
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
