//! Serf's verbs, of both programs: asked of a running member through its RPC, shown as Serf shows them.
//!
//! ```text
//! argv ─▶ Deed ─▶ Client (--rpc-addr) ─▶ a member: lb, lb-agent or serf agent
//!                    └─▶ stdout as `serf` prints it, or --json; all else on stderr; exit code of the contract
//! ```
//!
//! Serf's own spelling of flags (`-status=alive`) is one of ours: see `crate::argv`.

mod keys;
mod members;
mod monitor;
mod query;
mod show;
mod simple;

use std::ffi::OsString;
use std::process::ExitCode;

use self::show::{note, put};
use super::{complain, exit, usage};
use crate::announce::gathered;
use crate::argv::help::Page;
use crate::argv::{Table, table};
use crate::config;
use crate::rpc::Secret;
use crate::rpc::client::{Client, ClientError};

/// A verb, filled by its command line.
trait Deed: Table {
    /// What one row does not say.
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }

    /// Does it.
    fn run(self: Box<Self>, voice: Voice) -> Outcome;
}

/// Name and purpose of each of Serf's verbs.
pub(super) const VERBS: &[(&str, &str)] = &[
    ("members", "List the members of the cluster"),
    ("join", "Have the member join a cluster through others"),
    (
        "leave",
        "Have the member leave the cluster; an agent ends then, a front goes on routing",
    ),
    ("force-leave", "Turn a failed member into a left one"),
    ("event", "Send an event to every member"),
    ("query", "Ask every member, and show their answers"),
    (
        "monitor",
        "Show events and the log of the member as they come",
    ),
    ("tags", "Change the tags of the member"),
    ("keys", "Change or list the keys of the whole cluster"),
    ("keygen", "Make a new key"),
    ("reachability", "Test whether every member can be reached"),
    ("rtt", "Estimate the round-trip time between two members"),
    ("info", "Show what the member tells of itself"),
    ("version", "Say which version this is"),
];

fn deed(verb: &str) -> Option<Box<dyn Deed>> {
    Some(match verb {
        "members" => Box::<members::Members>::default(),
        "join" => Box::<simple::Join>::default(),
        "leave" => Box::<simple::Leave>::default(),
        "force-leave" => Box::<simple::ForceLeave>::default(),
        "event" => Box::<simple::Event>::default(),
        "query" => Box::<query::Query>::default(),
        "monitor" => Box::<monitor::Monitor>::default(),
        "tags" => Box::<simple::Tags>::default(),
        "keys" => Box::<keys::Keys>::default(),
        "keygen" => Box::<keys::Keygen>::default(),
        "reachability" => Box::<query::Reachability>::default(),
        "rtt" => Box::<simple::Rtt>::default(),
        "info" => Box::<simple::Info>::default(),
        "version" => Box::<Version>::default(),
        _ => return None,
    })
}

table! {
    /// What `version` takes: nothing.
    struct Version {}
}

impl Deed for Version {
    fn run(self: Box<Self>, voice: Voice) -> Outcome {
        put(format_args!(
            "{} {}\nAgent Protocol: 5 (Understands back to: 2)",
            voice.program,
            env!("CARGO_PKG_VERSION")
        ));
        Ok(())
    }
}

table! {
    /// Whom to ask.
    struct Rpc {
        /// RPC address of the member [default: 127.0.0.1:7373] [LB_RPC_ADDR, SERF_RPC_ADDR]
        rpc_addr: Option<String> => "--rpc-addr <HOST:PORT>",
        /// File with the secret that it wants [LB_RPC_AUTH_KEY_FILE, or the secret itself in LB_RPC_AUTH_KEY, SERF_RPC_AUTH]
        rpc_auth_key_file: Option<String> => "--rpc-auth-key-file <FILE>",
        /// The secret itself, as Serf has it; others on this machine can see it
        rpc_auth: Option<String> => "--rpc-auth <SECRET>" [hidden],
    }
}

/// Why a verb ended without what it was for; everything was said.
pub(super) struct Failed(u8);

impl From<Failed> for ExitCode {
    fn from(failed: Failed) -> Self {
        failed.0.into()
    }
}

type Outcome = Result<(), Failed>;

/// A verb on its way: the program's name, for what it says.
#[derive(Clone, Copy, Debug)]
struct Voice {
    program: &'static str,
}

/// Does what `verb` and the `words` behind it say; `None` where it is none of Serf's.
pub(super) fn run(program: &'static str, verb: &str, words: Vec<OsString>) -> Option<ExitCode> {
    let deed = deed(verb)?;
    let (_, about) = VERBS.iter().find(|(name, _)| *name == verb)?;
    Some(
        done(program, &format!("{program} {verb}"), about, deed, words).unwrap_or_else(|code| code),
    )
}

fn done(
    program: &'static str,
    command: &str,
    about: &str,
    mut deed: Box<dyn Deed>,
    words: Vec<OsString>,
) -> Result<ExitCode, ExitCode> {
    let page = Page {
        command,
        about,
        verbs: &[],
        note: &|_| String::new(),
        behind: "",
    };
    usage::fill(&page, &mut *deed, words)?;
    deed.check()
        .map_err(|wrong| usage::refused(program, wrong))?;
    deed.run(Voice { program })?;
    Ok(ExitCode::SUCCESS)
}

impl Voice {
    fn usage(self, what: impl std::fmt::Display) -> Failed {
        complain(self.program, what);
        Failed(exit::USAGE)
    }

    fn failed(self, what: impl std::fmt::Display) -> Failed {
        complain(self.program, what);
        Failed(exit::FAILED)
    }

    /// Says what a client could not do, `doing` something.
    fn told(self, doing: &str) -> impl Fn(ClientError) -> Failed {
        move |error| match &error {
            ClientError::Nobody { address, source } => {
                let source = cause(source);
                complain(
                    self.program,
                    format_args!(
                        "nobody answers at {address}: {source}; is lb, lb-agent or serf agent running there? see --rpc-addr"
                    ),
                );
                Failed(exit::NOBODY)
            }
            ClientError::Refused(why)
                if why == "Authentication required" || why == "Invalid authentication token" =>
            {
                self.failed(format_args!(
                    "{doing}: {why}; give the member's secret with --rpc-auth-key-file"
                ))
            }
            _ => self.failed(format_args!("{doing}: {}", error.to_string().trim_end())),
        }
    }

    /// Connects.
    fn connect(self, rpc: &Rpc) -> Result<Client, Failed> {
        let secret = self.secret(rpc)?;
        let address = address(rpc, &variable);
        Client::connect(&address, secret.as_ref()).map_err(self.told("connecting"))
    }

    fn secret(self, rpc: &Rpc) -> Result<Option<Secret>, Failed> {
        if let Some(secret) = &rpc.rpc_auth {
            if rpc.rpc_auth_key_file.is_some() {
                return Err(self.usage("--rpc-auth: excludes --rpc-auth-key-file"));
            }
            note(
                self.program,
                "--rpc-auth shows the secret to everyone who can list processes; use --rpc-auth-key-file",
            );
            return Ok(Some(Secret::new(secret)));
        }
        let file = match &rpc.rpc_auth_key_file {
            Some(file) => Some(file.clone()),
            None => match variable("LB_RPC_AUTH_KEY") {
                Some(secret) => return Ok(Some(Secret::new(secret))),
                None => variable("LB_RPC_AUTH_KEY_FILE"),
            },
        };
        match file {
            Some(file) => match config::rpc_secret(&file) {
                Ok(secret) => Ok(Some(secret)),
                Err(why) => Err(self.usage(format_args!("--rpc-auth-key-file {file}: {why}"))),
            },
            None => Ok(variable("SERF_RPC_AUTH").map(Secret::new)),
        }
    }
}

/// Without the system's number.
fn cause(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::TimedOut => "timed out".to_owned(),
        _ => error.to_string(),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// `LB_RPC_ADDR` is a running member's setting as well, and may say that it has none.
fn address(rpc: &Rpc, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let given = rpc.rpc_addr.clone();
    let ours = || variable("LB_RPC_ADDR").filter(|text| text != "off" && text != "none");
    let text = given
        .or_else(ours)
        .or_else(|| variable("SERF_RPC_ADDR"))
        .unwrap_or_else(|| config::RPC.to_string());
    match text.strip_prefix(':') {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text,
    }
}

/// `KEY=VALUE`s, as Serf takes tags and filters.
fn pairs(
    voice: Voice,
    texts: &[String],
) -> Result<std::collections::BTreeMap<String, String>, Failed> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(voice.usage(format_args!("{text}: is not KEY=VALUE, like zone=eu-1"))),
    };
    let pairs: Vec<_> = texts.iter().map(pair).collect::<Result<_, _>>()?;
    Ok(gathered(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_taken_from_flag_then_ours_then_serf_s() {
        let of = |flag: Option<&str>, variables: &[(&str, &str)]| {
            let rpc = Rpc {
                rpc_addr: flag.map(str::to_owned),
                ..Rpc::default()
            };
            address(&rpc, &|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let both = [("LB_RPC_ADDR", "10.0.0.1:1"), ("SERF_RPC_ADDR", "s:2")];

        assert_eq!(of(Some("h:3"), &both), "h:3");
        assert_eq!(of(None, &both), "10.0.0.1:1");
        assert_eq!(of(None, &both[1..]), "s:2");
        assert_eq!(of(None, &[("LB_RPC_ADDR", "off")]), "127.0.0.1:7373");
        assert_eq!(of(Some(":7374"), &[]), "127.0.0.1:7374");
    }
}
