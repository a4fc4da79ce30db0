//! The two sockets of mDNS on one interface, for one kind of address.
//!
//! ```text
//! asking     ephemeral port ──question──▶ group, port 5353
//!                           ◀───answer─── port 5353 of whoever knows
//! listening  port 5353, in the group: others' questions, and answers told to all
//! ```

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::net::UdpSocket;

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
const PORT: u16 = 5353;

/// RFC 6762 §11.
const HOPS: u32 = 255;

/// Where gossip goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Interface, for people.
    pub(crate) name: String,
    /// As the system counts it; `None`: the system chooses.
    pub(crate) index: Option<u32>,
    /// One of its addresses.
    pub(crate) ip: IpAddr,
}

/// Both sockets.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) asking: Arc<UdpSocket>,
    /// `None` where the port can't be shared: then we ask only.
    pub(super) listening: Option<Arc<UdpSocket>>,
    pub(super) group: SocketAddr,
}

impl Link {
    /// # Errors
    /// The system's: an interface without multicast, or none of this kind.
    pub(super) fn v4(segment: &Segment) -> io::Result<Self> {
        let group = SocketAddr::from((GROUP_V4, PORT));
        let interface = match (segment.index, segment.ip) {
            (Some(index), _) => InterfaceIndexOrAddress::Index(index),
            (None, IpAddr::V4(ip)) => InterfaceIndexOrAddress::Address(ip),
            (None, IpAddr::V6(_)) => InterfaceIndexOrAddress::Address(Ipv4Addr::UNSPECIFIED),
        };
        let out = match segment.ip {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        let multicast = |socket: &Socket| {
            socket.set_multicast_if_v4(&out)?;
            socket.set_multicast_ttl_v4(HOPS)?;
            socket.set_multicast_all_v4(false)
        };
        let asking = bound(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), multicast)?;
        let listening = bound(group, |socket| {
            multicast(socket)?;
            socket.join_multicast_v4_n(&GROUP_V4, &interface)
        });
        Self::of(asking, listening, group)
    }

    /// # Errors
    /// As [`Link::v4`].
    pub(super) fn v6(segment: &Segment) -> io::Result<Self> {
        let index = segment.index.unwrap_or(0);
        let group = SocketAddr::from(SocketAddrV6::new(GROUP_V6, PORT, 0, index));
        let multicast = |socket: &Socket| {
            socket.set_only_v6(true)?;
            socket.set_multicast_if_v6(index)?;
            socket.set_multicast_hops_v6(HOPS)?;
            socket.set_multicast_all_v6(false)
        };
        let asking = bound(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), multicast)?;
        let listening = bound(group, |socket| {
            multicast(socket)?;
            socket.join_multicast_v6(&GROUP_V6, index)
        });
        Self::of(asking, listening, group)
    }

    fn of(
        asking: UdpSocket,
        listening: io::Result<UdpSocket>,
        group: SocketAddr,
    ) -> io::Result<Self> {
        let listening = match listening {
            Ok(socket) => Some(Arc::new(socket)),
            // Somebody has the port for itself.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            asking: Arc::new(asking),
            listening,
            group,
        })
    }
}

/// A socket at `address`, beside others there: a machine may run several members, and a resolver.
fn bound(
    address: SocketAddr,
    prepare: impl Fn(&Socket) -> io::Result<()>,
) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    prepare(&socket)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}
