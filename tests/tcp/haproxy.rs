//! HAProxy as the other end of the PROXY protocol: in front of us, and behind.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::common::{Running, find, system_tests};
use crate::peer::Peer;
use crate::rig::{Lb, connect_from, free_address, listens};
use crate::toy::{Then, Toy, answer};

const CLIENT: &str = "127.0.66.77";

/// Answers with all that it was told of its client.
fn mirror() -> Toy {
    Toy::scripted(|request, _, peer| {
        let told = request.all("x-forwarded-for").join(", ");
        answer(peer, request, &told);
        Then::Keep
    })
}

/// HAProxy from one address to another.
fn haproxy(files: &Path, mode: &str, bind: &str, server: &str) -> (Running, SocketAddr) {
    let address = free_address();
    let config = files.join("haproxy.cfg");
    let text = format!(
        "defaults\n mode {mode}\n timeout connect 10s\n timeout client 30s\n timeout server 30s\n\
         frontend f\n bind {address} {bind}\n default_backend b\n\
         backend b\n server s {server}\n"
    );
    fs::write(&config, text).expect("a writable directory");
    let mut command = Command::new(find("haproxy").expect("HAProxy is there"));
    command.arg("-db").arg("-f").arg(&config);
    let running = Running::start("haproxy", files, &mut command);
    listens(address);
    (running, address)
}

fn ask(address: SocketAddr) -> String {
    let mut client = Peer::new(connect_from(CLIENT, address));
    client.get("/").text().to_owned()
}

#[test]
fn haproxy_in_front_tells_whose_connection_it_is() {
    if !system_tests(&["haproxy"]) {
        return;
    }
    for send in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options unique-id,crc32c",
    ] {
        let files = tempfile::tempdir().expect("a directory");
        let toy = mirror();
        let lb = Lb::start(
            files.path(),
            "proxy_protocol = true\nproxy_protocol_from = [\"127.0.0.1\"]",
            "",
            &format!("[[cluster.pool.backend]]\naddress = \"{}\"", toy.address),
        );
        lb.has_in(1);
        // Its checks begin with a header that says that they are its own.
        let server = format!("{} {send} check inter 100ms check-send-proxy", lb.front);
        let (_haproxy, address) = haproxy(files.path(), "tcp", "", &server);

        for _ in 0..3 {
            assert_eq!(ask(address), CLIENT, "{send}");
        }

        let page = lb.page("/metrics");
        let malformed = "lb_proxy_protocol_refused_total{reason=\"malformed\"} 0\n";
        assert!(page.contains(malformed), "{send}: {page}");
        // Past HAProxy nobody gets in, neither from its own address nor from another.
        for source in ["127.0.0.1", CLIENT] {
            let mut direct = Peer::new(connect_from(source, lb.front));
            direct.try_send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
            assert_eq!(direct.rest(), b"", "{send} {source}");
        }
    }
}

#[test]
fn haproxy_behind_is_told_whose_connection_it_is_and_content_with_checks() {
    if !system_tests(&["haproxy"]) {
        return;
    }
    for version in ["v1", "v2"] {
        for mode in ["tcp", "http"] {
            for check in ["tcp", "http:/"] {
                let files = tempfile::tempdir().expect("a directory");
                let toy = mirror();
                // It closes what does not begin with a header, also a check.
                let (_haproxy, address) = haproxy(
                    files.path(),
                    "http",
                    "accept-proxy",
                    &format!("{}\n option forwardfor", toy.address),
                );
                let lb = Lb::start(
                    files.path(),
                    &format!("mode = \"{mode}\""),
                    &format!("spec = \"{check}\""),
                    &format!(
                        "send_proxy = \"{version}\"\n\
                         [[cluster.pool.backend]]\naddress = \"{address}\""
                    ),
                );
                lb.has_in(1);

                let what = format!("{version} {mode} {check}");
                for _ in 0..3 {
                    let told = ask(lb.front);
                    // Ours comes first where we speak HTTP; the last is what HAProxy was told by the header.
                    let last = told.rsplit(", ").next();
                    assert_eq!(last, Some(CLIENT), "{what}: {told}");
                }
            }
        }
    }
}
