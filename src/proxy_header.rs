//! The PROXY protocol: a proxy's first words, which say on whose behalf it connects. Read and written; pure.
//!
//! ```text
//! bytes so far ──next()──▶ Step::Bytes(n) | Step::Line(n): read on, at most so many
//!                          Step::Whole(Header) | Malformed
//! write(version, source, destination) ──▶ bytes
//! ```
//!
//! Nothing behind a header is ever asked for, so that whoever comes next (TLS, HTTP, a relay) finds its first byte in the
//! socket. Where the specification leaves a choice, the stricter reading counts: two readers must not differ.
//!
//! Source: "The PROXY protocol, versions 1 & 2" (haproxy.org, doc/proxy-protocol.txt), sections 2.1 and 2.2.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The longest line of version 1, its end included.
pub const LINE_MAX: usize = 107;

/// The longest header of version 2 with all it carries, as nginx's bound. The specification allows 65,551.
pub const BYTES_MAX: usize = 4096;

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What version 1 begins with.
const GREETING: &[u8; 6] = b"PROXY ";

/// Signature, command, family and length.
const FIXED: usize = 16;

/// How a header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

/// Whom a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The proxy's own, or of somebody it can't name: the connection's own addresses count.
    Own,
    /// Somebody else's.
    For {
        /// Who connected to the proxy.
        source: SocketAddr,
        /// To which of its addresses.
        destination: SocketAddr,
    },
}

/// What to do with the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// All of the next so many bytes belong to the header.
    Bytes(usize),
    /// All up to the next LF does, and at most so many bytes.
    Line(usize),
    /// They are a whole header.
    Whole(Header),
}

/// No header, and nothing that could become one; in a person's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Looks at the beginning of a connection, of which no more was read than was asked for before.
///
/// # Errors
/// It is no header, or one that is too long.
pub fn next(bytes: &[u8]) -> Result<Step, Malformed> {
    let is_start_of = |whole: &[u8]| {
        let seen = bytes.len().min(whole.len());
        bytes[..seen] == whole[..seen]
    };
    let old = is_start_of(GREETING);
    if !old && !is_start_of(SIGNATURE) {
        return Err(Malformed("it does not begin with a PROXY header"));
    }
    match bytes.len() {
        // "PROXY UNKNOWN\r\n", the shortest line, is longer.
        short if short < SIGNATURE.len() => Ok(Step::Bytes(SIGNATURE.len() - short)),
        _ if !old => binary(bytes),
        _ if bytes.ends_with(b"\n") => line(bytes).map(Step::Whole),
        length if length >= LINE_MAX => Err(Malformed("a line of more than 107 bytes")),
        length => Ok(Step::Line(LINE_MAX - length)),
    }
}

/// Version 1, with its end.
fn line(bytes: &[u8]) -> Result<Header, Malformed> {
    let text = bytes.strip_suffix(b"\r\n");
    let text = text.ok_or(Malformed("a line that ends in LF alone"))?;
    let text = std::str::from_utf8(text).map_err(|_| Malformed("a line with odd bytes"))?;
    if text.contains(['\r', '\n', '\0']) {
        return Err(Malformed("a line with odd bytes"));
    }
    let mut words = text.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    match family {
        // What follows means nothing (2.1).
        "UNKNOWN" => return Ok(Header::Own),
        "TCP4" | "TCP6" => {}
        _ => return Err(Malformed("neither TCP4, TCP6 nor UNKNOWN")),
    }
    let mut word = || words.next().unwrap_or_default();
    let (source, destination) = (word(), word());
    let (source_port, destination_port) = (word(), word());
    if words.next().is_some() {
        return Err(Malformed("more than two addresses and two ports"));
    }
    Ok(Header::For {
        source: SocketAddr::new(address(family, source)?, port(source_port)?),
        destination: SocketAddr::new(address(family, destination)?, port(destination_port)?),
    })
}

fn address(family: &str, text: &str) -> Result<IpAddr, Malformed> {
    let address = match family {
        "TCP4" => Ipv4Addr::from_str(text).map(IpAddr::from),
        _ => Ipv6Addr::from_str(text).map(IpAddr::from),
    };
    address.map_err(|_| Malformed("a bad address"))
}

fn port(text: &str) -> Result<u16, Malformed> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let short = text == "0" || !text.starts_with('0');
    let port = text.parse().ok().filter(|_| plain && short);
    port.ok_or(Malformed("a bad port"))
}

/// Version 2.
fn binary(bytes: &[u8]) -> Result<Step, Malformed> {
    if bytes.len() < FIXED {
        return Ok(Step::Bytes(FIXED - bytes.len()));
    }
    let (command, family) = (bytes[12], bytes[13]);
    let length = FIXED + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if length > BYTES_MAX {
        return Err(Malformed("more than 4096 bytes"));
    }
    let own = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed("an unknown version or command")),
    };
    // Of a proxy's own connection whatever else it says is to be skipped (2.2).
    if !own && (family >> 4 > 3 || family & 0xf > 2) {
        return Err(Malformed("an unknown family of addresses"));
    }
    if bytes.len() < length {
        return Ok(Step::Bytes(length - bytes.len()));
    }
    let block = &bytes[FIXED..length];
    // What is no TCP has no address that could stand for this connection's.
    let addresses = match family {
        _ if own => return Ok(Step::Whole(Header::Own)),
        0x11 => 12,
        0x21 => 36,
        // A UNIX socket's paths.
        0x31 | 0x32 => 216,
        0x12 => 12,
        0x22 => 36,
        // Of no known length.
        _ => return Ok(Step::Whole(Header::Own)),
    };
    let (addresses, more) = block
        .split_at_checked(addresses)
        .ok_or(Malformed("addresses cut short"))?;
    well_formed(more)?;
    Ok(Step::Whole(match family {
        0x11 | 0x21 => pair(addresses).ok_or(Malformed("addresses cut short"))?,
        _ => Header::Own,
    }))
}

/// Two addresses, then two ports.
fn pair(block: &[u8]) -> Option<Header> {
    let (addresses, ports) = block.split_at_checked(block.len().checked_sub(4)?)?;
    let (source, destination) = addresses.split_at(addresses.len() / 2);
    let ip = |bytes: &[u8]| match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    };
    let port = |at: usize| Some(u16::from_be_bytes([*ports.get(at)?, *ports.get(at + 1)?]));
    Some(Header::For {
        source: SocketAddr::new(ip(source)?, port(0)?),
        destination: SocketAddr::new(ip(destination)?, port(2)?),
    })
}

/// What follows the addresses is `[type][length: u16 be][value]…`; none of it is used.
fn well_formed(mut more: &[u8]) -> Result<(), Malformed> {
    while let [_, high, low, rest @ ..] = more {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        more = rest
            .get(length..)
            .ok_or(Malformed("a field that is cut short"))?;
    }
    match more {
        [] => Ok(()),
        _ => Err(Malformed("a field that is cut short")),
    }
}

/// A header for a connection made on behalf of `source`, who had connected to `destination`.
pub fn write(version: Version, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (mut from, mut to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    // Both are of one family: an IPv4 address has its place in IPv6.
    if from.is_ipv4() != to.is_ipv4() {
        (from, to) = (mapped(from).into(), mapped(to).into());
    }
    let (source_port, destination_port) = (source.port(), destination.port());
    match version {
        Version::V1 => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {from} {to} {source_port} {destination_port}\r\n").into_bytes()
        }
        Version::V2 => {
            let mut bytes = SIGNATURE.to_vec();
            bytes.extend_from_slice(match from {
                IpAddr::V4(_) => &[0x21, 0x11, 0, 12],
                IpAddr::V6(_) => &[0x21, 0x21, 0, 36],
            });
            for ip in [from, to] {
                match ip {
                    IpAddr::V4(ip) => bytes.extend_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => bytes.extend_from_slice(&ip.octets()),
                }
            }
            bytes.extend_from_slice(&source_port.to_be_bytes());
            bytes.extend_from_slice(&destination_port.to_be_bytes());
            bytes
        }
    }
}

/// A header for a connection of our own, as a check's is.
pub fn own(version: Version) -> &'static [u8] {
    match version {
        Version::V1 => b"PROXY UNKNOWN\r\n",
        Version::V2 => b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    }
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests;
