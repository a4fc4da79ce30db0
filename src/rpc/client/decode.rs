//! Bodies and records of answers, from bytes.
//!
//! Names and texts of others are bytes in Go; here what is not UTF-8 is shown with marks, as a table of members
//! must not fail for one of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::gossip::core::io::Answer;
use crate::gossip::core::serf::coordinate::{Coordinate, DIMENSIONS};
use crate::gossip::core::serf::keys::KeyReport;
use crate::gossip::core::wire::WireError;
use crate::gossip::core::wire::msgpack::Reader;

/// A member, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// Name.
    pub name: String,
    /// Address; an IPv4-mapped one as IPv4.
    pub ip: IpAddr,
    /// Gossip port.
    pub port: u16,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// alive, leaving, left, failed or none.
    pub status: String,
    /// Protocol: min, max, current.
    pub protocol: [u8; 3],
    /// Delegate protocol, which is Serf's: min, max, current.
    pub delegate: [u8; 3],
}

/// An event, as it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// `member-join` and so on, `user` or `query`.
    pub event: String,
    /// Members, of member events.
    pub members: Vec<MemberInfo>,
    /// Name, of user events and queries.
    pub name: String,
    /// Lamport time, of user events and queries.
    pub ltime: u64,
    /// Payload, of user events and queries.
    pub payload: Vec<u8>,
    /// May be coalesced, of user events.
    pub coalesce: bool,
    /// For the answer, of queries.
    pub id: u64,
}

type Read<T> = Result<T, WireError>;

fn text(r: &mut Reader<'_>) -> Read<String> {
    let bytes = r.raw()?.unwrap_or_default();
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn texts(r: &mut Reader<'_>) -> Read<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    for _ in 0..r.map()? {
        let name = text(r)?;
        pairs.insert(name, text(r)?);
    }
    Ok(pairs)
}

pub(super) fn members(r: &mut Reader<'_>) -> Read<Vec<MemberInfo>> {
    let mut members = Vec::new();
    r.fields(&["Members"], |r, name| {
        match name {
            "Members" => members = list(r)?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(members)
}

fn list(r: &mut Reader<'_>) -> Read<Vec<MemberInfo>> {
    let mut members = Vec::new();
    for _ in 0..r.array()?.unwrap_or_default() {
        members.push(member(r)?);
    }
    Ok(members)
}

fn member(r: &mut Reader<'_>) -> Read<MemberInfo> {
    let mut member = MemberInfo {
        name: String::new(),
        ip: Ipv4Addr::UNSPECIFIED.into(),
        port: 0,
        tags: BTreeMap::new(),
        status: String::new(),
        protocol: [0; 3],
        delegate: [0; 3],
    };
    const FIELDS: &[&str] = &[
        "Name",
        "Addr",
        "Port",
        "Tags",
        "Status",
        "ProtocolMin",
        "ProtocolMax",
        "ProtocolCur",
        "DelegateMin",
        "DelegateMax",
        "DelegateCur",
    ];
    r.fields(FIELDS, |r, name| {
        match name {
            "Name" => member.name = text(r)?,
            "Addr" => member.ip = ip(r.raw()?.unwrap_or_default())?,
            "Port" => member.port = r.uint_as("Port")?,
            "Tags" => member.tags = texts(r)?,
            "Status" => member.status = text(r)?,
            "ProtocolMin" => member.protocol[0] = r.uint_as("ProtocolMin")?,
            "ProtocolMax" => member.protocol[1] = r.uint_as("ProtocolMax")?,
            "ProtocolCur" => member.protocol[2] = r.uint_as("ProtocolCur")?,
            "DelegateMin" => member.delegate[0] = r.uint_as("DelegateMin")?,
            "DelegateMax" => member.delegate[1] = r.uint_as("DelegateMax")?,
            "DelegateCur" => member.delegate[2] = r.uint_as("DelegateCur")?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(member)
}

fn ip(octets: &[u8]) -> Read<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(octets) {
        return Ok(Ipv4Addr::from(four).into());
    }
    match <[u8; 16]>::try_from(octets) {
        Ok(sixteen) => Ok(Ipv6Addr::from(sixteen).to_canonical()),
        Err(_) if octets.is_empty() => Ok(Ipv4Addr::UNSPECIFIED.into()),
        Err(_) => Err(WireError::Field("Addr")),
    }
}

pub(super) fn reached(r: &mut Reader<'_>) -> Read<u64> {
    let mut reached = 0;
    r.fields(&["Num"], |r, name| {
        match name {
            "Num" => reached = r.uint()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(reached)
}

pub(super) fn answer(r: &mut Reader<'_>) -> Read<Answer> {
    let (mut kind, mut from, mut payload) = (String::new(), String::new(), Vec::new());
    r.fields(&["Type", "From", "Payload"], |r, name| {
        match name {
            "Type" => kind = text(r)?,
            "From" => from = text(r)?,
            "Payload" => payload = r.bytes()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    match kind.as_str() {
        "ack" => Ok(Answer::Ack { from }),
        "response" => Ok(Answer::Response { from, payload }),
        "done" => Ok(Answer::Done),
        _ => Err(WireError::Field("Type")),
    }
}

pub(super) fn keys(r: &mut Reader<'_>) -> Read<KeyReport> {
    let mut report = KeyReport::default();
    const FIELDS: &[&str] = &["Messages", "Keys", "NumNodes", "NumErr", "NumResp"];
    r.fields(FIELDS, |r, name| {
        match name {
            "Messages" => report.messages = texts(r)?,
            "Keys" => {
                for _ in 0..r.map()? {
                    let key = text(r)?;
                    report.keys.insert(key, r.uint_as("Keys")?);
                }
            }
            "NumNodes" => report.nodes = r.uint_as("NumNodes")?,
            "NumErr" => report.errors = r.uint_as("NumErr")?,
            "NumResp" => report.responses = r.uint_as("NumResp")?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(report)
}

pub(super) fn sections(r: &mut Reader<'_>) -> Read<BTreeMap<String, BTreeMap<String, String>>> {
    let mut sections = BTreeMap::new();
    for _ in 0..r.map()? {
        let name = text(r)?;
        sections.insert(name, texts(r)?);
    }
    Ok(sections)
}

pub(in crate::rpc) fn coordinate(r: &mut Reader<'_>) -> Read<Option<Coordinate>> {
    let mut known = false;
    let mut coordinate = Coordinate {
        vec: [0.0; DIMENSIONS],
        error: 0.0,
        adjustment: 0.0,
        height: 0.0,
    };
    r.fields(&["Coord", "Ok"], |r, name| match name {
        "Coord" => place(r, &mut coordinate),
        "Ok" => r.bool().map(|ok| known = ok),
        _ => r.skip(),
    })?;
    Ok(known.then_some(coordinate))
}

fn place(r: &mut Reader<'_>, coordinate: &mut Coordinate) -> Read<()> {
    r.fields(&["Vec", "Error", "Adjustment", "Height"], |r, name| {
        match name {
            "Vec" => {
                let items = r.array()?.unwrap_or_default();
                if items > DIMENSIONS {
                    return Err(WireError::Field("Vec"));
                }
                for item in &mut coordinate.vec[..items] {
                    *item = r.float()?;
                }
            }
            "Error" => coordinate.error = r.float()?,
            "Adjustment" => coordinate.adjustment = r.float()?,
            "Height" => coordinate.height = r.float()?,
            _ => r.skip()?,
        }
        Ok(())
    })
}

pub(super) fn line(r: &mut Reader<'_>) -> Read<String> {
    let mut line = String::new();
    r.fields(&["Log"], |r, name| {
        match name {
            "Log" => line = text(r)?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(line)
}

pub(super) fn notice(r: &mut Reader<'_>) -> Read<Notice> {
    let mut notice = Notice::default();
    // What each kind of record has is a part of these; the array form would not tell which.
    r.fields(&[], |r, name| {
        match name {
            "Event" => notice.event = text(r)?,
            "Members" => notice.members = list(r)?,
            "Name" => notice.name = text(r)?,
            "LTime" => notice.ltime = r.uint()?,
            "Payload" => notice.payload = r.bytes()?,
            "Coalesce" => notice.coalesce = r.bool()?,
            "ID" => notice.id = r.uint()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(notice)
}
