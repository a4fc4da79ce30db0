//! Flag over environment over file, for one setting at a time.
//!
//! ```text
//! --weight ────┐
//! LB_WEIGHT ───┼─ first that is there ──parse──▶ Some(value), or None for the default
//! agent.weight ┘        the file's is parsed in any case: its faults are told too
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::document::{Found, Place};
use super::error::{At, Error, Faults};
use super::flags::variable;

/// What the program finds around itself besides its flags: read once, at the start.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Variables whose name begins with `LB_`.
    pub variables: BTreeMap<String, String>,
    /// The machine's name; may be empty.
    pub hostname: String,
    /// Makes a node name unique where the hostname is none.
    pub dice: u16,
    /// Where state is kept unless said otherwise; `None`: nowhere.
    pub state_home: Option<PathBuf>,
    /// Where sockets are put; `None`: there is no such place.
    pub runtime_home: Option<PathBuf>,
}

impl Surroundings {
    /// Of this process.
    pub fn of_process() -> Self {
        use rand::RngExt;
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.into_string().ok()?;
                let ours = name.starts_with("LB_");
                ours.then(|| (name, value.to_string_lossy().into_owned()))
            })
            .collect();
        let root = rustix::process::geteuid().is_root();
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            variables,
            hostname: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            dice: crate::clock::random().random(),
            state_home: state_home(root, &variable),
            runtime_home: runtime_home(root, &variable),
        }
    }
}

impl Surroundings {
    /// Where the service reports to a ttl check, unless another place is given.
    pub fn check_socket(&self) -> Option<PathBuf> {
        let home = self.runtime_home.as_ref()?;
        Some(home.join("check.sock"))
    }
}

/// Names of variables only: one of them may be a key.
impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("variables", &self.variables.keys())
            .field("hostname", &self.hostname)
            .finish_non_exhaustive()
    }
}

/// systemd's `StateDirectory=`, else the place of system programs for root, else that of the user's own (XDG).
fn state_home(root: bool, variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(given) = variable("STATE_DIRECTORY") {
        // Several are separated by colons; the first is as good as any.
        return std::env::split_paths(&given).next();
    }
    if root {
        return Some(PathBuf::from("/var/lib/lb"));
    }
    // The XDG rules have relative paths ignored.
    let home = variable("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let user = || variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    home.or_else(user).map(|home| home.join("lb"))
}

/// systemd's `RuntimeDirectory=`, else the place of system programs for root, else that of the user's session.
fn runtime_home(root: bool, variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(given) = variable("RUNTIME_DIRECTORY") {
        return std::env::split_paths(&given).next();
    }
    if root {
        return Some(PathBuf::from("/run/lb-agent"));
    }
    let user = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    user.filter(|path| path.is_absolute())
        .map(|home| home.join("lb-agent"))
}

/// Reads settings; notes faults and warnings.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    variables: &'a BTreeMap<String, String>,
    pub(super) faults: &'a Faults,
    pub(super) warnings: RefCell<Vec<String>>,
    asked: RefCell<BTreeSet<String>>,
}

/// A typed value and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Valued<T> {
    pub(super) value: T,
    pub(super) at: At,
    pub(super) shown: String,
}

impl<T> Valued<T> {
    pub(super) fn place(&self) -> Place {
        Place {
            at: self.at.clone(),
            shown: self.shown.clone(),
        }
    }
}

impl<'a> Sources<'a> {
    pub(super) fn new(around: &'a Surroundings, faults: &'a Faults) -> Self {
        Self {
            variables: &around.variables,
            faults,
            warnings: RefCell::default(),
            // Read before all others, since it names the file.
            asked: BTreeSet::from([variable("config")]).into(),
        }
    }

    /// A setting with one value.
    pub(super) fn scalar<T>(
        &self,
        flag: &'static str,
        given: &Option<String>,
        file: Option<Found>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Valued<T>> {
        let file = file.and_then(|found| self.parsed(found, &parse));
        self.asked.borrow_mut().insert(variable(flag));
        let above = given.as_ref().map(|text| of_flag(flag, text));
        match above.or_else(|| self.variable(flag)) {
            Some(found) => self.parsed(found, &parse),
            None => file,
        }
    }

    /// A setting with several values; the first source that has any gives all. In flags and
    /// variables, `split` takes a text apart.
    pub(super) fn list<T>(
        &self,
        flag: &'static str,
        given: &[String],
        file: Option<Vec<Found>>,
        split: impl Fn(&str) -> Vec<String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<Valued<T>>> {
        let typed = |found: Vec<Found>| -> Vec<Valued<T>> {
            found
                .into_iter()
                .filter_map(|found| self.parsed(found, &parse))
                .collect()
        };
        let apart = |found: Found| -> Vec<Found> {
            let parts = split(&found.text);
            if parts.is_empty() {
                return vec![found];
            }
            parts
                .into_iter()
                .map(|text| Found {
                    at: found.at.clone(),
                    shown: text.clone(),
                    text,
                })
                .collect()
        };
        let file = file.map(typed);
        self.asked.borrow_mut().insert(variable(flag));
        if !given.is_empty() {
            let given = given.iter().flat_map(|text| apart(of_flag(flag, text)));
            return Some(typed(given.collect()));
        }
        match self.variable(flag) {
            Some(found) => Some(typed(apart(found))),
            None => file,
        }
    }

    /// A setting whose function is still to come: its value is judged, and a
    /// warning says that it does nothing. No warning for what is so already, or is the default.
    pub(super) fn without_effect<T: PartialEq>(
        &self,
        flag: &'static str,
        given: &Option<String>,
        file: Option<Found>,
        parse: impl Fn(&str) -> Result<T, String>,
        as_it_is: &[T],
    ) -> Option<Valued<T>> {
        let valued = self.scalar(flag, given, file, parse)?;
        if !as_it_is.contains(&valued.value) {
            self.warn(format!("{} has no effect yet", valued.at));
        }
        Some(valued)
    }

    /// A typed value of a file's key that has no flag.
    pub(super) fn key<T>(
        &self,
        found: Option<Found>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.parsed(found?, &parse).map(|valued| valued.value)
    }

    /// The typed values of a file's list that has no flag.
    pub(super) fn keys<T>(
        &self,
        found: Vec<Found>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<Valued<T>> {
        let found = found.into_iter();
        found
            .filter_map(|found| self.parsed(found, &parse))
            .collect()
    }

    /// Overwrites `setting` if the file has a value for it.
    pub(super) fn set<T>(
        &self,
        setting: &mut T,
        found: Option<Found>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) {
        if let Some(value) = self.key(found, parse) {
            *setting = value;
        }
    }

    /// Notes a sentence for the operator.
    pub(super) fn warn(&self, sentence: impl Into<String>) {
        self.warnings.borrow_mut().push(sentence.into());
    }

    /// Refuses a value for what it means together with others.
    pub(super) fn refuse<T>(&self, valued: &Valued<T>, why: impl Into<String>) {
        self.faults.value(&valued.at, &valued.shown, why);
    }

    /// Warns of variables that look like ours and are not, once all of ours were asked for.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for name in self.variables.keys().filter(|name| !asked.contains(*name)) {
            let near = |known: &&String| strsim::osa_distance(name, known) <= 2;
            if let Some(meant) = asked.iter().find(near) {
                self.warn(format!("{name} is not known; did you mean {meant}?"));
            }
        }
    }

    /// The variable of a flag, unless it is empty or not meant for us.
    pub(super) fn variable(&self, flag: &str) -> Option<Found> {
        let name = variable(flag);
        self.asked.borrow_mut().insert(name.clone());
        let text = self.variables.get(&name).filter(|text| !text.is_empty())?;
        if text.starts_with("tcp://") {
            // Kubernetes sets LB_PORT=tcp://10.0.0.1:80 in every container beside a service named "lb".
            self.warn(format!(
                "{name}={text} was set by Kubernetes for a service named lb; ignored"
            ));
            return None;
        }
        Some(Found {
            at: At::Variable(name),
            text: text.clone(),
            shown: text.clone(),
        })
    }

    fn parsed<T>(
        &self,
        found: Found,
        parse: &impl Fn(&str) -> Result<T, String>,
    ) -> Option<Valued<T>> {
        match parse(&found.text) {
            Ok(value) => Some(Valued {
                value,
                at: found.at,
                shown: found.shown,
            }),
            Err(why) => {
                self.faults.value(&found.at, &found.shown, why);
                None
            }
        }
    }

    /// Notes what is wrong with several settings together, none of which stands anywhere.
    pub(super) fn conflict(&self, sentence: String) {
        self.faults.push(Error::Conflict(sentence));
    }

    /// The same at the one of them that may give way.
    pub(super) fn refuse_at(&self, place: &Place, why: impl Into<String>) {
        self.faults.value(&place.at, &place.shown, why);
    }
}

fn of_flag(flag: &'static str, text: &str) -> Found {
    Found {
        at: At::Flag(flag.to_owned()),
        text: text.to_owned(),
        shown: if text.is_empty() {
            "\"\"".to_owned()
        } else {
            text.to_owned()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(root: bool, variables: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        state_home(root, &variable).map(|path| path.display().to_string())
    }

    #[test]
    fn state_is_kept_where_the_system_wants_it() {
        let user = [("HOME", "/home/x"), ("XDG_STATE_HOME", "/s")];
        let given = [("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"), user[0]];

        assert_eq!(home(true, &given).as_deref(), Some("/var/lib/a"));
        assert_eq!(home(false, &given).as_deref(), Some("/var/lib/a"));
        assert_eq!(home(true, &user).as_deref(), Some("/var/lib/lb"));
        assert_eq!(home(false, &user).as_deref(), Some("/s/lb"));
        assert_eq!(
            home(false, &user[..1]).as_deref(),
            Some("/home/x/.local/state/lb")
        );
        assert_eq!(home(false, &[("XDG_STATE_HOME", "s")]), None);
    }
}
