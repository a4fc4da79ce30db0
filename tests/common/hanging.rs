//! Dark machines.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// An address that answers no SYN: its accept queue is full.
pub(crate) struct Hanging {
    pub(crate) address: SocketAddr,
    _sockets: Vec<Socket>,
}

impl Hanging {
    /// On loopback.
    pub(crate) fn new() -> Self {
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let listener = socket();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        listener.bind(&any.into()).expect("a port");
        listener.listen(0).expect("it listens");
        let local = listener.local_addr().expect("an address");
        let mut sockets = vec![listener];
        loop {
            let filler = socket();
            let patience = std::time::Duration::from_millis(100);
            if filler.connect_timeout(&local, patience).is_err() {
                break;
            }
            sockets.push(filler);
        }
        Self {
            address: local.as_socket().expect("an IP address"),
            _sockets: sockets,
        }
    }
}
