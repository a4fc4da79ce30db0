//! Serf's configuration: a JSON file, or a directory of them.
//!
//! Source: serf `cmd/serf/command/agent/config.go`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Merged;

/// Serf's key for each of its flags with one value.
const ONE: &[(&str, &str)] = &[
    ("advertise", "advertise"),
    ("bind", "bind"),
    ("broadcast_timeout", "broadcast-timeout"),
    ("discover", "discover"),
    ("encrypt_key", "encrypt"),
    ("interface", "iface"),
    ("keyring_file", "keyring-file"),
    ("log_level", "log-level"),
    ("node_name", "node"),
    ("profile", "profile"),
    ("protocol", "protocol"),
    ("retry_interval", "retry-interval"),
    ("retry_max_attempts", "retry-max"),
    ("role", "role"),
    ("rpc_addr", "rpc-addr"),
    ("snapshot_path", "snapshot"),
    ("tags_file", "tags-file"),
];

const MANY: &[(&str, &str)] = &[
    ("event_handlers", "event-handler"),
    ("retry_join", "retry-join"),
    ("start_join", "join"),
];

const SWITCHES: &[(&str, &str)] = &[
    ("enable_syslog", "syslog"),
    ("rejoin_after_leave", "rejoin"),
    ("replay_on_join", "replay"),
];

/// Known, and without a flag or an effect.
const IGNORED: &[&str] = &[
    "disable_coordinates",
    "disable_name_resolution",
    "enable_compression",
    "leave_on_terminate",
    "query_response_size_limit",
    "query_size_limit",
    "reconnect_interval",
    "reconnect_timeout",
    "skip_leave_on_interrupt",
    "statsd_addr",
    "statsite_addr",
    "syslog_facility",
    "tombstone_timeout",
    "user_event_size_limit",
];

/// A file, or every `.json` of a directory, in the order of their names.
pub(super) fn read(path: &str, into: &mut Merged) -> Result<(), String> {
    let failed = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let path = Path::new(path);
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path).map_err(|error| failed(path, &error))?;
        let entries: Result<Vec<PathBuf>, _> = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect();
        files = entries.map_err(|error| failed(path, &error))?;
        files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
        files.sort();
    }
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| failed(&file, &error))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| failed(&file, &error))?;
        let Value::Object(settings) = value else {
            return Err(failed(&file, &"is no JSON object"));
        };
        for (key, value) in &settings {
            setting(key, value, into).map_err(|why| failed(&file, &why))?;
        }
    }
    Ok(())
}

fn setting(key: &str, value: &Value, into: &mut Merged) -> Result<(), String> {
    let flag = |known: &'static [(&str, &str)]| {
        let found = known.iter().find(|(name, _)| *name == key);
        found.map(|(_, flag)| *flag)
    };
    let bad = || format!("{key}: {value} is not what this setting takes");
    if let Some(flag) = flag(ONE) {
        match text(value) {
            // Serf takes an empty text as not said.
            Some(text) if text.is_empty() => {}
            Some(text) => {
                into.one.insert(flag, text);
            }
            None => return Err(bad()),
        }
    } else if let Some(flag) = flag(MANY) {
        let items = value.as_array().ok_or_else(bad)?;
        for item in items {
            let item = text(item).ok_or_else(bad)?;
            into.many.entry(flag).or_default().push(item);
        }
    } else if let Some(flag) = flag(SWITCHES) {
        if value.as_bool().ok_or_else(bad)? {
            into.one.insert(flag, "true".to_owned());
        }
    } else if key == "tags" {
        for (name, value) in value.as_object().ok_or_else(bad)? {
            let value = text(value).ok_or_else(bad)?;
            into.tags.insert(name.clone(), value);
        }
    } else if key == "rpc_auth" {
        into.rpc_auth = Some(text(value).ok_or_else(bad)?).filter(|text| !text.is_empty());
    } else if IGNORED.contains(&key) {
        into.ignored.push(key.to_owned());
    } else {
        return Err(format!("{key}: is no setting of serf agent"));
    }
    Ok(())
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
