//! Clients that are joined with a backend when the program is replaced: a WebSocket, and a connection of a tcp listener.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::common::eventually;
use crate::rig::{Front, LONG, World, lives};

/// Another listener, which relays.
fn relay(world: &World) -> (SocketAddr, String) {
    let address = world.address(1, 18081);
    let table = format!("[listener.raw]\nlisten = \"{address}\"\nmode = \"tcp\"\n");
    (address, table)
}

/// One of each, through to a backend.
struct Held {
    websocket: TcpStream,
    relayed: TcpStream,
}

impl Held {
    fn open(world: &World, relay: SocketAddr) -> Self {
        let connect = |to| {
            let stream = TcpStream::connect(to).expect("the front listens");
            stream.set_read_timeout(Some(LONG)).expect("a timeout");
            stream
        };
        let mut held = Self {
            websocket: connect(world.vip()),
            relayed: connect(relay),
        };
        let ask = b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        held.websocket.write_all(ask).expect("sent");
        let head = until(&mut held.websocket, b"\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        held.go_on();
        held
    }

    /// Bytes pass both ways on both.
    fn go_on(&mut self) {
        self.websocket.write_all(b"still there?").expect("sent");
        assert!(until(&mut self.websocket, b"there?").starts_with("still"));
        let ask = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        self.relayed.write_all(ask).expect("sent");
        let answer = until(&mut self.relayed, b"here");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    /// Both are ended from the other side.
    fn end(mut self) {
        for stream in [&mut self.websocket, &mut self.relayed] {
            let mut rest = Vec::new();
            match stream.read_to_end(&mut rest) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
            }
        }
    }
}

fn until(stream: &mut TcpStream, mark: &[u8]) -> String {
    let (mut got, mut byte) = (Vec::new(), [0]);
    while !got.ends_with(mark) {
        let read = stream.read(&mut byte).expect("more comes");
        assert_eq!(
            read,
            1,
            "it ended after {:?}",
            String::from_utf8_lossy(&got)
        );
        got.push(byte[0]);
    }
    String::from_utf8_lossy(&got).into_owned()
}

fn replaced(front: &Front<'_>) -> i32 {
    let old = front.upgrade(&[]);
    assert!(lives(old), "it has clients: {}", front.output());
    old
}

#[test]
fn a_websocket_and_a_relayed_connection_go_on_over_two_upgrades_until_they_end() {
    let world = World::new();
    let (address, table) = relay(&world);
    world.configure(2, "drain = \"10m\"", &table);
    let program = world.install();
    let mut front = world.front(&program);
    let _agent = world.agent(1);
    front.until_in(1);
    let mut first = Held::open(&world, address);

    let oldest = replaced(&front);
    first.go_on();
    let mut second = Held::open(&world, address);
    let older = replaced(&front);
    first.go_on();
    second.go_on();
    Held::open(&world, address).go_on();

    // Each process ends with its last client, long before its time is over.
    drop(second);
    // It is the oldest one's child, and nobody else can collect it.
    eventually("the older one has ended", LONG, || {
        (!lives(older)).then_some(())
    });
    first.go_on();
    drop(first);
    assert_eq!(front.ended(oldest), 0);
    assert_eq!(front.stop(), 0);
}

#[test]
fn what_is_still_joined_when_the_time_to_drain_is_over_is_ended() {
    let world = World::new();
    let (address, table) = relay(&world);
    world.configure(2, "drain = \"1s\"", &table);
    let program = world.install();
    let mut front = world.front(&program);
    let _agent = world.agent(1);
    front.until_in(1);
    let held = Held::open(&world, address);

    let old = front.upgrade(&[]);

    held.end();
    assert_eq!(front.ended(old), 0);
    Held::open(&world, address).go_on();
    assert_eq!(front.stop(), 0);
}
