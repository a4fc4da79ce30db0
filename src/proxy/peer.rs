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
            v6: false,
        };
        match Ipv6Addr::from(self.ip).to_canonical() {
            IpAddr::V4(ip) => {
                for part in ip.octets() {
                    text.put_octet(part);
                }
                // The last dot.
                text.length -= 1;
            }
            IpAddr::V6(ip) => {
                text.put(ip.to_string().as_bytes());
                text.v6 = true;
            }
        }
        text
    }
}

/// Every octet as text and a dot; up to four bytes of it count.
static OCTETS: [[u8; 4]; 256] = {
    let mut octets = [[b'.'; 4]; 256];
    let mut octet = 0;
    while octet < octets.len() {
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let leading = 3 - octet_length(octet as u8);
        let mut at = leading;
        while at < digits.len() {
            octets[octet][at - leading] = b'0' + digits[at] as u8;
            at += 1;
        }
        octet += 1;
    }
    octets
};

/// In digits.
const fn octet_length(octet: u8) -> usize {
    1 + (octet >= 10) as usize + (octet >= 100) as usize
}

/// The longest is an IPv6 address with all its digits.
const TEXT_MAX: usize = 39;

/// An address as people write it.
pub(super) struct Text {
    bytes: [u8; TEXT_MAX],
    length: usize,
    v6: bool,
}

impl Text {
    /// With a dot behind it.
    fn put_octet(&mut self, octet: u8) {
        if let Some(room) = self.bytes[self.length..].first_chunk_mut() {
            *room = OCTETS[usize::from(octet)];
            self.length += octet_length(octet) + 1;
        }
    }

    fn put(&mut self, piece: &[u8]) {
        let end = self.length + piece.len();
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(piece);
            self.length = end;
        }
    }

    /// It has colons.
    pub(super) fn is_v6(&self) -> bool {
        self.v6
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
            ("9.10.99.100:1", "9.10.99.100"),
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
