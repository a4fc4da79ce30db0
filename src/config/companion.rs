//! What `lb-agent` does for the service beside it: checks it, hears it, starts and stops it.
//!
//! ```text
//! --check http:… tcp… ──▶ announced to fronts, and made by the agent itself
//!         exec:… ttl:… ─▶ made by the agent alone; its verdict is announced
//! ```

use std::path::PathBuf;
use std::time::Duration;

use super::defaults::{AGENT_CHECK_INTERVAL, STOP_TIMEOUT};
use super::document::{Found, Table};
use super::flags;
use super::parse::{self, Parsed};
use super::sources::{Sources, Surroundings, Valued};
use crate::announce::CheckSpec;
use crate::health;
use crate::health::own::{self, OwnCheck};

/// Settings of the agent as the service's companion.
#[derive(Clone, Debug, PartialEq)]
pub struct Companion {
    /// The agent's own check of the service that `--role` names.
    pub check: Option<OwnCheck>,
    /// Its checks of further services.
    pub more: Vec<ServiceCheck>,
    /// Its timing.
    pub timing: health::Settings,
    /// Where the service reports to, of [`OwnCheck::Ttl`].
    pub check_socket: Option<PathBuf>,
    /// The command that answers as HAProxy's agent-check does.
    pub agent_check: Option<String>,
    /// Between two of its runs.
    pub agent_check_interval: Duration,
    /// The file with the members' names and addresses.
    pub hosts_file: Option<PathBuf>,
    /// Of `lb-agent run`: from SIGTERM to SIGKILL.
    pub stop_timeout: Duration,
}

/// The agent's own check of one of several services.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceCheck {
    /// NAME of `svc.NAME`.
    pub service: String,
    /// Where it listens.
    pub port: u16,
    /// How.
    pub check: OwnCheck,
}

/// What `--check` means to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// Tag `check`.
    pub(super) announced: Option<CheckSpec>,
    /// Made by the agent.
    pub(super) own: Option<OwnCheck>,
}

/// A check, and the service that it is for: `NAME=CHECK`, or none where it is the role's.
pub(super) type Named = (Option<String>, Check);

/// All that is said by `--check`, `LB_CHECK` (a line each), or `check` and `[agent.checks]`.
pub(super) fn checks(
    sources: &Sources<'_>,
    flags: &flags::Agent,
    table: &mut Table<'_>,
) -> Vec<Valued<Named>> {
    let mut written: Vec<Found> = table.text("check").into_iter().collect();
    written.extend(table.pairs("checks").into_iter().map(|(name, found)| {
        let text = format!("{name}={}", found.text);
        Found { text, ..found }
    }));
    // A command has commas; of a flag it has lines too.
    let in_flags = !flags.check.is_empty();
    let apart = |text: &str| match in_flags {
        true => vec![text.to_owned()],
        false => text.lines().map(str::to_owned).collect(),
    };
    let file = (!written.is_empty()).then_some(written);
    let checks = sources.list("check", &flags.check, file, apart, named);
    let checks = checks.unwrap_or_default();
    checks.iter().for_each(|check| told(sources, check));
    checks
}

/// `NAME=CHECK` or `CHECK`. No name has a colon in it, and no check an equals sign before its first.
fn named(text: &str) -> Parsed<Named> {
    match text.split_once('=') {
        Some((name, rest)) if !name.contains(':') => {
            Ok((Some(parse::name(name.trim())?), check(rest)?))
        }
        _ => Ok((None, check(text)?)),
    }
}

/// The companion, whose checks were resolved.
pub(super) fn read(
    sources: &Sources<'_>,
    flags: &flags::Agent,
    table: &mut Table<'_>,
    around: &Surroundings,
    (own, more): (Option<OwnCheck>, Vec<ServiceCheck>),
) -> Companion {
    let timing = timing(sources, flags, table);
    let agent_check = sources.scalar(
        "agent-check",
        &flags.agent_check,
        table.text("agent_check"),
        parse::text,
    );
    let agent_check_interval = sources.scalar(
        "agent-check-interval",
        &flags.agent_check_interval,
        table.text("agent_check_interval"),
        parse::duration,
    );
    let hosts_file = sources.scalar(
        "hosts-file",
        &flags.hosts_file,
        table.text("hosts_file"),
        parse::text,
    );
    let stop_timeout = sources.scalar(
        "stop-timeout",
        &flags.stop_timeout,
        table.text("stop_timeout"),
        parse::duration,
    );
    Companion {
        check_socket: check_socket(sources, flags, table, around, own.as_ref()),
        check: own,
        more,
        timing,
        agent_check: agent_check.map(|command| command.value),
        agent_check_interval: agent_check_interval
            .map_or(AGENT_CHECK_INTERVAL, |interval| interval.value),
        hosts_file: hosts_file.map(|file| file.value.into()),
        stop_timeout: stop_timeout.map_or(STOP_TIMEOUT, |timeout| timeout.value),
    }
}

/// What an agent can't do itself yet.
fn told(sources: &Sources<'_>, check: &Valued<Named>) {
    let kind = match check.value.1.announced {
        Some(CheckSpec::Https { .. }) => "https",
        Some(CheckSpec::Grpc { .. }) => "grpc",
        _ => return,
    };
    sources.warn(format!(
        "{} is announced to fronts; the agent itself makes no {kind} checks yet",
        check.at
    ));
}

fn timing(sources: &Sources<'_>, flags: &flags::Agent, table: &mut Table<'_>) -> health::Settings {
    let default = own::defaults();
    let interval = sources.scalar(
        "check-interval",
        &flags.check_interval,
        table.text("check_interval"),
        parse::duration,
    );
    let timeout = sources.scalar(
        "check-timeout",
        &flags.check_timeout,
        table.text("check_timeout"),
        parse::duration,
    );
    let rise = sources.scalar(
        "check-rise",
        &flags.check_rise,
        table.integer("check_rise"),
        parse::number("rise", 1, 1000),
    );
    let fall = sources.scalar(
        "check-fall",
        &flags.check_fall,
        table.integer("check_fall"),
        parse::number("fall", 1, 1000),
    );
    health::Settings {
        interval: interval.map_or(default.interval, |interval| interval.value),
        timeout: timeout.map_or(default.timeout, |timeout| timeout.value),
        rise: rise.map_or(default.rise, |rise| rise.value),
        fall: fall.map_or(default.fall, |fall| fall.value),
        ..default
    }
    .paced()
}

fn check_socket(
    sources: &Sources<'_>,
    flags: &flags::Agent,
    table: &mut Table<'_>,
    around: &Surroundings,
    own: Option<&OwnCheck>,
) -> Option<PathBuf> {
    let given = sources.scalar(
        "check-socket",
        &flags.check_socket,
        table.text("check_socket"),
        parse::text,
    );
    if let Some(given) = given {
        return Some(PathBuf::from(given.value));
    }
    if !matches!(own, Some(OwnCheck::Ttl(_))) {
        return None;
    }
    let home = around.check_socket();
    if home.is_none() {
        sources.conflict(
            "--check ttl: needs a place for its socket; give --check-socket PATH".to_owned(),
        );
    }
    home
}

/// `exec:COMMAND`, `ttl:30s`, or what fronts can do as well.
fn check(text: &str) -> Parsed<Check> {
    let own = |own| Check {
        announced: None,
        own: Some(own),
    };
    if let Some(command) = text.strip_prefix("exec:") {
        return match command.trim() {
            "" => Err(
                "has no command; write exec:COMMAND, like exec:/usr/local/bin/healthy".to_owned(),
            ),
            command => Ok(own(OwnCheck::Exec(command.to_owned()))),
        };
    }
    if let Some(ttl) = text.strip_prefix("ttl:") {
        return parse::duration(ttl).map(|ttl| own(OwnCheck::Ttl(ttl)));
    }
    let spec: CheckSpec = text.parse().map_err(|_| {
        "is not a check; write http:[PORT]/path, tcp[:PORT], exec:COMMAND, ttl:30s, https:[PORT]/path, grpc[:SERVICE] or none".to_owned()
    })?;
    let own = match &spec {
        CheckSpec::Http { .. } | CheckSpec::Tcp { .. } => Some(OwnCheck::Network(spec.clone())),
        CheckSpec::None | CheckSpec::Https { .. } | CheckSpec::Grpc { .. } => None,
    };
    Ok(Check {
        announced: Some(spec),
        own,
    })
}
