//! The flags of both programs, as text. They become typed values in `common`, `front` and `agent`.
//!
//! ```text
//! clap's derive ──▶ Front | Agent (text) ──▶ sources (flag over LB_NAME over file over default)
//! ```
//!
//! Every flag `--some-name` has the variable `LB_SOME_NAME`; lists are separated by commas there.

use std::path::PathBuf;

use clap::{Args, Command};

use super::defaults;

/// What both programs take.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Common {
    /// Gossip address to bind, UDP and TCP
    #[arg(long, value_name = "IP[:PORT]", help_heading = GOSSIP)]
    pub bind: Option<String>,
    /// Gossip address that others are told; default: a private address of this machine
    #[arg(long, value_name = "HOST[:PORT]", help_heading = GOSSIP)]
    pub advertise: Option<String>,
    /// Interface whose address is advertised when --advertise is not given
    #[arg(long, value_name = "NAME", help_heading = GOSSIP)]
    pub iface: Option<String>,
    /// Name of this node, unique in the cluster; default: the hostname
    #[arg(long, value_name = "NAME", help_heading = GOSSIP)]
    pub node: Option<String>,
    /// Member to join through: IP, host or DNS name with several addresses (repeatable)
    #[arg(long, value_name = "HOST[:PORT]", help_heading = GOSSIP)]
    pub join: Vec<String>,
    /// Name under which members find one another without --join; default: the first cluster or role
    #[arg(long, value_name = "NAME|off", help_heading = GOSSIP)]
    pub discover: Option<String>,
    /// File with the gossip keys, base64, one a line, or Serf's keyring.json; or the key itself in LB_ENCRYPT_KEY
    #[arg(long, value_name = "FILE", help_heading = GOSSIP)]
    pub encrypt_key_file: Option<String>,
    /// Gossip in clear over public addresses: anyone who reaches the port can name backends
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = GOSSIP)]
    pub insecure_gossip: Option<String>,
    /// Tag to announce beside our own (repeatable)
    #[arg(long, value_name = "KEY=VALUE", help_heading = GOSSIP)]
    pub tag: Vec<String>,
    /// File that keeps all tags, as JSON: read at the start, written when `tags` changes them. In place of --tag
    #[arg(long, value_name = "FILE", help_heading = GOSSIP)]
    pub tags_file: Option<String>,
    /// Serf's snapshot: who is alive and what was heard, to rejoin and to go on after a restart
    #[arg(long, value_name = "FILE", help_heading = GOSSIP)]
    pub snapshot: Option<String>,
    /// Join the members of the snapshot again also after a leave
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = GOSSIP)]
    pub rejoin: Option<String>,
    /// Take user events that happened before we came, as long as the others know of them
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = GOSSIP)]
    pub replay: Option<String>,
    /// Timing of gossip: lan, wan or local
    #[arg(long, value_name = "PROFILE", help_heading = GOSSIP)]
    pub profile: Option<String>,
    /// Script to run on events (repeatable; lines in the variable): member-join, user:NAME, query:NAME, …
    #[arg(long, value_name = "[TYPE,…=]SCRIPT", help_heading = GOSSIP)]
    pub event_handler: Vec<String>,
    /// Time after which such a script is killed
    #[arg(long, value_name = "TIME", help_heading = GOSSIP)]
    pub handler_timeout: Option<String>,
    /// Handlers that run what comes on stdin, as query:x=sh, without encryption: a shell for anyone who reaches the port
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = GOSSIP)]
    pub insecure_handlers: Option<String>,
    /// Address of Serf's RPC
    #[arg(long, value_name = "IP:PORT|off", help_heading = OPERATION)]
    pub rpc_addr: Option<String>,
    /// File with the secret that RPC clients must know
    #[arg(long, value_name = "FILE", help_heading = OPERATION)]
    pub rpc_auth_key_file: Option<String>,
    /// Address of metrics, health and API
    #[arg(long, value_name = "IP:PORT|off", help_heading = OPERATION)]
    pub admin: Option<String>,
    /// File with the secret that admin clients must know
    #[arg(long, value_name = "FILE", help_heading = OPERATION)]
    pub admin_token_file: Option<String>,
    /// Address of the DNS server that answers with the pool
    #[arg(long, value_name = "IP:PORT|off", help_heading = OPERATION)]
    pub dns: Option<String>,
    /// Domain that the DNS server answers for
    #[arg(long, value_name = "DOMAIN", help_heading = OPERATION)]
    pub dns_domain: Option<String>,
    /// Directory for what outlives a restart; default: $STATE_DIRECTORY, else /var/lib/lb for root, else the XDG state directory
    #[arg(long, value_name = "DIR|none", help_heading = OPERATION)]
    pub state_dir: Option<String>,
    /// How much is logged: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", help_heading = OPERATION)]
    pub log_level: Option<String>,
    /// Configuration file (TOML); flags and environment win over it
    #[arg(long, value_name = "FILE", help_heading = OPERATION)]
    pub config: Option<PathBuf>,
}

/// What `lb` takes.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Front {
    /// Pool to serve: the members with this role (repeatable; the first takes all requests)
    #[arg(long, value_name = "NAME")]
    pub cluster: Vec<String>,
    /// Address to serve on (repeatable)
    #[arg(long, value_name = "[IP]:PORT")]
    pub listen: Vec<String>,
    /// Backend that is not discovered, for the first pool (repeatable). Without any --cluster the pool is named "default"
    #[arg(long, value_name = "HOST:PORT[,weight=N][,backup]")]
    pub backend: Vec<String>,
    /// Worker threads; 0: one per core
    #[arg(long, value_name = "N")]
    pub workers: Option<String>,
    /// File that gets a line for each request; SIGUSR1 opens it anew
    #[arg(long, value_name = "FILE|stdout|off", help_heading = OPERATION)]
    pub access_log: Option<String>,
    /// How its lines look: json or combined
    #[arg(long, value_name = "FORMAT", help_heading = OPERATION)]
    pub access_format: Option<String>,
    /// Shared with the agent.
    #[command(flatten)]
    pub common: Common,
}

/// What `lb-agent` takes.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// Pool that this node serves
    #[arg(long, value_name = "NAME")]
    pub role: Option<String>,
    /// Port of the service; default: the front's for that pool (80)
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,
    /// Share of the requests, 1 to 1000
    #[arg(long, value_name = "N")]
    pub weight: Option<String>,
    /// Take requests only when no primary can
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub backup: Option<String>,
    /// How the service is checked. By the agent: http:[PORT]/path, tcp[:PORT], exec:COMMAND, ttl:30s. Fronts are told to check in the same way
    /// where they can: http, tcp, https:[PORT]/path, grpc[:SERVICE], none; default: only fronts check, as their pool has it. NAME= in front
    /// makes it that of a further --service (repeatable; lines in the variable)
    #[arg(long, value_name = "[NAME=]CHECK")]
    pub check: Vec<String>,
    /// Time between two of the agent's checks
    #[arg(long, value_name = "TIME")]
    pub check_interval: Option<String>,
    /// Time for one of them
    #[arg(long, value_name = "TIME")]
    pub check_timeout: Option<String>,
    /// Passes until it is said to work
    #[arg(long, value_name = "N")]
    pub check_rise: Option<String>,
    /// Failures until it is said not to
    #[arg(long, value_name = "N")]
    pub check_fall: Option<String>,
    /// Socket that a ttl check is reported to; default: check.sock in $RUNTIME_DIRECTORY, else /run/lb-agent for root, else $XDG_RUNTIME_DIR/lb-agent
    #[arg(long, value_name = "PATH")]
    pub check_socket: Option<String>,
    /// Command that says how much the node wants, as HAProxy's agent-check: 75%, ready, drain, maint, up, down#reason
    #[arg(long, value_name = "COMMAND")]
    pub agent_check: Option<String>,
    /// Time between two of its runs
    #[arg(long, value_name = "TIME")]
    pub agent_check_interval: Option<String>,
    /// One more service of this node (repeatable), like api=8080;w=3
    #[arg(long, value_name = "NAME=PORT[;w=N][;p=N][;b][;c=CHECK]")]
    pub service: Vec<String>,
    /// File that gets the living members' names and addresses, in a block of its own, like /etc/hosts
    #[arg(long, value_name = "FILE")]
    pub hosts_file: Option<String>,
    /// With the verb run: time for the service to stop before it is killed
    #[arg(long, value_name = "TIME")]
    pub stop_timeout: Option<String>,
    /// They came from a command line of `serf agent`, whose tags may be anything.
    #[arg(skip)]
    pub serf: bool,
    /// Shared with the front.
    #[command(flatten)]
    pub common: Common,
}

const GOSSIP: &str = "Gossip";
const OPERATION: &str = "Operation";

/// The variable of a flag: `LB_DNS_DOMAIN` of `dns-domain`.
pub fn variable(flag: &str) -> String {
    format!("LB_{}", flag.to_uppercase().replace('-', "_"))
}

/// The flags of `lb-agent` alone: verbs and help would take a tenth of its heap for as long as it runs.
pub fn agent() -> Command {
    let command = Command::new("lb-agent").version(env!("CARGO_PKG_VERSION"));
    // As with help: "--weight -1" is told about weight.
    Agent::augment_args(command).mut_args(|arg| arg.allow_negative_numbers(true))
}

/// Puts default and variable behind the help of every flag.
pub fn documented(command: Command, front: bool) -> Command {
    command.mut_args(|arg| {
        let Some(long) = arg.get_long().map(str::to_owned) else {
            return arg;
        };
        if arg.get_help().is_none() || ["help", "version"].contains(&long.as_str()) {
            return arg;
        }
        let default = match defaults::shown(&long, front) {
            Some(default) => format!(" [default: {default}]"),
            None => String::new(),
        };
        let help = format!(
            "{}{default} [{}]",
            arg.get_help().map(ToString::to_string).unwrap_or_default(),
            variable(&long)
        );
        // So that "--workers -1" is told about workers, not about an unknown flag "-1".
        arg.help(help).allow_negative_numbers(true)
    })
}
