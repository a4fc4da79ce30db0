//! Real programs on both sides of `lb`: curl and Python ask, nginx and Python answer.
//!
//! ```text
//! curl, http.client ─▶ lb ─▶ nginx (files) │ server.py (http.server)
//! ```
//!
//! Needs `LB_TEST_SYSTEM=1` and the programs; everything is on loopback.

#![allow(clippy::disallowed_methods, reason = "tests read the real clock")]

#[path = "../common/mod.rs"]
mod common;

mod rig;

use std::fs;
use std::process::Command;

use common::{find, system_tests};
use rig::{Rig, source};

/// Large enough for every buffer on the way to be full.
const LARGE: usize = 24 << 20;

/// Bytes that repeat nowhere soon.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(next)
        .take(count / 8 + 1)
        .flatten()
        .collect();
    bytes.truncate(count);
    bytes
}

/// Both versions that curl speaks over plain text.
const VERSIONS: [&str; 2] = ["--http1.1", "--http1.0"];

#[test]
fn files_of_nginx_arrive_whole_at_curl() {
    if !system_tests(&["curl", "nginx"]) {
        return;
    }
    let rig = Rig::nginx();
    let large = noise(LARGE);
    fs::write(rig.root().join("large"), &large).expect("a writable directory");

    for version in VERSIONS {
        let got = rig.at("got");
        let out = got.to_str().expect("a readable path");
        rig.curl(&[version, "-f", "-o", out, &rig.url("/large")]);
        assert!(fs::read(&got).expect("curl wrote it") == large, "{version}");
        rig.curl(&[
            version,
            "-f",
            "-r",
            "1000000-1000099",
            "-o",
            out,
            &rig.url("/large"),
        ]);
        assert!(fs::read(&got).expect("curl wrote it") == large[1_000_000..1_000_100]);
    }
}

#[test]
fn curl_keeps_its_connection_and_so_does_nginx() {
    if !system_tests(&["curl", "nginx"]) {
        return;
    }
    let rig = Rig::nginx();
    fs::write(rig.root().join("small"), "small").expect("a writable directory");
    let url = rig.url("/small");

    let said = rig.curl(&[
        "-f",
        "-i",
        "-w",
        "\nconnects=%{num_connects}\n",
        &url,
        &url,
        &url,
    ]);

    let connects: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("connects="))
        .collect();
    assert_eq!(
        connects,
        ["connects=1", "connects=0", "connects=0"],
        "{said}"
    );
    let mut behind: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("X-Connection: "))
        .collect();
    assert_eq!(behind.len(), 3, "{said}");
    behind.dedup();
    assert_eq!(behind.len(), 1, "one connection to nginx: {said}");
}

#[test]
fn curl_gets_heads_304_and_chunks_of_nginx() {
    if !system_tests(&["curl", "nginx"]) {
        return;
    }
    let rig = Rig::nginx();
    fs::write(rig.root().join("small"), "small").expect("a writable directory");
    // A page with an include has no length before it is sent.
    let page = "before <!--#include virtual=\"/small\" --> after";
    fs::write(rig.root().join("page.html"), page).expect("a writable directory");

    for version in VERSIONS {
        let head = rig.curl(&[version, "-f", "-I", &rig.url("/small")]);
        assert!(
            head.contains("Content-Length: 5") || head.contains("content-length: 5"),
            "{head}"
        );
        let tag = head
            .lines()
            .find_map(|line| line.strip_prefix("ETag: "))
            .expect("a tag")
            .trim();
        let unless = format!("If-None-Match: {tag}");
        let same = rig.curl(&[version, "-f", "-i", "-H", &unless, &rig.url("/small")]);
        assert!(
            same.contains(" 304 ") && same.trim_end().ends_with(|end| end != 'l'),
            "{same}"
        );

        let page = rig.curl(&[version, "-f", "-i", &rig.url("/page.html")]);
        assert!(page.ends_with("before small after"), "{page}");
        let chunked = page.to_lowercase().contains("transfer-encoding: chunked");
        assert_eq!(chunked, version == "--http1.1", "{page}");
    }
}

#[test]
fn uploads_of_curl_arrive_whole_at_python() {
    if !system_tests(&["curl", "python3"]) {
        return;
    }
    let rig = Rig::python();
    let large = noise(LARGE);
    let file = rig.at("upload");
    fs::write(&file, &large).expect("a writable directory");
    let path = file.to_str().expect("a readable path");
    let url = rig.url("/uploaded");
    for (arguments, expected) in [
        (&["-T", path][..], "expect=100-continue coding=None\n"),
        (
            &["-T", path, "-H", "Transfer-Encoding: chunked"],
            "expect=100-continue coding=chunked\n",
        ),
        (&["-T", path, "-H", "Expect:"], "expect=None coding=None\n"),
        (
            &["-X", "POST", "-T", path, "--http1.0"],
            "expect=None coding=None\n",
        ),
    ] {
        let uploaded = rig.root().join("uploaded");
        let _ = fs::remove_file(&uploaded);

        let said = rig.curl(&[&["-f"], arguments, &[&url]].concat());

        assert_eq!(said, expected, "{arguments:?}");
        assert!(
            fs::read(&uploaded).expect("it came") == large,
            "{arguments:?}"
        );
    }
}

#[test]
fn answers_of_python_arrive_whole_at_curl() {
    if !system_tests(&["curl", "python3"]) {
        return;
    }
    let rig = Rig::python();
    for version in VERSIONS {
        let chunked = rig.curl(&[version, "-f", &rig.url("/chunked")]);
        assert_eq!(chunked.lines().count(), 1000);
        assert!(chunked.ends_with("line 999\n"));
        let to_the_end = rig.curl(&[version, "-f", &rig.url("/to-the-end")]);
        assert_eq!(to_the_end, "until the end\n");
        let head = rig.curl(&[version, "-f", "-I", &rig.url("/")]);
        assert!(
            head.to_lowercase().contains("content-length: 12345"),
            "{head}"
        );
    }
}

#[test]
fn curl_is_let_through_to_a_websocket() {
    if !system_tests(&["curl", "python3"]) {
        return;
    }
    let rig = Rig::python();

    // It stays open, until curl has waited long enough.
    let said = rig.curl_ends(&[
        "-i",
        "--max-time",
        "8",
        "--http1.1",
        "-H",
        "Connection: Upgrade",
        "-H",
        "Upgrade: websocket",
        "-H",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "-H",
        "Sec-WebSocket-Version: 13",
        &rig.url("/socket"),
    ]);

    assert!(said.starts_with("HTTP/1.1 101 "), "{said}");
    assert!(said.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{said}");
    assert!(said.ends_with("hello"), "{said}");
}

#[test]
fn python_talks_to_python_by_keep_alive_chunks_and_websocket() {
    if !system_tests(&["python3"]) {
        return;
    }
    let rig = Rig::python();

    let output = Command::new(find("python3").expect("Python is there"))
        .arg(source("client.py"))
        .arg(rig.front())
        .arg(rig.root())
        .output()
        .expect("Python runs");

    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        said,
        "fine\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
