//! From tags to services: bad values cost as little as they can.

use std::fmt;
use std::str::FromStr;

use super::check::parse_port;
use super::{CheckSpec, Heard, Service, State, Tags};

/// Services of a member, from its tags, in name order; empty for a member that is no backend.
///
/// A bad `weight`, `priority`, `backup` or `check` becomes the default, with a warning; a bad
/// `port`, `state`, `proto` or anything bad in `svc.NAME` makes that service unusable, with the
/// reason. A name announced both by `role` and by `svc.NAME` is taken from `role`.
pub fn read(tags: &Tags) -> Vec<Heard> {
    let by_role = tags
        .get("role")
        .filter(|role| !role.is_empty())
        .map(|role| by_role(role, tags));
    let mut all: Vec<Heard> = tags
        .iter()
        .filter_map(|(tag, value)| Some((tag.strip_prefix("svc.")?, value)))
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| by_svc(name, value))
        .collect();
    if let Some(mut heard) = by_role {
        if let Some(at) = all
            .iter()
            .position(|other| other.service.name == heard.service.name)
        {
            all.remove(at);
            let name = &heard.service.name;
            heard.warnings.push(format!(
                "svc.{name} is ignored: role={name} says it already"
            ));
        }
        // The others are sorted, as the tags are.
        let at = all.partition_point(|other| other.service.name < heard.service.name);
        all.insert(at, heard);
    }
    all
}

/// The short form: `role`, `port`, `weight`, …
fn by_role(role: &str, tags: &Tags) -> Heard {
    let mut heard = blank(role);
    let service = &mut heard.service;
    let warnings = &mut heard.warnings;
    let mut unusable = Vec::new();
    if let Some(text) = tags.get("port") {
        service.port = parse_port(text);
        if service.port.is_none() {
            unusable.push(format!("port {text:?} is not a port (1-65535)"));
        }
    }
    if let Some(text) = tags.get("weight") {
        match parse_weight(text) {
            Some(weight) => service.weight = weight,
            None => warnings.push(format!("weight {text:?} is not 1-1000; taken as 1")),
        }
    }
    if let Some(text) = tags.get("priority") {
        match text.parse() {
            Ok(tier) => service.tier = tier,
            Err(_) => warnings.push(format!("priority {text:?} is not 0-255; taken as 0")),
        }
    }
    match tags.get("backup").map(String::as_str) {
        None | Some("false") => {}
        Some("true") => service.backup = true,
        Some(text) => warnings.push(format!(
            "backup {text:?} is neither true nor false; taken as a primary"
        )),
    }
    if let Some(text) = tags.get("check") {
        match text.parse() {
            Ok(check) => service.check = Some(check),
            Err(bad) => warnings.push(format!("check {bad}; the pool's is used")),
        }
    }
    if let Some(state) = parsed("state", tags, &mut unusable) {
        service.state = state;
    }
    service.proto = parsed("proto", tags, &mut unusable);
    if !unusable.is_empty() {
        heard.unusable = Some(unusable.join("; "));
    }
    heard
}

/// The value of `tag`, or a reason why the service can't be used.
fn parsed<T: FromStr<Err: fmt::Display>>(
    tag: &str,
    tags: &Tags,
    unusable: &mut Vec<String>,
) -> Option<T> {
    match tags.get(tag)?.parse() {
        Ok(value) => Some(value),
        Err(bad) => {
            unusable.push(format!("{tag} {bad}"));
            None
        }
    }
}

/// `svc.NAME` = `PORT[;w=3][;p=1][;b][;c=http:/h][;s=drain]`.
fn by_svc(name: &str, text: &str) -> Heard {
    let mut heard = blank(name);
    let mut parts = text.split(';');
    let port = parts.next().unwrap_or_default();
    heard.service.port = parse_port(port);
    if heard.service.port.is_none() {
        heard.unusable = Some(format!("svc.{name}: {port:?} is not a port (1-65535)"));
        return heard;
    }
    for part in parts {
        match read_part(&mut heard.service, part) {
            Part::Read => {}
            // Like an unknown tag: a newer agent must not fall out of an older front.
            Part::Unknown => heard
                .warnings
                .push(format!("svc.{name}: {part:?} is unknown and ignored")),
            Part::Bad => {
                heard.unusable = Some(format!("svc.{name}: {part:?} is not understood"));
                return heard;
            }
        }
    }
    heard
}

enum Part {
    Read,
    Unknown,
    Bad,
}

fn read_part(service: &mut Service, part: &str) -> Part {
    if part == "b" {
        service.backup = true;
        return Part::Read;
    }
    let Some((key, value)) = part.split_once('=') else {
        return Part::Bad;
    };
    let read = match key {
        "w" => parse_weight(value).map(|weight| service.weight = weight),
        "p" => value.parse().ok().map(|tier| service.tier = tier),
        "c" => CheckSpec::from_str(value)
            .ok()
            .map(|check| service.check = Some(check)),
        "s" => value.parse().ok().map(|state| service.state = state),
        "b" => None,
        _ => return Part::Unknown,
    };
    match read {
        Some(()) => Part::Read,
        None => Part::Bad,
    }
}

fn parse_weight(text: &str) -> Option<u16> {
    text.parse()
        .ok()
        .filter(|weight| (1..=1000).contains(weight))
}

fn blank(name: &str) -> Heard {
    Heard {
        service: Service {
            name: name.to_owned(),
            port: None,
            weight: 1,
            tier: 0,
            backup: false,
            check: None,
            state: State::Ready,
            proto: None,
        },
        warnings: Vec::new(),
        unusable: None,
    }
}
