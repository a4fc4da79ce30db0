//! What becomes of the one that was replaced.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;

use crate::common::eventually;
use crate::rig::{LONG, World};

#[test]
fn what_idles_is_answered_once_more_by_the_old_one_and_told_to_come_again() {
    let world = World::new();
    world.configure(1, "drain = \"40s\"", "");
    let program = world.install();
    let mut front = world.front(&program);
    let _agent = world.agent(1);
    front.until_in(1);
    let mut client = TcpStream::connect(world.vip()).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    let mut ask = || {
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"here") && client.read(&mut byte).unwrap() > 0 {
            answer.push(byte[0]);
        }
        String::from_utf8(answer).unwrap().to_ascii_lowercase()
    };
    assert!(!ask().contains("connection: close"));

    let old = front.upgrade(&[]);
    // It has nothing but this connection, and the operator asks a second time whether it is done.
    eventually("the old one drains", LONG, || {
        front.output().contains("upgraded: process").then_some(())
    });
    assert!(crate::rig::lives(old));
    let answer = ask();

    assert!(
        answer.contains("200 ok") && answer.contains("connection: close"),
        "{answer}"
    );
    assert_eq!(front.ended(old), 0);
    assert_eq!(front.stop(), 0);
}

#[test]
fn one_that_drains_hands_nothing_on_and_ends_at_a_second_signal() {
    let world = World::new();
    world.configure(1, "drain = \"10m\"", "");
    let program = world.install();
    let mut front = world.front(&program);
    let _agent = world.agent(1);
    front.until_in(1);
    // Holds the old one.
    let client = TcpStream::connect(world.vip()).unwrap();
    (&client)
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut some = [0; 15];
    (&client).read_exact(&mut some).unwrap();
    let old = front.upgrade(&[]);

    crate::rig::signal_to(old, Signal::USR2);
    eventually("it refuses", LONG, || {
        front
            .output()
            .contains("upgrade refused: this process was replaced by process")
            .then_some(())
    });
    crate::rig::signal_to(old, Signal::TERM);
    eventually("it is stopping already", LONG, || {
        front.output().contains("stopping already").then_some(())
    });
    // Two signals within a second are one wish.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    crate::rig::signal_to(old, Signal::TERM);

    assert_eq!(front.ended(old), 0);
    assert!(front.output().contains("stopped at once, as asked twice"));
    assert_eq!(front.admin("/healthz").map(|(status, _)| status), Some(200));
    assert_eq!(front.stop(), 0);
}
