//! Serf's verbs, of both programs: asked of a running member through its RPC, shown as Serf shows them.
//!
//! ```text
//! argv ─▶ Verb ─▶ Client (--rpc-addr) ─▶ a member: lb, lb-agent or serf agent
//!                    └─▶ stdout as `serf` prints it, or --json; all else on stderr; exit code of the contract
//! ```
//!
//! Serf's own spelling of flags (`-status=alive`) becomes ours before clap sees it: see `super::dashes`.

mod keys;
mod members;
mod monitor;
mod query;
mod show;
mod simple;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use self::show::{note, put};
use super::{complain, exit};
use crate::config;
use crate::rpc::Secret;
use crate::rpc::client::{Client, ClientError};

/// Serf's verbs.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// List the members of the cluster
    Members(members::Members),
    /// Have the member join a cluster through others
    Join(simple::Join),
    /// Have the member leave the cluster; an agent ends then, a front goes on routing
    Leave(simple::Leave),
    /// Turn a failed member into a left one
    ForceLeave(simple::ForceLeave),
    /// Send an event to every member
    Event(simple::Event),
    /// Ask every member, and show their answers
    Query(query::Query),
    /// Show events and the log of the member as they come
    Monitor(monitor::Monitor),
    /// Change the tags of the member
    Tags(simple::Tags),
    /// Change or list the keys of the whole cluster
    Keys(keys::Keys),
    /// Make a new key
    Keygen,
    /// Test whether every member can be reached
    Reachability(query::Reachability),
    /// Estimate the round-trip time between two members
    Rtt(simple::Rtt),
    /// Show what the member tells of itself
    Info(simple::Info),
    /// Say which version this is
    Version,
}

/// Whom to ask.
#[derive(Args, Clone, Debug, Default)]
pub struct Rpc {
    /// RPC address of the member [default: 127.0.0.1:7373] [LB_RPC_ADDR, SERF_RPC_ADDR]
    #[arg(long, value_name = "HOST:PORT")]
    rpc_addr: Option<String>,
    /// File with the secret that it wants [LB_RPC_AUTH_KEY_FILE, or the secret itself in LB_RPC_AUTH_KEY, SERF_RPC_AUTH]
    #[arg(long, value_name = "FILE")]
    rpc_auth_key_file: Option<String>,
    /// The secret itself, as Serf has it; others on this machine can see it
    #[arg(
        long,
        value_name = "SECRET",
        hide = true,
        conflicts_with = "rpc_auth_key_file"
    )]
    rpc_auth: Option<String>,
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

/// Does what `verb` says.
pub fn run(program: &'static str, verb: Verb) -> ExitCode {
    let voice = Voice { program };
    let outcome = match verb {
        Verb::Members(given) => given.run(voice),
        Verb::Join(given) => given.run(voice),
        Verb::Leave(given) => given.run(voice),
        Verb::ForceLeave(given) => given.run(voice),
        Verb::Event(given) => given.run(voice),
        Verb::Query(given) => given.run(voice),
        Verb::Monitor(given) => given.run(voice),
        Verb::Tags(given) => given.run(voice),
        Verb::Keys(given) => given.run(voice),
        Verb::Keygen => keys::keygen(),
        Verb::Reachability(given) => given.run(voice),
        Verb::Rtt(given) => given.run(voice),
        Verb::Info(given) => given.run(voice),
        Verb::Version => {
            put(format_args!(
                "{program} {}\nAgent Protocol: 5 (Understands back to: 2)",
                env!("CARGO_PKG_VERSION")
            ));
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => failed.into(),
    }
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
    texts.iter().map(pair).collect()
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
