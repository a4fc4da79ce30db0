//! Does anybody answer at an address under a name? Asked before a name goes to another address.
//!
//! ```text
//! check ─▶ ping by packet, again each 100 ms ──────────┐
//!      ├─▶ ping by stream ──refused, closed───┐        ├─ any ack: lives
//!      └─▶ indirect pings through a few peers ┼────────┘
//!                                             ▼
//!              nothing heard: silent after 300 ms; else after 1 s; after 5 s if the stream stands
//! ```
//!
//! Every ping bears the name, so that an address re-used by another node stays silent. The peers help where
//! only our own way to the address is cut: silence must mean that it is gone, not that we are.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Delegate, Memberlist, Timer};
use crate::gossip::core::io::StreamId;
use crate::gossip::core::wire::message::{IndirectPing, Message, Ping, WireAddr};

/// Silence that proves a node gone. Under 25 % loss one of the ten pings is all but sure to be answered.
const SILENCE: Duration = Duration::from_secs(1);

/// The same where the machine itself refuses the stream: it lives, and its packets have had three chances.
const SILENCE_REFUSED: Duration = Duration::from_millis(300);

/// The same where the stream stands and nothing comes: a process holds the port, perhaps stopped for a while.
const SILENCE_HELD: Duration = Duration::from_secs(5);

/// Between two pings by packet.
const AGAIN: Duration = Duration::from_millis(100);

/// Peers asked to ping as well.
pub(crate) const HELPERS: usize = 3;

/// Names one check: its sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CheckId(u32);

/// One check under way.
#[derive(Debug)]
pub(crate) struct Check {
    name: String,
    place: SocketAddr,
    began: Instant,
    door: Door,
}

/// What became of the ping by stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Knocking(StreamId),
    /// Connected, and no answer yet.
    Open(StreamId),
    /// Nobody there, or nobody of that name.
    Refused,
    /// No way there, or too slow: says nothing.
    Unknown,
}

impl Check {
    fn deadline(&self) -> Instant {
        self.began
            + match self.door {
                Door::Refused => SILENCE_REFUSED,
                Door::Open(_) => SILENCE_HELD,
                Door::Knocking(_) | Door::Unknown => SILENCE,
            }
    }

    fn stream(&self) -> Option<StreamId> {
        match self.door {
            Door::Knocking(id) | Door::Open(id) => Some(id),
            Door::Refused | Door::Unknown => None,
        }
    }
}

impl Memberlist {
    /// Asks whether `name` answers at `addr`; `Delegate::check_ended` tells. `None`: no address of a node.
    ///
    /// Some of `helpers` ping it as well.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        name: &str,
        addr: &WireAddr,
        helpers: &[SocketAddr],
    ) -> Option<CheckId> {
        let place = super::node::place_of(addr)?;
        let seq_no = self.next_seq_no();
        let stream = self.ping_by_stream(place, seq_no, name, now + SILENCE_HELD);
        self.checks.insert(
            seq_no,
            Check {
                name: name.to_owned(),
                place,
                began: now,
                door: Door::Knocking(stream),
            },
        );
        self.ping_checked(seq_no);
        for &helper in helpers.iter().filter(|&&to| to != place).take(HELPERS) {
            let request = Message::IndirectPing(IndirectPing {
                seq_no,
                target: addr.clone(),
                node: name.to_owned(),
                nack: false,
                source: self.own_source(),
            });
            self.send_alone(helper, &request);
        }
        self.timers.set(Timer::Check(seq_no), now + AGAIN);
        Some(CheckId(seq_no))
    }

    fn ping_checked(&mut self, seq_no: u32) {
        let Some(check) = self.checks.get(&seq_no) else {
            return;
        };
        let (to, node) = (check.place, check.name.clone());
        let source = self.own_source();
        // Alone: what we would let ride along may be just what is being asked about.
        self.send_alone(
            to,
            &Message::Ping(Ping {
                seq_no,
                node,
                source,
            }),
        );
    }

    /// Time for another ping, or for the verdict.
    pub(super) fn go_on_checking(
        &mut self,
        now: Instant,
        seq_no: u32,
        delegate: &mut dyn Delegate,
    ) {
        let Some(check) = self.checks.get(&seq_no) else {
            return;
        };
        let deadline = check.deadline();
        if now >= deadline {
            self.end_check(seq_no, false, delegate);
            return;
        }
        self.ping_checked(seq_no);
        self.timers
            .set(Timer::Check(seq_no), (now + AGAIN).min(deadline));
    }

    fn end_check(&mut self, seq_no: u32, lives: bool, delegate: &mut dyn Delegate) {
        if self.drop_check(CheckId(seq_no)) {
            delegate.check_ended(CheckId(seq_no), lives);
        }
    }

    /// Ends a check without a verdict; false if it was over.
    pub(crate) fn drop_check(&mut self, id: CheckId) -> bool {
        let Some(check) = self.checks.remove(&id.0) else {
            return false;
        };
        self.timers.cancel(&Timer::Check(id.0));
        if let Some(stream) = check.stream() {
            self.close_stream(stream);
        }
        true
    }

    /// True if the ack was for a check.
    pub(super) fn check_acked(&mut self, seq_no: u32, delegate: &mut dyn Delegate) -> bool {
        let ours = self.checks.contains_key(&seq_no);
        self.end_check(seq_no, true, delegate);
        ours
    }

    /// True if the stream was a check's. `refused`: the other side closed it, or would not have it.
    pub(super) fn check_stream_ended(
        &mut self,
        id: StreamId,
        answered: bool,
        refused: bool,
        delegate: &mut dyn Delegate,
    ) -> bool {
        let Some((&seq_no, check)) = self
            .checks
            .iter_mut()
            .find(|(_, check)| check.stream() == Some(id))
        else {
            return false;
        };
        check.door = if refused {
            Door::Refused
        } else {
            Door::Unknown
        };
        if answered {
            self.end_check(seq_no, true, delegate);
        }
        true
    }

    pub(super) fn check_stream_connected(&mut self, id: StreamId) {
        for check in self.checks.values_mut() {
            if check.door == Door::Knocking(id) {
                check.door = Door::Open(id);
            }
        }
    }

    /// A ping that we sent ourselves: the address is one of our own machine, where we listen too.
    pub(super) fn is_own_check(&self, ping: &Ping) -> bool {
        let ours = ping
            .source
            .as_ref()
            .is_some_and(|source| source.addr == self.own_addr && source.node == self.name);
        ours && self
            .checks
            .get(&ping.seq_no)
            .is_some_and(|check| check.name == ping.node)
    }
}
