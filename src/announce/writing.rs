//! From services to tags, within Serf's limit.

use super::{Service, State, TAGS_BYTES_MAX, Tags, TooLong, VOCABULARY};

/// Port written for a service of `svc.NAME` that has none: the form needs one.
const PORT_DEFAULT: u16 = 80;

/// Tags that announce `services` (the first as `role`/`port`, more as `svc.NAME`) beside `extra`.
///
/// What equals the default is left out. Where both speak of one tag, `services` win: they were
/// validated, and an agent's `state` must not be masked. Only the first service can announce its `proto`.
///
/// # Errors
/// [`TooLong`] when the encoded tags exceed [`TAGS_BYTES_MAX`].
pub fn tags(services: &[Service], extra: &Tags) -> Result<Tags, TooLong> {
    let mut all = extra.clone();
    if let Some((first, more)) = services.split_first() {
        all.insert("v".to_owned(), VOCABULARY.to_owned());
        all.extend(short_form(first).map(|(tag, value)| (tag.to_owned(), value)));
        all.extend(
            more.iter()
                .map(|service| (format!("svc.{}", service.name), long_form(service))),
        );
    }
    let bytes = encoded_bytes(&all);
    if bytes <= TAGS_BYTES_MAX {
        return Ok(all);
    }
    let share = |(tag, value): (&String, &String)| raw_bytes(tag) + raw_bytes(value);
    let (longest, longest_bytes) = all
        .iter()
        .map(|tag| (tag.0.clone(), share(tag)))
        .max_by_key(|(_, share)| *share)
        .unwrap_or_default();
    Err(TooLong {
        bytes,
        longest,
        longest_bytes,
    })
}

fn short_form(service: &Service) -> impl Iterator<Item = (&'static str, String)> {
    [
        Some(("role", service.name.clone())),
        service.port.map(|port| ("port", port.to_string())),
        (service.weight != 1).then(|| ("weight", service.weight.to_string())),
        (service.tier != 0).then(|| ("priority", service.tier.to_string())),
        service.backup.then(|| ("backup", "true".to_owned())),
        service
            .check
            .as_ref()
            .map(|check| ("check", check.to_string())),
        (service.state != State::Ready).then(|| ("state", service.state.to_string())),
        service.proto.map(|proto| ("proto", proto.to_string())),
    ]
    .into_iter()
    .flatten()
}

fn long_form(service: &Service) -> String {
    let mut parts = vec![service.port.unwrap_or(PORT_DEFAULT).to_string()];
    if service.weight != 1 {
        parts.push(format!("w={}", service.weight));
    }
    if service.tier != 0 {
        parts.push(format!("p={}", service.tier));
    }
    if service.backup {
        parts.push("b".to_owned());
    }
    // The parts are split at semicolons; inside a path or a reason one must not be seen as such.
    if let Some(check) = &service.check {
        parts.push(format!("c={}", check.to_string().replace(';', "%3B")));
    }
    if service.state != State::Ready {
        parts.push(format!("s={}", service.state.to_string().replace(';', ",")));
    }
    parts.join(";")
}

/// The value of a tag `svc.NAME` with that state in place of its own; all else in it stays, also what is not understood.
pub fn with_state(long_form: &str, state: &State) -> String {
    let mut text: Vec<&str> = long_form.split(';').collect();
    text.retain(|part| !part.starts_with("s="));
    let said = format!("s={}", state.to_string().replace(';', ","));
    if *state != State::Ready {
        text.push(&said);
    }
    text.join(";")
}

/// What the value of a tag `svc.NAME` says of the service's state, if it says anything.
pub fn state_of(long_form: &str) -> Option<State> {
    let said = long_form
        .split(';')
        .find_map(|part| part.strip_prefix("s="));
    said?.parse().ok()
}

/// `[ff][map header][raw name][raw value]…`, as the gossip dialect of msgpack has it (no str8).
fn encoded_bytes(tags: &Tags) -> usize {
    let header = if tags.len() < 16 { 1 } else { 3 };
    let strings: usize = tags
        .iter()
        .map(|(tag, value)| raw_bytes(tag) + raw_bytes(value))
        .sum();
    1 + header + strings
}

fn raw_bytes(text: &str) -> usize {
    text.len()
        + match text.len() {
            0..32 => 1,
            32..65_536 => 3,
            _ => 5,
        }
}
