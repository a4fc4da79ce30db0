//! What unkind clients do.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::frames::End;
use crate::{frames, hpack};

/// Clients of one kind.
pub(crate) struct Flood {
    pub(crate) name: &'static str,
    /// In all, and at a time.
    pub(crate) connections: usize,
    pub(crate) at_once: usize,
    /// What the client with this number sends.
    pub(crate) says: fn(usize) -> Vec<u8>,
    pub(crate) then: Then,
    /// The server does not run while the first of them come, so that it meets all of them at once, as behind a busy neighbour.
    pub(crate) asleep: bool,
}

/// What a client does when it has said everything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Close,
    /// Waits until the server ends the connection.
    Wait,
    /// Reads nothing, for longer than the server is patient.
    Ignore,
}

/// TLS, HTTP/2, noise, half a head, two requests that fight over a length.
pub(crate) const GARBAGE: Flood = Flood {
    name: "2,000 garbage connections",
    connections: 2000,
    at_once: 500,
    says: |number| {
        match number % 6 {
        0 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20),
        1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        2 => (0..3000).map(|at| (at * 7 + number * 13) as u8).collect(),
        3 => b"GET / HTTP/1.1\r\nHost: x\r\nX: ".to_vec(),
        4 => b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc".to_vec(),
        _ => vec![b'a'; 60_000],
    }
    },
    then: Then::Close,
    asleep: true,
};

/// The same, to a server that is awake: one may have no room for so many that wait to be accepted.
pub(crate) const GARBAGE_BY_AND_BY: Flood = Flood {
    asleep: false,
    ..GARBAGE
};

/// Every other one asks for something first.
pub(crate) const OPEN_AND_CLOSE: Flood = Flood {
    name: "10,000 opened and closed",
    connections: 10_000,
    at_once: 50,
    says: |number| match number % 2 {
        0 => Vec::new(),
        _ => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
    },
    then: Then::Close,
    asleep: false,
};

/// A head that never ends.
pub(crate) const SLOW_HEADS: Flood = Flood {
    name: "1,000 slow heads",
    connections: 1000,
    at_once: 1000,
    says: |_| b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ".to_vec(),
    then: Then::Wait,
    asleep: false,
};

/// A body that never ends.
pub(crate) const SLOW_BODIES: Flood = Flood {
    name: "300 slow bodies",
    connections: 300,
    at_once: 300,
    says: |_| {
        let mut bytes = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n".to_vec();
        bytes.resize(bytes.len() + 20_000, b'x');
        bytes
    },
    then: Then::Wait,
    asleep: true,
};

/// The beginning of a short body.
pub(crate) const SHORT_BODIES: Flood = Flood {
    name: "1,000 beginnings of short bodies",
    connections: 1000,
    at_once: 1000,
    says: |_| b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc".to_vec(),
    then: Then::Wait,
    asleep: true,
};

/// They ask for a lot and read nothing.
pub(crate) const SLOW_READERS: Flood = Flood {
    name: "64 slow readers of 8 MiB",
    connections: 64,
    at_once: 64,
    says: |_| b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
    then: Then::Ignore,
    asleep: false,
};

/// Each what costs a client nothing: resets, pings, settings, a head without end, a header bomb, empty DATA.
pub(crate) const FRAMES: Flood = Flood {
    name: "300 floods of HTTP/2",
    connections: 300,
    at_once: 60,
    says: |number| {
        let get = frames::headers(1, &frames::pseudo("GET", "/"), false);
        let flood = match number % 6 {
            0 => (0..2000)
                .flat_map(|at| {
                    let stream = 2 * at + 1;
                    let head = frames::headers(stream, &frames::pseudo("GET", "/"), true);
                    [head, frames::reset(stream, 8)].concat()
                })
                .collect(),
            1 => frames::frame(frames::PING, 0, 0, &[1; 8]).repeat(10_000),
            2 => frames::settings(&[(4, 65_535), (1, 0)]).repeat(10_000),
            3 => {
                let mut begun = get;
                begun[4] = 0;
                let more = frames::frame(frames::CONTINUATION, 0, 1, &[0; 1000]);
                [begun, more.repeat(1000)].concat()
            }
            4 => bomb(),
            _ => [get, frames::data(1, [], false).repeat(20_000)].concat(),
        };
        [greeting(&[]), flood].concat()
    },
    then: Then::Close,
    asleep: false,
};

/// Each asks for something, all at once.
pub(crate) const GREETINGS: Flood = Flood {
    name: "2,000 greetings of HTTP/2",
    connections: 2000,
    at_once: 500,
    says: |_| {
        let get = frames::headers(1, &frames::pseudo("GET", "/"), true);
        [greeting(&[]), get].concat()
    },
    then: Then::Close,
    asleep: true,
};

/// They open windows as wide as can be, ask for a lot on many streams, and read nothing.
pub(crate) const DEAF: Flood = Flood {
    name: "32 deaf readers of 20 streams of 8 MiB",
    connections: 32,
    at_once: 32,
    says: |_| {
        let widest = (1 << 31) - 1;
        let wide = frames::window_update(0, widest - 65_535);
        [greeting(&[(4, widest)]), wide, streams(20)].concat()
    },
    then: Then::Ignore,
    asleep: false,
};

/// They open no window, and ask for a lot on many streams.
pub(crate) const SHUT: Flood = Flood {
    name: "32 shut windows of 50 streams of 8 MiB",
    connections: 32,
    at_once: 32,
    says: |_| [greeting(&[(4, 0)]), streams(50)].concat(),
    then: Then::Ignore,
    asleep: false,
};

/// As much of bodies as windows let, and no more, to a backend that gets none of it whole.
pub(crate) const UPLOADS: Flood = Flood {
    name: "64 connections of uploads without end",
    connections: 64,
    at_once: 64,
    says: |_| {
        let mut bytes = greeting(&[]);
        for at in 0..4 {
            let stream = 2 * at + 1;
            let length = [("content-length", "100000000")];
            let head = [&frames::pseudo("POST", "/")[..], &length].concat();
            bytes.extend(frames::headers(stream, &head, false));
            for _ in 0..4 {
                bytes.extend(frames::data(stream, [b'x'; 16_000], false));
            }
        }
        bytes
    },
    then: Then::Ignore,
    asleep: false,
};

/// A body whose request waits in line comes byte by byte; much of another, that is taken, comes between so many.
pub(crate) fn scatter(address: SocketAddr, rounds: usize, bytes: usize) -> Client {
    let mut client = Client::connect(address);
    let taken = client.open("POST", "/", &[("content-length", "1000000000")]);
    let waits = client.open("POST", "/", &[]);
    for _ in 0..rounds {
        for _ in 0..bytes {
            client.upload(waits, b"x", false);
        }
        client.upload(taken, &[b'x'; 16_000], false);
    }
    client.glance();
    assert_eq!(client.goaways, []);
    assert_eq!(client.so_far(waits).end, End::Open, "it waited not so long");
    client
}

fn greeting(settings: &[(u16, u32)]) -> Vec<u8> {
    let acknowledged = frames::frame(frames::SETTINGS, frames::ACK, 0, &[]);
    [frames::PREFACE, &frames::settings(settings), &acknowledged].concat()
}

fn streams(count: u32) -> Vec<u8> {
    (0..count)
        .flat_map(|at| frames::headers(2 * at + 1, &frames::pseudo("GET", "/large"), true))
        .collect()
}

/// One field of 4 kB, and its index 12,000 times.
fn bomb() -> Vec<u8> {
    let head = frames::pseudo("GET", "/");
    let head: Vec<(&[u8], &[u8])> = head
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    let mut block = hpack::block(&head);
    block.extend_from_slice(&[0x40, 1, b'x']);
    hpack::integer(&mut block, 7, 0, 4000);
    block.resize(block.len() + 4000, b'x');
    block.resize(block.len() + 12_000, 0x80 | 62);
    frames::frame(
        frames::HEADERS,
        frames::END_HEADERS | frames::END_STREAM,
        1,
        &block,
    )
}

impl Flood {
    /// Opens, says, closes, by turns; `look` is called now and then while the first batch is open.
    pub(crate) fn run(&self, address: SocketAddr, mut look: impl FnMut()) {
        let mut done = 0;
        while done < self.connections {
            let batch = self.at_once.min(self.connections - done);
            let mut open: Vec<TcpStream> = (done..done + batch)
                .map(|number| {
                    let mut stream = connect(address);
                    // It may have hung up already.
                    let _ = stream.write_all(&(self.says)(number));
                    stream
                })
                .collect();
            if done == 0 {
                for _ in 0..15 {
                    std::thread::sleep(Duration::from_millis(100));
                    look();
                }
            }
            done += batch;
            match self.then {
                Then::Close => {}
                Then::Wait => open.iter_mut().for_each(wait_for_the_end),
                Then::Ignore => std::thread::sleep(Duration::from_secs(4)),
            }
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let begun = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                let patience = Some(Duration::from_secs(10));
                stream.set_read_timeout(patience).expect("a socket");
                stream.set_write_timeout(patience).expect("a socket");
                return stream;
            }
            Err(error) => assert!(
                begun.elapsed() < Duration::from_secs(5),
                "no connection: {error}"
            ),
        }
    }
}

fn wait_for_the_end(stream: &mut TcpStream) {
    let mut scratch = [0; 1024];
    loop {
        match stream.read(&mut scratch) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("a slow client was not hung up on within ten seconds")
            }
            Err(_) => return,
        }
    }
}
