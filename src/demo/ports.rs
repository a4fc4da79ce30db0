//! Ports on 127.0.0.1 that nobody uses.
//!
//! Those of children are taken from below the ephemeral range: a child that was killed must find
//! its port again, and the system would lend an ephemeral one to any outgoing connection. It
//! also rules out the connection to a dead ephemeral port that is given that very port as its
//! source and so talks to itself.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use rand::RngExt;

use super::Failure;
use crate::clock;

/// Gives each port once.
#[derive(Debug)]
pub(super) struct Ports {
    next: u16,
}

impl Ports {
    pub(super) fn new() -> Self {
        // Not always from the first on, so that two demos rarely try the same ports.
        Self {
            next: clock::random().random_range(FIRST..LAST - 4000),
        }
    }

    /// A port that is free for TCP and UDP.
    pub(super) fn free(&mut self) -> Result<SocketAddr, Failure> {
        while self.next < LAST {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.next));
            self.next += 1;
            if is_free(address).is_ok() {
                return Ok(address);
            }
        }
        Err(Failure::NoPort(io::ErrorKind::AddrInUse.into()))
    }

    /// `wanted`, or the next port that is free for TCP; port 0 is any.
    pub(super) fn free_from(
        &mut self,
        wanted: SocketAddr,
        taken: &[SocketAddr],
    ) -> Result<SocketAddr, Failure> {
        if wanted.port() == 0 {
            let port = self.free()?.port();
            return Ok(SocketAddr::new(wanted.ip(), port));
        }
        let mut address = wanted;
        for port in wanted.port()..=wanted.port().saturating_add(TRIES) {
            address.set_port(port);
            if taken.contains(&address) {
                continue;
            }
            match TcpListener::bind(address) {
                Ok(_) => return Ok(address),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(source) => return Err(Failure::Port { address, source }),
            }
        }
        Err(Failure::Port {
            address: wanted,
            source: io::ErrorKind::AddrInUse.into(),
        })
    }
}

fn is_free(address: SocketAddr) -> io::Result<()> {
    let _tcp = TcpListener::bind(address)?;
    let _udp = UdpSocket::bind(address)?;
    Ok(())
}

/// Linux gives outgoing connections ports from 32768 on.
const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;

/// How many ports after a busy one are tried.
const TRIES: u16 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_means_the_next_free_one() {
        let busy = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let wanted = busy.local_addr().expect("bound");
        let mut next = wanted;
        next.set_port(wanted.port() + 1);

        let given = Ports::new().free_from(wanted, &[next]);

        let given = given.expect("a free port").port();
        assert!(given > next.port(), "{given} after {wanted} and {next}");
    }

    #[test]
    fn ports_are_given_once_and_are_not_ephemeral() {
        let mut ports = Ports::new();

        let (one, two) = (ports.free(), ports.free());

        let (one, two) = (one.expect("free").port(), two.expect("free").port());
        assert!(one < two && two < LAST);
    }
}
