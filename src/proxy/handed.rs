//! Sockets that listen already when we start: of a predecessor (`lb upgrade`), or of the service manager.
//!
//! ```text
//! Handed ──name given and a listener's──▶ that listener, instead of its own addresses
//!    └────address is a listener's──────▶ that address is not bound again
//! as many as workers, or more: dealt out · fewer: one more is bound beside (SO_REUSEPORT), else one is shared
//! ```
//!
//! What waits in a socket's queue is lost when the last descriptor of it is closed. So none that a listener wants is
//! ever closed here, also when there are more of them than workers.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::SockRef;

use super::bound::{BindError, Bound, Placed, share};
use super::{Listen, Listener};

/// A socket that listens.
#[derive(Debug)]
pub struct Handed {
    /// Of the listener that it was for, or as the service manager calls it.
    pub name: Option<String>,
    /// The name alone says whose it is.
    pub named: bool,
    /// The socket.
    pub socket: TcpListener,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Inherited {
    /// In order.
    pub sockets: Vec<Handed>,
    /// One that nobody wants is an error; else it is closed.
    pub strict: bool,
}

/// Those of one address.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) bound: Bound,
    named: bool,
    sockets: Vec<TcpListener>,
}

/// Finds each its listener.
pub(super) fn place(listeners: &[Listener], inherited: Inherited) -> Result<Vec<Taken>, BindError> {
    let mut all: Vec<Taken> = Vec::new();
    for handed in inherited.sockets {
        let address = handed
            .socket
            .local_addr()
            .map_err(|error| BindError::new(UNKNOWN, error))?;
        let Some((listener, named)) = home(listeners, &handed, address) else {
            if inherited.strict {
                let name = handed.name.unwrap_or_default();
                return Err(BindError::Stray { address, name });
            }
            tracing::warn!(%address, "no listener is there any more: closed");
            continue;
        };
        // Accepted sockets inherit it.
        let _ = SockRef::from(&handed.socket).set_tcp_nodelay(true);
        let bound = Bound { listener, address };
        match all.iter_mut().find(|taken| taken.bound == bound) {
            Some(taken) => taken.sockets.push(handed.socket),
            None => all.push(Taken {
                bound,
                named,
                sockets: vec![handed.socket],
            }),
        }
    }
    Ok(all)
}

/// The listener, and whether its name alone says so.
fn home(listeners: &[Listener], handed: &Handed, address: SocketAddr) -> Option<(u8, bool)> {
    let numbered = || (0..=u8::MAX).zip(listeners);
    let is_called = |listener: &Listener| {
        handed
            .name
            .as_deref()
            .is_some_and(|name| name == listener.name)
    };
    if handed.named
        && let Some((number, _)) = numbered().find(|(_, listener)| is_called(listener))
    {
        return Some((number, true));
    }
    numbered()
        .find(|(_, listener)| wants(&listener.listen, address, is_called(listener)))
        .map(|(number, _)| (number, false))
}

/// Port 0 is any port, once it is clear whose it was.
fn wants(listen: &Listen, address: SocketAddr, is_called: bool) -> bool {
    let port = |wanted: u16| wanted == address.port() || (wanted == 0 && is_called);
    match listen {
        Listen::Default { port: wanted } => address.ip().is_unspecified() && port(*wanted),
        Listen::Exactly(all) => all
            .iter()
            .any(|wanted| wanted.ip() == address.ip() && port(wanted.port())),
    }
}

/// What is still to be bound: the listener's number, and its addresses.
pub(super) fn wanted(listeners: &[Listener], taken: &[Taken]) -> Vec<(u8, Listen)> {
    let rest = |(number, listener): (u8, &Listener)| {
        let own: Vec<&Taken> = taken
            .iter()
            .filter(|taken| taken.bound.listener == number)
            .collect();
        if own.iter().any(|taken| taken.named) {
            return None;
        }
        let is_here = |wanted: &SocketAddr| {
            let one = Listen::Exactly(vec![*wanted]);
            own.iter()
                .any(|taken| wants(&one, taken.bound.address, true))
        };
        match &listener.listen {
            Listen::Default { .. } if !own.is_empty() => None,
            Listen::Default { port } => Some((number, Listen::Default { port: *port })),
            Listen::Exactly(all) => {
                let rest = all.iter().copied().filter(|wanted| !is_here(wanted));
                Some((number, Listen::Exactly(rest.collect())))
            }
        }
    };
    (0..=u8::MAX).zip(listeners).filter_map(rest).collect()
}

/// Deals the sockets of one address out, so that every worker has one and every socket has a worker.
pub(super) fn spread(taken: Taken, workers: &mut [Vec<Placed>]) -> Result<(), BindError> {
    let Taken {
        bound,
        named,
        sockets,
    } = taken;
    let placed = |socket, shared| Placed {
        listener: bound.listener,
        socket,
        named,
        shared,
    };
    let failed = |error: io::Error| BindError::new(bound.address, error);
    let (given, count) = (sockets.len(), workers.len());
    let mut more = Vec::new();
    for number in given..count {
        let like = &sockets[number % given];
        // Without SO_REUSEPORT, as systemd opens them by default, or without the right to the port: all of these
        // workers wait at one queue. Each new connection wakes all that are idle, and one gets it.
        // It begins to listen when the workers start: whatever waited there would be lost if we never did.
        let own = match SockRef::from(like).reuse_port() {
            Ok(true) => share(bound.address).ok(),
            _ => None,
        };
        more.push(match own {
            Some(socket) => placed(socket, false),
            None => placed(like.try_clone().map_err(failed)?, true),
        });
    }
    let given = sockets.into_iter().map(|socket| placed(socket, false));
    for (number, socket) in given.chain(more).enumerate() {
        workers[number % count].push(socket);
    }
    Ok(())
}

/// In words about a socket that does not know its own address.
const UNKNOWN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::super::listeners::{Listeners, bind, bind_with};
    use super::*;

    fn listener(name: &str, port: u16) -> Listener {
        let listen = Listen::Exactly(vec![SocketAddr::from(([127, 0, 0, 1], port))]);
        Listener::plain(name, listen)
    }

    async fn again(listeners: &[Listener], old: &Listeners, workers: usize) -> Listeners {
        let inherited = Inherited {
            sockets: old.copies(listeners).unwrap(),
            strict: false,
        };
        bind_with(listeners, workers, inherited).await.unwrap()
    }

    #[tokio::test]
    async fn what_waits_in_a_queue_is_still_there_after_any_change_of_the_number_of_workers() {
        for (before, after) in [(1, 1), (1, 3), (3, 1), (2, 5), (5, 2)] {
            let listeners = [listener("web", 0)];
            let old = bind(&listeners, before).await.unwrap();
            let address = old.addresses()[0].address;
            // By chance of the hash they are in all of the queues.
            let clients: Vec<TcpStream> = (0..40)
                .map(|_| TcpStream::connect(address).unwrap())
                .collect();

            let new = again(&listeners, &old, after).await;
            drop(old);

            assert_eq!(new.addresses()[0].address, address);
            let workers = new.into_workers();
            assert_eq!(workers.len(), after);
            assert!(workers.iter().all(|own| !own.is_empty()));
            let mut served = 0;
            for (_, socket) in workers.iter().flatten() {
                socket.set_nonblocking(true).unwrap();
                while let Ok((mut stream, _)) = socket.accept() {
                    stream.write_all(b"x").unwrap();
                    served += 1;
                }
            }
            assert_eq!(served, 40, "{before} to {after}");
            for mut client in clients {
                assert_eq!(client.read(&mut [0]).unwrap(), 1);
            }
        }
    }

    #[tokio::test]
    async fn shared_descriptors_are_not_handed_on_twice() {
        // As of systemd: without SO_REUSEPORT.
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listeners = [listener("web", address.port())];
        let inherited = Inherited {
            sockets: vec![Handed {
                name: Some("lb.socket".to_owned()),
                named: true,
                socket,
            }],
            strict: true,
        };

        let bound = bind_with(&listeners, 3, inherited).await.unwrap();

        assert_eq!(bound.copies(&listeners).unwrap().len(), 1);
        let workers = bound.into_workers();
        assert!(workers.iter().all(|own| own.len() == 1));
    }

    #[tokio::test]
    async fn a_name_says_whose_it_is_whatever_its_address() {
        let socket = TcpListener::bind("127.0.0.2:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listeners = [listener("web", 0), listener("api", 0)];
        let inherited = Inherited {
            sockets: vec![Handed {
                name: Some("api".to_owned()),
                named: true,
                socket,
            }],
            strict: true,
        };

        let bound = bind_with(&listeners, 1, inherited).await.unwrap();

        let addresses = bound.addresses();
        assert_eq!(addresses.len(), 2, "{addresses:?}");
        assert_eq!(addresses[0].listener, 0);
        assert_eq!((addresses[1].listener, addresses[1].address), (1, address));
        let next = again(&listeners, &bound, 1).await;
        assert_eq!(next.addresses(), addresses);
    }

    #[tokio::test]
    async fn a_stray_socket_of_the_service_manager_is_named() {
        let socket = TcpListener::bind("127.0.0.2:0").unwrap();
        let address = socket.local_addr().unwrap();
        let inherited = Inherited {
            sockets: vec![Handed {
                name: Some("old".to_owned()),
                named: true,
                socket,
            }],
            strict: true,
        };

        let error = bind_with(&[listener("web", 0)], 1, inherited)
            .await
            .unwrap_err();

        assert_eq!(
            error.to_string(),
            format!(
                "the service manager passes a socket on {address} (named \"old\"), which belongs to no listener"
            )
        );
    }
}
