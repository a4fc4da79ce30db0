//! The contract's defaults that no module below owns, and how `--help` shows all of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::address::GOSSIP_PORT;
use crate::gossip::core::timing::Profile;
use crate::health::own;
use crate::{admin, announce, handlers, log, pool, proxy, rpc};

/// Serf's own: every interface.
pub(super) const BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), GOSSIP_PORT);
/// Where the admin listens. Loopback: metrics and API ask nobody for a password.
pub const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);
/// Where the RPC listens, and is asked: Serf's own.
pub const RPC: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7373);
/// Answered by the DNS server.
pub(super) const DNS_DOMAIN: &str = "lb.internal";
/// HTTP's port, of the listener and of backends that announce none.
pub(super) const HTTP_PORT: u16 = 80;
/// HTTPS's port, likewise.
pub(super) const HTTPS_PORT: u16 = 443;
/// What is agreed on within TLS, unless said otherwise.
pub(super) const ALPN: &[&str] = &["h2", "http/1.1"];
/// The pool of `--backend` without a name.
pub(super) const POOL: &str = "default";

/// As HAProxy's `agent-inter`.
pub(super) const AGENT_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Long enough for requests under way, short enough for a machine that goes down.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A pool about which only the name is known.
pub(super) fn pool(name: &str) -> pool::registry::Settings {
    pool::registry::Settings {
        name: name.to_owned(),
        // Any status below 500 passes, so it works on a server without a health page.
        check: announce::CheckSpec::Http {
            port: None,
            path: "/".to_owned(),
        },
        proto: announce::Proto::Http,
        default_port: HTTP_PORT,
        lost_keep: Duration::from_secs(3600),
        ejection: pool::ejection::Settings::default(),
        limits: pool::queue::Settings::default(),
        hop: pool::hop::Settings::default(),
        backends: Vec::new(),
    }
}

/// The front's admin settings; the agent's have no address.
pub(super) fn admin(front: bool) -> admin::Settings {
    admin::Settings {
        listen: front.then_some(ADMIN),
        ready_requires_backend: false,
    }
}

/// The RPC's settings.
pub(super) fn rpc() -> rpc::Settings {
    rpc::Settings {
        listen: Some(RPC),
        given: false,
        auth: None,
    }
}

/// A listener about which only the name is known.
pub(super) fn listener(name: &str) -> proxy::Listener {
    proxy::Listener::plain(name, proxy::Listen::Default { port: HTTP_PORT })
}

/// The data path's settings.
pub(super) fn proxy() -> proxy::Settings {
    proxy::Settings {
        listeners: vec![listener("web")],
        workers: 0,
        timeouts: proxy::Timeouts::default(),
        limits: proxy::Limits::default(),
    }
}

/// An address to listen on as it is written: `off` when there is none.
pub(super) fn or_off(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "off".to_owned(), |address| address.to_string())
}

/// The default of a flag as `--help` shows it; `None` for flags whose help says it in words.
pub(super) fn shown(flag: &str, front: bool) -> Option<String> {
    Some(match flag {
        "bind" => BIND.to_string(),
        "rpc-addr" => RPC.to_string(),
        "admin" => or_off(admin(front).listen),
        "dns" => or_off(None),
        "dns-domain" => DNS_DOMAIN.to_owned(),
        "listen" => format!("[::]:{HTTP_PORT}, else 0.0.0.0:{HTTP_PORT}"),
        "workers" => proxy().workers.to_string(),
        "profile" => format!("{:?}", Profile::default()).to_lowercase(),
        "log-level" => format!("{:?}", log::Level::default()).to_lowercase(),
        "access-log" => or_off(None),
        "access-format" => format!("{:?}", proxy::access::Format::default()).to_lowercase(),
        "handler-timeout" => {
            humantime::format_duration(handlers::Settings::default().timeout).to_string()
        }
        "check-interval" => humantime::format_duration(own::defaults().interval).to_string(),
        "check-timeout" => humantime::format_duration(own::defaults().timeout).to_string(),
        "check-rise" => own::defaults().rise.to_string(),
        "check-fall" => own::defaults().fall.to_string(),
        "agent-check-interval" => humantime::format_duration(AGENT_CHECK_INTERVAL).to_string(),
        "stop-timeout" => humantime::format_duration(STOP_TIMEOUT).to_string(),
        "weight" => "1".to_owned(),
        _ => return None,
    })
}
