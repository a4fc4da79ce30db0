//! The flags of both programs, as text. They become typed values in `common`, `front` and `agent`.
//!
//! ```text
//! argv::table ──▶ Front | Agent (text) ──▶ sources (flag over LB_NAME over file over default)
//! ```
//!
//! Every flag `--some-name` has the variable `LB_SOME_NAME`; lists are separated by commas there.

use std::path::PathBuf;

use super::defaults;
use crate::argv::{Row, table};

table! {
    /// What both programs take.
    pub struct Common {
        /// Gossip address to bind, UDP and TCP
        pub bind: Option<String> => "--bind <IP[:PORT]>" under "Gossip",
        /// Gossip address that others are told; default: a private address of this machine
        pub advertise: Option<String> => "--advertise <HOST[:PORT]>" under "Gossip",
        /// Interface whose address is advertised when --advertise is not given
        pub iface: Option<String> => "--iface <NAME>" under "Gossip",
        /// Name of this node, unique in the cluster; default: the hostname
        pub node: Option<String> => "--node <NAME>" under "Gossip",
        /// Member to join through: IP, host or DNS name with several addresses (repeatable)
        pub join: Vec<String> => "--join <HOST[:PORT]>" under "Gossip",
        /// Name under which members find one another without --join; default: the first cluster or role
        pub discover: Option<String> => "--discover <NAME|off>" under "Gossip",
        /// File with the gossip keys, base64, one a line, or Serf's keyring.json; or the key itself in LB_ENCRYPT_KEY
        pub encrypt_key_file: Option<String> => "--encrypt-key-file <FILE>" under "Gossip",
        /// Gossip in clear over public addresses: anyone who reaches the port can name backends
        pub insecure_gossip: Option<String> => "--insecure-gossip[=<BOOL>]" under "Gossip",
        /// Tag to announce beside our own (repeatable)
        pub tag: Vec<String> => "--tag <KEY=VALUE>" under "Gossip",
        /// File that keeps all tags, as JSON: read at the start, written when `tags` changes them. In place of --tag
        pub tags_file: Option<String> => "--tags-file <FILE>" under "Gossip",
        /// Serf's snapshot: who is alive and what was heard, to rejoin and to go on after a restart
        pub snapshot: Option<String> => "--snapshot <FILE>" under "Gossip",
        /// Join the members of the snapshot again also after a leave
        pub rejoin: Option<String> => "--rejoin[=<BOOL>]" under "Gossip",
        /// Take user events that happened before we came, as long as the others know of them
        pub replay: Option<String> => "--replay[=<BOOL>]" under "Gossip",
        /// Timing of gossip: lan, wan or local
        pub profile: Option<String> => "--profile <PROFILE>" under "Gossip",
        /// Script to run on events (repeatable; lines in the variable): member-join, user:NAME, query:NAME, …
        pub event_handler: Vec<String> => "--event-handler <[TYPE,…=]SCRIPT>" under "Gossip",
        /// Time after which such a script is killed
        pub handler_timeout: Option<String> => "--handler-timeout <TIME>" under "Gossip",
        /// Handlers that run what comes on stdin, as query:x=sh, without encryption: a shell for anyone who reaches the port
        pub insecure_handlers: Option<String> => "--insecure-handlers[=<BOOL>]" under "Gossip",
        /// Address of Serf's RPC
        pub rpc_addr: Option<String> => "--rpc-addr <IP:PORT|off>" under "Operation",
        /// File with the secret that RPC clients must know
        pub rpc_auth_key_file: Option<String> => "--rpc-auth-key-file <FILE>" under "Operation",
        /// Address of metrics, health and API
        pub admin: Option<String> => "--admin <IP:PORT|off>" under "Operation",
        /// File with the secret that admin clients must know
        pub admin_token_file: Option<String> => "--admin-token-file <FILE>" under "Operation",
        /// Address of the DNS server that answers with the pool
        pub dns: Option<String> => "--dns <IP:PORT|off>" under "Operation",
        /// Domain that the DNS server answers for
        pub dns_domain: Option<String> => "--dns-domain <DOMAIN>" under "Operation",
        /// Directory for what outlives a restart; default: $STATE_DIRECTORY, else /var/lib/lb for root, else the XDG state directory
        pub state_dir: Option<String> => "--state-dir <DIR|none>" under "Operation",
        /// How much is logged: error, warn, info, debug or trace
        pub log_level: Option<String> => "--log-level <LEVEL>" under "Operation",
        /// Configuration file (TOML); flags and environment win over it
        pub config: Option<PathBuf> => "--config <FILE>" under "Operation",
    }
}

table! {
    /// What `lb` takes.
    pub struct Front {
        /// Pool to serve: the members with this role (repeatable; the first takes all requests)
        pub cluster: Vec<String> => "--cluster <NAME>",
        /// Address to serve on (repeatable)
        pub listen: Vec<String> => "--listen <[IP]:PORT>",
        /// Backend that is not discovered, for the first pool (repeatable). Without any --cluster the pool is named "default"
        pub backend: Vec<String> => "--backend <HOST:PORT[,weight=N][,backup]>",
        /// Worker threads; 0: one per core
        pub workers: Option<String> => "--workers <N>",
        /// File that gets a line for each request; SIGUSR1 opens it anew
        pub access_log: Option<String> => "--access-log <FILE|stdout|off>" under "Operation",
        /// How its lines look: json or combined
        pub access_format: Option<String> => "--access-format <FORMAT>" under "Operation",
        with pub common: Common,
    }
}

table! {
    /// What `lb-agent` takes.
    pub struct Agent {
        /// Pool that this node serves
        pub role: Option<String> => "--role <NAME>",
        /// Port of the service; default: the front's for that pool (80)
        pub port: Option<String> => "--port <PORT>",
        /// Share of the requests, 1 to 1000
        pub weight: Option<String> => "--weight <N>",
        /// Take requests only when no primary can
        pub backup: Option<String> => "--backup[=<BOOL>]",
        /// How the service is checked. By the agent: http:[PORT]/path, tcp[:PORT], exec:COMMAND, ttl:30s. Fronts are told to check in the same way
        /// where they can: http, tcp, https:[PORT]/path, grpc[:SERVICE], none; default: only fronts check, as their pool has it. NAME= in front
        /// makes it that of a further --service (repeatable; lines in the variable)
        pub check: Vec<String> => "--check <[NAME=]CHECK>",
        /// Time between two of the agent's checks
        pub check_interval: Option<String> => "--check-interval <TIME>",
        /// Time for one of them
        pub check_timeout: Option<String> => "--check-timeout <TIME>",
        /// Passes until it is said to work
        pub check_rise: Option<String> => "--check-rise <N>",
        /// Failures until it is said not to
        pub check_fall: Option<String> => "--check-fall <N>",
        /// Socket that a ttl check is reported to; default: check.sock in $RUNTIME_DIRECTORY, else /run/lb-agent for root, else $XDG_RUNTIME_DIR/lb-agent
        pub check_socket: Option<String> => "--check-socket <PATH>",
        /// Command that says how much the node wants, as HAProxy's agent-check: 75%, ready, drain, maint, up, down#reason
        pub agent_check: Option<String> => "--agent-check <COMMAND>",
        /// Time between two of its runs
        pub agent_check_interval: Option<String> => "--agent-check-interval <TIME>",
        /// One more service of this node (repeatable), like api=8080;w=3
        pub service: Vec<String> => "--service <NAME=PORT[;w=N][;p=N][;b][;c=CHECK]>",
        /// File that gets the living members' names and addresses, in a block of its own, like /etc/hosts
        pub hosts_file: Option<String> => "--hosts-file <FILE>",
        /// With the verb run: time for the service to stop before it is killed
        pub stop_timeout: Option<String> => "--stop-timeout <TIME>",
        with pub common: Common,
        besides /// They came from a command line of `serf agent`, whose tags may be anything.
        pub serf: bool,
    }
}

/// The variable of a flag: `LB_DNS_DOMAIN` of `dns-domain`.
pub fn variable(flag: &str) -> String {
    format!("LB_{}", flag.to_uppercase().replace('-', "_"))
}

/// Default and variable of a flag, as they stand behind its help.
pub fn sources(row: &Row, front: bool) -> String {
    let Some(flag) = row.flag() else {
        return String::new();
    };
    let default = match defaults::shown(flag, front) {
        Some(default) => format!(" [default: {default}]"),
        None => String::new(),
    };
    format!("{default} [{}]", variable(flag))
}
