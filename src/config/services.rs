//! The services of a node: of flags, of tags, and how each is checked.
//!
//! ```text
//! --role --port --weight …  ─┐
//! --service NAME=PORT[;…]   ─┼─▶ services, the first one as role and port     --check [NAME=]CHECK ─▶ fronts' and our own
//! --tag role=… (Serf's way) ─┘
//! ```

use super::common::Shared;
use super::companion::{self, Companion, Named, ServiceCheck};
use super::document::Table;
use super::sources::{Sources, Surroundings, Valued};
use super::{defaults, flags, parse};
use crate::announce::{self, CheckSpec, Service, State, Tags};
use crate::health::own::OwnCheck;

/// Services by where they were said.
#[derive(Debug)]
pub(super) struct Said {
    /// By flags of their own; they still have to become tags.
    pub(super) given: Vec<Service>,
    /// By tags already.
    pub(super) tagged: Vec<Service>,
    /// `--check` beside `--tag role=web`, for the tags too.
    pub(super) check_of_tagged: Option<CheckSpec>,
}

/// The services, and what the agent does for them.
pub(super) fn read(
    sources: &Sources<'_>,
    flags: &flags::Agent,
    mut table: Table<'_>,
    shared: &Shared,
    around: &Surroundings,
) -> (Said, Companion) {
    let checks = companion::checks(sources, flags, &mut table);
    let (named, plain): (Vec<_>, Vec<_>) = checks
        .into_iter()
        .partition(|check| check.value.0.is_some());
    for second in plain.iter().skip(1) {
        let why = "is a second check of the role; write NAME= of its --service in front";
        sources.refuse(second, why);
    }
    let plain = plain.into_iter().next();
    let main = main_service(sources, flags, &mut table, shared, plain.as_ref());
    let plain = plain.map(|check| check.value.1);
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
    let announces_check = plain
        .as_ref()
        .is_some_and(|check| check.announced.is_some());
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
    let mut own = plain.as_ref().and_then(|check| check.own.clone());
    let further = further(sources, &named, &mut given, &tagged, &mut own);
    let companion = companion::read(sources, flags, &mut table, around, (own, further));
    if shared.tags_file.is_some() && companion.agent_check.is_some() {
        sources.conflict(
            "--tags-file: --agent-check changes the weight by itself, and the file would keep that as the node's own; give one of the two".to_owned(),
        );
    }
    let said = Said {
        check_of_tagged: plain
            .and_then(|check| check.announced)
            .filter(|_| is_tagged),
        given,
        tagged,
    };
    (said, companion)
}

/// Checks of services by name. The first service is announced as the role, so its check is the role's.
fn further(
    sources: &Sources<'_>,
    named: &[Valued<Named>],
    given: &mut [Service],
    tagged: &[Service],
    own: &mut Option<OwnCheck>,
) -> Vec<ServiceCheck> {
    let mut all: Vec<ServiceCheck> = Vec::new();
    for valued in named {
        let (Some(name), check) = &valued.value else {
            continue;
        };
        let place = given.iter().position(|service| service.name == *name);
        let port = match place {
            Some(place) => {
                let service = &mut given[place];
                if let Some(announced) = &check.announced {
                    if service
                        .check
                        .as_ref()
                        .is_some_and(|known| known != announced)
                    {
                        let why = "fronts are told another check of that service already; give one of the two";
                        sources.refuse(valued, why);
                    }
                    service.check = Some(announced.clone());
                }
                service.port
            }
            None => match tagged.iter().find(|service| service.name == *name) {
                Some(service) => service.port,
                None => {
                    let why = format!("there is no service {name}; add --service {name}=PORT");
                    sources.refuse(valued, why);
                    continue;
                }
            },
        };
        let Some(made) = check.own.clone() else {
            continue;
        };
        let is_known = all.iter().any(|known| known.service == *name);
        if is_known || (place == Some(0) && own.is_some()) {
            sources.refuse(valued, format!("service {name} has a check already"));
        } else if place == Some(0) {
            *own = Some(made);
        } else if let OwnCheck::Ttl(_) = made {
            let why = "reports name no service, so that only the first one can have a ttl";
            sources.refuse(valued, why);
        } else {
            all.push(ServiceCheck {
                service: name.clone(),
                port: port.unwrap_or(defaults::HTTP_PORT),
                check: made,
            });
        }
    }
    all
}

/// The service of `--role` and the flags that describe it.
fn main_service(
    sources: &Sources<'_>,
    flags: &flags::Agent,
    table: &mut Table<'_>,
    shared: &Shared,
    check: Option<&Valued<Named>>,
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
        check: check.and_then(|check| check.value.1.announced.clone()),
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
            let name = &heard.service.name;
            let mut tags = shared.tags.iter();
            let of_it = |(tag, valued): &&(String, Valued<String>)| match tag.as_str() {
                "role" => valued.value == **name,
                tag => tag.strip_prefix("svc.") == Some(&**name),
            };
            match tags.find(of_it) {
                _ if flags.serf => sources.warn(told),
                Some((_, valued)) => {
                    sources.refuse(valued, format!("service {name}: {why}"));
                }
                None => sources.conflict(told),
            }
        }
        services.push(heard.service);
    }
    services
}

/// What is announced beside services; in place of a serf agent exactly its tags.
pub(super) fn extra_tags(flags: &flags::Agent, shared: &Shared) -> Tags {
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
