//! Replies and records, to bytes: as Go writes them, a struct's fields in the order of their names.
//!
//! ```text
//! [header: map {Error str, Seq uint}] [body or record, where there is one]
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::gossip::core::io::Answer;
use crate::gossip::core::member::Member;
use crate::gossip::core::serf::coordinate::Coordinate;
use crate::gossip::core::serf::keys::KeyReport;
use crate::gossip::core::wire::msgpack::Writer;

/// A text for each name, by section.
pub(super) type Sections = BTreeMap<&'static str, BTreeMap<String, String>>;

/// A header alone, or one that a body follows. An empty `error` says that all went well.
pub(super) fn header(seq: u64, error: &str) -> Writer {
    let mut w = Writer::default();
    w.map(2);
    w.key("Error");
    w.str(error);
    w.key("Seq");
    w.uint(seq);
    w
}

pub(super) fn members<'m>(w: &mut Writer, members: impl ExactSizeIterator<Item = &'m Arc<Member>>) {
    w.map(1);
    w.key("Members");
    member_list(w, members);
}

fn member_list<'m>(w: &mut Writer, members: impl ExactSizeIterator<Item = &'m Arc<Member>>) {
    w.array(members.len());
    for one in members {
        member(w, one);
    }
}

fn member(w: &mut Writer, member: &Member) {
    let [
        protocol_min,
        protocol_max,
        protocol,
        delegate_min,
        delegate_max,
        delegate,
    ] = member.versions.map(u64::from);
    w.map(11);
    w.key("Addr");
    match member.address.ip() {
        IpAddr::V4(ip) => w.bin_or_nil(&ip.octets()),
        IpAddr::V6(ip) => w.bin_or_nil(&ip.octets()),
    }
    for (name, value) in [
        ("DelegateCur", delegate),
        ("DelegateMax", delegate_max),
        ("DelegateMin", delegate_min),
    ] {
        w.key(name);
        w.uint(value);
    }
    w.key("Name");
    w.str(&member.name);
    w.key("Port");
    w.uint(member.address.port().into());
    for (name, value) in [
        ("ProtocolCur", protocol),
        ("ProtocolMax", protocol_max),
        ("ProtocolMin", protocol_min),
    ] {
        w.key(name);
        w.uint(value);
    }
    w.key("Status");
    w.str(&member.status.to_string());
    w.key("Tags");
    pairs(w, member.tags.decode().iter());
}

fn pairs<'p>(w: &mut Writer, pairs: impl ExactSizeIterator<Item = (&'p String, &'p String)>) {
    w.map(pairs.len());
    for (name, value) in pairs {
        w.str(name);
        w.str(value);
    }
}

pub(super) fn joined(w: &mut Writer, reached: usize) {
    w.map(1);
    w.key("Num");
    w.uint(reached as u64);
}

/// `list`: the answer has keys, also if there are none.
pub(super) fn keys(w: &mut Writer, report: &KeyReport, list: bool) {
    w.map(5);
    w.key("Keys");
    if list {
        w.map(report.keys.len());
        for (key, count) in &report.keys {
            w.str(key);
            w.uint((*count).into());
        }
    } else {
        w.nil();
    }
    w.key("Messages");
    pairs(w, report.messages.iter());
    for (name, count) in [
        ("NumErr", report.errors),
        ("NumNodes", report.nodes),
        ("NumResp", report.responses),
    ] {
        w.key(name);
        w.uint(count as u64);
    }
}

pub(super) fn sections(w: &mut Writer, sections: &Sections) {
    w.map(sections.len());
    for (name, section) in sections {
        w.str(name);
        pairs(w, section.iter());
    }
}

pub(super) fn coordinate(w: &mut Writer, coordinate: Option<&Coordinate>) {
    w.map(2);
    w.key("Coord");
    w.map(4);
    let of = |part: fn(&Coordinate) -> f64| coordinate.map_or(0.0, part);
    for (name, value) in [
        ("Adjustment", of(|coordinate| coordinate.adjustment)),
        ("Error", of(|coordinate| coordinate.error)),
        ("Height", of(|coordinate| coordinate.height)),
    ] {
        w.key(name);
        w.float(value);
    }
    w.key("Vec");
    match coordinate {
        Some(coordinate) => {
            w.array(coordinate.vec.len());
            for value in coordinate.vec {
                w.float(value);
            }
        }
        None => w.nil(),
    }
    w.key("Ok");
    w.bool(coordinate.is_some());
}

/// A record of a stream: what became of members.
pub(super) fn member_event(w: &mut Writer, event: &str, members: &[Arc<Member>]) {
    w.map(2);
    w.key("Event");
    w.str(event);
    w.key("Members");
    member_list(w, members.iter());
}

/// A record of a stream: a user event.
pub(super) fn user_event(w: &mut Writer, ltime: u64, name: &str, payload: &[u8], coalesce: bool) {
    w.map(5);
    w.key("Coalesce");
    w.bool(coalesce);
    w.key("Event");
    w.str("user");
    w.key("LTime");
    w.uint(ltime);
    w.key("Name");
    w.str(name);
    w.key("Payload");
    w.bin_or_nil(payload);
}

/// A record of a stream: a query, which may be answered under `id`.
pub(super) fn query_event(w: &mut Writer, id: u64, ltime: u64, name: &str, payload: &[u8]) {
    w.map(5);
    w.key("Event");
    w.str("query");
    w.key("ID");
    w.uint(id);
    w.key("LTime");
    w.uint(ltime);
    w.key("Name");
    w.str(name);
    w.key("Payload");
    w.bin_or_nil(payload);
}

/// A record of a query of ours.
pub(super) fn answer(w: &mut Writer, answer: &Answer) {
    let (kind, from, payload) = match answer {
        Answer::Ack { from } => ("ack", from.as_str(), &[][..]),
        Answer::Response { from, payload } => ("response", from.as_str(), payload.as_slice()),
        Answer::Done => ("done", "", &[][..]),
    };
    w.map(3);
    w.key("From");
    w.str(from);
    w.key("Payload");
    w.bin_or_nil(payload);
    w.key("Type");
    w.str(kind);
}

/// A record of the log.
pub(super) fn log(w: &mut Writer, line: &str) {
    w.map(1);
    w.key("Log");
    w.str(line);
}
