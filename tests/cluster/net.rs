//! Hosts as network namespaces on one switch, all of them gone when the test ends.
//!
//! ```text
//!   host a ── veth ──┐
//!   host b ── veth ──┤ bridge, in a namespace of its own
//!   host c ── veth ──┘
//! ```
//!
//! Nothing touches the machine's own namespace but the names of ours, so tests can run side by side.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::common::eventually;

static NETWORKS: AtomicU32 = AtomicU32::new(0);

/// Until a carrier is seen, on the slowest of machines.
const SETTLE: Duration = Duration::from_secs(30);

/// A switch with hosts on it.
#[derive(Debug)]
pub(crate) struct Network {
    prefix: String,
    hosts: Vec<Host>,
}

/// One host.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    namespace: String,
    link: String,
    switch: String,
    /// Its only address, /24.
    pub(crate) ip: Ipv4Addr,
}

impl Network {
    /// A switch with `count` hosts, 10.99.0.1 and up.
    pub(crate) fn new(count: u8) -> Self {
        let prefix = format!(
            "lbt{:x}-{:x}",
            std::process::id(),
            NETWORKS.fetch_add(1, Ordering::Relaxed)
        );
        let switch = format!("{prefix}-s");
        // Built step by step into the guard, so that a failure half way leaves nothing behind.
        let mut network = Self {
            prefix,
            hosts: Vec::new(),
        };
        ip(&["netns", "add", &switch]);
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "br0", "up"]);
        for number in 1..=count {
            let host = Host {
                namespace: format!("{}-{number}", network.prefix),
                link: format!("p{number}"),
                switch: switch.clone(),
                ip: Ipv4Addr::new(10, 99, 0, number),
            };
            ip(&["netns", "add", &host.namespace]);
            network.hosts.push(host.clone());
            ip(&[
                "-n",
                &switch,
                "link",
                "add",
                &host.link,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                &host.namespace,
            ]);
            ip(&[
                "-n", &switch, "link", "set", &host.link, "master", "br0", "up",
            ]);
            ip(&[
                "-n",
                &host.namespace,
                "addr",
                "add",
                &format!("{}/24", host.ip),
                "brd",
                "+",
                "dev",
                "eth0",
            ]);
            ip(&["-n", &host.namespace, "link", "set", "eth0", "up"]);
            ip(&["-n", &host.namespace, "link", "set", "lo", "up"]);
        }
        for host in &network.hosts {
            host.until_up();
        }
        network
    }

    /// Host `index`, from 0.
    pub(crate) fn host(&self, index: usize) -> Host {
        self.hosts[index].clone()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let switch = format!("{}-s", self.prefix);
        for namespace in self
            .hosts
            .iter()
            .map(|host| host.namespace.as_str())
            .chain([switch.as_str()])
        {
            let _ = Command::new("ip")
                .args(["netns", "del", namespace])
                .status();
        }
    }
}

impl Host {
    /// A command that runs on this host; the process is the program itself, so its pid can be signalled.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]);
        command
    }

    /// As `ip netns` knows it.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Runs `work` on a thread of its own whose sockets are this host's.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let path = format!("/var/run/netns/{}", self.namespace());
        std::thread::spawn(move || {
            let namespace = File::open(&path).expect("the namespace is there");
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may enter it");
            work()
        })
    }

    /// The kernel sees a carrier a while after both ends are up, up to a second on a busy machine; who starts before
    /// finds no interface but loopback.
    fn until_up(&self) {
        let shown = || {
            Command::new("ip")
                .args(["-n", &self.namespace, "link", "show", "eth0"])
                .output()
        };
        eventually("eth0 is up", SETTLE, || {
            let shown = shown().expect("ip runs");
            let text = String::from_utf8_lossy(&shown.stdout).into_owned();
            text.contains("state UP").then_some(())
        });
    }

    /// The cable of this host, pulled or put back.
    pub(crate) fn set_link(&self, up: bool) {
        let state = if up { "up" } else { "down" };
        ip(&["-n", &self.switch, "link", "set", &self.link, state]);
    }

    /// Drops what matches `rule` (nftables, an expression without its verdict), in both directions, silently.
    /// Replaces an earlier rule.
    pub(crate) fn drop_packets(&self, incoming: &str, outgoing: &str) {
        self.pass_packets();
        let table = format!(
            "table inet lbt {{\n\
             chain i {{ type filter hook input priority 0; {incoming} drop; }}\n\
             chain o {{ type filter hook output priority 0; {outgoing} drop; }}\n}}\n"
        );
        let file = tempfile::NamedTempFile::new().expect("a file for the rule");
        std::fs::write(file.path(), table).expect("the rule can be written");
        let path = file.path().to_str().expect("a readable path");
        let done = self.command("nft").args(["-f", path]).status();
        assert!(
            done.expect("nft can be run").success(),
            "{incoming} / {outgoing}"
        );
    }

    /// Undoes [`Host::drop_packets`]; nothing to undo is fine.
    pub(crate) fn pass_packets(&self) {
        let old = self
            .command("nft")
            .args(["delete", "table", "inet", "lbt"])
            .output();
        drop(old.expect("nft can be run"));
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .expect("ip can be run");
    assert!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}
