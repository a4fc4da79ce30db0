//! Serf's snapshot file: what a member knew, a line for each change.
//!
//! ```text
//! lines ──replay──▶ Snapshot ─▶ clocks, members to join
//! members, clocks, leave ─▶ │
//!                           └─▶ Write::Append(lines) | Write::Replace(all that counts)
//! ```
//!
//! A stock agent reads what is written here, and the reverse. No file is touched: see `crate::state`.
//!
//! Source: serf `snapshot.go`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::str;

use crate::gossip::core::member::{Members, Status};
use crate::gossip::core::name::Name;

/// A file is not written anew below this. Source: serf `snapshotSizeLimit`.
const COMPACT_BYTES_MIN: u64 = 128 << 10;

/// What a living member is taken to need, and how many times that a file may hold. Source: serf
/// `snapshotBytesPerNode`, `snapshotCompactionThreshold`.
const MEMBER_BYTES: u64 = 128;
const GROWTH_MAX: u64 = 2;

/// The last time that each clock heard of; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// Of joins and leaves.
    pub member: u64,
    /// Of user events.
    pub event: u64,
    /// Of queries.
    pub query: u64,
}

/// What is to be done with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// These bytes are new at its end.
    Append(Vec<u8>),
    /// These are all.
    Replace(Vec<u8>),
}

/// A line that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// No record begins so.
    #[error("unrecognized snapshot line {0:?}")]
    Unknown(String),
    /// `alive:` without an address.
    #[error("no address in {0:?}")]
    Address(String),
    /// A clock without a number.
    #[error("no time in {0:?}")]
    Time(String),
}

/// What the file says, and what it does not say yet.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// As last written or read. Who of the last life was not met again stays, as in Serf.
    alive: BTreeMap<Name, SocketAddr>,
    clocks: Clocks,
    /// A leave is no reason not to come back.
    rejoin: bool,
    /// From here on only the members' clock is recorded.
    left: bool,
    pending: Vec<u8>,
    /// Of the file, `pending` included.
    bytes: u64,
}

impl Snapshot {
    /// Of an empty file. With `rejoin` a leave of the past is ignored.
    pub fn new(rejoin: bool) -> Self {
        Self {
            rejoin,
            ..Self::default()
        }
    }

    /// Takes over one line of the file, without its end.
    ///
    /// # Errors
    /// [`BadLine`]; it changes nothing.
    pub fn replay(&mut self, line: &[u8]) -> Result<(), BadLine> {
        self.bytes += line.len() as u64 + 1;
        let shown = || String::from_utf8_lossy(line).into_owned();
        let text = str::from_utf8(line).map_err(|_| BadLine::Unknown(shown()))?;
        let time = |text: &str| text.parse().map_err(|_| BadLine::Time(shown()));
        if let Some(told) = text.strip_prefix("alive: ") {
            // A name may have spaces in it, an address has none.
            let (name, address) = told
                .rsplit_once(' ')
                .and_then(|(name, address)| Some((name, address.parse().ok()?)))
                .ok_or_else(|| BadLine::Address(shown()))?;
            self.alive.insert(Name::from(name), address);
        } else if let Some(name) = text.strip_prefix("not-alive: ") {
            self.alive.remove(name);
        } else if let Some(text) = text.strip_prefix("clock: ") {
            self.clocks.member = time(text)?;
        } else if let Some(text) = text.strip_prefix("event-clock: ") {
            self.clocks.event = time(text)?;
        } else if let Some(text) = text.strip_prefix("query-clock: ") {
            self.clocks.query = time(text)?;
        } else if text == "leave" {
            if !self.rejoin {
                self.alive.clear();
                self.clocks = Clocks::default();
            }
        } else if !text.starts_with('#') && !text.starts_with("coordinate: ") {
            return Err(BadLine::Unknown(shown()));
        }
        Ok(())
    }

    /// The clocks.
    pub fn clocks(&self) -> Clocks {
        self.clocks
    }

    /// Addresses of who was alive, without `own`.
    pub fn peers(&self, own: &str) -> Vec<SocketAddr> {
        let others = self.alive.iter().filter(|(name, _)| **name != *own);
        others.map(|(_, address)| *address).collect()
    }

    /// Records who came and went. Once we, as `own`, are not alive any more it is not theirs to tell.
    pub fn members(&mut self, members: &Members, own: &str) {
        let own = members.by_name.get(own);
        if self.left || own.is_some_and(|own| own.status != Status::Alive) {
            return;
        }
        for member in members.by_name.values() {
            let known = self.alive.get(&*member.name);
            match member.status {
                // Whoever announced to leave has not left. A name with a line's end in it would be a line of its own.
                Status::Alive | Status::Leaving => {
                    if known != Some(&member.address) && !member.name.contains('\n') {
                        self.append(format_args!("alive: {} {}", member.name, member.address));
                        self.alive.insert(member.name.clone(), member.address);
                    }
                }
                Status::Left | Status::Failed => {
                    if known.is_some() {
                        self.append(format_args!("not-alive: {}", member.name));
                        self.alive.remove(&*member.name);
                    }
                }
            }
        }
    }

    /// Records each time that grew.
    pub fn advance(&mut self, now: Clocks) {
        if now.member > self.clocks.member {
            self.clocks.member = now.member;
            self.append(format_args!("clock: {}", now.member));
        }
        if self.left {
            return;
        }
        if now.event > self.clocks.event {
            self.clocks.event = now.event;
            self.append(format_args!("event-clock: {}", now.event));
        }
        if now.query > self.clocks.query {
            self.clocks.query = now.query;
            self.append(format_args!("query-clock: {}", now.query));
        }
    }

    /// Records that we leave, and nothing more of the others.
    pub fn leave(&mut self) {
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        if !self.rejoin {
            self.alive.clear();
        }
        self.append(format_args!("leave"));
    }

    /// Whether there is something to write.
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// What is to be written by now, if anything.
    pub fn take(&mut self) -> Option<Write> {
        if !self.is_pending() {
            return None;
        }
        let members = self.alive.len() as u64;
        if self.bytes > COMPACT_BYTES_MIN.max(members * MEMBER_BYTES * GROWTH_MAX) {
            return Some(self.compacted());
        }
        Some(Write::Append(std::mem::take(&mut self.pending)))
    }

    /// Everything that counts. Also the way out when a write failed, and nobody knows what the file holds.
    pub fn compacted(&mut self) -> Write {
        let mut all = Vec::new();
        for (name, address) in &self.alive {
            line(&mut all, format_args!("alive: {name} {address}"));
        }
        let Clocks {
            member,
            event,
            query,
        } = self.clocks;
        line(&mut all, format_args!("clock: {member}"));
        line(&mut all, format_args!("event-clock: {event}"));
        line(&mut all, format_args!("query-clock: {query}"));
        if self.left && self.rejoin {
            // Serf forgets it here, and a later start without -rejoin would come back.
            line(&mut all, format_args!("leave"));
        }
        self.pending = Vec::new();
        self.bytes = all.len() as u64;
        Write::Replace(all)
    }

    fn append(&mut self, text: std::fmt::Arguments<'_>) {
        let before = self.pending.len();
        line(&mut self.pending, text);
        self.bytes += (self.pending.len() - before) as u64;
    }
}

fn line(into: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Memory takes all that is written.
    let _ = writeln!(into, "{text}");
}

#[cfg(test)]
mod tests;
