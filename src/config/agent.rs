//! Settings of `lb-agent`: above all, what the node says about its services.
//!
//! ```text
//! --role --port --weight …  ─┐
//! --service NAME=PORT[;…]   ─┼─▶ services ──announce──▶ tags of at most 512 bytes
//! --tag role=… (Serf's way) ─┘
//! ```

use super::common::{self, Shared};
use super::document::Table;
use super::error::{Error, Faults};
use super::sources::{Sources, Surroundings};
use super::{Agent, Given, flags, parse};
use crate::announce::{self, Service, State, Tags};

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
    let services = services(&sources, flags, root.table("agent"), &shared);
    let tags = announce::tags(&services.given, &shared.extra_tags()).unwrap_or_else(|too_long| {
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
        rpc,
        admin,
        state,
        log,
        ..
    } = shared;
    gossip.tags = tags;
    let discover = discover.unwrap_or(first);
    gossip.discover.clone_from(&discover);
    Agent {
        gossip,
        discover,
        insecure_gossip,
        rpc,
        services,
        admin,
        state,
        log,
        file: None,
        warnings: sources.warnings.into_inner(),
        given: Given {
            flags: flags.clone(),
            around: around.clone(),
        },
    }
}

/// Services by where they were said.
#[derive(Debug)]
struct Said {
    /// By flags of their own; they still have to become tags.
    given: Vec<Service>,
    /// By tags already.
    tagged: Vec<Service>,
}

fn services(
    sources: &Sources<'_>,
    flags: &flags::Agent,
    mut table: Table<'_>,
    shared: &Shared,
) -> Said {
    let main = main_service(sources, flags, &mut table, shared);
    let more = sources
        .list(
            "service",
            &flags.service,
            table.texts("services"),
            parse::split,
            service,
        )
        .unwrap_or_default();
    sources.without_effect(
        "hosts-file",
        &flags.hosts_file,
        table.text("hosts_file"),
        parse::text,
        &[],
    );
    let mut given: Vec<Service> = main.into_iter().collect();
    let tagged = tagged(sources, shared, !given.is_empty());
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
    Said { given, tagged }
}

/// The service of `--role` and the flags that describe it.
fn main_service(
    sources: &Sources<'_>,
    flags: &flags::Agent,
    table: &mut Table<'_>,
    shared: &Shared,
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
    let check = sources.scalar("check", &flags.check, table.text("check"), parse::check);
    if let Some(check) = &check {
        sources.warn(format!(
            "{} is announced to fronts; the agent itself does not check yet",
            check.at
        ));
    }
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
    Some(Service {
        name: role.value,
        port: port.map(|port| port.value),
        weight: weight.map_or(1, |weight| weight.value),
        tier: 0,
        backup: backup.is_some_and(|backup| backup.value),
        check: check.map(|check| check.value),
        state: State::Ready,
        proto: None,
    })
}

/// Services said by tags alone, as users of `serf agent -tag role=web` are used to.
fn tagged(sources: &Sources<'_>, shared: &Shared, has_role: bool) -> Vec<Service> {
    for (name, valued) in &shared.tags {
        let is_short_form = ["role", "port", "weight", "backup", "check"].contains(&name.as_str());
        if is_short_form && has_role {
            sources.refuse(
                valued,
                format!("{name} is what --{name} announces; give one of the two"),
            );
            return Vec::new();
        }
    }
    let mut services = Vec::new();
    for heard in announce::read(&shared.extra_tags()) {
        let wrong = heard.unusable.iter().chain(&heard.warnings);
        for why in wrong {
            sources.conflict(format!("--tag: service {}: {why}", heard.service.name));
        }
        services.push(heard.service);
    }
    services
}

/// `NAME=PORT[;w=3][;p=1][;b][;c=http:/h]`, the grammar of the tag `svc.NAME`.
fn service(text: &str) -> Result<Service, String> {
    let fix = "write NAME=PORT[;w=N][;p=N][;b][;c=CHECK], like api=8080;w=3";
    let (name, rest) = text
        .split_once('=')
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
