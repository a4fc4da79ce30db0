//! Bytes both ways, in order, however they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::front::Front;
use crate::peer::Peer;
use crate::toy::Toy;
use crate::{echo, relaying, until};

/// Bytes that repeat nowhere soon.
fn noise(count: usize) -> Vec<u8> {
    (0..count as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

#[test]
fn whatever_is_sent_arrives_as_it_was() {
    let toy = echo();
    let front = Front::with(relaying(), &[&toy]);
    let mut client = front.client();

    for bytes in [&b"\0"[..], b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff"] {
        client.send(bytes);
        assert_eq!(client.bytes(bytes.len()), bytes);
    }
}

#[test]
fn large_amounts_arrive_whole_both_ways_at_once() {
    let toy = echo();
    let front = Front::with(relaying(), &[&toy]);
    passes(&front, &toy, front.client(), 24 << 20);
}

#[test]
fn where_kernels_take_little_at_once_all_arrives_too() {
    let toy = Toy::raw_and_narrow(|mut peer, _| {
        // All that the front has room for stands still first.
        std::thread::sleep(Duration::from_millis(20));
        loop {
            let got = peer.some();
            if got.is_empty() || !peer.try_send(got) {
                return;
            }
        }
    });
    let front = Front::with(relaying(), &[&toy]);
    for bytes in [1, 16_385, 65_537, 262_143, 1_000_000, 2_000_000] {
        passes(&front, &toy, Peer::connect_tight(front.address), bytes);
    }
}

/// All of it goes there and back while it is still being sent, and both ends come behind it.
fn passes(front: &Front, toy: &Toy, mut client: Peer, bytes: usize) {
    let all = noise(bytes);
    let mut sender = client.stream().try_clone().unwrap();
    let sent = all.clone();
    let sending = std::thread::spawn(move || {
        std::io::Write::write_all(&mut sender, &sent).unwrap();
        sender.shutdown(std::net::Shutdown::Write).unwrap();
    });

    let (got, in_order) = client.rest_and_end();

    sending.join().unwrap();
    assert!(got == all, "{} of {} bytes", got.len(), all.len());
    assert!(in_order);
    drop(client);
    until("both are counted as gone", || {
        front.in_flight(toy) == 0 && front.stats().connections_open == 0
    });
}

#[test]
fn a_backend_may_speak_first() {
    let toy = Toy::raw(|mut peer, _| {
        peer.send("220 hello\r\n");
        let got = peer.rest();
        assert_eq!(got, b"QUIT\r\n");
    });
    let front = Front::with(relaying(), &[&toy]);
    let mut client = front.client();

    assert_eq!(client.bytes(11), b"220 hello\r\n");
    client.send("QUIT\r\n");
    client.end();
    client.assert_ended_in_order();
}

/// What the kernel may hold of one connection, in bytes.
fn kernel_max() -> usize {
    let max = |kind: &str| -> usize {
        let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/tcp_{kind}"));
        let text = text.expect("Linux");
        let max = text.split_whitespace().nth(2).expect("three numbers");
        max.parse().expect("a number")
    };
    max("rmem") + max("wmem")
}

#[test]
fn who_reads_slowly_holds_back_who_sends() {
    const CHUNK: usize = 64 * 1024;
    // Of both connections, and two buffers of ours.
    let held_max = 2 * kernel_max() + (1 << 20);
    let all = (2 * held_max).next_multiple_of(CHUNK);
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let toy = Toy::raw(move |mut peer, _| {
        for _ in 0..all / CHUNK {
            if !peer.try_send([b'x'; CHUNK]) {
                return;
            }
            counter.fetch_add(CHUNK, Ordering::SeqCst);
        }
    });
    let front = Front::with(relaying(), &[&toy]);
    let mut client = front.client();
    assert_eq!(client.bytes(1), b"x");

    let mut seen = 0;
    until("the backend is held back", || {
        let before = std::mem::replace(&mut seen, sent.load(Ordering::SeqCst));
        std::thread::sleep(Duration::from_millis(200));
        before > 0 && before == seen
    });

    assert!(seen < held_max, "{seen} bytes were taken from the backend");
    let mut got = 1;
    loop {
        match client.some().len() {
            0 => break,
            more => got += more,
        }
    }
    assert!(got >= all, "{got} of {all} bytes");
}
