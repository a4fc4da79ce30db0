//! Where is it? Asked by a stock agent that sees its own name at a second address; who is outvoted shuts down.
//!
//! ```text
//! query _serf_conflict, payload = name ─▶ [6][member map] or [6][nil] from everyone but the one named
//! ```
//!
//! Were members of ours silent, a living stock agent among them would lose its name to anyone who claims it.
//! We never ask ourselves: a check of the other address (`names`) says more than a vote.
//!
//! Source: serf `internal_query.go`, `handleConflict`; `serf.go`, `resolveNodeConflict`.

use std::net::IpAddr;

use super::layer::Layer;
use crate::gossip::core::member::Member;
use crate::gossip::core::wire::msgpack::Writer;

/// The query's name.
pub(super) const CONFLICT: &str = "_serf_conflict";

/// Serf's type byte of the answer.
const CONFLICT_RESPONSE: u8 = 6;

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
    use crate::gossip::core::member::Status;
    use crate::gossip::core::serf::tags::Encoded;

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
