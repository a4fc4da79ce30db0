//! From one text to one address: of ours, of a member, of a backend, or of a network.
//!
//! ```text
//! --bind --advertise ── IP[:PORT] ─▶ SocketAddr     a port may be left out: 7946
//! --admin --dns ─────── IP:PORT ───▶ SocketAddr     or off
//! --listen ──────────── [IP]:PORT ─▶ Listen         no IP: every address
//! --join --backend ──── HOST:PORT ─▶ text           names are looked up later, again and again
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use super::parse::{Parsed, boolean, port, split, weight};
use crate::network::{BadNetwork, Network};
use crate::pool::registry::StaticBackend;
use crate::proxy::Listen;

/// Gossip's port where none is written, as Serf's.
pub(super) const GOSSIP_PORT: u16 = 7946;

/// `IP:PORT`, `IP` (with `default_port`), or `:PORT` (of every address).
fn address_or(text: &str, default_port: u16) -> Option<SocketAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Ok(address) = bare.unwrap_or(text).parse::<IpAddr>() {
        return Some((address, default_port).into());
    }
    let port = text.strip_prefix(':')?.parse().ok()?;
    Some((Ipv4Addr::UNSPECIFIED, port).into())
}

/// `--bind`: port 0 lets the system choose.
pub(super) fn bind(text: &str) -> Parsed<SocketAddr> {
    address_or(text, GOSSIP_PORT).ok_or_else(|| {
        "is not an address of this machine; write IP:PORT, like 0.0.0.0:7946 or [::]:7946"
            .to_owned()
    })
}

/// `--advertise`: a name is looked up now, since others are told a number.
pub(super) fn advertise(text: &str, default_port: u16) -> Parsed<SocketAddr> {
    let address = match address_or(text, default_port) {
        Some(address) => address,
        None => {
            let (host, port) = match text.rsplit_once(':') {
                Some((host, digits)) => (host, port(digits)?),
                None => (text, default_port),
            };
            is_host(host)
                .then(|| (host, port).to_socket_addrs().ok())
                .flatten()
                .and_then(|mut found| found.next())
                .ok_or_else(|| {
                    format!("{host:?} has no address; write an IP, like 10.0.0.5 or 10.0.0.5:7946")
                })?
        }
    };
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(
            "is no address that others can send to; write one of this machine's own".to_owned(),
        );
    }
    Ok(address)
}

/// An address to listen on for operators, or `off`. No port alone: whether the world may ask has to be written out.
pub(super) fn local(text: &str) -> Parsed<Option<SocketAddr>> {
    if text == "off" {
        return Ok(None);
    }
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(Some(address)),
        Err(_) => Err("is not an address; write IP:PORT, like 127.0.0.1:9901 (0.0.0.0:9901 opens it to the network), or off".to_owned()),
    }
}

/// Where the RPC listens: as [`local`], and with Serf's `:PORT` for every address, and `localhost`.
pub(super) fn rpc(text: &str) -> Parsed<Option<SocketAddr>> {
    if text == "off" || text == "none" {
        return Ok(None);
    }
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("{}:{port}", Ipv4Addr::LOCALHOST),
        None if text.starts_with(':') => format!("{}{text}", Ipv4Addr::UNSPECIFIED),
        None => text.to_owned(),
    };
    match numeric.parse::<SocketAddr>() {
        Ok(address) => Ok(Some(address)),
        Err(_) => Err("is not an address; write IP:PORT, like 127.0.0.1:7373, or off".to_owned()),
    }
}

/// One of `--listen`: `:PORT` or `PORT` means dual-stack with a fall-back.
pub(super) fn listen(text: &str) -> Parsed<Listen> {
    let fix =
        "is not an address to listen on; write IP:PORT, [IPV6]:PORT, or :PORT for every address";
    let digits = text.strip_prefix(':').unwrap_or(text);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty() {
        return match digits.parse() {
            // Port 0 lets the system choose, for tests.
            Ok(port) => Ok(Listen::Default { port }),
            Err(_) => Err("port is a whole number from 1 to 65535".to_owned()),
        };
    }
    text.parse()
        .map(|address| Listen::Exactly(vec![address]))
        .map_err(|_| fix.to_owned())
}

/// `HOST[:PORT]` of a member to join through; looked up later, again and again.
pub(super) fn join(text: &str) -> Parsed<String> {
    let fix = "is not HOST or HOST:PORT, like 10.0.0.5, web1.internal or web1.internal:7946";
    if text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    let host = match text.rsplit_once(':') {
        Some((host, digits)) => {
            port(digits).map_err(|why| format!("{fix} ({why})"))?;
            host
        }
        None => text,
    };
    if is_host(host) {
        Ok(text.to_owned())
    } else {
        Err(fix.to_owned())
    }
}

/// A DNS name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(inner) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return inner.parse::<Ipv6Addr>().is_ok();
    }
    !host.is_empty()
        && host.len() <= 253
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// `HOST:PORT` of a backend.
pub(super) fn backend_address(text: &str) -> Parsed<String> {
    match text.rsplit_once(':') {
        Some((host, digits)) if is_host(host) => {
            port(digits)?;
            Ok(text.to_owned())
        }
        _ if is_host(text) => Err(format!("lacks a port; write {text}:80")),
        _ => Err("is not HOST:PORT, like 10.0.0.5:80 or [fd00::5]:80".to_owned()),
    }
}

/// `HOST:PORT[,weight=N][,backup]`.
pub(super) fn backend(text: &str) -> Parsed<StaticBackend> {
    let mut parts = text.split(',').map(str::trim);
    let mut backend = StaticBackend {
        address: backend_address(parts.next().unwrap_or_default())?,
        weight: 1,
        tier: 0,
        backup: false,
    };
    for option in parts {
        match option.split_once('=') {
            Some(("weight", number)) => backend.weight = weight(number)?,
            Some(("backup", choice)) => backend.backup = boolean(choice)?,
            None if option == "backup" => backend.backup = true,
            _ => {
                return Err(format!(
                    "{option:?} is not an option of a backend; write HOST:PORT[,weight=N][,backup]"
                ));
            }
        }
    }
    Ok(backend)
}

/// The items of a list of backends, whose options have commas too: only an item with a port begins a new one.
pub(super) fn split_backends(text: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for part in split(text) {
        let option = part == "backup" || part.contains('=');
        match items.last_mut() {
            Some(last) if option => {
                last.push(',');
                last.push_str(&part);
            }
            _ => items.push(part),
        }
    }
    items
}

/// `10.0.0.0/8`, or one address.
pub(super) fn network(text: &str) -> Parsed<Network> {
    text.parse().map_err(|error| match error {
        BadNetwork::Host { meant, .. } => format!("has bits set behind the prefix; write {meant}"),
        BadNetwork::Address(_) | BadNetwork::Prefix { .. } => {
            "is not a network; write ADDRESS/BITS, like 10.0.0.0/8 or fd00::/8".to_owned()
        }
    })
}

/// Whether strangers could send from or to it: then gossip in clear must not use it.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            // 100.64.0.0/10 is the carriers' private range (RFC 6598), used by overlay networks.
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || shared)
        }
        IpAddr::V6(v6) => {
            !(v6.is_unique_local()
                || v6.is_loopback()
                || v6.is_unicast_link_local()
                || v6.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_leave_out_host_or_port() {
        let cases = [
            ("10.0.0.5:8000", "10.0.0.5:8000"),
            ("10.0.0.5", "10.0.0.5:7946"),
            (":7000", "0.0.0.0:7000"),
            ("[::1]:7000", "[::1]:7000"),
            ("[::1]", "[::1]:7946"),
            ("::1", "[::1]:7946"),
        ];
        for (text, meaning) in cases {
            assert_eq!(
                bind(text).map(|address| address.to_string()),
                Ok(meaning.to_owned()),
                "{text}"
            );
        }
        for text in [
            "",
            ":",
            "web1",
            "10.0.0.5:",
            "10.0.0.5:99999",
            "[::1",
            "10.0.0",
        ] {
            assert!(bind(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_backend_has_options_in_any_order() {
        let backend = backend("web1.internal:8080,backup,weight=7").expect("it parses");

        assert_eq!(backend.address, "web1.internal:8080");
        assert_eq!((backend.weight, backend.backup), (7, true));
    }

    #[test]
    fn a_list_of_backends_keeps_options_with_their_backend() {
        let items = split_backends("a:1,weight=2,backup,b:2, c:3,backup");

        assert_eq!(items, ["a:1,weight=2,backup", "b:2", "c:3,backup"]);
    }

    #[test]
    fn a_network_names_its_first_address() {
        assert_eq!(
            network("10.0.0.5/8"),
            Err("has bits set behind the prefix; write 10.0.0.0/8".to_owned())
        );
        assert_eq!(network("10.0.0.5").map(|network| network.prefix), Ok(32));
        assert_eq!(network("::/0").map(|network| network.prefix), Ok(0));
        assert_eq!(network("0.0.0.0/0").map(|network| network.prefix), Ok(0));
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "fd00::/129", "web"] {
            assert!(network(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn public_addresses_are_told_from_private_ones() {
        for text in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "127.0.0.1",
            "fd00::1",
            "::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_public(text.parse().expect("an address")), "{text}");
        }
        for text in [
            "8.8.8.8",
            "100.128.0.1",
            "172.32.0.1",
            "2001:4860::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(text.parse().expect("an address")), "{text}");
        }
    }
}
