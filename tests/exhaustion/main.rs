//! Floods: what clients leave behind in `lb`, from a fresh process each, in a network namespace of its own.
//!
//! ```text
//! fresh process ─▶ a few requests ─▶ usage ─▶ flood ─▶ all closed ─▶ usage ─▶ the same again ─▶ usage ─▶ judge
//!      lb, or a server that leaks (judge must find it out)
//! ```
//!
//! Memory is what the kernel says is resident; descriptors are counted. Needs root and `ip`.

#![allow(clippy::disallowed_methods, reason = "tests read the real clock")]

#[path = "../h2/client.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod client;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/frames.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod frames;
#[path = "../common/hpack.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod hpack;
#[path = "../cluster/net.rs"]
#[allow(dead_code, reason = "one host needs only some of it")]
mod net;

mod flood;
mod leaky;
mod subject;
mod usage;

use std::time::Duration;

use common::system_tests;
use flood::Flood;
use subject::Stage;

/// Idle connections to backends go after a second, slow clients after two.
const CLEAN: Duration = Duration::from_secs(15);

/// No client waits longer than this.
const DEADLINE: Duration = Duration::from_secs(10);

/// One flood over a fresh `lb`; `while_open` bounds what one connection may hold meanwhile, in KiB.
fn lb_survives(flood: &'static Flood, while_open_kib: u64) {
    if !system_tests(&["ip"]) {
        return;
    }
    survives(flood, while_open_kib, Stage::lb);
}

/// The same over one that relays.
fn relay_survives(flood: &'static Flood, while_open_kib: u64) {
    if !system_tests(&["ip"]) {
        return;
    }
    survives(flood, while_open_kib, Stage::lb_relaying);
}

fn survives(flood: &'static Flood, while_open_kib: u64, lb: fn(&Stage) -> common::Running) {
    let stage = Stage::new();
    let lb = lb(&stage);

    let report = stage.flood(&lb, flood, CLEAN);

    println!("{}: {report}", flood.name);
    if let Err(fault) = report.judge() {
        panic!("{}: {fault} ({report})", flood.name);
    }
    let held = report.held_kib_each();
    assert!(
        held <= while_open_kib,
        "{}: {held} KiB for each open connection ({report})",
        flood.name
    );
    stage.serves(&lb);
}

#[test]
fn garbage_leaves_nothing_behind() {
    lb_survives(&flood::GARBAGE, 16);
}

#[test]
fn ten_thousand_connections_opened_and_closed_leave_nothing_behind() {
    lb_survives(&flood::OPEN_AND_CLOSE, 16);
}

#[test]
fn slow_heads_are_bounded_and_leave_nothing_behind() {
    lb_survives(&flood::SLOW_HEADS, 16);
}

#[test]
fn slow_bodies_are_bounded_and_leave_nothing_behind() {
    lb_survives(&flood::SLOW_BODIES, 192);
}

#[test]
fn bodies_that_wait_in_line_take_no_more_than_their_bytes() {
    if !system_tests(&["ip"]) {
        return;
    }
    survives(&flood::SHORT_BODIES, 6, Stage::lb_one_by_one);
}

#[test]
fn short_bodies_that_wait_for_a_connect_take_no_more_than_their_bytes() {
    lb_survives(&flood::SHORT_BODIES, 8);
}

#[test]
fn slow_readers_are_bounded_and_leave_nothing_behind() {
    lb_survives(&flood::SLOW_READERS, 320);
}

#[test]
fn http2_clients_that_come_all_at_once_take_little_memory() {
    lb_survives(&flood::GREETINGS, 48);
}

#[test]
fn floods_of_frames_leave_nothing_behind() {
    lb_survives(&flood::FRAMES, 256);
}

#[test]
fn streams_that_nobody_reads_are_bounded_for_each_connection() {
    lb_survives(&flood::DEAF, 2 * 1024);
}

#[test]
fn streams_without_a_window_are_bounded_for_each_connection() {
    lb_survives(&flood::SHUT, 2 * 1024);
}

#[test]
fn uploads_are_bounded_for_each_connection() {
    lb_survives(&flood::UPLOADS, 1280);
}

/// Windows count neither the block that a payload was read into and keeps alive, nor a place for it among the others.
#[test]
fn tiny_payloads_that_wait_take_no_more_than_their_bytes() {
    if !system_tests(&["ip"]) {
        return;
    }
    for (rounds, bytes) in [(5000, 1), (1000, 60)] {
        let stage = Stage::new();
        let lb = stage.lb_one_by_one();

        let held = stage.held_kib(&lb, move |front| flood::scatter(front, rounds, bytes));

        println!("{rounds} times {bytes} tiny payloads: {held} KiB");
        assert!(held <= 6 * 1024, "{held} KiB for one connection");
        stage.serves(&lb);
    }
}

#[test]
fn ten_thousand_relayed_connections_leave_nothing_behind() {
    relay_survives(&flood::OPEN_AND_CLOSE, 16);
}

#[test]
fn relayed_garbage_leaves_nothing_behind() {
    relay_survives(&flood::GARBAGE, 16);
}

#[test]
fn slow_readers_of_a_relay_are_bounded_and_leave_nothing_behind() {
    relay_survives(&flood::SLOW_READERS, 320);
}

/// The judge is worth something: it finds out servers that leak a little for each connection.
#[test]
fn a_server_that_leaks_is_found_out() {
    if !system_tests(&["ip"]) {
        return;
    }
    for (what, word) in [("descriptors", "descriptors"), ("memory", "memory")] {
        let stage = Stage::new();
        let server = stage.leaky(what);

        let report = stage.flood(&server, &flood::GARBAGE_BY_AND_BY, Duration::from_secs(3));

        println!("leaking {what}: {report}");
        let fault = report.judge().expect_err("it leaks, and was not found out");
        assert!(fault.contains(word), "{fault}");
    }
    let stage = Stage::new();
    let server = stage.leaky("nothing");
    let report = stage.flood(&server, &flood::GARBAGE_BY_AND_BY, Duration::from_secs(3));
    report.judge().expect("it leaks nothing");
}

/// What [`a_server_that_leaks_is_found_out`] starts; does nothing by itself.
#[test]
fn leaky_server() {
    leaky::serve_if_asked();
}

#[test]
fn out_of_descriptors_it_waits_without_spinning_and_recovers() {
    if !system_tests(&["ip", "sh"]) {
        return;
    }
    let stage = Stage::new();
    let lb = stage.lb_with_descriptors(150);
    stage.serves(&lb);

    let crowd = stage.crowd(&lb, 400);
    common::eventually("it has run out of descriptors", CLEAN, || {
        (usage::of(lb.pid()).descriptors >= 149).then_some(())
    });
    let before = usage::cpu_ms(lb.pid());
    std::thread::sleep(Duration::from_secs(3));
    let spent = usage::cpu_ms(lb.pid()) - before;
    println!("out of descriptors: {spent} ms of CPU in 3 s");
    assert!(spent < 600, "it spins: {spent} ms of CPU in 3 s");

    drop(crowd);

    stage.serves(&lb);
    common::eventually("its descriptors are free again", CLEAN, || {
        (usage::of(lb.pid()).descriptors < 100).then_some(())
    });
}
