//! `type[,type]=script`, as Serf has it.

use std::fmt;
use std::str::FromStr;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Members are alive.
    MemberJoin,
    /// Members left on purpose.
    MemberLeave,
    /// Members stopped answering.
    MemberFailed,
    /// Members have other tags, or another address.
    MemberUpdate,
    /// Members were forgotten.
    MemberReap,
    /// A user event.
    User,
    /// A query.
    Query,
    /// A backend is in rotation; on a front, and not Serf's.
    BackendUp,
    /// A backend is not, any more; on a front, and not Serf's.
    BackendDown,
    /// The last one of a pool is out; on a front, and not Serf's.
    PoolEmpty,
    /// A pool that was empty is not, any more; on a front, and not Serf's.
    PoolRecovered,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::MemberJoin,
        Self::MemberLeave,
        Self::MemberFailed,
        Self::MemberUpdate,
        Self::MemberReap,
        Self::User,
        Self::Query,
        Self::BackendUp,
        Self::BackendDown,
        Self::PoolEmpty,
        Self::PoolRecovered,
    ];

    /// As it is written in specs, and in `SERF_EVENT`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MemberJoin => "member-join",
            Self::MemberLeave => "member-leave",
            Self::MemberFailed => "member-failed",
            Self::MemberUpdate => "member-update",
            Self::MemberReap => "member-reap",
            Self::User => "user",
            Self::Query => "query",
            Self::BackendUp => "backend-up",
            Self::BackendDown => "backend-down",
            Self::PoolEmpty => "pool-empty",
            Self::PoolRecovered => "pool-recovered",
        }
    }

    /// It is about a front's pools.
    pub fn is_of_a_front(self) -> bool {
        matches!(
            self,
            Self::BackendUp | Self::BackendDown | Self::PoolEmpty | Self::PoolRecovered
        )
    }
}

/// One of the types before `=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// `*`: everything that Serf knows. A script written for Serf would not expect a front's own.
    Any,
    /// All of one kind.
    Kind(Kind),
    /// `user:NAME`.
    User(String),
    /// `query:NAME`.
    Query(String),
}

impl Filter {
    fn wants(&self, kind: Kind, name: &str) -> bool {
        match self {
            Self::Any => !kind.is_of_a_front(),
            Self::Kind(wanted) => *wanted == kind,
            Self::User(wanted) => kind == Kind::User && wanted == name,
            Self::Query(wanted) => kind == Kind::Query && wanted == name,
        }
    }
}

/// Type, colon, name, of which the last may be empty.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*:"),
            Self::Kind(kind) => write!(f, "{}:", kind.as_str()),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
        }
    }
}

impl FromStr for Filter {
    type Err = BadSpec;

    fn from_str(text: &str) -> Result<Self, BadSpec> {
        match text.split_once(':') {
            // As in Serf, no name is every name.
            Some(("user", "")) => return Ok(Self::Kind(Kind::User)),
            Some(("query", "")) => return Ok(Self::Kind(Kind::Query)),
            Some(("user", name)) => return Ok(Self::User(name.to_owned())),
            Some(("query", name)) => return Ok(Self::Query(name.to_owned())),
            _ => {}
        }
        if text == "*" {
            return Ok(Self::Any);
        }
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
        kind.map(Self::Kind)
            .ok_or_else(|| BadSpec::Type(text.to_owned()))
    }
}

/// One handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Any of these.
    pub filters: Vec<Filter>,
    /// For `/bin/sh -c`.
    pub script: String,
    /// As it was given.
    pub text: String,
}

impl Spec {
    /// Whether it shall run. One that matches by two filters runs once; in Serf it would run twice.
    pub fn wants(&self, kind: Kind, name: &str) -> bool {
        self.filters.iter().any(|filter| filter.wants(kind, name))
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Spec {
    type Err = BadSpec;

    /// Split at the first `=`; without one the whole is the script, for everything.
    fn from_str(text: &str) -> Result<Self, BadSpec> {
        let (types, script) = text.split_once('=').unwrap_or(("", text));
        if script.trim().is_empty() {
            return Err(BadSpec::NoScript);
        }
        let filters = match types.trim() {
            "" => vec![Filter::Any],
            types => types
                .split(',')
                .map(|filter| filter.trim().parse())
                .collect::<Result<_, _>>()?,
        };
        Ok(Self {
            filters,
            script: script.to_owned(),
            text: text.to_owned(),
        })
    }
}

/// A text that is no handler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSpec {
    /// Nothing to run.
    #[error("has no script; write TYPE=SCRIPT, like member-join=/usr/local/bin/joined")]
    NoScript,
    /// An unknown type.
    #[error(
        "{0:?} is not a type of event; one of member-join, member-leave, member-failed, member-update, member-reap, user[:NAME], query[:NAME], *, and on a front backend-up, backend-down, pool-empty, pool-recovered"
    )]
    Type(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `text` wants of everything there is, or why it is no spec.
    fn wanted(text: &str) -> Result<String, BadSpec> {
        let spec: Spec = text.parse()?;
        let all = Kind::ALL.into_iter().flat_map(|kind| match kind {
            Kind::User | Kind::Query => vec![(kind, "deploy"), (kind, "load")],
            _ => vec![(kind, "")],
        });
        let wanted = all.filter(|(kind, name)| spec.wants(*kind, name));
        let shown = wanted.map(|(kind, name)| match name {
            "" => kind.as_str().to_owned(),
            name => format!("{}:{name}", kind.as_str()),
        });
        Ok(format!(
            "{} ({})",
            shown.collect::<Vec<_>>().join(" "),
            spec.script
        ))
    }

    #[test]
    fn types_choose_what_a_script_runs_for() {
        let serfs = "member-join member-leave member-failed member-update member-reap \
                     user:deploy user:load query:deploy query:load";
        for (text, expected) in [
            ("foo.sh", format!("{serfs} (foo.sh)")),
            ("=foo.sh", format!("{serfs} (foo.sh)")),
            ("*=foo.sh", format!("{serfs} (foo.sh)")),
            ("member-join=foo.sh", "member-join (foo.sh)".to_owned()),
            (
                "member-join,member-leave=foo.sh a=b",
                "member-join member-leave (foo.sh a=b)".to_owned(),
            ),
            ("user=x", "user:deploy user:load (x)".to_owned()),
            ("user:deploy=x", "user:deploy (x)".to_owned()),
            (
                "query:load,user:=x",
                "user:deploy user:load query:load (x)".to_owned(),
            ),
            (
                "backend-up, pool-empty=x",
                "backend-up pool-empty (x)".to_owned(),
            ),
        ] {
            assert_eq!(wanted(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn a_text_that_is_no_handler_is_refused() {
        assert_eq!(wanted(""), Err(BadSpec::NoScript));
        assert_eq!(wanted("user= "), Err(BadSpec::NoScript));
        let unknown = |name: &str| Err(BadSpec::Type(name.to_owned()));
        assert_eq!(wanted("FOO=bar ./script"), unknown("FOO"));
        assert_eq!(wanted("member-join,=x"), unknown(""));
        assert_eq!(wanted("member-joined:web=x"), unknown("member-joined:web"));
    }
}
