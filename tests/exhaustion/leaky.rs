//! The control: a server that leaks a little for each connection, in a process of its own.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::time::Duration;

/// Where to listen, and what to leak: `127.0.0.1:80 descriptors`.
pub(crate) const ORDER: &str = "LB_TEST_LEAKY";

/// Of memory, for each connection.
const LEAK_BYTES: usize = 16 * 1024;

/// Serves until it is killed, if the environment says so.
pub(crate) fn serve_if_asked() {
    let Ok(order) = std::env::var(ORDER) else {
        return;
    };
    let (address, what) = order.split_once(' ').expect("two words");
    let address: SocketAddr = address.parse().expect("an address");
    let listener = TcpListener::bind(address).expect("a free port");
    let (mut sockets, mut bytes) = (Vec::new(), Vec::new());
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        let _ = stream.shutdown(Shutdown::Both);
        match what {
            "descriptors" => sockets.push(stream),
            "memory" => bytes.push(vec![1_u8; LEAK_BYTES]),
            _ => {}
        }
    }
}
