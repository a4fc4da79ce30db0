//! Where is it? Asked by whoever sees its own name at a second address: the members put it to the vote.
//!
//! ```text
//! query _serf_conflict, payload = name ─▶ [6][member map] or [6][nil] from everyone but the one named
//!                                          └─▶ Vote: who holds it where
//! ```
//!
//! Were members of ours silent, a living stock agent among them would lose its name to anyone who claims it.
//! A stock agent asks at once and shuts down when it is outvoted. We ask only after the other was found to live,
//! and what comes of it `names::dispute` decides.
//!
//! Source: serf `internal_query.go`, `handleConflict`; `serf.go`, `resolveNodeConflict`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::layer::Layer;
use super::tables::asking::Asker;
use crate::gossip::core::io::{QueryId, Question, Refused};
use crate::gossip::core::member::{Member, Status};
use crate::gossip::core::memberlist::node::place_of;
use crate::gossip::core::name::Name;
use crate::gossip::core::wire::WireError;
use crate::gossip::core::wire::message::WireAddr;
use crate::gossip::core::wire::msgpack::{Reader, Writer};

/// The query's name.
pub(super) const CONFLICT: &str = "_serf_conflict";

/// Serf's type byte of the answer.
const CONFLICT_RESPONSE: u8 = 6;

/// Through how many others each answer comes as well: under loss a vote must not turn on who was heard.
const RELAYS: u8 = 3;

/// Who holds our name where, as far as they answered.
#[derive(Debug)]
pub(super) struct Vote {
    id: QueryId,
    /// Where we are, and where the other is.
    places: [SocketAddr; 2],
    /// Members that hold the name at the one and at the other.
    holders: [BTreeSet<Name>; 2],
}

/// What a vote came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The name is ours; or nobody answered, and nothing is known.
    Ours,
    /// The name is the other's.
    Theirs,
}

impl Vote {
    /// More holders have it. Where there are as many, the lower address, which both compute alike.
    pub(super) fn verdict(&self) -> Verdict {
        let [ours, theirs] = [0, 1].map(|of: usize| self.holders[of].len());
        let equal_is_ours = theirs == 0 || self.places[0] < self.places[1];
        if ours > theirs || (ours == theirs && equal_is_ours) {
            Verdict::Ours
        } else {
            Verdict::Theirs
        }
    }

    /// Members that hold our name at the other place.
    pub(super) fn holders_there(&self) -> &BTreeSet<Name> {
        &self.holders[1]
    }

    pub(super) fn id(&self) -> QueryId {
        self.id
    }

    /// Takes an answer in; each member has one voice.
    pub(super) fn take(&mut self, voter: Name, payload: &[u8]) {
        if let Some(place) = answered_place(payload) {
            self.count(voter, place);
        }
    }

    fn count(&mut self, from: Name, place: SocketAddr) {
        let heard = self.holders.iter().any(|holders| holders.contains(&from));
        if let Some(of) = self.places.iter().position(|known| *known == place)
            && !heard
        {
            self.holders[of].insert(from);
        }
    }
}

impl Layer {
    /// Asks everyone whether our name is at `own` or at `other`; answers come to the tray.
    ///
    /// # Errors
    /// As [`Layer::ask`].
    pub(super) fn put_to_the_vote(
        &mut self,
        now: Instant,
        own: SocketAddr,
        other: SocketAddr,
    ) -> Result<Vote, Refused> {
        let question = Question {
            name: CONFLICT.to_owned(),
            payload: self.name.clone().into_bytes(),
            relay_factor: RELAYS,
            ..Question::default()
        };
        Ok(Vote {
            id: self.ask(now, &question, Asker::Names)?,
            places: [own, other],
            holders: Default::default(),
        })
    }

    /// The member that `from` names, if it has a voice: only those that we hold alive have, and the two that the
    /// vote is about have none.
    pub(super) fn voter(&self, from: &str) -> Option<Name> {
        let voter = self.members.get(from)?;
        let counts = voter.shown.status == Status::Alive && *from != *self.name;
        counts.then(|| voter.shown.name.clone())
    }
}

/// Where an answer says that the member is; `None` where it does not know.
fn answered_place(payload: &[u8]) -> Option<SocketAddr> {
    let (&CONFLICT_RESPONSE, map) = payload.split_first()? else {
        return None;
    };
    let mut addr = WireAddr {
        octets: Vec::new(),
        port: 0,
    };
    let read = |addr: &mut WireAddr| -> Result<(), WireError> {
        Reader::new(map).fields(&["Name", "Addr", "Port"], |r, field| {
            match field {
                "Addr" => addr.octets = r.bytes()?,
                "Port" => addr.port = r.uint_as("Port")?,
                _ => r.skip()?,
            }
            Ok(())
        })
    };
    read(&mut addr).ok()?;
    place_of(&addr)
}

impl Layer {
    /// What we say to the question where `name` is; nothing where that is us.
    pub(super) fn conflict_answer(&self, name: &[u8]) -> Option<Vec<u8>> {
        let name = std::str::from_utf8(name).ok()?;
        if name == self.name {
            return None;
        }
        let mut w = Writer::message(CONFLICT_RESPONSE);
        match self.members.get(name) {
            Some(member) => write_member(&mut w, &member.shown),
            None => w.nil(),
        }
        Some(w.finish())
    }
}

/// The eleven fields of Go's `Member`, by name.
fn write_member(w: &mut Writer, member: &Member) {
    let [p_min, p_max, p_cur, d_min, d_max, d_cur] = member.versions;
    w.map(11);
    w.key("Addr");
    match member.address.ip() {
        IpAddr::V4(ip) => w.raw(&ip.octets()),
        IpAddr::V6(ip) => w.raw(&ip.octets()),
    }
    for (field, value) in [
        ("DelegateCur", d_cur),
        ("DelegateMax", d_max),
        ("DelegateMin", d_min),
    ] {
        w.key(field);
        w.uint(value.into());
    }
    w.key("Name");
    w.raw(member.name.as_bytes());
    w.key("Port");
    w.uint(member.address.port().into());
    for (field, value) in [
        ("ProtocolCur", p_cur),
        ("ProtocolMax", p_max),
        ("ProtocolMin", p_min),
        ("Status", member.status as u8),
    ] {
        w.key(field);
        w.uint(value.into());
    }
    w.key("Tags");
    let tags = member.tags.decode();
    w.map(tags.len());
    for (name, value) in &tags {
        w.raw(name.as_bytes());
        w.raw(value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::Tags;
    use crate::gossip::core::serf::tags::Encoded;

    fn vote(own: &str, other: &str, ours: &[&str], theirs: &[&str]) -> Vote {
        let mut vote = Vote {
            id: QueryId { ltime: 1, id: 1 },
            places: [own, other].map(|place| place.parse().expect("an address")),
            holders: Default::default(),
        };
        for (of, names) in [ours, theirs].into_iter().enumerate() {
            for name in names {
                vote.count((*name).into(), vote.places[of]);
            }
        }
        vote
    }

    #[test]
    fn more_holders_keep_a_name_and_the_lower_address_among_as_many() {
        let (low, high) = ("10.0.0.2:7946", "10.0.0.10:7946");
        for (own, ours, theirs, expected) in [
            (low, &["a", "b"][..], &["c"][..], Verdict::Ours),
            (low, &["a"], &["b", "c"], Verdict::Theirs),
            (high, &["a", "b"], &["c"], Verdict::Ours),
            (low, &["a"], &["b"], Verdict::Ours),
            (high, &["a"], &["b"], Verdict::Theirs),
            // Nobody was heard: that proves nothing.
            (high, &[], &[], Verdict::Ours),
            (low, &[], &["a"], Verdict::Theirs),
        ] {
            let other = if own == low { high } else { low };
            let found = vote(own, other, ours, theirs).verdict();
            assert_eq!(found, expected, "{own}: {ours:?} {theirs:?}");
        }
    }

    #[test]
    fn a_member_has_one_voice_and_a_third_place_none() {
        let (low, high) = ("10.0.0.2:7946", "10.0.0.10:7946");
        let mut vote = vote(low, high, &["a"], &[]);
        for _ in 0..3 {
            vote.count("a".into(), vote.places[1]);
            vote.count("b".into(), "10.0.0.3:7946".parse().expect("an address"));
        }

        assert_eq!(vote.holders_there().len(), 0);
        assert_eq!(vote.verdict(), Verdict::Ours);
    }

    #[test]
    fn an_answer_tells_a_place_or_none() {
        let good = b"\x06\x82\xa4Addr\xa4\x7f\x00\x00\x0c\xa4Port\xcd\x1f\x0a";

        let place = answered_place(good);
        assert_eq!(place, "127.0.0.12:7946".parse().ok());
        for bad in [&b"\x06\xc0"[..], b"\x06", b"", b"\x05\x80"] {
            assert_eq!(answered_place(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_member_is_written_as_a_real_agent_does() {
        let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let member = Member {
            name: "a2".into(),
            address: "127.0.0.12:7946".parse().expect("an address"),
            tags: Encoded::of(&Tags::from([tag("port", "81"), tag("role", "web")])),
            status: Status::Alive,
            suspect: false,
            incarnation: 3,
            joined: 1,
            since: crate::clock::now(),
            versions: [1, 5, 2, 2, 5, 5],
        };
        let mut w = Writer::message(CONFLICT_RESPONSE);
        write_member(&mut w, &member);

        // Captured from serf agent 0.9.4.
        let captured =
            b"\x06\x8b\xa4Addr\xa4\x7f\x00\x00\x0c\xabDelegateCur\x05\xabDelegateMax\x05\
            \xabDelegateMin\x02\xa4Name\xa2a2\xa4Port\xcd\x1f\x0a\xabProtocolCur\x02\
            \xabProtocolMax\x05\xabProtocolMin\x01\xa6Status\x01\xa4Tags\x82\
            \xa4port\xa281\xa4role\xa3web";
        assert_eq!(w.finish(), captured);
    }
}
