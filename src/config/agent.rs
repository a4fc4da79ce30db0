//! Settings of `lb-agent`: above all, what the node says about its services.
//!
//! ```text
//! services ──announce──▶ tags of at most 512 bytes
//! ```

use super::common::{self, Shared};
use super::companion::Companion;
use super::document::Table;
use super::error::{Error, Faults};
use super::sources::{Sources, Surroundings};
use super::{Agent, Given, flags, serf, services};
use crate::announce::{self, Service, State, Tags};
use crate::handlers::Filter;

/// Reads everything; faults are noted, and then the result is of no use.
pub(super) fn read(
    flags: &flags::Agent,
    around: &Surroundings,
    mut root: Table<'_>,
    faults: &Faults,
) -> Agent {
    let sources = Sources::new(around, faults);
    let mut log = root.table("log");
    let shared = common::read(&sources, &flags.common, &mut root, &mut log, around, false);
    no_events_of_fronts(&sources, &shared);
    let (services, companion) =
        services::read(&sources, flags, root.table("agent"), &shared, around);
    let mut extra = services::extra_tags(flags, &shared);
    if let Some(check) = &services.check_of_tagged {
        extra.insert("check".to_owned(), check.to_string());
    }
    let tags = announce::tags(&services.given, &extra)
        .and_then(|tags| fits_when_changed(tags, &companion))
        .unwrap_or_else(|too_long| {
            faults.push(Error::Tags(too_long));
            Tags::new()
        });
    sources.finish();
    let services: Vec<Service> = services.given.into_iter().chain(services.tagged).collect();
    if services.is_empty() {
        sources.warn("no --role and no --service: a member only, no backend of any pool");
    }
    let first = services.first().map(|service| service.name.clone());
    let Shared {
        mut gossip,
        discover,
        insecure_gossip,
        handlers,
        rpc,
        admin,
        state,
        snapshot,
        tags_file,
        log,
        ..
    } = shared;
    gossip.tags = tags;
    let discover_given = discover.is_some();
    let discover = discover.unwrap_or(first);
    gossip.discover.clone_from(&discover);
    Agent {
        gossip,
        discover,
        discover_given,
        insecure_gossip,
        handlers,
        rpc,
        services,
        companion,
        admin,
        state,
        snapshot,
        tags_file,
        keyring_file: serf::keyring_file(flags, around),
        log,
        file: None,
        warnings: sources.warnings.into_inner(),
        given: Given {
            flags: flags.clone(),
            around: around.clone(),
            serf: None,
        },
    }
}

/// The tags as they are, if they fit also when the node says of its service all that it may.
fn fits_when_changed(tags: Tags, companion: &Companion) -> Result<Tags, announce::TooLong> {
    let mut longest = tags.clone();
    if companion.check.is_some() || companion.agent_check.is_some() {
        let reason = "x".repeat(announce::FAIL_REASON_BYTES_MAX);
        longest.insert("state".to_owned(), State::Fail(reason).to_string());
    }
    for more in &companion.more {
        // Its reason is left out where it does not fit.
        if let Some(tag) = longest.get_mut(&format!("svc.{}", more.service)) {
            *tag = announce::with_state(tag, &State::Fail(String::new()));
        }
    }
    if companion.agent_check.is_some() {
        longest.insert("weight".to_owned(), "1000".to_owned());
    }
    announce::tags(&[], &longest).map(|_| tags)
}

/// An agent has no pools, so such a handler would wait for ever.
fn no_events_of_fronts(sources: &Sources<'_>, shared: &Shared) {
    for spec in &shared.handlers.specs {
        let of_front =
            |filter: &Filter| matches!(filter, Filter::Kind(kind) if kind.is_of_a_front());
        if spec.filters.iter().any(of_front) {
            sources.conflict(format!(
                "--event-handler {spec}: only a front has pools and backends; leave that type out"
            ));
        }
    }
}
