//! gRPC end to end with another implementation, Google's grpcio for Python, as client and as server.
//!
//! ```text
//! client.py ─HTTP/2─▶ lb ─HTTP/2─▶ server.py, server.py
//! ```
//!
//! Needs `LB_TEST_SYSTEM=1` and grpcio; everything is on loopback.

#![allow(clippy::disallowed_methods, reason = "tests read the real clock")]

#[path = "../common/mod.rs"]
mod common;

mod rig;

use common::eventually;
use rig::{PATIENCE, Rig, python};

const GRPC: &str = "spec = \"grpc\"";

fn two() -> Option<Rig> {
    let rig = Rig::servers(python()?, &["one", "two"]).in_front("", GRPC);
    for server in [0, 1] {
        rig.says(server, "SERVING");
    }
    Some(rig)
}

#[test]
fn calls_of_one_channel_go_to_all_servers_in_turn() {
    let Some(rig) = two() else { return };

    let said = rig.client(&["unary", "20"]);

    let names: Vec<&str> = said.lines().collect();
    assert_eq!(names.len(), 20, "{said}");
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{said}");
}

#[test]
fn messages_larger_than_every_window_arrive_whole() {
    let Some(rig) = two() else { return };

    assert_eq!(rig.client(&["large", "20000000"]), "True\n");
}

#[test]
fn streams_of_servers_and_of_clients_arrive_whole() {
    let Some(rig) = two() else { return };

    assert_eq!(rig.client(&["streams"]), "True\n500 500000\n");
}

#[test]
fn both_sides_talk_in_turn_over_one_stream() {
    let Some(rig) = two() else { return };

    let said = rig.client(&["chat"]);

    assert_eq!(said, "you said one\nyou said two\nyou said three\n");
}

#[test]
fn statuses_are_those_of_the_server() {
    let Some(rig) = two() else { return };

    let said = rig.client(&["failures"]);

    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "FAILED_PRECONDITION not like \u{e4} this");
    assert_eq!(lines[1], "DATA_LOSS no more 2");
    assert_eq!(lines[2], "UNIMPLEMENTED");
}

#[test]
fn a_deadline_reaches_the_server_and_ends_the_call() {
    let Some(rig) = two() else { return };

    assert_eq!(rig.client(&["deadline"]), "DEADLINE_EXCEEDED\nTrue\n");
    eventually("the server was told", PATIENCE, || {
        rig.noted().contains("cancelled").then_some(())
    });
}

#[test]
fn a_cancelled_call_is_cancelled_at_its_server_at_once() {
    let Some(rig) = two() else { return };

    assert_eq!(rig.client(&["cancel", "1"]), "True\n");

    eventually("the server was told", PATIENCE, || {
        rig.noted().contains("cancelled").then_some(())
    });
    eventually("its place is free", PATIENCE, || {
        (rig.metric("lb_requests_in_flight ") == 0.0).then_some(())
    });
}

#[test]
fn a_call_that_is_abandoned_while_nobody_reads_it_is_cancelled_too() {
    let Some(rig) = two() else { return };

    assert_eq!(rig.client(&["abandon", "1"]), "True\n");

    eventually("the server was told", PATIENCE, || {
        rig.noted().contains("cancelled").then_some(())
    });
    eventually("its place is free", PATIENCE, || {
        (rig.metric("lb_requests_in_flight ") == 0.0).then_some(())
    });
}

#[test]
fn a_stream_may_be_silent_for_longer_than_any_timeout_of_http() {
    let Some(python) = python() else { return };
    let short = "first_byte = \"300ms\"\nbody_progress = \"300ms\"\nclient_idle = \"300ms\"";
    let rig = Rig::servers(python, &["one"]).in_front(short, GRPC);
    rig.says(0, "SERVING");

    assert_eq!(rig.client(&["quiet", "2"]), "['first', 'last']\n");
}

#[test]
fn calls_go_on_when_a_server_is_killed() {
    let Some(mut rig) = two() else { return };
    rig.client(&["unary", "4"]);

    rig.kill(0);

    rig.says(0, "down");
    let said = rig.client(&["unary", "20"]);
    assert!(said.lines().all(|name| name == "two"), "{said}");
}

#[test]
fn a_server_is_in_while_it_says_that_it_serves() {
    let Some(rig) = two() else { return };

    rig.directly(0, &["set", "", "NOT_SERVING"]);
    rig.says(0, "NOT_SERVING");
    let said = rig.client(&["unary", "4"]);
    assert!(said.lines().all(|name| name == "two"), "{said}");

    rig.directly(0, &["set", "", "SERVING"]);
    rig.says(0, "up");
}

#[test]
fn a_check_can_ask_about_one_service() {
    let Some(python) = python() else { return };
    let rig = Rig::servers(python, &["one", "bare"]).in_front("", "spec = \"grpc:lb.Test\"");

    rig.says(0, "NOT_FOUND: the server knows no service");
    rig.says(1, "UNIMPLEMENTED");
    rig.directly(0, &["set", "lb.Test", "SERVING"]);
    rig.says(0, "SERVING");
}

#[test]
fn a_server_without_a_health_service_is_in_by_the_default_check() {
    let Some(python) = python() else { return };
    let rig = Rig::servers(python, &["bare"]).in_front("", "");

    rig.says(0, "up");
    assert_eq!(rig.client(&["once"]), "OK\n");
}

#[test]
fn servers_may_speak_it_within_tls() {
    let Some(python) = python() else { return };
    for check in [GRPC, ""] {
        let rig = Rig::secure(python.clone(), &["one", "two"]).in_front("", check);
        for server in [0, 1] {
            rig.says(server, "up");
        }

        assert_eq!(rig.client(&["unary", "10"]).lines().count(), 10);
        assert_eq!(rig.client(&["streams"]), "True\n500 500000\n");
    }
}

#[test]
fn nobody_to_ask_is_unavailable() {
    let Some(mut rig) = two() else { return };

    for server in [0, 1] {
        rig.kill(server);
        rig.says(server, "down");
    }

    let said = rig.client(&["once"]);
    assert!(said.starts_with("UNAVAILABLE"), "{said}");
}
