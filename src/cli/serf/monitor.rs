//! `monitor`: events and log lines as they come.

use serde_json::json;

use super::show::{put, tame};
use super::{Deed, Outcome, Rpc, Voice};
use crate::argv::table;
use crate::rpc::client::{ClientError, MemberInfo, Notice, Record};

table! {
    /// What `monitor` takes.
    pub(super) struct Monitor {
        /// How much of the log: trace, debug, info, warn or err; more than the member writes, if asked for
        log_level: String => "--log-level <LEVEL>" or "info",
        /// A JSON object for each line and event
        json: bool => "--json",
        with rpc: Rpc,
    }
}

impl Deed for Monitor {
    fn run(self: Box<Self>, voice: Voice) -> Outcome {
        let mut client = voice.connect(&self.rpc)?;
        let ended = client.monitor(&self.log_level, |record| {
            if self.json {
                put(as_json(&record));
            } else {
                put(as_text(&record));
            }
        });
        match ended {
            Err(ClientError::Lost { .. }) if !self.json => {
                put("");
                put(
                    "Remote side ended the monitor! This usually means that the\nremote side has exited or crashed.",
                );
                Err(super::Failed(crate::cli::exit::FAILED))
            }
            ended => ended.map_err(voice.told("monitoring")),
        }
    }
}

fn as_text(record: &Record) -> String {
    match record {
        Record::Log(line) => tame(line),
        Record::Missed(what) => format!("({what})"),
        Record::Event(notice) => {
            let mut text = format!("Event Info:\n\tEvent: {:?}", notice.event);
            let mut pair =
                |name: &str, value: String| text.push_str(&format!("\n\t{name}: {value}"));
            if !notice.members.is_empty() {
                let each: Vec<String> = notice.members.iter().map(of_member).collect();
                pair("Members", each.join(", "));
            } else {
                pair("Name", format!("{:?}", notice.name));
                pair("LTime", notice.ltime.to_string());
                pair("Payload", format!("{:?}", payload(notice)));
                match notice.event.as_str() {
                    "query" => pair("ID", notice.id.to_string()),
                    _ => pair("Coalesce", notice.coalesce.to_string()),
                }
            }
            text
        }
    }
}

fn of_member(member: &MemberInfo) -> String {
    let address = std::net::SocketAddr::new(member.ip, member.port);
    tame(&format!("{} {address} {}", member.name, member.status))
}

fn payload(notice: &Notice) -> String {
    String::from_utf8_lossy(&notice.payload).into_owned()
}

fn as_json(record: &Record) -> serde_json::Value {
    let notice = match record {
        Record::Log(line) => return json!({"log": line}),
        Record::Missed(what) => return json!({"missed": what}),
        Record::Event(notice) => notice,
    };
    match notice.event.as_str() {
        "user" => json!({
            "event": "user", "name": notice.name, "ltime": notice.ltime,
            "payload": payload(notice), "coalesce": notice.coalesce,
        }),
        "query" => json!({
            "event": "query", "name": notice.name, "ltime": notice.ltime,
            "payload": payload(notice), "id": notice.id,
        }),
        event => {
            let members = notice.members.iter().map(|member| {
                json!({
                    "name": member.name, "addr": member.ip, "port": member.port,
                    "status": member.status, "tags": member.tags,
                })
            });
            json!({"event": event, "members": members.collect::<Vec<_>>()})
        }
    }
}
