//! From one text to one typed value, or to why not and what to write instead.
//!
//! ```text
//! flag, variable, TOML string or number ──text──▶ parser ──▶ T | "weight is 1 to 1000"
//! ```
//!
//! The same parser serves all three sources, so a value means the same wherever it is written.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

use crate::announce::{CheckSpec, Proto};
use crate::discovery::Network;
use crate::pool::registry::StaticBackend;
use crate::proxy::Listen;

/// Gossip's port where none is written, as Serf's.
pub(super) const GOSSIP_PORT: u16 = 7946;

/// Longest duration: longer is a slip of the unit.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

type Parsed<T> = Result<T, String>;

/// A whole number from `min` to `max`, called `what` in errors.
pub(super) fn number<T>(what: &'static str, min: T, max: T) -> impl Fn(&str) -> Parsed<T>
where
    T: FromStr + PartialOrd + Display + Copy,
{
    move |text| match text.trim().parse::<T>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("{what} is a whole number from {min} to {max}")),
    }
}

/// 1–1000.
pub(super) fn weight(text: &str) -> Parsed<u16> {
    number("weight", 1, 1000)(text).map_err(|_| {
        "weight is 1 to 1000; a backend of weight 2 gets twice the requests of one of weight 1"
            .to_owned()
    })
}

/// 1–65535.
pub(super) fn port(text: &str) -> Parsed<u16> {
    number("port", 1, u16::MAX)(text)
}

/// `true` or `false`.
pub(super) fn boolean(text: &str) -> Parsed<bool> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

/// Any text but none.
pub(super) fn text(given: &str) -> Parsed<String> {
    if given.trim().is_empty() {
        return Err("is empty; leave it out for the default".to_owned());
    }
    Ok(given.to_owned())
}

/// `250ms`, `5s`, `1h 30m`; zero is allowed.
pub(super) fn duration_or_zero(text: &str) -> Parsed<Duration> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        Ok(_) => Err("is more than a year; check the unit (ms, s, m, h)".to_owned()),
        Err(_) => Err(
            "is not a duration; write a number with its unit, like \"250ms\", \"5s\" or \"1h\""
                .to_owned(),
        ),
    }
}

/// A duration of at least 1 ms.
pub(super) fn duration(text: &str) -> Parsed<Duration> {
    match duration_or_zero(text)? {
        short if short < Duration::from_millis(1) => {
            Err("must be at least 1ms, since a wait of nothing always ends too soon".to_owned())
        }
        duration => Ok(duration),
    }
}

/// A word of an enum that clap knows too.
pub(super) fn word<T: ValueEnum>(text: &str) -> Parsed<T> {
    T::from_str(text, true).map_err(|_| {
        let words: Vec<String> = T::value_variants()
            .iter()
            .filter_map(|variant| Some(variant.to_possible_value()?.get_name().to_owned()))
            .collect();
        let fix = match nearest(text, words.iter().map(String::as_str)) {
            Some(word) => format!("; did you mean {word}?"),
            None => String::new(),
        };
        format!("is not one of {}{fix}", words.join(", "))
    })
}

/// The member of `known` that was probably meant.
pub(super) fn nearest<'k>(written: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|word| (strsim::jaro_winkler(written, word), word))
        // 0.8 takes "prot" for "port" and "intervall" for "interval", but not "rise" for "fall".
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// `IP:PORT`, `IP` (with `default_port`), or `:PORT` (of every address).
fn address_or(text: &str, default_port: u16) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix(':') {
        return Some((Ipv4Addr::UNSPECIFIED, port.parse().ok()?).into());
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    text.parse().ok().or_else(|| {
        let address: IpAddr = bare.unwrap_or(text).parse().ok()?;
        Some((address, default_port).into())
    })
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
            (host, port)
                .to_socket_addrs()
                .ok()
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
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
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

/// The items of a list written in one text: split at commas.
pub(super) fn split(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The same for backends, whose options have commas of their own: only an item with a port begins a new one.
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

/// `KEY=VALUE`.
pub(super) fn pair(text: &str) -> Parsed<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("is not KEY=VALUE, like zone=eu-1".to_owned()),
    }
}

/// Name of a pool or service: what fits in a tag, a metric and a URL.
pub(super) fn name(text: &str) -> Parsed<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !text.is_empty() && text.len() <= 63 && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err("is not a name; 1 to 63 letters, digits, '-', '.' or '_'".to_owned())
}

/// Name of a node: at most 128 bytes, as Serf has it.
pub(super) fn node(text: &str) -> Parsed<String> {
    let fits = |letter: char| !letter.is_whitespace() && !letter.is_control();
    if !text.is_empty() && text.len() <= 128 && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("is not a node name; 1 to 128 bytes without spaces, like web1".to_owned())
}

/// A discovery name, or `off`.
pub(super) fn discover(text: &str) -> Parsed<Option<String>> {
    if text == "off" {
        Ok(None)
    } else {
        name(text).map(Some)
    }
}

/// See [`CheckSpec`].
pub(super) fn check(text: &str) -> Parsed<CheckSpec> {
    text.parse().map_err(|_| {
        "is not a check; write http:[PORT]/path, https:[PORT]/path, tcp[:PORT], grpc[:SERVICE] or none".to_owned()
    })
}

/// A pool's protocol. The data path speaks HTTP/1.1 in clear so far, and must not pretend otherwise.
pub(super) fn proto(text: &str) -> Parsed<Proto> {
    match text {
        "http" => Ok(Proto::Http),
        "h2c" | "h2" | "https" | "tcp" => {
            Err("is not built yet; only \"http\" can be served".to_owned())
        }
        _ => Err("is not a protocol; write \"http\"".to_owned()),
    }
}

/// `10.0.0.0/8`, or one address.
pub(super) fn network(text: &str) -> Parsed<Network> {
    let fix = || "is not a network; write ADDRESS/BITS, like 10.0.0.0/8 or fd00::/8".to_owned();
    let (base, bits) = text
        .split_once('/')
        .map_or((text, None), |(base, bits)| (base, Some(bits)));
    let base: IpAddr = base.parse().map_err(|_| fix())?;
    let widest = if base.is_ipv4() { 32 } else { 128 };
    let prefix = match bits {
        Some(bits) => bits
            .parse()
            .ok()
            .filter(|bits| *bits <= widest)
            .ok_or_else(fix)?,
        None => widest,
    };
    let first = first_of(base, prefix);
    if first != base {
        return Err(format!(
            "has bits set behind /{prefix}; write {first}/{prefix}"
        ));
    }
    Ok(Network { base, prefix })
}

/// The network's first address.
fn first_of(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

/// Whether strangers could send from or to it: then gossip in clear must not use it.
pub(super) fn is_public(address: IpAddr) -> bool {
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
            Err("has bits set behind /8; write 10.0.0.0/8".to_owned())
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

    #[test]
    fn the_nearest_word_is_near() {
        let known = ["port", "rise", "fall", "interval", "timeout"];

        assert_eq!(nearest("prot", known.into_iter()), Some("port"));
        assert_eq!(nearest("intervall", known.into_iter()), Some("interval"));
        assert_eq!(nearest("colour", known.into_iter()), None);
    }
}
