//! What a connection to a listener with `proxy_protocol` begins with.

#![no_main]

use std::net::SocketAddr;

use lb::proxy_header::{self, BYTES_MAX, Header, LINE_MAX, Malformed, Step, Version};
use libfuzzer_sys::fuzz_target;

/// Reads as from a socket that gives at most `most` bytes at once: the header and its length, or `None` where more is
/// wanted than there is.
fn read(data: &[u8], most: usize) -> Result<Option<(Header, usize)>, Malformed> {
    let mut at = 0;
    loop {
        let wanted = match proxy_header::next(&data[..at])? {
            Step::Whole(header) => return Ok(Some((header, at))),
            Step::Bytes(wanted) => wanted,
            Step::Line(wanted) => {
                assert!(at + wanted <= LINE_MAX);
                let rest = data[at..].iter().take(wanted);
                let lf = rest.clone().position(|byte| *byte == b'\n');
                lf.map_or(wanted, |lf| lf + 1)
            }
        };
        assert!(wanted > 0 && at + wanted <= BYTES_MAX);
        if at == data.len() {
            return Ok(None);
        }
        at = (at + wanted.min(most)).min(data.len());
    }
}

/// The same by hand, of a line: by its words, and nothing else.
fn by_words(data: &[u8]) -> Option<(Header, usize)> {
    let end = data.windows(2).position(|pair| pair == b"\r\n")?;
    let text = std::str::from_utf8(&data[..end]).ok()?;
    let words: Vec<&str> = text.split(' ').collect();
    let header = match words[..] {
        ["PROXY", "UNKNOWN", ..] => Header::Own,
        ["PROXY", family, from, to, from_port, to_port] => {
            let address = |ip: &str, port: &str| -> Option<SocketAddr> {
                let number: u16 = port.parse().ok()?;
                // As it would be written; an IPv6 address has many ways to be.
                let plain = number.to_string() == port;
                let ip = match family {
                    "TCP4" => ip.parse::<std::net::Ipv4Addr>().ok()?.into(),
                    "TCP6" => ip.parse::<std::net::Ipv6Addr>().ok()?.into(),
                    _ => return None,
                };
                plain.then_some(SocketAddr::new(ip, number))
            };
            Header::For {
                source: address(from, from_port)?,
                destination: address(to, to_port)?,
            }
        }
        _ => return None,
    };
    let bare = text.contains(['\n', '\r', '\0']);
    (end + 2 <= LINE_MAX && !bare).then_some((header, end + 2))
}

fuzz_target!(|data: &[u8]| {
    let (most, data) = data.split_first().unwrap_or((&0, &[]));
    let whole = read(data, usize::MAX);
    assert_eq!(read(data, usize::from(*most).max(1)), whole);
    if data.starts_with(b"PROXY ") {
        assert_eq!(whole.ok().flatten(), by_words(data));
    }
    let Ok(Some((header, length))) = whole else {
        return;
    };
    assert!(length <= data.len());
    // What follows is not looked at.
    assert_eq!(read(&data[..length], usize::MAX), whole);
    if let Header::For {
        source,
        destination,
    } = header
    {
        let plain =
            |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        for version in [Version::V1, Version::V2] {
            let written = proxy_header::write(version, source, destination);
            let Ok(Some((
                Header::For {
                    source: from,
                    destination: to,
                },
                bytes,
            ))) = read(&written, 1)
            else {
                panic!("what was written is not read: {written:?}");
            };
            assert_eq!(bytes, written.len());
            assert_eq!(
                (plain(from), plain(to)),
                (plain(source), plain(destination))
            );
        }
    }
});
