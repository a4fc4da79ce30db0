//! Everything the demo started, and how it is kept alive and ended.
//!
//! ```text
//! front ◀─gossip─▶ agent1 announces web1, agent2 announces web2, …
//! ```

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::ports::Ports;
use super::program::Program;
use super::secure::Secure;
use super::{Failure, Options};

/// The front and all nodes.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) addresses: Addresses,
    pub(super) front: Program,
    pub(super) nodes: Vec<Node>,
    /// Its files end with the demo.
    pub(super) secure: Option<Secure>,
}

/// Where the front is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) proxy: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) gossip: SocketAddr,
}

/// A web server and the agent beside it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) web: Part,
    pub(super) agent: Part,
}

/// One process of a node, started again when it dies.
#[derive(Debug)]
pub(super) struct Part {
    role: Vec<String>,
    pub(super) program: Program,
    ended: Option<Instant>,
    pub(super) started: Instant,
}

/// Something that happened to a part.
#[derive(Debug)]
pub(super) enum Turn {
    Ended(ExitStatus),
    Started,
}

impl Fleet {
    /// Finds ports and starts everyone.
    pub(super) fn start(options: &Options, now: Instant) -> Result<Self, Failure> {
        let mut ports = Ports::new();
        let gossip = ports.free()?;
        let proxy = ports.free_from(options.listen, &[])?;
        let admin = ports.free_from(options.admin, &[proxy])?;
        let addresses = Addresses {
            proxy,
            admin,
            gossip,
        };
        let secure = match options.tls {
            true => {
                let port = if options.listen.port() == 0 { 0 } else { HTTPS };
                let wanted = SocketAddr::new(options.listen.ip(), port);
                let address = ports.free_from(wanted, &[proxy, admin])?;
                Some(Secure::new(address).map_err(Failure::Secure)?)
            }
            false => None,
        };
        let mut role = front_role(&addresses);
        if let Some(secure) = &secure {
            let file = secure.config_file().display().to_string();
            role.extend(["--config".to_owned(), file]);
        }
        let front = Program::start("the front", &role)?;
        let nodes = (1..=options.nodes)
            .map(|number| Node::start(number, &addresses, &mut ports, now))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            addresses,
            front,
            nodes,
            secure,
        })
    }

    /// Leave, then end: agents, web servers, the front.
    ///
    /// In this order no request is sent to a web server that has gone.
    pub(super) async fn stop_agents(&mut self) {
        // Each is asked once: the second time means "at once".
        for node in &self.nodes {
            node.agent.program.signal(Signal::TERM);
        }
        for node in &mut self.nodes {
            node.agent.program.wait(LEAVE_MAX).await;
        }
    }

    /// See [`Fleet::stop_agents`].
    pub(super) async fn stop_rest(&mut self) {
        for node in &self.nodes {
            node.web.program.signal(Signal::TERM);
        }
        for node in &mut self.nodes {
            node.web.program.wait(END_MAX).await;
        }
        self.front.signal(Signal::TERM);
        self.front.wait(LEAVE_MAX).await;
    }
}

impl Node {
    fn start(
        number: usize,
        front: &Addresses,
        ports: &mut Ports,
        now: Instant,
    ) -> Result<Self, Failure> {
        let name = format!("web{number}");
        let (service, gossip) = (ports.free()?, ports.free()?);
        let web = vec!["web".to_owned(), name.clone(), service.to_string()];
        let agent = agent_role(&name, service, gossip, front);
        Ok(Self {
            web: Part::start(&format!("{name}'s server"), web, now)?,
            agent: Part::start(&format!("{name}'s agent"), agent, now)?,
            name,
        })
    }

    /// Both processes run, for at least `age`.
    pub(super) fn is_steady(&self, now: Instant, age: Duration) -> bool {
        [&self.web, &self.agent]
            .iter()
            .all(|part| part.ended.is_none() && now >= part.started + age)
    }
}

impl Part {
    fn start(name: &str, role: Vec<String>, now: Instant) -> Result<Self, Failure> {
        Ok(Self {
            program: Program::start(name, &role)?,
            role,
            ended: None,
            started: now,
        })
    }

    /// Notices its end, and starts it again `pause` later.
    pub(super) fn turn(&mut self, now: Instant, pause: Duration) -> Result<Option<Turn>, Failure> {
        match self.ended {
            None => Ok(self.program.ended().map(|status| {
                self.ended = Some(now);
                Turn::Ended(status)
            })),
            Some(ended) if now >= ended + pause => {
                let name = self.program.name().to_owned();
                *self = Self::start(&name, std::mem::take(&mut self.role), now)?;
                Ok(Some(Turn::Started))
            }
            Some(_) => Ok(None),
        }
    }
}

fn front_role(addresses: &Addresses) -> Vec<String> {
    let mut role = words("front --cluster web --node front");
    role.extend(["--listen".to_owned(), addresses.proxy.to_string()]);
    role.extend(["--admin".to_owned(), addresses.admin.to_string()]);
    role.extend(["--bind".to_owned(), addresses.gossip.to_string()]);
    role.extend(words(QUIET));
    role
}

fn agent_role(
    name: &str,
    service: SocketAddr,
    gossip: SocketAddr,
    front: &Addresses,
) -> Vec<String> {
    let mut role = words("agent --role web");
    role.extend(["--port".to_owned(), service.port().to_string()]);
    role.extend(["--node".to_owned(), name.to_owned()]);
    role.extend(["--bind".to_owned(), gossip.to_string()]);
    role.extend(["--join".to_owned(), front.gossip.to_string()]);
    role.extend(words(QUIET));
    role
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// What makes members of a demo leave other programs on this machine alone. Gossip's timing is
/// the default: that of `local` repeats a message only twice, so of several agents that leave at
/// the same moment some are not heard.
const QUIET: &str = "--discover off --rpc-addr off --state-dir none";

/// Where https is, if that is free: HTTP's 8080 has it for company.
const HTTPS: u16 = 8443;

/// A leave takes about two seconds.
const LEAVE_MAX: Duration = Duration::from_secs(6);

/// A toy web server ends at once.
const END_MAX: Duration = Duration::from_secs(1);
