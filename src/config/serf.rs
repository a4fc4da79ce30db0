//! `lb-agent agent …` with the flags and the JSON files of `serf agent`, so that a unit file needs no more than
//! another program's name.
//!
//! ```text
//! -node=x -role=web -join=… -config-file=f.json ─▶ Merged ─▶ our flags, variables for secrets, warnings
//! ```
//!
//! A flag that means nothing here is accepted with a warning. Flags of ours are taken as well, with two dashes.
//! What differs on purpose: a join is tried for ever, SIGTERM leaves as SIGINT does, members of the last run are
//! joined without a snapshot too (`--state-dir none` ends that).

mod json;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::{Command, FromArgMatches};

use super::error::{Error, Errors};
use super::flags;
use super::sources::Surroundings;

/// What followed the verb. Never shown: a key may be among it.
#[derive(Clone, PartialEq, Eq)]
pub struct Arguments(pub Vec<OsString>);

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arguments({} words)", self.0.len())
    }
}

/// What the command line comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Translated {
    /// Ours, the program's name first.
    pub argv: Vec<OsString>,
    /// Settings that may not be in argv.
    pub variables: BTreeMap<String, String>,
    /// What is accepted and has no effect, or another one.
    pub warnings: Vec<String>,
}

/// Serf's own file of keys, which is written when the cluster changes them; ours never is.
const KEYRING_FILE: &str = "LB_SERF_KEYRING_FILE";

/// The file of `-keyring-file`, if the keys are read from there.
pub(super) fn keyring_file(flags: &flags::Agent, around: &Surroundings) -> Option<PathBuf> {
    let file = around.variables.get(KEYRING_FILE).filter(|_| flags.serf)?;
    let is_read = flags.common.encrypt_key_file.as_ref() == Some(file);
    is_read.then(|| PathBuf::from(file))
}

/// Reads the same command line again, and the files that it names.
pub(super) fn again(
    Arguments(arguments): &Arguments,
    around: &Surroundings,
) -> Result<(flags::Agent, Surroundings), Errors> {
    let failed = |why: String| Errors::from(Error::Conflict(why));
    let command = flags::agent();
    let translated = translate(arguments.clone(), &command).map_err(failed)?;
    let mut flags = command
        .try_get_matches_from(translated.argv)
        .and_then(|matches| flags::Agent::from_arg_matches(&matches))
        .map_err(|error| failed(error.to_string()))?;
    flags.serf = true;
    let mut around = around.clone();
    around.variables.extend(translated.variables);
    Ok((flags, around))
}

/// What flags and files say together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Merged {
    /// Settings of one value, by Serf's name of the flag.
    one: BTreeMap<&'static str, String>,
    /// Those that add up.
    many: BTreeMap<&'static str, Vec<String>>,
    tags: BTreeMap<String, String>,
    rpc_auth: Option<String>,
    /// The key was in argv.
    key_shown: bool,
    /// Named, and without effect.
    ignored: Vec<String>,
    /// Flags of ours.
    ours: Vec<OsString>,
}

/// Serf's flags with one value.
const ONE: &[&str] = &[
    "advertise",
    "bind",
    "broadcast-timeout",
    "discover",
    "encrypt",
    "iface",
    "keyring-file",
    "log-level",
    "node",
    "profile",
    "protocol",
    "retry-interval",
    "retry-max",
    "role",
    "rpc-addr",
    "snapshot",
    "tags-file",
];

/// Serf's flags that may be given again.
const MANY: &[&str] = &[
    "config-dir",
    "config-file",
    "event-handler",
    "join",
    "retry-join",
    "tag",
];

/// Serf's flags without a value.
const SWITCHES: &[&str] = &["disable-compression", "rejoin", "replay", "syslog"];

/// Translates what follows the verb. `command` is ours, whose flags decide what has an effect.
///
/// # Errors
/// What is wrong, in one line.
pub fn translate(arguments: Vec<OsString>, command: &Command) -> Result<Translated, String> {
    let mut merged = Merged::default();
    let mut files = Merged::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let Some((name, value)) = flag(&argument) else {
            merged.ours.push(argument);
            continue;
        };
        let mut value_of = || match value.clone() {
            Some(value) => Ok(value),
            None => arguments
                .next()
                .and_then(|next| next.into_string().ok())
                .ok_or_else(|| format!("-{name}: a value is missing")),
        };
        if let Some(name) = ONE.iter().find(|known| **known == name) {
            merged.key_shown |= *name == "encrypt";
            merged.one.insert(name, value_of()?);
        } else if let Some(name) = MANY.iter().find(|known| **known == name) {
            let value = value_of()?;
            match *name {
                "config-file" | "config-dir" => json::read(&value, &mut files)?,
                "tag" => merged.tag(&value)?,
                name => merged.many.entry(name).or_default().push(value),
            }
        } else if let Some(name) = SWITCHES.iter().find(|known| **known == name) {
            let on = !matches!(value.as_deref(), Some("false" | "0" | "f" | "F" | "FALSE"));
            if on {
                merged.one.insert(name, "true".to_owned());
            }
        } else {
            merged.ours.push(argument);
        }
    }
    files.overlay(merged);
    files.translated(command)
}

/// Name and value of `-name`, `-name=value`, or the same with two dashes.
fn flag(argument: &OsString) -> Option<(String, Option<String>)> {
    let text = argument.to_str()?;
    let text = text.strip_prefix('-')?;
    let text = text.strip_prefix('-').unwrap_or(text);
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    (!name.is_empty()).then(|| (name.to_owned(), value))
}

impl Merged {
    fn tag(&mut self, text: &str) -> Result<(), String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                self.tags.insert(name.to_owned(), value.to_owned());
                Ok(())
            }
            _ => Err(format!("-tag {text}: is not key=value")),
        }
    }

    /// Flags over files; what adds up adds up, as in Serf.
    fn overlay(&mut self, flags: Self) {
        self.one.extend(flags.one);
        for (name, values) in flags.many {
            self.many.entry(name).or_default().extend(values);
        }
        self.tags.extend(flags.tags);
        self.rpc_auth = flags.rpc_auth.or_else(|| self.rpc_auth.take());
        self.key_shown |= flags.key_shown;
        self.ignored.extend(flags.ignored);
        self.ours.extend(flags.ours);
    }

    fn translated(mut self, command: &Command) -> Result<Translated, String> {
        let mut out = Translated {
            argv: vec!["lb-agent".into()],
            ..Translated::default()
        };
        if let Some(role) = self.one.remove("role") {
            // Serf has no other roles than the tag.
            self.tags.insert("role".to_owned(), role);
        }
        if self.one.contains_key("encrypt") && self.one.contains_key("keyring-file") {
            return Err("-encrypt: not allowed while using -keyring-file, as in Serf".to_owned());
        }
        if let Some(key) = self.one.remove("encrypt") {
            if self.key_shown {
                out.warnings.push("-encrypt shows the key to everyone who can list processes; put it into a file for --encrypt-key-file".to_owned());
            }
            out.variables.insert("LB_ENCRYPT_KEY".to_owned(), key);
        }
        if let Some(file) = self.one.get("keyring-file") {
            out.variables.insert(KEYRING_FILE.to_owned(), file.clone());
        }
        if let Some(secret) = self.rpc_auth.take() {
            out.variables.insert("LB_RPC_AUTH_KEY".to_owned(), secret);
        }
        // A serf agent discovers nobody unless it is told to.
        let discover = || "off".to_owned();
        self.one.entry("discover").or_insert_with(discover);
        if let Some(protocol) = self.one.remove("protocol")
            && !["5", "-1"].contains(&protocol.as_str())
        {
            out.warnings
                .push(format!("-protocol={protocol}: protocol 5 is spoken"));
        }
        let knows = |name: &str| {
            let mut known = command.get_arguments();
            known.any(|argument| argument.get_long() == Some(name))
        };
        for (name, value) in std::mem::take(&mut self.one) {
            let (ours, value) = match name {
                "log-level" => (name, log_level(&value)),
                "keyring-file" if !knows(name) => ("encrypt-key-file", value),
                _ => (name, value),
            };
            if SWITCHES.contains(&name) && knows(name) {
                out.argv.push(format!("--{name}").into());
            } else if knows(ours) {
                out.argv.push(format!("--{ours}={value}").into());
            } else {
                self.ignored.push(format!("-{name}"));
            }
        }
        for (name, values) in self.many {
            let ours = if name == "retry-join" { "join" } else { name };
            for value in values {
                out.argv.push(format!("--{ours}={value}").into());
            }
        }
        for (name, value) in self.tags {
            out.argv.push(format!("--tag={name}={value}").into());
        }
        for name in self.ignored {
            out.warnings.push(format!(
                "{name} of serf agent is accepted and has no effect"
            ));
        }
        out.argv.extend(self.ours);
        Ok(out)
    }
}

/// Ours are written small, and an error is an error.
fn log_level(text: &str) -> String {
    match text.to_ascii_lowercase().as_str() {
        "err" => "error".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests;
