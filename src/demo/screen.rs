//! Lines on stdout, each with the time since the start.

use std::fmt::Display;
use std::io::Write;
use std::time::Instant;

use super::Options;
use super::fleet::Fleet;
use crate::clock;

/// Where the demo speaks. Who stops reading ends it.
#[derive(Debug)]
pub(super) struct Screen {
    start: Instant,
    closed: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            start: clock::now(),
            closed: false,
        }
    }

    /// As it is.
    pub(super) fn text(&mut self, text: &str) {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        self.closed |= written.is_err();
    }

    /// With the time before it.
    pub(super) fn line(&mut self, line: impl Display) {
        let age = clock::now().saturating_duration_since(self.start);
        let age_s = age.as_secs_f64();
        self.text(&format!("{age_s:7.1} s  {line}\n"));
    }

    /// Each with the time before it.
    pub(super) fn lines(&mut self, lines: Vec<String>) {
        for line in lines {
            self.line(line);
        }
    }

    /// Nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }
}

/// What was started, and what to try.
pub(super) fn banner(options: &Options, fleet: &Fleet) -> String {
    let (proxy, admin) = (fleet.addresses.proxy, fleet.addresses.admin);
    let mut text = format!(
        "\nlb demo: {} web servers with an agent each and a front, all on this machine.\n\
         The agents and the front find one another by gossip; nothing is configured.\n\n",
        fleet.nodes.len()
    );
    for (what, wanted, given) in [
        ("proxy", options.listen, proxy),
        ("admin", options.admin, admin),
    ] {
        if wanted != given && wanted.port() != 0 {
            text.push_str(&format!(
                "{wanted} is taken, so the front's {what} is on {given}.\n\n"
            ));
        }
    }
    text.push_str(&format!(
        "  front  http://{proxy}/   admin http://{admin}/   pid {}\n",
        fleet.front.pid()
    ));
    for node in &fleet.nodes {
        text.push_str(&format!(
            "  {:<5}  server pid {}, agent pid {}\n",
            node.name,
            node.web.program.pid(),
            node.agent.program.pid()
        ));
    }
    let mut tries = vec![
        (
            format!("curl http://{proxy}/"),
            "again and again: the names rotate".to_owned(),
        ),
        (
            format!("curl http://{admin}/api/v1/pools"),
            "who is in rotation, and why".to_owned(),
        ),
        (
            format!("curl http://{admin}/metrics"),
            "the same for Prometheus".to_owned(),
        ),
    ];
    if let Some(secure) = &fleet.secure {
        tries.insert(
            1,
            (
                format!("curl -k https://{}/", secure.address),
                "the same over TLS; -k, since nobody signed the certificate".to_owned(),
            ),
        );
    }
    // Not the first: whoever reads "web2" sees that it is only an example.
    if let Some(node) = fleet.nodes.iter().take(2).last() {
        let (web, agent) = (node.web.program.pid(), node.agent.program.pid());
        tries.push((
            format!("kill -9 {web} {agent}"),
            format!("{} dies, server and agent: watch it below", node.name),
        ));
    }
    text.push_str("\nTry in another terminal:\n\n");
    for (command, what) in tries {
        text.push_str(&format!("  {command:<41}  {what}\n"));
    }
    text.push_str("\nCtrl-C stops everything.\n\n");
    text
}
