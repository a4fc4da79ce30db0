//! `peers.snapshot`: plain lines, so that an agent needs no JSON.
//!
//! ```text
//! lb peers 1
//! machine 0123456789abcdef0123456789abcdef      "-" where it is unknown
//! 10.0.0.2:7946 web2                            address first: a name may be anything
//! 10.0.0.1:7946 web1
//! end 2                                         a file without it was cut off
//! ```

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Saved;
use crate::gossip::core::member::{Member, Members, Status};

/// As many as are worth a try. One that answers is enough to find all others.
pub(super) const PEERS_MAX: usize = 64;

const TITLE: &str = "lb peers 1";

/// Somebody beside `own` is alive.
pub(super) fn is_anyone_there(members: &Members, own: &str) -> bool {
    alive(members, own).next().is_some()
}

/// Address and name of who is alive beside `own`, who joined last first; then those of `before` about whom
/// `members` say nothing.
pub(super) fn content(
    members: &Members,
    own: &str,
    before: &[SocketAddr],
) -> Vec<(SocketAddr, String)> {
    let mut alive: Vec<&Member> = alive(members, own).collect();
    alive.sort_by_key(|member| std::cmp::Reverse(member.joined));
    let known: BTreeSet<SocketAddr> = members
        .by_name
        .values()
        .map(|member| member.address)
        .collect();
    let unmet = before.iter().filter(|address| !known.contains(address));
    alive
        .into_iter()
        .map(|member| (member.address, member.name.to_string()))
        .chain(unmet.map(|address| (*address, "-".to_owned())))
        .take(PEERS_MAX)
        .collect()
}

fn alive<'a>(members: &'a Members, own: &'a str) -> impl Iterator<Item = &'a Member> {
    let all = members.by_name.values().map(Arc::as_ref);
    all.filter(move |member| member.status == Status::Alive && member.name != own)
}

pub(super) fn text(saved: &Saved<Vec<(SocketAddr, String)>>) -> String {
    let mut text = format!("{TITLE}\n");
    let machine = saved.machine.as_deref().unwrap_or("-");
    let _ = writeln!(text, "machine {machine}");
    for (address, name) in &saved.content {
        // Escaped: a name from the network with a line break in it would be a line of its own.
        let _ = writeln!(text, "{address} {}", name.escape_debug());
    }
    let _ = writeln!(text, "end {}", saved.content.len());
    text
}

/// The addresses; names are for people.
pub(super) fn parse(text: &str) -> Result<Saved<Vec<SocketAddr>>, String> {
    let mut lines = text.lines();
    let title = lines.next().unwrap_or_default();
    if title != TITLE {
        return Err(format!("begins with {title:?} instead of {TITLE:?}"));
    }
    let machine = match lines.next().and_then(|line| line.strip_prefix("machine ")) {
        Some("-") => None,
        Some(machine) => Some(machine.to_owned()),
        None => return Err("no machine in line 2".to_owned()),
    };
    let mut content: Vec<SocketAddr> = Vec::new();
    for (number, line) in (3..).zip(lines) {
        if let Some(count) = line.strip_prefix("end ") {
            let complete = count.parse() == Ok(content.len());
            content.truncate(PEERS_MAX);
            return if complete {
                Ok(Saved { machine, content })
            } else {
                Err(format!("{count} peers were written, fewer are there"))
            };
        }
        let address = line.split(' ').next().unwrap_or_default();
        content.push(
            address
                .parse()
                .map_err(|_| format!("line {number}: {address:?} is not an address"))?,
        );
    }
    Err("the end is missing".to_owned())
}
