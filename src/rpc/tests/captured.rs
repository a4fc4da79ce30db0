//! Sessions of real clients with a real `serf agent`: our server, told the same, answers the same.
//!
//! Answers are compared as values, with strings and byte arrays told apart, since Go writes a map of texts in a random
//! order; and by their bytes wherever there is no such map.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::member::{Actor, member, query, user};
use crate::gossip::core::io::{Answer, Stats};
use crate::gossip::core::serf::coalesce::{Change, Notice};
use crate::gossip::core::serf::coordinate::Coordinate;
use crate::gossip::core::serf::keys::KeyReport;
use crate::gossip::core::wire::msgpack::Reader;
use crate::rpc::membership::Joined;
use crate::rpc::session::Limits;

/// A msgpack value.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Nil,
    Bool(bool),
    Int(i128),
    Float(u64),
    Str(String),
    Bin(Vec<u8>),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
}

/// The value at the front, and its length; `None` if it is not whole.
fn value(bytes: &[u8]) -> Option<(Value, usize)> {
    let mut at = 0;
    let value = value_at(bytes, &mut at)?;
    Some((value, at))
}

fn value_at(bytes: &[u8], at: &mut usize) -> Option<Value> {
    let mut take = |len: usize| {
        let taken = bytes.get(*at..*at + len)?;
        *at += len;
        Some(taken.to_vec())
    };
    let number = |bytes: Vec<u8>| {
        bytes
            .iter()
            .fold(0_u64, |n, byte| n << 8 | u64::from(*byte))
    };
    let marker = take(1)?[0];
    let text = |bytes: Vec<u8>| Value::Str(String::from_utf8(bytes).expect("text"));
    Some(match marker {
        0x00..=0x7f => Value::Int(marker.into()),
        0xa0..=0xbf => text(take((marker & 0x1f).into())?),
        0xc0 => Value::Nil,
        0xc2 | 0xc3 => Value::Bool(marker == 0xc3),
        0xc4..=0xc6 => {
            let len = number(take(1 << (marker - 0xc4))?);
            Value::Bin(take(len as usize)?)
        }
        0xcb => Value::Float(number(take(8)?)),
        0xcc..=0xcf => Value::Int(number(take(1 << (marker - 0xcc))?).into()),
        0xd9..=0xdb => {
            let len = number(take(1 << (marker - 0xd9))?);
            text(take(len as usize)?)
        }
        0x80..=0x9f | 0xdc..=0xdf => {
            let len = match marker {
                0x80..=0x9f => u64::from(marker & 0x0f),
                0xdc | 0xde => number(take(2)?),
                _ => number(take(4)?),
            };
            if matches!(marker, 0x80..=0x8f | 0xde | 0xdf) {
                let mut map = BTreeMap::new();
                for _ in 0..len {
                    let Value::Str(key) = value_at(bytes, at)? else {
                        panic!("a key is a string");
                    };
                    map.insert(key, value_at(bytes, at)?);
                }
                Value::Map(map)
            } else {
                let items = (0..len).map(|_| value_at(bytes, at));
                Value::List(items.collect::<Option<_>>()?)
            }
        }
        other => panic!("marker {other:02x}"),
    })
}

/// All captured bytes of one step: what the client sent, and what came back.
fn step(name: &str) -> (Vec<u8>, Vec<u8>) {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/serf/rpc.json");
    let text = std::fs::read_to_string(file).expect("captured sessions");
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    let of = |direction: &str| {
        let parts = all.iter().filter(|part| {
            let known = part["name"].as_str().expect("a name");
            let step = known.split('#').next().expect("a part");
            step == name && part["direction"] == direction
        });
        let hex: String = parts
            .map(|part| part["hex"].as_str().expect("hex"))
            .collect();
        let pairs = hex.as_bytes().chunks(2);
        pairs
            .map(|pair| {
                let pair = std::str::from_utf8(pair).expect("hex");
                u8::from_str_radix(pair, 16).expect("hex")
            })
            .collect::<Vec<u8>>()
    };
    (of("c2s"), of("s2c"))
}

/// One connection of a client that replays.
struct Replay {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Replay {
    async fn connect(address: std::net::SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("it listens");
        Self {
            stream,
            input: Vec::new(),
        }
    }

    /// Greeted already.
    async fn greeted(address: std::net::SocketAddr) -> Self {
        let mut replay = Self::connect(address).await;
        replay.step("rpc/handshake").await;
        replay
    }

    async fn send(&mut self, name: &str) {
        let (request, _) = step(name);
        assert!(!request.is_empty(), "{name} was captured");
        self.stream.write_all(&request).await.expect("it reads");
    }

    /// What was captured comes, object by object.
    async fn expect(&mut self, name: &str) {
        let (_, mut expected) = step(name);
        let exact = !UNORDERED.contains(&name);
        assert!(!expected.is_empty(), "{name} was captured");
        while !expected.is_empty() {
            let (wanted, length) = value(&expected).expect("a whole object");
            let (got, bytes) = self.object(name).await;
            assert_eq!(got, wanted, "{name}");
            if exact {
                assert_eq!(bytes, expected[..length], "{name}: {got:?}");
            }
            expected.drain(..length);
        }
    }

    async fn step(&mut self, name: &str) {
        self.send(name).await;
        self.expect(name).await;
    }

    async fn object(&mut self, name: &str) -> (Value, Vec<u8>) {
        loop {
            if let Some((value, length)) = value(&self.input) {
                return (value, self.input.drain(..length).collect());
            }
            let read = self.stream.read_buf(&mut self.input);
            let read = tokio::time::timeout(Duration::from_secs(20), read).await;
            let bytes = read.expect("an answer in time").expect("a connection");
            assert!(bytes > 0, "{name}: closed");
        }
    }

    /// Nothing more comes but the end.
    async fn closed(mut self) {
        let read = self.stream.read_to_end(&mut self.input);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        read.expect("an end in time").expect("an end");
        assert_eq!(self.input, b"");
    }
}

/// Answers with a map of texts, whose order is chance.
const UNORDERED: &[&str] = &[
    "rpc/members",
    "rpc/members_filtered",
    "rpc/stats",
    "rpc/list_keys_unencrypted",
    "rpc/stream_member_update",
    "rpc/list-keys",
    "rpc/remove-key",
    "rpc/use-key_error",
    "cli/members-filtered:s2c",
    "cli/members:s2c",
    "cli/stats:s2c",
    "cli/list-keys:s2c",
];

fn three() -> Actor {
    Actor::new(vec![
        member("a1", [127, 0, 0, 11], &[("role", "lb"), ("zone", "z1")]),
        member("a2", [127, 0, 0, 12], &[("role", "web"), ("port", "81")]),
        member("a3", [127, 0, 0, 13], &[("role", "db")]),
    ])
}

/// The coordinate of a captured answer.
fn coordinate(name: &str) -> Coordinate {
    let (_, bytes) = step(name);
    let (_, header) = value(&bytes).expect("a header");
    let body = &bytes[header..];
    crate::rpc::client::coordinate_of(&mut Reader::new(body))
        .expect("a coordinate")
        .expect("a known one")
}

fn report(keys: &[&str], message: &str, names: &[&str], nodes: usize) -> KeyReport {
    KeyReport {
        messages: names
            .iter()
            .map(|name| ((*name).to_owned(), message.to_owned()))
            .collect(),
        keys: keys.iter().map(|key| ((*key).to_owned(), 2)).collect(),
        primary_keys: BTreeMap::new(),
        nodes,
        errors: names.len(),
        responses: nodes,
    }
}

#[tokio::test]
async fn one_long_session() {
    let actor = three();
    let (address, _server, _stop) = actor.serve(None, Limits::default()).await;
    let mut session = Replay::connect(address).await;

    for name in [
        "rpc/handshake",
        "rpc/handshake_duplicate",
        "rpc/members",
        "rpc/members_filtered",
        "rpc/event",
        "rpc/event_too_big",
    ] {
        session.step(name).await;
    }
    assert_eq!(
        actor.with(|script| script.events.clone()),
        [("deploy".to_owned(), b"p1".to_vec(), true)]
    );
    actor.with(|script| script.joined.reached = 1);
    session.step("rpc/join_ok").await;
    actor.with(|script| {
        script.joined = Joined {
            reached: 0,
            failures: vec![(
                "127.0.0.99:7946".to_owned(),
                "connection refused".to_owned(),
            )],
        };
    });
    session.step("rpc/join_fail").await;
    let known = coordinate("rpc/get_coordinate");
    actor.with(|script| script.coordinates.insert("a2".to_owned(), known));
    for name in [
        "rpc/get_coordinate",
        "rpc/get_coordinate_unknown",
        "rpc/tags",
        "rpc/tags_too_big",
    ] {
        session.step(name).await;
    }
    assert_eq!(actor.with(|script| script.tags["zone"].clone()), "z2");

    let ack = |from: &str| Answer::Ack {
        from: from.to_owned(),
    };
    let response = Answer::Response {
        from: "a2".to_owned(),
        payload: b"up".to_vec(),
    };
    let answers = vec![ack("a1"), ack("a3"), ack("a2"), response, Answer::Done];
    actor.with(|script| script.answers = answers);
    session.step("rpc/query").await;
    session.step("rpc/query_reserved").await;
    session.step("rpc/query_too_big").await;
    let empty = "Keyring is empty (encryption not enabled)";
    actor.with(|script| script.keys = Ok(report(&[], empty, &["a1", "a2", "a3"], 3)));
    session.step("rpc/list_keys_unencrypted").await;
    session.step("rpc/force_leave_unknown").await;
}

#[tokio::test]
async fn events_come_and_queries_are_answered() {
    let actor = three();
    let (address, _server, _stop) = actor.serve(None, Limits::default()).await;
    let mut session = Replay::greeted(address).await;
    session.send("rpc/stream_user_event").await;
    // The answer to the request is the first object; a stream exists once it is there.
    let (header, _) = session.object("rpc/stream_user_event").await;
    assert_eq!(
        header,
        Value::Map(BTreeMap::from([
            ("Error".to_owned(), Value::Str(String::new())),
            ("Seq".to_owned(), Value::Int(2)),
        ]))
    );

    actor.tell(user(5, "evt1", b"body"));
    let (_, expected) = step("rpc/stream_user_event");
    let (_, first) = value(&expected).expect("a header");
    let mut rest = &expected[first..];
    while let Some((wanted, length)) = value(rest) {
        assert_eq!(session.object("rpc/stream_user_event").await.0, wanted);
        rest = &rest[length..];
    }
    actor.tell(update_of("rpc/stream_member_update"));
    session.expect("rpc/stream_member_update").await;
    actor.tell(query(9, "qq", b""));
    session.expect("rpc/stream_query").await;
    for name in [
        "rpc/respond_ok",
        "rpc/respond_twice",
        "rpc/respond_unknown",
        "rpc/stop",
        "rpc/stream_bad_filter",
    ] {
        session.step(name).await;
    }
    let responded = actor.with(|script| script.responded.clone());
    assert_eq!(responded.len(), 1);
    assert_eq!(responded[0].1, b"answer");
}

/// The member-update that was captured, with the members it names.
fn update_of(name: &str) -> Notice {
    let (_, bytes) = step(name);
    let (_, header) = value(&bytes).expect("a header");
    let (Value::Map(record), _) = value(&bytes[header..]).expect("a record") else {
        panic!("a record is a map");
    };
    let Value::List(members) = &record["Members"] else {
        panic!("a list");
    };
    let members = members.iter().map(|one| {
        let Value::Map(fields) = one else {
            panic!("a member is a map");
        };
        let (Value::Str(name), Value::Bin(ip), Value::Map(tags)) =
            (&fields["Name"], &fields["Addr"], &fields["Tags"])
        else {
            panic!("{fields:?}");
        };
        let tags: Vec<(&str, &str)> = tags
            .iter()
            .map(|(name, value)| match value {
                Value::Str(value) => (name.as_str(), value.as_str()),
                other => panic!("{other:?}"),
            })
            .collect();
        let ip: [u8; 4] = ip.as_slice().try_into().expect("IPv4");
        member(name, ip, &tags)
    });
    Notice::Members {
        change: Change::Updated,
        members: members.collect::<Vec<Arc<_>>>(),
    }
}

#[tokio::test]
async fn an_agent_with_a_key_lets_in_who_knows_it() {
    let actor = Actor::new(vec![member("r1", [127, 0, 0, 61], &[])]);
    let (address, _server, _stop) = actor.serve(Some("s3cret"), Limits::default()).await;
    let mut session = Replay::greeted(address).await;

    for name in [
        "rpc/auth_required",
        "rpc/auth_bad",
        "rpc/auth_ok",
        "rpc/members_after_auth",
    ] {
        session.step(name).await;
    }
}

#[tokio::test]
async fn leave_is_answered_when_it_is_done() {
    let actor = three();
    let (address, server, _stop) = actor.serve(None, Limits::default()).await;
    let mut session = Replay::greeted(address).await;

    session.step("rpc/leave").await;

    assert!(actor.with(|script| script.left));
    let left = tokio::time::timeout(Duration::from_secs(20), server.left());
    left.await.expect("whoever waits for it is told");
}

#[tokio::test]
async fn keys_are_changed_and_what_failed_is_told() {
    let actor = three();
    let (address, _server, _stop) = actor.serve(None, Limits::default()).await;
    let mut session = Replay::greeted(address).await;
    let plain = report(&[], "", &[], 2);
    let keys = [
        "E1bEoNfsuAGX/PyzS6WG7jzR1cCiJU5Gu/bhpKvkHCM=",
        "Q0kJDDvdJeWNi8FxyBnMSuZj/7ZNlmZmZI1AGO5Hm7k=",
        "0WZQU7vJ9+bvhi3NWN2mESuDlWpLr+GG7CmRJdDLgsc=",
    ];
    let primary = report(
        &[],
        "Removing the primary key is not allowed",
        &["e1", "e2"],
        2,
    );
    let unknown = report(&[], "Requested key is not in the keyring", &["e1", "e2"], 2);

    for (name, keys) in [
        ("rpc/install-key", plain.clone()),
        ("rpc/use-key", plain),
        ("rpc/list-keys", report(&keys, "", &[], 2)),
        ("rpc/remove-key", primary),
        ("rpc/install-key_error", KeyReport::default()),
        ("rpc/use-key_error", unknown),
    ] {
        actor.with(|script| script.keys = Ok(keys));
        session.step(name).await;
    }
}

#[tokio::test]
async fn what_ends_a_session_is_told_first() {
    let actor = three();
    let (address, _server, _stop) = actor.serve(None, Limits::default()).await;

    let mut stranger = Replay::connect(address).await;
    stranger.step("rpc/no_handshake").await;
    stranger.closed().await;

    let mut other = Replay::greeted(address).await;
    other.step("rpc/unsupported").await;
    other.closed().await;

    // A wrong version is told, and the client may think again.
    let mut old = Replay::connect(address).await;
    old.step("rpc/bad_version").await;
    old.step("rpc/handshake").await;
}

#[tokio::test]
async fn a_monitor_takes_serf_s_levels_only() {
    let actor = three();
    let (address, _server, _stop) = actor.serve(None, Limits::default()).await;
    let mut session = Replay::greeted(address).await;

    session.step("rpc/monitor_bad_level").await;
    session.send("rpc/monitor").await;

    let (_, expected) = step("rpc/monitor");
    let (wanted, _) = value(&expected).expect("a header");
    assert_eq!(session.object("rpc/monitor").await.0, wanted);
}

#[tokio::test]
async fn whole_sessions_of_the_command_line_in_one_piece() {
    let actor = Actor::new(vec![
        member("a1", [127, 0, 0, 11], &[("role", "lb"), ("zone", "z1")]),
        member("a2", [127, 0, 0, 12], &[("role", "web"), ("port", "80")]),
        member("a3", [127, 0, 0, 13], &[("role", "db")]),
    ]);
    let (address, _server, _stop) = actor.serve(None, Limits::default()).await;
    for node in ["a2", "a3"] {
        let known = both_coordinates(node);
        actor.with(|script| script.coordinates.insert(node.to_owned(), known));
    }
    let empty = "Keyring is empty (encryption not enabled)";
    actor.with(|script| script.keys = Ok(report(&[], empty, &["a1", "a2", "py1"], 3)));
    let names = [
        "members-filtered",
        "event",
        "tags",
        "get-coordinate",
        "list-keys",
        "force-leave",
        "nosuch",
    ];
    for name in names {
        let mut session = Replay::connect(address).await;
        let (request, _) = step(&format!("cli/{name}:c2s"));
        session.stream.write_all(&request).await.expect("it reads");
        session.expect(&format!("cli/{name}:s2c")).await;
    }
}

/// The coordinate of a2 is in the first answer of the captured pair, a3's in the second.
fn both_coordinates(node: &str) -> Coordinate {
    let (_, bytes) = step("cli/get-coordinate:s2c");
    let mut rest = bytes.as_slice();
    let mut bodies = Vec::new();
    while let Some((value, length)) = value(rest) {
        if matches!(&value, Value::Map(map) if map.contains_key("Coord")) {
            let read = crate::rpc::client::coordinate_of(&mut Reader::new(rest));
            bodies.push(read.expect("a coordinate").expect("a known one"));
        }
        rest = &rest[length..];
    }
    bodies[usize::from(node == "a3")].clone()
}

#[tokio::test]
async fn info_has_serf_s_sections_and_keys() {
    let actor = three();
    actor.with(|script| {
        script.stats = Stats {
            query_time: 7,
            event_time: 5,
            member_time: 4,
            queued_intents: 1,
            queued_events: 1,
            ..Stats::default()
        };
    });
    let (address, _server, _stop) = actor.serve(None, Limits::default()).await;
    let mut session = Replay::greeted(address).await;
    session.send("rpc/stats").await;

    session.object("rpc/stats").await;
    let (Value::Map(mut got), _) = session.object("rpc/stats").await else {
        panic!("sections");
    };

    let (_, bytes) = step("rpc/stats");
    let (_, header) = value(&bytes).expect("a header");
    let (Value::Map(mut wanted), _) = value(&bytes[header..]).expect("sections") else {
        panic!("sections");
    };
    // About the runtime only the names are the same.
    let keys = |section: Option<Value>| match section {
        Some(Value::Map(map)) => map.into_keys().collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(keys(got.remove("runtime")), keys(wanted.remove("runtime")));
    assert_eq!(got, wanted);
}
