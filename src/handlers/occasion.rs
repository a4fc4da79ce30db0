//! What a script is told: by its environment and on its stdin.
//!
//! ```text
//! member-join   SERF_EVENT                        web1 TAB 10.0.0.11 TAB web TAB port=80,role=web
//! user, query   … SERF_USER_EVENT SERF_USER_LTIME payload, with a newline at its end
//! backend-down  … LB_POOL LB_BACKEND LB_ADDRESS   web1 TAB 10.0.0.11:80 TAB web TAB connection refused
//! ```

use std::fmt;
use std::sync::Arc;

use super::Kind;
use crate::announce::Tags;
use crate::gossip::core::member::Member;

/// Takes the answer to a query.
pub type Answer = Arc<dyn Fn(Vec<u8>) + Send + Sync>;

/// Who runs the script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// Our name.
    pub name: String,
    /// Our tags.
    pub tags: Tags,
}

impl Who {
    /// `SERF_SELF_NAME`, `SERF_SELF_ROLE` and a `SERF_TAG_NAME` for each tag.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let role = self.tags.get("role").cloned().unwrap_or_default();
        let mut all = vec![
            ("SERF_SELF_NAME".to_owned(), self.name.clone()),
            ("SERF_SELF_ROLE".to_owned(), role),
        ];
        for (name, value) in &self.tags {
            let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let name: String = name
                .chars()
                .map(upper)
                .map(|letter| if fits(letter) { letter } else { '_' })
                .collect();
            // No variable can hold it; Serf's script would not start at all.
            let value = value.replace('\0', "");
            all.push((format!("SERF_TAG_{name}"), value));
        }
        all
    }
}

/// One thing that happened.
pub struct Occasion {
    /// What.
    pub kind: Kind,
    /// Of a user event or query.
    pub name: String,
    /// Variables beside those of every script.
    pub env: Vec<(String, String)>,
    /// For its stdin.
    pub stdin: Vec<u8>,
    /// Of a query.
    pub answer: Option<Answer>,
}

impl fmt::Debug for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Occasion")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Occasion {
    /// The same became of these: a line for each.
    pub fn members<'m>(kind: Kind, members: impl IntoIterator<Item = &'m Member>) -> Self {
        Self {
            stdin: members.into_iter().map(line).collect::<String>().into(),
            ..Self::of(kind, "")
        }
    }

    /// A user event.
    pub fn user(name: &str, ltime: u64, payload: &[u8]) -> Self {
        Self {
            env: named("SERF_USER_EVENT", name, "SERF_USER_LTIME", ltime),
            stdin: lines_of(payload),
            ..Self::of(Kind::User, name)
        }
    }

    /// A query; what the script prints is the answer.
    pub fn query(name: &str, ltime: u64, payload: &[u8], answer: Answer) -> Self {
        Self {
            env: named("SERF_QUERY_NAME", name, "SERF_QUERY_LTIME", ltime),
            stdin: lines_of(payload),
            answer: Some(answer),
            ..Self::of(Kind::Query, name)
        }
    }

    /// A backend came or went; empty `node` and `address` for the pool as a whole.
    pub fn pool(kind: Kind, pool: &str, node: &str, address: &str, reason: &str) -> Self {
        let variable = |name: &str, value: &str| (name.to_owned(), value.replace('\0', ""));
        let line = [node, address, pool, reason].map(clean).join("\t");
        Self {
            env: vec![
                variable("LB_POOL", pool),
                variable("LB_BACKEND", node),
                variable("LB_ADDRESS", address),
                variable("LB_REASON", reason),
            ],
            stdin: format!("{line}\n").into(),
            ..Self::of(kind, "")
        }
    }

    fn of(kind: Kind, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            env: Vec::new(),
            stdin: Vec::new(),
            answer: None,
        }
    }

    /// For a log line: `member-join`, `user deploy`.
    pub(super) fn title(&self) -> String {
        match self.name.as_str() {
            "" => self.kind.as_str().to_owned(),
            name => format!("{} {name}", self.kind.as_str()),
        }
    }

    /// Everything that a script of `who` finds.
    pub(super) fn environment(&self, who: &Who) -> Vec<(String, String)> {
        let event = ("SERF_EVENT".to_owned(), self.kind.as_str().to_owned());
        let mut all = vec![event];
        all.extend(who.environment());
        all.extend(self.env.iter().cloned());
        all
    }
}

/// As Go has it: a letter for a letter.
fn upper(letter: char) -> char {
    let mut letters = letter.to_uppercase();
    match (letters.next(), letters.next()) {
        (Some(upper), None) => upper,
        _ => letter,
    }
}

fn named(variable: &str, name: &str, clock: &str, ltime: u64) -> Vec<(String, String)> {
    vec![
        (variable.to_owned(), name.replace('\0', "")),
        (clock.to_owned(), ltime.to_string()),
    ]
}

/// `NAME TAB IP TAB ROLE TAB K=V,K=V`.
fn line(member: &Member) -> String {
    let tags = member.tags.decode();
    let pairs: Vec<String> = tags
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let role = tags.get("role").map_or("", String::as_str);
    let address = member.address.ip().to_string();
    let fields = [&*member.name, &address, role, &pairs.join(",")];
    format!("{}\n", fields.map(clean).join("\t"))
}

/// What would look like another field or line.
fn clean(text: &str) -> String {
    text.replace('\t', "\\t").replace('\n', "\\n")
}

/// Many a `read` sees no line without its end.
fn lines_of(payload: &[u8]) -> Vec<u8> {
    let mut lines = payload.to_vec();
    if lines.last().is_some_and(|last| *last != b'\n') {
        lines.push(b'\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_ends_with_a_newline_unless_it_is_empty() {
        for (payload, stdin) in [
            ("", ""),
            ("a", "a\n"),
            ("a\n", "a\n"),
            ("\n", "\n"),
            ("a\nb", "a\nb\n"),
        ] {
            let occasion = Occasion::user("x", 1, payload.as_bytes());
            assert_eq!(occasion.stdin, stdin.as_bytes(), "{payload:?}");
        }
    }

    #[test]
    fn every_script_is_told_who_it_runs_for() {
        let tags = [
            ("role", "web"),
            ("svc.api", "80"),
            ("größe", "1"),
            ("v", "1"),
        ];
        let who = Who {
            name: "web1".to_owned(),
            tags: tags
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        };
        let occasion = Occasion::user("deploy", 7, b"");

        let environment = occasion.environment(&who);

        let shown: Vec<String> = environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            shown,
            [
                "SERF_EVENT=user",
                "SERF_SELF_NAME=web1",
                "SERF_SELF_ROLE=web",
                "SERF_TAG_GR__E=1",
                "SERF_TAG_ROLE=web",
                "SERF_TAG_SVC_API=80",
                "SERF_TAG_V=1",
                "SERF_USER_EVENT=deploy",
                "SERF_USER_LTIME=7",
            ]
        );
    }

    #[test]
    fn a_backends_line_has_four_fields() {
        let occasion = Occasion::pool(Kind::BackendDown, "web", "web1", "10.0.0.1:80", "a\tb\nc");

        assert_eq!(occasion.stdin, b"web1\t10.0.0.1:80\tweb\ta\\tb\\nc\n");
        assert!(
            occasion
                .env
                .contains(&("LB_POOL".to_owned(), "web".to_owned()))
        );
    }
}
