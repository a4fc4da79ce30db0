//! Who is at the other end of a client's connection: its address, and the same as text, which each request tells.

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The longest: an IPv4-mapped IPv6 address in full, as the standard library sizes it.
const TEXT_MAX: usize = 45;

/// An address and its text, in one piece: a connection that waits has this besides its task.
pub(super) struct Peer {
    ip: Ipv6Addr,
    port: u16,
    v4: bool,
    length: u8,
    text: [u8; TEXT_MAX],
}

/// Writes into a fixed place; what does not fit is left out.
struct Text<'t>(&'t mut [u8; TEXT_MAX], u8);

impl Write for Text<'_> {
    fn write_str(&mut self, piece: &str) -> std::fmt::Result {
        let at = usize::from(self.1);
        let room = self.0.get_mut(at..at + piece.len());
        room.ok_or(std::fmt::Error)?
            .copy_from_slice(piece.as_bytes());
        self.1 += piece.len() as u8;
        Ok(())
    }
}

impl Peer {
    /// Of a connection from `address`. An IPv4 client of a dual-stack listener is shown as IPv4.
    pub(super) fn new(address: SocketAddr) -> Self {
        let mut text = [0; TEXT_MAX];
        let mut to = Text(&mut text, 0);
        let _ = write!(to, "{}", address.ip().to_canonical());
        let length = to.1;
        Self {
            ip: match address.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            },
            port: address.port(),
            v4: address.is_ipv4(),
            length,
            text,
        }
    }

    /// As it was accepted.
    pub(super) fn address(&self) -> SocketAddr {
        match self.ip.to_ipv4_mapped().filter(|_| self.v4) {
            Some(ip) => SocketAddr::new(ip.into(), self.port),
            None => SocketAddrV6::new(self.ip, self.port, 0, 0).into(),
        }
    }

    /// The address without its port.
    pub(super) fn text(&self) -> &str {
        let text = self.text.get(..usize::from(self.length));
        text.and_then(|text| std::str::from_utf8(text).ok())
            .unwrap_or("unknown")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_was_accepted_and_what_a_person_reads() {
        for (address, text) in [
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::ffff:10.0.0.1]:65535", "10.0.0.1"),
            ("[::1]:1", "::1"),
            (
                "[1111:2222:3333:4444:5555:6666:7777:8888]:9",
                "1111:2222:3333:4444:5555:6666:7777:8888",
            ),
        ] {
            let address: SocketAddr = address.parse().expect("an address");
            let peer = Peer::new(address);

            assert_eq!(peer.address(), address);
            assert_eq!(peer.text(), text);
        }
    }
}
