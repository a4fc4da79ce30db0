//! Verbs of one request and one answer.

use super::show::{Shape, json, put, tame};
use super::{Deed, Outcome, Rpc, Voice, pairs};
use crate::argv::table;

table! {
    /// What `join` takes.
    pub(super) struct Join {
        /// Members to join through
        addresses: Vec<String> => "<HOST[:PORT]>...",
        /// Have events of the past told too
        replay: bool => "--replay",
        with rpc: Rpc,
    }
}

impl Deed for Join {
    fn run(self: Box<Self>, voice: Voice) -> Outcome {
        let mut client = voice.connect(&self.rpc)?;
        let joined = client.join(&self.addresses, self.replay);
        let reached = joined.map_err(voice.told("joining the cluster"))?;
        put(format_args!(
            "Successfully joined cluster by contacting {reached} nodes."
        ));
        Ok(())
    }
}

table! {
    /// What `leave` takes.
    pub(super) struct Leave {
        with rpc: Rpc,
    }
}

impl Deed for Leave {
    fn run(self: Box<Self>, voice: Voice) -> Outcome {
        let mut client = voice.connect(&self.rpc)?;
        client.leave().map_err(voice.told("leaving"))?;
        put("Graceful leave complete");
        Ok(())
    }
}

table! {
    /// What `force-leave` takes.
    pub(super) struct ForceLeave {
        /// The failed member's name
        node: String => "<NAME>",
        /// Forget it too, so that it is no longer listed
        prune: bool => "--prune",
        with rpc: Rpc,
    }
}

impl Deed for ForceLeave {
    fn run(self: Box<Self>, voice: Voice) -> Outcome {
        let mut client = voice.connect(&self.rpc)?;
        let done = client.force_leave(&self.node, self.prune);
        done.map_err(voice.told("force leaving"))
    }
}

table! {
    /// What `event` takes.
    pub(super) struct Event {
        /// Name of the event
        name: String => "<NAME>",
        /// What it carries; at most 512 bytes with the name
        payload: Option<String> => "[PAYLOAD]" [raw],
        /// Of several with this name within seconds, members are told the last only
        coalesce: bool => "--coalesce[=<BOOL>]" or "true",
        with rpc: Rpc,
    }
}

impl Deed for Event {
    fn run(self: Box<Self>, voice: Voice) -> Outcome {
        let Self { name, coalesce, .. } = &*self;
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

table! {
    /// What `tags` takes.
    pub(super) struct Tags {
        /// Tag to add or replace (repeatable)
        set: Vec<String> => "--set <KEY=VALUE>",
        /// Tag to remove (repeatable)
        delete: Vec<String> => "--delete <KEY>",
        with rpc: Rpc,
    }
}

impl Deed for Tags {
    fn check(&self) -> Result<(), &'static str> {
        match self.set.is_empty() && self.delete.is_empty() {
            true => Err("--set <KEY=VALUE>: is missing"),
            false => Ok(()),
        }
    }

    fn run(self: Box<Self>, voice: Voice) -> Outcome {
        let set = pairs(voice, &self.set)?;
        let mut client = voice.connect(&self.rpc)?;
        let changed = client.change_tags(&set, &self.delete);
        changed.map_err(voice.told("setting tags"))?;
        put("Successfully updated agent tags");
        Ok(())
    }
}

table! {
    /// What `rtt` takes.
    pub(super) struct Rtt {
        /// A member
        one: String => "<NODE>",
        /// Another; default: the one that is asked
        other: Option<String> => "[NODE]",
        /// As JSON, in seconds
        json: bool => "--json",
        with rpc: Rpc,
    }
}

impl Deed for Rtt {
    fn run(self: Box<Self>, voice: Voice) -> Outcome {
        let mut client = voice.connect(&self.rpc)?;
        let other = match self.other.clone() {
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

table! {
    /// What `info` takes.
    pub(super) struct Info {
        /// text or json, as Serf prints it
        format: Shape => "--format <FORMAT>" or "text",
        /// The same as --format json
        json: bool => "--json",
        with rpc: Rpc,
    }
}

impl Deed for Info {
    fn run(self: Box<Self>, voice: Voice) -> Outcome {
        let mut client = voice.connect(&self.rpc)?;
        let stats = client.stats().map_err(voice.told("querying the agent"))?;
        if self.json || self.format == Shape::Json {
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
