//! What the screen says first: where requests go in, where to look, what to do next.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::gossip::driver::Advertised;

/// The facts of a start.
#[derive(Debug)]
pub(super) struct Banner<'a> {
    pub pools: Vec<&'a str>,
    pub entries: Vec<Entry<'a>>,
    pub workers: usize,
    pub admin: Option<SocketAddr>,
    pub node: &'a str,
    pub gossip: &'a Advertised,
    /// Fingerprint of the primary key; `None`: in clear.
    pub key: Option<String>,
    pub join: &'a [String],
    pub known: Known,
}

/// One address where clients come in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub address: SocketAddr,
    /// By TLS.
    pub secured: bool,
    /// The pool behind it; `None`: the first.
    pub cluster: Option<&'a str>,
    /// Connections are relayed as they are.
    pub relays: bool,
    /// Connections begin with a PROXY header.
    pub introduced: bool,
}

/// Backends before anyone has joined.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// Of flags and file.
    pub statics: usize,
    /// Of the last run.
    pub remembered: usize,
}

impl Banner<'_> {
    /// Several lines, each ended.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let first = self.pools.first().copied().unwrap_or("web");
        let _ = writeln!(
            out,
            "lb {}: {}",
            env!("CARGO_PKG_VERSION"),
            pools(&self.pools, self.is_divided())
        );
        let urls: Vec<String> = self
            .entries
            .iter()
            .map(|entry| {
                let mut shown = url(entry.address, self.gossip.address.ip());
                if entry.relays {
                    let address = shown.strip_prefix("http://").unwrap_or(&shown);
                    shown = format!("tcp://{}", address.trim_end_matches('/'));
                } else if entry.secured {
                    shown = shown.replacen("http://", "https://", 1);
                    shown = shown.replace(":443/", "/");
                }
                if entry.introduced {
                    shown.push_str(" (PROXY protocol)");
                }
                match entry.cluster {
                    Some(cluster) => format!("{shown} → {cluster}"),
                    None if self.is_divided() => format!("{shown} → {first}"),
                    None => shown,
                }
            })
            .collect();
        let workers = if self.workers == 1 {
            "1 worker".to_owned()
        } else {
            format!("{} workers", self.workers)
        };
        let _ = writeln!(out, "  proxy   {}  ({workers})", urls.join("  "));
        match self.admin {
            Some(address) => {
                let _ = writeln!(
                    out,
                    "  admin   {}  (/metrics, /readyz, /api/v1/pools)",
                    url(address, self.gossip.address.ip())
                );
            }
            None => out.push_str("  admin   off\n"),
        }
        let _ = writeln!(
            out,
            "  gossip  {}  ({})  as {:?}, {}",
            self.gossip.address,
            self.gossip.why,
            self.node,
            match &self.key {
                Some(fingerprint) => format!("encrypted (key {fingerprint})"),
                None => "UNENCRYPTED: anyone who reaches this port can name a backend".to_owned(),
            }
        );
        if !self.join.is_empty() {
            let _ = writeln!(out, "  joining {}", self.join.join(", "));
        }
        let Known {
            statics,
            remembered,
        } = self.known;
        if remembered > 0 {
            let _ = writeln!(
                out,
                "  {remembered} backends known from before the restart: checked first thing"
            );
        } else if statics == 0 {
            let _ = writeln!(
                out,
                "  0 backends: waiting; start `lb-agent --role {first} --join {}` on a web node",
                self.join_address()
            );
        }
        if statics > 0 {
            let backends = if statics == 1 { "backend" } else { "backends" };
            let _ = writeln!(
                out,
                "  {statics} static {backends}, more may join by gossip"
            );
        }
        out
    }

    /// What comes in at one address does not go where the rest goes.
    fn is_divided(&self) -> bool {
        self.entries.iter().any(|entry| entry.cluster.is_some())
    }

    /// As `--join` takes it: the port is left out where it is the usual one.
    fn join_address(&self) -> String {
        let address = self.gossip.address;
        if address.port() == GOSSIP_PORT {
            address.ip().to_string()
        } else {
            address.to_string()
        }
    }
}

fn pools(names: &[&str], divided: bool) -> String {
    match names {
        [one] => format!("pool {one} = members with role={one}"),
        [most @ .., last] if divided => format!("pools {} and {last}", most.join(", ")),
        [first, rest @ ..] => format!("pools {first} (takes all requests) and {}", rest.join(", ")),
        [] => "no pool".to_owned(),
    }
}

/// A URL that works from elsewhere: a wildcard is shown as the address that others know us by.
fn url(listener: SocketAddr, known_as: IpAddr) -> String {
    let shown = SocketAddr::new(
        if listener.ip().is_unspecified() {
            known_as
        } else {
            listener.ip()
        },
        listener.port(),
    );
    match (shown.port(), shown.ip()) {
        (80, IpAddr::V6(ip)) => format!("http://[{ip}]/"),
        (80, ip) => format!("http://{ip}/"),
        _ => format!("http://{shown}/"),
    }
}

const GOSSIP_PORT: u16 = 7946;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_front_says_where_to_go_and_what_to_start() {
        let gossip = Advertised {
            address: "10.0.0.1:7946".parse().unwrap(),
            why: "first private address, of eth0".to_owned(),
        };
        let banner = Banner {
            pools: vec!["web", "api", "db"],
            entries: vec![
                Entry {
                    address: "[::]:80".parse().unwrap(),
                    secured: false,
                    cluster: None,
                    relays: false,
                    introduced: false,
                },
                Entry {
                    address: "10.0.0.2:81".parse().unwrap(),
                    secured: false,
                    cluster: Some("api"),
                    relays: false,
                    introduced: true,
                },
                Entry {
                    address: "[::]:5432".parse().unwrap(),
                    secured: false,
                    cluster: Some("db"),
                    relays: true,
                    introduced: false,
                },
                Entry {
                    address: "0.0.0.0:443".parse().unwrap(),
                    secured: true,
                    cluster: None,
                    relays: false,
                    introduced: false,
                },
            ],
            workers: 2,
            admin: Some("127.0.0.1:9901".parse().unwrap()),
            node: "front",
            gossip: &gossip,
            key: None,
            join: &[],
            known: Known::default(),
        };

        let text = banner.text();

        assert!(text.contains(": pools web, api and db\n"), "{text}");
        assert!(
            text.contains("proxy   http://10.0.0.1/ → web  http://10.0.0.2:81/ (PROXY protocol) → api  tcp://10.0.0.1:5432 → db  https://10.0.0.1/ → web  (2 workers)"),
            "{text}"
        );
        assert!(text.contains("http://127.0.0.1:9901/"), "{text}");
        assert!(
            text.contains("10.0.0.1:7946  (first private address, of eth0)"),
            "{text}"
        );
        assert!(text.contains("UNENCRYPTED"), "{text}");
        let encrypted = Banner {
            key: Some("1a2b3c4d".to_owned()),
            ..banner
        };
        let text = encrypted.text();
        assert!(text.contains("encrypted (key 1a2b3c4d)"), "{text}");
        assert!(!text.contains("UNENCRYPTED"), "{text}");
        assert!(
            text.contains(
                "0 backends: waiting; start `lb-agent --role web --join 10.0.0.1` on a web node"
            ),
            "{text}"
        );
    }

    #[test]
    fn the_first_pool_takes_all_requests_only_where_no_listener_names_another() {
        assert_eq!(
            pools(&["web", "api", "db"], false),
            "pools web (takes all requests) and api, db"
        );
        assert_eq!(pools(&["web", "api", "db"], true), "pools web, api and db");
    }

    #[test]
    fn an_unusual_gossip_port_is_part_of_the_join_address() {
        let gossip = Advertised {
            address: "127.0.0.1:17946".parse().unwrap(),
            why: "bound there".to_owned(),
        };
        let banner = Banner {
            pools: vec!["web"],
            entries: vec![],
            workers: 1,
            admin: None,
            node: "x",
            gossip: &gossip,
            key: None,
            join: &[],
            known: Known::default(),
        };

        assert!(banner.text().contains("--join 127.0.0.1:17946"));
    }
}
