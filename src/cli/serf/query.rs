//! `query` and `reachability`: who answers.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::time::Duration;

use serde::Serialize;

use super::show::{Shape, data, json, note, put, tame};
use super::{Deed, Failed, Outcome, Rpc, Voice, pairs};
use crate::announce::gathered;
use crate::argv::{Value, table};
use crate::cli::exit;
use crate::clock;
use crate::gossip::core::io::{Answer, Question};
use crate::rpc::client::{Client, Filter, MemberInfo};

table! {
    /// What `query` takes.
    pub(super) struct Query {
        /// Name of the query
        name: String => "<NAME>",
        /// What it carries
        payload: Option<String> => "[PAYLOAD]" [raw],
        /// Only this member answers (repeatable)
        node: Vec<String> => "--node <NAME>",
        /// Only members with such a tag answer (repeatable)
        tag: Vec<String> => "--tag <KEY=REGEXP>",
        /// How long answers are taken, like 500ms or 15s; default: by the size of the cluster
        timeout: Option<Wait> => "--timeout <DURATION>",
        /// Don't have members say that it reached them
        no_ack: bool => "--no-ack",
        /// Through how many others each answer comes as well
        relay_factor: u8 => "--relay-factor <N>" or "0",
        /// text or json, as Serf prints it
        format: Shape => "--format <FORMAT>" or "text",
        /// Serf's JSON, with those who did not answer
        json: bool => "--json",
        with rpc: Rpc,
    }
}

/// How long answers are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait(Duration);

impl Value for Wait {
    fn read(text: &OsStr) -> Result<Self, String> {
        duration(&text.to_string_lossy()).map(Self)
    }
}

/// Under the names that Serf prints.
#[derive(Default, Serialize)]
struct Answers {
    #[serde(rename = "Acks")]
    acks: Option<Vec<String>>,
    #[serde(rename = "Responses")]
    responses: BTreeMap<String, String>,
    #[serde(rename = "Missing", skip_serializing_if = "Option::is_none")]
    missing: Option<Vec<String>>,
}

impl Deed for Query {
    fn run(self: Box<Self>, voice: Voice) -> Outcome {
        let tags = pairs(voice, &self.tag)?;
        let question = Question {
            name: self.name.clone(),
            payload: self.payload.clone().unwrap_or_default().into_bytes(),
            nodes: self.node.clone(),
            tags,
            wants_ack: !self.no_ack,
            relay_factor: self.relay_factor,
            timeout: self.timeout.map(|Wait(timeout)| timeout),
        };
        let mut client = voice.connect(&self.rpc)?;
        let members = everyone(voice, &mut client)?;
        let mut missing = expected(&members, &question);
        let text = !self.json && self.format == Shape::Text;
        let (mut acks, mut responses) = (Vec::new(), Vec::new());
        let started = || {
            if text {
                put(format_args!("Query '{}' dispatched", self.name));
            }
        };
        let asked = client.query(&question, started, |answer| match answer {
            Answer::Ack { from } => {
                if text {
                    put(format_args!("Ack from '{}'", tame(&from)));
                }
                missing.remove(&from);
                acks.push(from);
            }
            Answer::Response { from, payload } => {
                let payload = String::from_utf8_lossy(&payload).into_owned();
                if text {
                    let shown = data(payload.strip_suffix('\n').unwrap_or(&payload));
                    put(format_args!("Response from '{}': {shown}", tame(&from)));
                }
                missing.remove(&from);
                responses.push((from, payload));
            }
            Answer::Done => {}
        });
        asked.map_err(voice.told("sending the query"))?;
        if text {
            if !self.no_ack {
                put(format_args!("Total Acks: {}", acks.len()));
            }
            put(format_args!("Total Responses: {}", responses.len()));
        } else {
            put(json(&Answers {
                acks: (!acks.is_empty() || self.json).then_some(acks),
                responses: gathered(responses),
                missing: self.json.then(|| missing.iter().cloned().collect()),
            }));
        }
        partial(voice, &missing)
    }
}

fn everyone(voice: Voice, client: &mut Client) -> Result<Vec<MemberInfo>, Failed> {
    let members = client.members(&Filter::default());
    members.map_err(voice.told("asking for members"))
}

/// Who should answer: whoever was named, else the living members whose tags match.
fn expected(members: &[MemberInfo], question: &Question) -> BTreeSet<String> {
    if !question.nodes.is_empty() && question.tags.is_empty() {
        return question.nodes.iter().cloned().collect();
    }
    let patterns: Vec<_> = question
        .tags
        .iter()
        .filter_map(|(tag, pattern)| Some((tag, regex_lite::Regex::new(pattern).ok()?)))
        .collect();
    members
        .iter()
        .filter(|member| member.status == "alive")
        .filter(|member| question.nodes.is_empty() || question.nodes.contains(&member.name))
        .filter(|member| {
            let value = |tag: &String| member.tags.get(tag).map_or("", String::as_str);
            patterns
                .iter()
                .all(|(tag, pattern)| pattern.is_match(value(tag)))
        })
        .map(|member| member.name.clone())
        .collect()
}

fn partial(voice: Voice, missing: &BTreeSet<String>) -> Outcome {
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing.iter().map(|name| tame(name)).collect();
    note(
        voice.program,
        format_args!("no answer from {}", names.join(", ")),
    );
    Err(Failed(exit::PARTIAL))
}

/// As Go writes durations (`1m30s`, `1.5s`), and as we do.
fn duration(text: &str) -> Result<Duration, String> {
    let unit = |unit: &str| match unit {
        "h" => Some(3600.0),
        "m" => Some(60.0),
        "s" => Some(1.0),
        "ms" => Some(1e-3),
        "us" | "µs" => Some(1e-6),
        "ns" => Some(1e-9),
        _ => None,
    };
    let bad = || "is not a duration, like 500ms or 15s".to_owned();
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let letter = rest.find(|c: char| c.is_alphabetic()).ok_or_else(bad)?;
        let (number, behind) = rest.split_at(letter);
        let end = behind.find(|c: char| !c.is_alphabetic());
        let (name, next) = behind.split_at(end.unwrap_or(behind.len()));
        let number: f64 = number.parse().map_err(|_| bad())?;
        seconds += number * unit(name).ok_or_else(bad)?;
        rest = next;
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !text.is_empty() => Ok(duration),
        _ => Err(bad()),
    }
}

table! {
    /// What `reachability` takes.
    pub(super) struct Reachability {
        /// Show each answer, and how long they took
        verbose: bool => "--verbose",
        /// As JSON
        json: bool => "--json",
        with rpc: Rpc,
    }
}

impl Deed for Reachability {
    fn run(self: Box<Self>, voice: Voice) -> Outcome {
        let mut client = voice.connect(&self.rpc)?;
        let members = everyone(voice, &mut client)?;
        let alive = members.iter().filter(|member| member.status == "alive");
        let live: BTreeSet<String> = alive.map(|member| member.name.clone()).collect();
        let say = |text: &str| {
            if !self.json {
                put(text);
            }
        };
        say(&format!(
            "Total members: {}, live members: {}",
            members.len(),
            live.len()
        ));
        let question = Question {
            name: "_serf_ping".to_owned(),
            wants_ack: true,
            ..Question::default()
        };
        let start = clock::now();
        let (mut last, mut seen) = (start, BTreeMap::<String, u32>::new());
        let started = || say("Starting reachability test...");
        let asked = client.query(&question, started, |answer| {
            let Answer::Ack { from } = answer else { return };
            if self.verbose {
                say(&format!("\tAck from '{}'", tame(&from)));
            }
            let count = seen.entry(from.clone()).or_default();
            *count += 1;
            if *count > 1 {
                say(&format!("Duplicate response from '{}'", tame(&from)));
            }
            last = clock::now();
        });
        asked.map_err(voice.told("sending the query"))?;
        if self.verbose {
            say(&format!(
                "Query time: {:.2} sec, time to last response: {:.2} sec",
                start.elapsed().as_secs_f64(),
                last.duration_since(start).as_secs_f64()
            ));
        }
        if self.json {
            let acks: Vec<_> = seen.keys().collect();
            let missing: Vec<_> = live
                .iter()
                .filter(|name| !seen.contains_key(*name))
                .collect();
            put(json(&serde_json::json!({
                "members": members.len(), "live": live.len(), "acks": acks, "missing": missing,
            })));
        }
        judged(&live, &seen, &say)
    }
}

/// Serf's conclusion.
fn judged(live: &BTreeSet<String>, seen: &BTreeMap<String, u32>, say: &dyn Fn(&str)) -> Outcome {
    let mut outcome = Ok(());
    if seen.values().any(|count| *count > 1) {
        say(DUPLICATES);
        outcome = Err(Failed(exit::PARTIAL));
    }
    let acks: usize = seen.values().map(|count| *count as usize).sum();
    if acks == live.len() {
        say("Successfully contacted all live nodes");
        return outcome;
    }
    let names: Vec<&String> = if acks > live.len() {
        say("Received more acks than live nodes! Acks from non-live nodes:");
        seen.keys().filter(|name| !live.contains(*name)).collect()
    } else {
        say("Received less acks than live nodes! Missing acks from:");
        live.iter()
            .filter(|name| !seen.contains_key(*name))
            .collect()
    };
    for name in names {
        say(&format!("\t{}", tame(name)));
    }
    say(if acks > live.len() { TOO_MANY } else { TOO_FEW });
    say(TROUBLESHOOTING);
    Err(Failed(exit::PARTIAL))
}

const DUPLICATES: &str =
    "Duplicate responses means there is a misconfiguration. Verify that node names are unique.";
const TOO_MANY: &str =
    "This could mean Serf is detecting false-failures due to a misconfiguration or network issue.";
const TOO_FEW: &str = "This could mean Serf gossip packets are being lost due to a misconfiguration or network issue.";
const TROUBLESHOOTING: &str = "
Troubleshooting tips:
* Ensure that the bind addr:port is accessible by all other nodes
* If an advertise address is set, ensure it routes to the bind address
* Check that no nodes are behind a NAT
* If nodes are behind firewalls or iptables, check that Serf traffic is permitted (UDP and TCP)
* Verify networking equipment is functional";

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, status: &str, role: &str) -> MemberInfo {
        MemberInfo {
            name: name.to_owned(),
            ip: "10.0.0.1".parse().expect("an address"),
            port: 7946,
            tags: BTreeMap::from([("role".to_owned(), role.to_owned())]),
            status: status.to_owned(),
            protocol: [1, 5, 2],
            delegate: [2, 5, 5],
        }
    }

    #[test]
    fn those_named_are_expected_and_else_all_the_living_that_match() {
        let members = [
            member("a", "alive", "web"),
            member("b", "failed", "web"),
            member("c", "alive", "db"),
        ];
        let of = |nodes: &[&str], role: Option<&str>| {
            let question = Question {
                nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
                tags: role
                    .map(|role| ("role".to_owned(), role.to_owned()))
                    .into_iter()
                    .collect(),
                ..Question::default()
            };
            let names: Vec<String> = expected(&members, &question).into_iter().collect();
            names.join(" ")
        };

        assert_eq!(of(&[], None), "a c");
        assert_eq!(of(&[], Some("w.b")), "a");
        assert_eq!(of(&["b", "x"], None), "b x");
        assert_eq!(of(&["a", "c"], Some("db")), "c");
    }

    #[test]
    fn durations_are_written_as_in_go() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        for bad in ["", "5", "s", "1x", "-1s", "1e400s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
