//! The program itself, with a configuration of the test's.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::common::{Running, eventually};

/// How long anything may take to begin.
const START: Duration = Duration::from_secs(20);

/// A running `lb`.
pub(crate) struct Lb {
    _running: Running,
    /// Where clients go.
    pub(crate) front: SocketAddr,
    admin: SocketAddr,
}

/// On a network of loopback that no other test uses.
pub(crate) fn free_address() -> SocketAddr {
    crate::common::free_address([127, 0, 66, 1])
}

impl Lb {
    /// `listener`, `check` and `cluster` are the keys of one of each. A check may take long, as this machine may.
    pub(crate) fn start(files: &Path, listener: &str, check: &str, cluster: &str) -> Self {
        let (front, gossip, admin) = (free_address(), free_address(), free_address());
        let config = files.join("lb.toml");
        let text = format!(
            "[gossip]\nbind = \"{gossip}\"\ndiscover = \"off\"\nnode = \"tcp\"\nrpc_addr = \"off\"\n\
             [admin]\nlisten = \"{admin}\"\n[state]\ndir = \"none\"\n[limits]\nworkers = 2\n\
             [listener.it]\nlisten = [\"{front}\"]\n{listener}\n[cluster.pool.check]\ntimeout = \"20s\"\n{check}\n[cluster.pool]\n{cluster}\n"
        );
        fs::write(&config, text).expect("a writable directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
        command.arg("--config").arg(config);
        let running = Running::start("lb", files, &mut command);
        listens(front);
        listens(admin);
        Self {
            _running: running,
            front,
            admin,
        }
    }

    /// What `/metrics` or another page of the admin says.
    pub(crate) fn page(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).expect("it listens");
        stream.set_read_timeout(Some(START)).expect("a timeout");
        let request = format!("GET {path} HTTP/1.1\r\nHost: lb\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("it answers");
        page
    }

    /// Waits until this many backends are in rotation.
    pub(crate) fn has_in(&self, count: usize) {
        let line = format!("lb_pool_backends_in_rotation{{pool=\"pool\"}} {count}\n");
        eventually(&line, START, || {
            self.page("/metrics").contains(&line).then_some(())
        });
    }
}

/// Waits until somebody listens there.
pub(crate) fn listens(address: SocketAddr) {
    eventually("it listens", START, || TcpStream::connect(address).ok());
}

/// A connection from an address that tells who it is.
pub(crate) fn connect_from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let source = SocketAddr::new(source.parse().expect("an address"), 0);
    socket
        .bind(&source.into())
        .expect("all of 127.0.0.0/8 is ours");
    socket.connect(&to.into()).expect("it listens");
    socket.into()
}
