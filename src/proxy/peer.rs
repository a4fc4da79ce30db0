//! Who is at the other end of a client's connection: its address, and the same as text, which each request tells.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// An address in few bytes: every connection that waits has one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    ip: [u8; 16],
    port: u16,
    v4: bool,
    listener: u8,
}

impl Peer {
    /// Of a connection from `address` to the listener of this number.
    pub(super) fn new(address: SocketAddr, listener: u8) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self {
            ip: ip.octets(),
            port: address.port(),
            v4: address.is_ipv4(),
            listener,
        }
    }

    /// Where it came in.
    pub(super) fn listener(&self) -> u8 {
        self.listener
    }

    /// As it was accepted.
    pub(super) fn address(&self) -> SocketAddr {
        let ip = Ipv6Addr::from(self.ip);
        match ip.to_ipv4_mapped().filter(|_| self.v4) {
            Some(ip) => SocketAddr::new(ip.into(), self.port),
            None => SocketAddrV6::new(ip, self.port, 0, 0).into(),
        }
    }

    /// The address without its port. An IPv4 client of a dual-stack listener is shown as IPv4.
    pub(super) fn text(&self) -> Text {
        let mut text = Text {
            bytes: [0; TEXT_MAX],
            length: 0,
        };
        match Ipv6Addr::from(self.ip).to_canonical() {
            IpAddr::V4(ip) => {
                for (at, part) in ip.octets().into_iter().enumerate() {
                    if at > 0 {
                        text.put(b".");
                    }
                    text.put(itoa::Buffer::new().format(part).as_bytes());
                }
            }
            IpAddr::V6(ip) => text.put(ip.to_string().as_bytes()),
        }
        text
    }
}

/// The longest is an IPv6 address with all its digits.
const TEXT_MAX: usize = 39;

/// An address as people write it.
pub(super) struct Text {
    bytes: [u8; TEXT_MAX],
    length: usize,
}

impl Text {
    fn put(&mut self, piece: &[u8]) {
        let end = self.length + piece.len();
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(piece);
            self.length = end;
        }
    }

    /// Its bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_was_accepted_and_what_a_person_reads() {
        for (address, text) in [
            ("127.0.0.1:80", "127.0.0.1"),
            ("255.255.255.255:1", "255.255.255.255"),
            ("[::ffff:10.0.0.1]:65535", "10.0.0.1"),
            ("[::1]:1", "::1"),
            (
                "[1111:2222:3333:4444:5555:6666:7777:8888]:9",
                "1111:2222:3333:4444:5555:6666:7777:8888",
            ),
        ] {
            let address: SocketAddr = address.parse().expect("an address");
            let peer = Peer::new(address, 0);

            assert_eq!(peer.address(), address);
            assert_eq!(peer.text().as_bytes(), text.as_bytes());
        }
    }
}
