//! The listening sockets: one set per worker, all on the same addresses.
//!
//! ```text
//! probe without SO_REUSEPORT ─▶ somebody there? retry 10 s ─▶ release ─▶ one socket per worker with it
//! ```
//!
//! Sockets that listen already, of a predecessor or of the service manager, are taken as they are: see [`super::handed`].
//!
//! `SO_REUSEPORT` alone would let a second program take half of the connections in silence.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::Socket;

use super::bound::{BindError, Bound, Placed, open, share};
use super::handed::{self, Handed, Inherited};
use super::{Listen, Listener};
use crate::clock;

/// How long a busy port is asked for again: a predecessor may still be leaving.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// Between two tries.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// Connections that may wait to be accepted, per socket; the kernel caps it.
const BACKLOG: i32 = 4096;

/// Bound sockets, not yet accepting.
#[derive(Debug)]
pub struct Listeners {
    addresses: Vec<Bound>,
    workers: Vec<Vec<Placed>>,
}

impl Listeners {
    /// Where they listen, ports resolved.
    pub fn addresses(&self) -> &[Bound] {
        &self.addresses
    }

    /// Other descriptors of every socket, to hand on to a successor. `listeners` are those that they were bound for.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn copies(&self, listeners: &[Listener]) -> io::Result<Vec<Handed>> {
        let all = self.workers.iter().flatten();
        all.filter(|placed| !placed.shared)
            .map(|placed| {
                let listener = listeners.get(usize::from(placed.listener));
                Ok(Handed {
                    name: listener.map(|listener| listener.name.clone()),
                    named: placed.named,
                    socket: placed.socket.try_clone()?,
                })
            })
            .collect()
    }

    /// Opens the queues of those that have none yet.
    pub(super) fn listen(&self) -> io::Result<()> {
        for placed in self.workers.iter().flatten() {
            if !rustix::net::sockopt::socket_acceptconn(&placed.socket)? {
                rustix::net::listen(&placed.socket, BACKLOG)?;
            }
        }
        Ok(())
    }

    pub(super) fn into_workers(self) -> Vec<Vec<(u8, TcpListener)>> {
        let pair = |placed: Placed| (placed.listener, placed.socket);
        let own = |placed: Vec<Placed>| placed.into_iter().map(pair).collect();
        self.workers.into_iter().map(own).collect()
    }
}

/// Binds the addresses of all `listeners` once per worker; `workers == 0` means one per core.
///
/// A busy port is retried for 10 s.
///
/// # Errors
/// [`BindError::Denied`] is for the operator to mend (exit 2), [`BindError::Busy`] is exit 1.
pub async fn bind(listeners: &[Listener], workers: usize) -> Result<Listeners, BindError> {
    bind_with(listeners, workers, Inherited::default()).await
}

/// The same; what is `inherited` is not bound again.
///
/// # Errors
/// As [`bind`], and [`BindError::Stray`].
pub async fn bind_with(
    listeners: &[Listener],
    workers: usize,
    inherited: Inherited,
) -> Result<Listeners, BindError> {
    bind_within(listeners, workers, inherited, BUSY_MAX).await
}

async fn bind_within(
    listeners: &[Listener],
    workers: usize,
    inherited: Inherited,
    busy_max: Duration,
) -> Result<Listeners, BindError> {
    let workers = match workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        given => given,
    };
    let taken = handed::place(listeners, inherited)?;
    let begun = clock::now();
    let mut told = false;
    let wanted = handed::wanted(listeners, &taken);
    let fresh = loop {
        match probe(&wanted) {
            Ok(addresses) => break addresses,
            Err(error) => {
                let waited = clock::now().saturating_duration_since(begun);
                if !matches!(error, BindError::Busy { .. }) || waited >= busy_max {
                    return Err(error);
                }
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!("{error}; trying for {} s", busy_max.as_secs());
                }
                tokio::time::sleep(BUSY_PAUSE).await;
            }
        }
    };
    let mut addresses: Vec<Bound> = taken.iter().map(|taken| taken.bound).collect();
    addresses.extend(fresh.iter().copied());
    // In the order of the listeners, whoever bound them.
    addresses.sort_by_key(|bound| bound.listener);
    let bind_all = |_| -> Result<Vec<Placed>, BindError> {
        let sockets = fresh.iter().map(|bound| {
            let socket = share(bound.address)?;
            let queue = rustix::net::listen(&socket, BACKLOG);
            queue.map_err(|error| BindError::new(bound.address, error.into()))?;
            Ok(Placed {
                listener: bound.listener,
                socket,
                named: false,
                shared: false,
            })
        });
        sockets.collect()
    };
    let mut per_worker = (0..workers).map(bind_all).collect::<Result<Vec<_>, _>>()?;
    for taken in taken {
        handed::spread(taken, &mut per_worker)?;
    }
    Ok(Listeners {
        workers: per_worker,
        addresses,
    })
}

/// The addresses to use, ports resolved; an error if somebody has one of them.
fn probe(wanted: &[(u8, Listen)]) -> Result<Vec<Bound>, BindError> {
    // All are held until all are resolved, so that port 0 twice gives two ports.
    let mut held: Vec<(Bound, Socket)> = Vec::new();
    for (number, listen) in wanted {
        let mut hold = |address: SocketAddr| {
            let resolved = open(address, false).and_then(|socket| {
                let local = socket.local_addr()?.as_socket();
                Ok((local.unwrap_or(address), socket))
            });
            let (address, socket) = resolved.map_err(|error| BindError::new(address, error))?;
            let bound = Bound {
                listener: *number,
                address,
            };
            held.push((bound, socket));
            Ok(())
        };
        match listen {
            Listen::Exactly(addresses) => addresses.iter().copied().try_for_each(hold)?,
            Listen::Default { port } => {
                let both = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), *port);
                let four = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), *port);
                match hold(both) {
                    // No IPv6 here at all.
                    Err(BindError::Other { .. }) => hold(four)?,
                    other => other?,
                }
            }
        }
    }
    Ok(held.into_iter().map(|(bound, _)| bound).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> [Listener; 1] {
        let listen = Listen::Exactly(vec![SocketAddr::from(([127, 0, 0, 1], port))]);
        [Listener::plain("web", listen)]
    }

    #[tokio::test]
    async fn every_worker_gets_a_socket_on_the_same_resolved_port() {
        let listeners = bind(&loopback(0), 3).await.unwrap();

        let port = listeners.addresses()[0].address.port();
        assert_ne!(port, 0);
        let workers = listeners.into_workers();
        assert_eq!(workers.len(), 3);
        for sockets in workers {
            assert_eq!(sockets[0].1.local_addr().unwrap().port(), port);
        }
    }

    #[tokio::test]
    async fn a_present_owner_is_found_even_if_it_shares_its_port() {
        let owner = bind(&loopback(0), 1).await.unwrap();
        let port = owner.addresses()[0].address.port();

        let error = bind_within(&loopback(port), 1, Inherited::default(), Duration::ZERO)
            .await
            .unwrap_err();

        assert!(matches!(error, BindError::Busy { .. }), "{error}");
        assert_eq!(
            error.to_string(),
            format!("127.0.0.1:{port} is in use by another program")
        );
    }

    #[tokio::test]
    async fn each_socket_knows_its_listener() {
        let [one] = loopback(0);
        let [other] = loopback(0);

        let listeners = bind(&[one, other], 1).await.unwrap();

        let addresses = listeners.addresses().to_vec();
        assert_ne!(addresses[0].address, addresses[1].address);
        let sockets = listeners.into_workers().remove(0);
        for (bound, (number, socket)) in addresses.iter().zip(&sockets) {
            assert_eq!(bound.listener, *number);
            assert_eq!(bound.address, socket.local_addr().unwrap());
        }
        assert_eq!((addresses[0].listener, addresses[1].listener), (0, 1));
    }

    #[tokio::test]
    async fn a_port_that_becomes_free_is_taken() {
        let owner = bind(&loopback(0), 1).await.unwrap();
        let port = owner.addresses()[0].address.port();

        let listen = loopback(port);
        let (bound, ()) = tokio::join!(bind(&listen, 1), async {
            tokio::task::yield_now().await;
            drop(owner);
        });

        assert_eq!(bound.unwrap().addresses()[0].address.port(), port);
    }
}
