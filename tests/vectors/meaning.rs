//! Messages in the shape of the `decoded` field, to be compared with it.

use std::collections::BTreeMap;

use lb::gossip::core::serf::tags;
use lb::gossip::core::wire::message::{Accusation, Message, Source};
use lb::gossip::core::wire::serf::{RecordedEvents, SerfMessage, SerfState};
use lb::gossip::core::wire::stream::{PushNodeRef, StreamMessage};
use serde_json::{Value, json};

pub(crate) fn hex(bytes: &[u8]) -> Value {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "$hex": digits })
}

pub(crate) fn hex_or_null(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        Value::Null
    } else {
        hex(bytes)
    }
}

/// A body as stated, without the keys of `source` that were not sent.
pub(crate) fn with_source(mut body: Value, source: Option<&Source>) -> Value {
    if let Some(source) = source {
        body["SourceAddr"] = hex(&source.addr.octets);
        body["SourcePort"] = json!(source.addr.port);
        body["SourceNode"] = json!(source.node);
    }
    body
}

pub(crate) fn accusation(kind: &str, it: &Accusation) -> Value {
    json!({"type": kind, "body": {"Incarnation": it.incarnation, "Node": it.node, "From": it.from}})
}

/// A message in the shape of `decoded`.
pub(crate) fn message_json(message: &Message) -> Value {
    match message {
        Message::Ping(ping) => {
            let body = json!({"SeqNo": ping.seq_no, "Node": ping.node});
            json!({"type": "ping", "body": with_source(body, ping.source.as_ref())})
        }
        Message::IndirectPing(ping) => {
            let body = json!({
                "SeqNo": ping.seq_no, "Node": ping.node, "Nack": ping.nack,
                "Target": hex(&ping.target.octets), "Port": ping.target.port,
            });
            json!({"type": "indirectPing", "body": with_source(body, ping.source.as_ref())})
        }
        Message::Ack(ack) => json!({
            "type": "ackResp",
            "body": {"SeqNo": ack.seq_no, "Payload": ack.payload.as_deref().map(hex)},
        }),
        Message::Nack(nack) => json!({"type": "nackResp", "body": {"SeqNo": nack.seq_no}}),
        Message::Suspect(it) => accusation("suspect", it),
        Message::Dead(it) => accusation("dead", it),
        Message::Alive(alive) => json!({
            "type": "alive",
            "body": {
                "Incarnation": alive.incarnation, "Node": alive.node, "Addr": hex(&alive.addr.octets),
                "Port": alive.addr.port, "Meta": hex(&alive.meta), "Vsn": hex(&alive.vsn),
            },
            "tags": tags::decode(&alive.meta),
        }),
        Message::User(bytes) => {
            let serf = SerfMessage::decode(bytes).expect("a Serf message");
            json!({"type": "user", "inner": serf_json(&serf)})
        }
    }
}

pub(crate) fn event_slot(slot: &Option<RecordedEvents>) -> Value {
    slot.as_ref().map_or(Value::Null, |recorded| {
        let events: Vec<Value> = recorded
            .events
            .iter()
            .map(|(name, payload)| json!({"Name": name, "Payload": hex_or_null(payload)}))
            .collect();
        json!({"LTime": recorded.ltime, "Events": events})
    })
}

pub(crate) fn serf_json(message: &SerfMessage) -> Value {
    match message {
        SerfMessage::Leave(leave) => json!({
            "serf": "leave", "body": {"LTime": leave.ltime, "Node": leave.node, "Prune": leave.prune},
        }),
        SerfMessage::Join(join) => json!({
            "serf": "join", "body": {"LTime": join.ltime, "Node": join.node},
        }),
        SerfMessage::PushPull(state) => json!({
            "serf": "pushPull",
            "body": {
                "LTime": state.ltime, "StatusLTimes": status_times(state), "LeftMembers": state.left_members,
                "EventLTime": state.event_ltime, "QueryLTime": state.query_ltime,
                "Events": state.events.iter().map(event_slot).collect::<Vec<_>>(),
            },
        }),
        SerfMessage::UserEvent(event) => json!({
            "serf": "userEvent",
            "body": {
                "LTime": event.ltime, "Name": event.name, "Payload": hex_or_null(&event.payload), "CC": event.coalesce,
            },
        }),
        SerfMessage::Query(query) => json!({
            "serf": "query",
            "body": {
                "LTime": query.ltime, "ID": query.id, "Addr": hex(&query.addr.octets), "Port": query.addr.port,
                "SourceNode": query.source_node, "Flags": query.flags, "RelayFactor": query.relay_factor,
                "Timeout": query.timeout_ns, "Name": query.name, "Payload": hex_or_null(&query.payload),
                "Filters": (!query.filters.is_empty())
                    .then(|| query.filters.iter().map(|filter| hex(filter)).collect::<Vec<_>>()),
            },
        }),
        SerfMessage::QueryResponse(response) => json!({
            "serf": "queryResponse",
            "body": {
                "LTime": response.ltime, "ID": response.id, "From": response.from, "Flags": response.flags,
                "Payload": response.payload.as_deref().map(hex),
            },
        }),
        SerfMessage::Relay(relay) => json!({
            "serf": "relay",
            "header": {
                "DestAddr": {"IP": hex(&relay.dest.octets), "Port": relay.dest.port, "Zone": ""},
                "DestName": relay.dest_name,
            },
            "inner": serf_json(&SerfMessage::decode(&relay.body).expect("a relayed Serf message")),
        }),
    }
}

fn status_times(state: &SerfState) -> BTreeMap<&str, u64> {
    let times = state.status_ltimes.iter();
    times.map(|(name, ltime)| (&**name, *ltime)).collect()
}

pub(crate) fn node_json(node: &PushNodeRef<'_>) -> Value {
    json!({
        "Name": node.name, "Addr": hex(&node.octets), "Port": node.port, "Meta": hex(node.meta),
        "Incarnation": node.incarnation, "State": node.state, "Vsn": node.vsn.map(|vsn| hex(&vsn)),
        "$tags": tags::decode(node.meta),
    })
}

pub(crate) fn stream_json(message: &StreamMessage) -> Value {
    match message {
        StreamMessage::PushPull(whole) => {
            let state = SerfMessage::decode(&whole.user_state).expect("a Serf state");
            json!({
                "type": "pushPull",
                "header": {
                    "Join": whole.join, "Nodes": whole.nodes.len(), "UserStateLen": whole.user_state.len(),
                },
                "nodes": whole.nodes.iter().map(|node| node_json(&node)).collect::<Vec<_>>(),
                "user_state": serf_json(&state),
            })
        }
        StreamMessage::Ping(ping) => message_json(&Message::Ping(ping.clone())),
        StreamMessage::Ack(ack) => message_json(&Message::Ack(ack.clone())),
        StreamMessage::User(bytes) => message_json(&Message::User(bytes.clone())),
        StreamMessage::Err(text) => json!({"type": "err", "body": {"Error": text}}),
    }
}

/// `decoded` without the views that this codec doesn't give, and with a struct sent as an array as the map it means.
pub(crate) fn stated(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut kept: serde_json::Map<String, Value> = fields
                .iter()
                .filter(|(key, _)| {
                    !["payload_decoded", "filters", "trailing_bytes"].contains(&&key[..])
                })
                .map(|(key, value)| (key.clone(), stated(value)))
                .collect();
            if let Some(Value::Array(values)) = kept.get("body") {
                let names: &[&str] = match kept["serf"].as_str() {
                    Some("join") => &["LTime", "Node"],
                    Some("leave") => &["LTime", "Node", "Prune"],
                    other => panic!("{other:?} as an array"),
                };
                let body: BTreeMap<_, _> = names.iter().zip(values).collect();
                let body = serde_json::to_value(body).expect("a map");
                kept.insert("body".into(), body);
            }
            Value::Object(kept)
        }
        Value::Array(items) => items.iter().map(stated).collect(),
        other => other.clone(),
    }
}

/// The messages inside the stated envelopes, in order.
pub(crate) fn stated_messages(decoded: &Value) -> Vec<Value> {
    match decoded["type"].as_str() {
        Some("hasCrc" | "compress") => stated_messages(&decoded["inner"]),
        Some("compound") => {
            let parts = decoded["parts"].as_array().expect("parts");
            parts.iter().flat_map(stated_messages).collect()
        }
        _ => vec![stated(decoded)],
    }
}

/// True when a struct of it was sent as an array, which nobody but a test does.
pub(crate) fn has_array_body(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.get("body").is_some_and(Value::is_array) || fields.values().any(has_array_body)
        }
        Value::Array(items) => items.iter().any(has_array_body),
        _ => false,
    }
}
