//! Verbs of one request and one answer.

use clap::Args;

use super::show::{json, put, tame};
use super::{Outcome, Rpc, Voice, pairs};

/// What `join` takes.
#[derive(Args, Debug)]
pub struct Join {
    /// Members to join through
    #[arg(value_name = "HOST[:PORT]", required = true)]
    addresses: Vec<String>,
    /// Have events of the past told too
    #[arg(long)]
    replay: bool,
    #[command(flatten)]
    rpc: Rpc,
}

impl Join {
    pub(super) fn run(self, voice: Voice) -> Outcome {
        let mut client = voice.connect(&self.rpc)?;
        let joined = client.join(&self.addresses, self.replay);
        let reached = joined.map_err(voice.told("joining the cluster"))?;
        put(format_args!(
            "Successfully joined cluster by contacting {reached} nodes."
        ));
        Ok(())
    }
}

/// What `leave` takes.
#[derive(Args, Debug)]
pub struct Leave {
    #[command(flatten)]
    rpc: Rpc,
}

impl Leave {
    pub(super) fn run(self, voice: Voice) -> Outcome {
        let mut client = voice.connect(&self.rpc)?;
        client.leave().map_err(voice.told("leaving"))?;
        put("Graceful leave complete");
        Ok(())
    }
}

/// What `force-leave` takes.
#[derive(Args, Debug)]
pub struct ForceLeave {
    /// The failed member's name
    #[arg(value_name = "NAME")]
    node: String,
    /// Forget it too, so that it is no longer listed
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    rpc: Rpc,
}

impl ForceLeave {
    pub(super) fn run(self, voice: Voice) -> Outcome {
        let mut client = voice.connect(&self.rpc)?;
        let done = client.force_leave(&self.node, self.prune);
        done.map_err(voice.told("force leaving"))
    }
}

/// What `event` takes.
#[derive(Args, Debug)]
pub struct Event {
    /// Name of the event
    #[arg(value_name = "NAME")]
    name: String,
    /// What it carries; at most 512 bytes with the name
    #[arg(value_name = "PAYLOAD", allow_hyphen_values = true)]
    payload: Option<String>,
    /// Of several with this name within seconds, members are told the last only
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = go_bool)]
    coalesce: bool,
    #[command(flatten)]
    rpc: Rpc,
}

impl Event {
    pub(super) fn run(self, voice: Voice) -> Outcome {
        let Self { name, coalesce, .. } = &self;
        let payload = self.payload.as_deref().unwrap_or_default();
        let mut client = voice.connect(&self.rpc)?;
        let sent = client.event(name, payload.as_bytes(), *coalesce);
        sent.map_err(voice.told("sending the event"))?;
        put(format_args!(
            "Event '{name}' dispatched! Coalescing enabled: {coalesce}"
        ));
        Ok(())
    }
}

/// As Go's flags take them.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("is neither true nor false".to_owned()),
    }
}

/// What `tags` takes.
#[derive(Args, Debug)]
pub struct Tags {
    /// Tag to add or replace (repeatable)
    #[arg(long, value_name = "KEY=VALUE", required_unless_present = "delete")]
    set: Vec<String>,
    /// Tag to remove (repeatable)
    #[arg(long, value_name = "KEY")]
    delete: Vec<String>,
    #[command(flatten)]
    rpc: Rpc,
}

impl Tags {
    pub(super) fn run(self, voice: Voice) -> Outcome {
        let set = pairs(voice, &self.set)?;
        let mut client = voice.connect(&self.rpc)?;
        let changed = client.change_tags(&set, &self.delete);
        changed.map_err(voice.told("setting tags"))?;
        put("Successfully updated agent tags");
        Ok(())
    }
}

/// What `rtt` takes.
#[derive(Args, Debug)]
pub struct Rtt {
    /// A member
    #[arg(value_name = "NODE")]
    one: String,
    /// Another; default: the one that is asked
    #[arg(value_name = "NODE")]
    other: Option<String>,
    /// As JSON, in seconds
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    rpc: Rpc,
}

impl Rtt {
    pub(super) fn run(self, voice: Voice) -> Outcome {
        let mut client = voice.connect(&self.rpc)?;
        let other = match self.other {
            Some(other) => other,
            None => {
                let stats = client.stats().map_err(voice.told("querying the agent"))?;
                let agent = stats.get("agent").and_then(|agent| agent.get("name"));
                agent.cloned().unwrap_or_default()
            }
        };
        let mut place = |node: &str| {
            let found = client.coordinate(node);
            let found = found.map_err(voice.told("getting coordinates"))?;
            found.ok_or_else(|| {
                voice.failed(format_args!(
                    "Could not find a coordinate for node {node:?}"
                ))
            })
        };
        let seconds = place(&self.one)?.distance_to(&place(&other)?);
        if self.json {
            let rtt = serde_json::json!({"from": self.one, "to": other, "rtt_s": seconds});
            put(json(&rtt));
        } else {
            put(format_args!(
                "Estimated {} <-> {other} rtt: {:.3} ms",
                self.one,
                // Serf has whole nanoseconds.
                (seconds * 1e9).trunc() / 1e6
            ));
        }
        Ok(())
    }
}

/// What `info` takes.
#[derive(Args, Debug)]
pub struct Info {
    /// text or json, as Serf prints it
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    /// The same as --format json
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    rpc: Rpc,
}

impl Info {
    pub(super) fn run(self, voice: Voice) -> Outcome {
        let mut client = voice.connect(&self.rpc)?;
        let stats = client.stats().map_err(voice.told("querying the agent"))?;
        if self.json || self.format == "json" {
            put(json(&stats));
            return Ok(());
        }
        let mut text = String::new();
        for (section, pairs) in &stats {
            text.push_str(&format!("{section}:\n"));
            for (name, value) in pairs {
                text.push_str(&format!("\t{} = {}\n", tame(name), tame(value)));
            }
        }
        put(text.trim());
        Ok(())
    }
}
