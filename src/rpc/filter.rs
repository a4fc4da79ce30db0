//! Which members and which events a client asked for.

use std::sync::Arc;

use regex_lite::{Regex, RegexBuilder};

use super::request::Wanted;
use crate::gossip::core::io::Event;
use crate::gossip::core::member::Member;
use crate::gossip::core::serf::coalesce::{Change, Notice};

/// What a regular expression of a client may take when compiled, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Regular expressions over members, compiled.
#[derive(Debug)]
pub(super) struct MemberFilter {
    tags: Vec<(String, Regex)>,
    status: Option<Regex>,
    name: Option<Regex>,
}

impl MemberFilter {
    /// # Errors
    /// What is wrong with an expression.
    pub(super) fn new(wanted: &Wanted) -> Result<Self, regex_lite::Error> {
        let text = |pattern: &str| match pattern {
            "" => Ok(None),
            pattern => anchored(pattern).map(Some),
        };
        let tags = wanted.tags.iter();
        let tags = tags.map(|(name, pattern)| Ok((name.clone(), anchored(pattern)?)));
        Ok(Self {
            tags: tags.collect::<Result<_, _>>()?,
            status: text(&wanted.status)?,
            name: text(&wanted.name)?,
        })
    }

    pub(super) fn passes(&self, member: &Member) -> bool {
        let fits =
            |regex: &Option<Regex>, text: &str| regex.as_ref().is_none_or(|r| r.is_match(text));
        fits(&self.name, &member.name)
            && fits(&self.status, &member.status.to_string())
            && self
                .tags
                .iter()
                .all(|(tag, regex)| regex.is_match(member.tags.get(tag).unwrap_or_default()))
    }
}

/// As Serf does it, in letters: `a|b` is what begins with a or ends with b.
fn anchored(pattern: &str) -> Result<Regex, regex_lite::Error> {
    RegexBuilder::new(&format!("^{pattern}$"))
        .size_limit(PATTERN_BYTES_MAX)
        .build()
}

/// `type[,type]…`: which events a stream carries.
///
/// Source: serf `event_handler.go`, `ParseEventFilter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventFilter(Vec<Kind>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    All,
    Members(Change),
    /// Empty: any.
    User(String),
    /// Empty: any.
    Query(String),
}

/// Kinds in one filter. There are eight, and names.
const KINDS_MAX: usize = 256;

impl EventFilter {
    /// `None` for a type that does not exist. Nothing at all is everything.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(vec![Kind::All]));
        }
        let kinds = text.split(',').take(KINDS_MAX + 1).map(kind);
        let kinds = kinds.collect::<Option<Vec<_>>>()?;
        (kinds.len() <= KINDS_MAX).then_some(Self(kinds))
    }

    pub(super) fn passes(&self, notice: &Notice) -> bool {
        self.0.iter().any(|kind| match (kind, notice) {
            (Kind::All, _) => true,
            (Kind::Members(wanted), Notice::Members { change, .. }) => wanted == change,
            (Kind::User(wanted), Notice::Event(event)) => match &**event {
                Event::User { name, .. } => wanted.is_empty() || wanted == name,
                _ => false,
            },
            (Kind::Query(wanted), Notice::Event(event)) => match &**event {
                Event::Query { name, .. } => wanted.is_empty() || wanted == name,
                _ => false,
            },
            _ => false,
        })
    }
}

fn kind(text: &str) -> Option<Kind> {
    let changes = [
        Change::Joined,
        Change::Left,
        Change::Failed,
        Change::Updated,
        Change::Reaped,
    ];
    if let Some(name) = text.strip_prefix("user:") {
        return Some(Kind::User(name.to_owned()));
    }
    if let Some(name) = text.strip_prefix("query:") {
        return Some(Kind::Query(name.to_owned()));
    }
    match text {
        "*" => Some(Kind::All),
        "user" => Some(Kind::User(String::new())),
        "query" => Some(Kind::Query(String::new())),
        _ => changes
            .into_iter()
            .find(|change| change.as_str() == text)
            .map(Kind::Members),
    }
}

/// Those of `members` that pass.
pub(super) fn filtered<'m>(
    members: impl Iterator<Item = &'m Arc<Member>>,
    filter: &MemberFilter,
) -> Vec<&'m Arc<Member>> {
    members.filter(|member| filter.passes(member)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Notice {
        Notice::Event(Arc::new(Event::User {
            ltime: 1,
            name: name.to_owned(),
            payload: Vec::new(),
            coalesce: false,
        }))
    }

    fn members(change: Change) -> Notice {
        Notice::Members {
            change,
            members: Vec::new(),
        }
    }

    #[test]
    fn a_filter_lets_through_what_it_names() {
        let filter = EventFilter::parse("member-leave,user:deploy,query").expect("valid");

        assert!(filter.passes(&members(Change::Left)));
        assert!(!filter.passes(&members(Change::Joined)));
        assert!(filter.passes(&user("deploy")));
        assert!(!filter.passes(&user("other")));
        for all in ["*", ""] {
            let filter = EventFilter::parse(all).expect("valid");
            assert!(filter.passes(&user("x")) && filter.passes(&members(Change::Reaped)));
        }
    }

    #[test]
    fn a_type_that_does_not_exist_is_refused() {
        for text in ["bogus", "member", "member-join,", "*,x", "User"] {
            assert_eq!(EventFilter::parse(text), None, "{text}");
        }
        assert_eq!(EventFilter::parse(&"*,".repeat(1000)), None);
    }
}
