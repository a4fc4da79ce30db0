//! `members`: who is in the cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use super::show::{Shape, columns, json, put, tame};
use super::{Deed, Outcome, Rpc, Voice, pairs};
use crate::announce::{self, State};
use crate::argv::table;
use crate::rpc::client::{Filter, MemberInfo};

table! {
    /// What `members` takes.
    pub(super) struct Members {
        /// Only members with such a status (regular expression, of the whole)
        status: String => "--status <REGEXP>",
        /// Only members with such a name
        name: String => "--name <REGEXP>",
        /// Only members with such a tag (repeatable)
        tag: Vec<String> => "--tag <KEY=REGEXP>",
        /// Only members with such a role
        role: Option<String> => "--role <REGEXP>",
        /// Show protocol versions too
        detailed: bool => "--detailed",
        /// Show role, port and health of each service instead of tags
        wide: bool => "--wide",
        /// text or json, as Serf prints it
        format: Shape => "--format <FORMAT>" or "text",
        /// Serf's JSON, with role, service_port and health
        json: bool => "--json",
        with rpc: Rpc,
    }
}

/// In the order and under the names that Serf prints.
#[derive(Serialize)]
struct Shown<'m> {
    name: &'m str,
    addr: String,
    port: u16,
    tags: &'m BTreeMap<String, String>,
    status: &'m str,
    protocol: BTreeMap<&'static str, u8>,
    #[serde(flatten)]
    more: Option<More>,
}

#[derive(Serialize)]
struct More {
    role: Option<String>,
    service_port: Option<u16>,
    health: Option<String>,
}

#[derive(Serialize)]
struct All<'m> {
    members: Option<Vec<Shown<'m>>>,
}

impl Deed for Members {
    fn check(&self) -> Result<(), &'static str> {
        match self.wide && self.detailed {
            true => Err("--wide: shows other columns than --detailed; give one of them"),
            false => Ok(()),
        }
    }

    fn run(self: Box<Self>, voice: Voice) -> Outcome {
        let mut tags = pairs(voice, &self.tag)?;
        if let Some(role) = &self.role {
            tags.insert("role".to_owned(), role.clone());
        }
        let filter = Filter {
            tags,
            status: self.status.clone(),
            name: self.name.clone(),
        };
        for pattern in filter.tags.values().chain([&filter.status, &filter.name]) {
            // The member would only close the connection.
            if let Err(why) = regex_lite::Regex::new(pattern) {
                return Err(voice.usage(format_args!("{pattern}: is no regular expression: {why}")));
            }
        }
        let mut client = voice.connect(&self.rpc)?;
        let members = client.members(&filter);
        let mut members = members.map_err(voice.told("asking for members"))?;
        // Serf's own order is chance.
        members.sort_by(|one, other| one.name.cmp(&other.name));
        if self.json || self.format == Shape::Json {
            let shown = members.iter().map(|member| shown(member, self.json));
            let shown: Vec<_> = shown.collect();
            // Go shows a list that was never begun.
            let members = (!shown.is_empty() || self.json).then_some(shown);
            put(json(&All { members }));
        } else if self.wide {
            put(columns(&wide(&members)));
        } else {
            let rows = members.iter().map(|member| plain(member, self.detailed));
            put(columns(&rows.collect::<Vec<_>>()).trim());
        }
        Ok(())
    }
}

fn address(member: &MemberInfo) -> String {
    SocketAddr::new(member.ip, member.port).to_string()
}

fn shown(member: &MemberInfo, more: bool) -> Shown<'_> {
    let [min, max, current] = member.delegate;
    Shown {
        name: &member.name,
        addr: address(member),
        port: member.port,
        tags: &member.tags,
        status: &member.status,
        protocol: BTreeMap::from([("max", max), ("min", min), ("version", current)]),
        more: more.then(|| more_of(member)),
    }
}

/// Of the first service; all are in the tags.
fn more_of(member: &MemberInfo) -> More {
    let heard = announce::read(&member.tags).into_iter().next();
    More {
        role: heard.as_ref().map(|heard| heard.service.name.clone()),
        service_port: heard.as_ref().and_then(|heard| heard.service.port),
        health: heard.as_ref().map(|heard| health(member, heard)),
    }
}

/// What the member says about its own service, if it is there to say so.
fn health(member: &MemberInfo, heard: &announce::Heard) -> String {
    match (&heard.unusable, &heard.service.state) {
        _ if member.status != "alive" => member.status.clone(),
        (Some(why), _) => format!("unusable: {why}"),
        (None, State::Ready) => "ready".to_owned(),
        (None, State::Drain) => "drain".to_owned(),
        (None, State::Maint) => "maint".to_owned(),
        (None, State::Fail(why)) => format!("fail: {why}"),
    }
}

fn plain(member: &MemberInfo, detailed: bool) -> Vec<String> {
    let tags = member.tags.iter();
    let tags: Vec<String> = tags
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut row = vec![
        tame(&member.name),
        address(member),
        tame(&member.status),
        tame(&tags.join(",")),
    ];
    if detailed {
        let [min, max, current] = member.delegate;
        row.push(format!("Protocol Version: {current}"));
        row.push(format!("Available Protocol Range: [{min}, {max}]"));
    }
    row
}

/// A row for each service, and one for a member that has none.
fn wide(members: &[MemberInfo]) -> Vec<Vec<String>> {
    let titles = ["NAME", "ADDRESS", "STATUS", "ROLE", "PORT", "HEALTH"];
    let mut rows = vec![titles.map(str::to_owned).into()];
    for member in members {
        let mut heard: Vec<_> = announce::read(&member.tags).into_iter().map(Some).collect();
        if heard.is_empty() {
            heard.push(None);
        }
        for heard in heard {
            let of = |text: Option<String>| text.map_or_else(|| "-".to_owned(), |text| tame(&text));
            let service = heard.as_ref().map(|heard| &heard.service);
            rows.push(vec![
                tame(&member.name),
                address(member),
                tame(&member.status),
                of(service.map(|service| service.name.clone())),
                of(service
                    .and_then(|service| service.port)
                    .map(|port| port.to_string())),
                of(heard.as_ref().map(|heard| health(member, heard))),
            ]);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, status: &str, tags: &[(&str, &str)]) -> MemberInfo {
        let tags = tags.iter();
        MemberInfo {
            name: name.to_owned(),
            ip: "10.0.0.1".parse().expect("an address"),
            port: 7946,
            tags: tags
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            status: status.to_owned(),
            protocol: [1, 5, 2],
            delegate: [2, 5, 5],
        }
    }

    #[test]
    fn serf_s_json_has_nothing_of_ours_and_ours_has_more() {
        let web = member("web1", "alive", &[("role", "web"), ("port", "80")]);

        let plain = serde_json::to_value(shown(&web, false)).expect("JSON");
        let more = serde_json::to_value(shown(&web, true)).expect("JSON");

        let names: Vec<&String> = plain.as_object().expect("a map").keys().collect();
        assert_eq!(
            names,
            ["addr", "name", "port", "protocol", "status", "tags"]
        );
        assert_eq!(
            (&more["role"], &more["service_port"], &more["health"]),
            (&"web".into(), &80.into(), &"ready".into())
        );
    }

    #[test]
    fn health_is_what_the_member_says_while_it_is_there() {
        let failing = [("role", "web"), ("state", "fail:no disk")];

        let rows = wide(&[
            member("a", "alive", &failing),
            member("b", "failed", &failing),
            member("c", "alive", &[]),
        ]);

        assert_eq!(rows[1][3..], ["web", "-", "fail: no disk"]);
        assert_eq!(rows[2][3..], ["web", "-", "failed"]);
        assert_eq!(rows[3][3..], ["-", "-", "-"]);
    }

    #[test]
    fn a_name_from_the_network_cannot_steer_the_terminal() {
        let row = plain(&member("\u{1b}[31mweb", "alive", &[("a\n", "b")]), true);

        assert_eq!(row[0], "?[31mweb");
        assert_eq!(
            row[3..],
            [
                "a?=b",
                "Protocol Version: 5",
                "Available Protocol Range: [2, 5]"
            ]
        );
    }
}
