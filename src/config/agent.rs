//! Settings of `lb-agent`: above all, what the node says about its services.
//!
//! ```text
//! --role --port --weight …  ─┐
//! --service NAME=PORT[;…]   ─┼─▶ services ──announce──▶ tags of at most 512 bytes
//! --tag role=… (Serf's way) ─┘
//! ```

use super::common::{self, Shared};
use super::companion::Check;
use super::companion::{self, Companion};
use super::document::Table;
use super::error::{Error, Faults};
use super::sources::{Sources, Surroundings, Valued};
use super::{Agent, Given, flags, parse};
use crate::announce::{self, CheckSpec, Service, State, Tags};
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
    let (services, companion) = services(&sources, flags, root.table("agent"), &shared, around);
    let mut extra = extra_tags(flags, &shared);
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

/// Services by where they were said.
#[derive(Debug)]
struct Said {
    /// By flags of their own; they still have to become tags.
    given: Vec<Service>,
    /// By tags already.
    tagged: Vec<Service>,
    /// `--check` beside `--tag role=web`, for the tags too.
    check_of_tagged: Option<CheckSpec>,
}

fn services(
    sources: &Sources<'_>,
    flags: &flags::Agent,
    mut table: Table<'_>,
    shared: &Shared,
    around: &Surroundings,
) -> (Said, Companion) {
    let (companion, check) = companion::read(sources, flags, &mut table, around);
    let announced = check
        .as_ref()
        .and_then(|check| check.value.announced.clone());
    let announces_check = announced.is_some();
    if shared.tags_file.is_some() && companion.agent_check.is_some() {
        sources.conflict(
            "--tags-file: --agent-check changes the weight by itself, and the file would keep that as the node's own; give one of the two".to_owned(),
        );
    }
    let main = main_service(sources, flags, &mut table, shared, check);
    let more = sources
        .list(
            "service",
            &flags.service,
            table.texts("services"),
            parse::split,
            service,
        )
        .unwrap_or_default();
    for valued in &more {
        refuse_beside_tags_file(sources, shared, valued);
    }
    let mut given: Vec<Service> = main.into_iter().collect();
    let tagged = tagged(sources, flags, shared, !given.is_empty(), announces_check);
    for valued in more {
        let name = &valued.value.name;
        if given
            .iter()
            .chain(&tagged)
            .any(|service| service.name == *name)
        {
            sources.refuse(&valued, format!("service {name} is given twice"));
        } else {
            given.push(valued.value);
        }
    }
    let has_tag = |name: &str| shared.tags.iter().any(|(tag, _)| tag == name);
    let is_tagged = given.is_empty() && has_tag("role") && !has_tag("check");
    let said = Said {
        check_of_tagged: announced.filter(|_| is_tagged),
        given,
        tagged,
    };
    (said, companion)
}

/// The service of `--role` and the flags that describe it.
fn main_service(
    sources: &Sources<'_>,
    flags: &flags::Agent,
    table: &mut Table<'_>,
    shared: &Shared,
    check: Option<Valued<Check>>,
) -> Option<Service> {
    let role = sources.scalar("role", &flags.role, table.text("role"), parse::name);
    let port = sources.scalar("port", &flags.port, table.integer("port"), parse::port);
    let weight = sources.scalar(
        "weight",
        &flags.weight,
        table.integer("weight"),
        parse::weight,
    );
    let backup = sources.scalar(
        "backup",
        &flags.backup,
        table.boolean("backup"),
        parse::boolean,
    );
    let Some(role) = role else {
        if !shared.tags.iter().any(|(name, _)| name == "role") {
            let why = "says nothing without a role; add --role web";
            // The defaults, as the sample file writes them out, describe nothing.
            let weight = weight.filter(|weight| weight.value != 1);
            let backup = backup.filter(|backup| backup.value);
            port.iter().for_each(|port| sources.refuse(port, why));
            weight.iter().for_each(|weight| sources.refuse(weight, why));
            backup.iter().for_each(|backup| sources.refuse(backup, why));
            check.iter().for_each(|check| sources.refuse(check, why));
        }
        return None;
    };
    refuse_beside_tags_file(sources, shared, &role);
    Some(Service {
        name: role.value,
        port: port.map(|port| port.value),
        weight: weight.map_or(1, |weight| weight.value),
        tier: 0,
        backup: backup.is_some_and(|backup| backup.value),
        check: check.and_then(|check| check.value.announced),
        state: State::Ready,
        proto: None,
    })
}

/// A service is announced by tags, and those are in the file.
fn refuse_beside_tags_file<T>(sources: &Sources<'_>, shared: &Shared, valued: &Valued<T>) {
    if shared.tags_file.is_some() {
        sources.refuse(
            valued,
            "is a tag, and those are in the tags file; set it once with the verb tags, like `lb-agent tags -set role=web`",
        );
    }
}

/// Services said by tags alone, as users of `serf agent -tag role=web` are used to.
fn tagged(
    sources: &Sources<'_>,
    flags: &flags::Agent,
    shared: &Shared,
    has_role: bool,
    announces_check: bool,
) -> Vec<Service> {
    for (name, valued) in &shared.tags {
        // What fronts shall do may be said beside a check that only the agent can make.
        let is_short_form = ["role", "port", "weight", "backup"].contains(&name.as_str())
            || (name == "check" && announces_check);
        if is_short_form && has_role {
            sources.refuse(
                valued,
                format!("{name} is what --{name} announces; give one of the two"),
            );
            return Vec::new();
        }
    }
    let mut services = Vec::new();
    for heard in announce::read(&extra_tags(flags, shared)) {
        let wrong = heard.unusable.iter().chain(&heard.warnings);
        for why in wrong {
            let told = format!("--tag: service {}: {why}", heard.service.name);
            if flags.serf {
                sources.warn(told);
            } else {
                sources.conflict(told);
            }
        }
        services.push(heard.service);
    }
    services
}

/// What is announced beside services; in place of a serf agent exactly its tags.
fn extra_tags(flags: &flags::Agent, shared: &Shared) -> Tags {
    let mut tags = shared.extra_tags();
    if flags.serf && !shared.tags.iter().any(|(name, _)| name == "v") {
        tags.remove("v");
    }
    tags
}

/// `NAME=PORT[;w=3][;p=1][;b][;c=http:/h]`, the grammar of the tag `svc.NAME`.
fn service(text: &str) -> Result<Service, String> {
    let fix = "write NAME=PORT[;w=N][;p=N][;b][;c=CHECK], like api=8080;w=3";
    // A colon is what people write between a name and a port.
    let (name, rest) = text
        .split_once(['=', ':'])
        .ok_or_else(|| format!("is not a service; {fix}"))?;
    let name = parse::name(name)?;
    let tags = Tags::from([(format!("svc.{name}"), rest.to_owned())]);
    let heard = announce::read(&tags)
        .into_iter()
        .next()
        .ok_or_else(|| format!("is not a service; {fix}"))?;
    match heard.unusable.iter().chain(&heard.warnings).next() {
        Some(why) => Err(format!("{why}; {fix}")),
        None => Ok(heard.service),
    }
}
