//! The built program with TLS: what it reads, what it refuses, what it takes over while it runs.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lb::tls::certificate::Files;
use rustix::process::Signal;

use crate::authority::{Authority, read};
use crate::backend::Backend;
use crate::client::{Client, config};
use crate::common::{self, Running, eventually, system_tests};
use crate::toy::Toy;
use crate::{DEADLINE, peer};

fn lb() -> Command {
    common::bare(env!("CARGO_BIN_EXE_lb"))
}

/// On a loopback address of its own: servers of other tests take ports on the usual one all the time.
fn free() -> SocketAddr {
    common::free_address([127, 0, 67, 1])
}

/// A front with a file, and its output beside it.
pub(crate) struct Site {
    pub https: SocketAddr,
    http: SocketAddr,
    pub admin: SocketAddr,
    file: PathBuf,
    backend: SocketAddr,
    more: String,
}

impl Site {
    pub(crate) fn new(authority: &Authority, backend: SocketAddr, more: &str) -> Self {
        Self {
            https: free(),
            http: free(),
            admin: free(),
            file: authority.path("lb.toml"),
            backend,
            more: more.to_owned(),
        }
    }

    pub(crate) fn write(&self, files: &Files) {
        let text = format!(
            r#"[gossip]
bind = "127.0.0.1:0"
discover = "off"
rpc_addr = "off"
[state]
dir = "none"
[admin]
listen = "{admin}"
[listener.http]
listen = ["{http}"]
{more}
[listener.https]
listen = ["{https}"]
[listener.https.tls]
cert = "{cert}"
key = "{key}"
[[cluster.web.backend]]
address = "{backend}"
"#,
            admin = self.admin,
            http = self.http,
            more = self.more,
            https = self.https,
            cert = files.cert.display(),
            key = files.key.display(),
            backend = self.backend,
        );
        fs::write(&self.file, text).expect("written");
    }

    /// Further lines at the end of what was written.
    pub(crate) fn add(&self, lines: &str) {
        let text = fs::read_to_string(&self.file).expect("written");
        fs::write(&self.file, text + lines).expect("written");
    }

    pub(crate) fn start(&self, directory: &Path) -> Running {
        let mut command = lb();
        command.arg("--config").arg(&self.file);
        let running = Running::start("lb", directory, &mut command);
        eventually("it listens", DEADLINE, || {
            TcpStream::connect(self.https).ok()
        });
        running
    }

    fn output(&self, command: &[&str]) -> Output {
        let output = lb().args(command).arg(&self.file).output();
        output.expect("lb ends")
    }

    /// What a client is shown now, once a request has been answered.
    pub(crate) fn shown(&self, authority: &Authority, name: &str) -> Option<Vec<u8>> {
        let mut client = Client::try_connect(self.https, &config(authority), name).ok()?;
        (client.get("/").status == 200).then(|| client.certificate().to_vec())
    }
}

fn first(files: &Files) -> Vec<u8> {
    read(files).0[0].to_vec()
}

fn write(files: &Files, (certificate, key): (String, String)) {
    fs::write(&files.cert, certificate).expect("written");
    fs::write(&files.key, key).expect("written");
}

#[test]
fn files_that_change_are_taken_over_and_broken_ones_are_told() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let files = authority.issue("a", &["a.example"]);
    let site = Site::new(&authority, toy.address, "");
    site.write(&files);
    let logs = tempfile::tempdir().expect("a directory");
    let front = site.start(logs.path());
    let shows = |expected: &[u8]| {
        let shown = site.shown(&authority, "a.example");
        (shown.as_deref() == Some(expected)).then_some(())
    };
    eventually("it serves", DEADLINE, || shows(&first(&files)));

    write(&files, authority.make(&["a.example"], |_| {}));
    eventually("the new one is shown", DEADLINE, || shows(&first(&files)));
    eventually("it is told", DEADLINE, || {
        front
            .output()
            .contains("certificates replaced")
            .then_some(())
    });

    let before = first(&files);
    fs::write(&files.cert, "garbage").expect("written");
    eventually("what is wrong is told", DEADLINE, || {
        let told = format!(
            "the old certificate stays: {}: has no certificate",
            files.cert.display()
        );
        front.output().contains(&told).then_some(())
    });
    shows(&before).expect("the old one stays");
}

#[test]
fn a_reload_takes_another_certificate_or_refuses_the_whole() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let (one, other) = (
        authority.issue("one", &["a.example"]),
        authority.issue("other", &["a.example"]),
    );
    let site = Site::new(&authority, toy.address, "");
    site.write(&one);
    let logs = tempfile::tempdir().expect("a directory");
    let front = site.start(logs.path());
    let shows = |expected: &Files| {
        let shown = site.shown(&authority, "a.example");
        (shown == Some(first(expected))).then_some(())
    };
    eventually("it serves", DEADLINE, || shows(&one));

    site.write(&other);
    front.signal(Signal::HUP);
    eventually("the other one is shown", DEADLINE, || shows(&other));

    let crossed = Files {
        key: one.key.clone(),
        ..other.clone()
    };
    site.write(&crossed);
    front.signal(Signal::HUP);
    eventually("it is refused", DEADLINE, || {
        let output = front.output();
        (output.contains("reload refused") && output.contains("is not the key of")).then_some(())
    });
    shows(&other).expect("the old one stays");

    // What the refused reload has read is watched by nobody; what runs is.
    write(&other, authority.make(&["a.example"], |_| {}));
    eventually("the files that are in force are watched", DEADLINE, || {
        shows(&other)
    });
}

#[test]
fn what_can_not_be_used_is_told_by_check_config_and_at_the_start() {
    let authority = Authority::new();
    let (one, other) = (
        authority.issue("one", &["a.example"]),
        authority.issue("other", &["a.example"]),
    );
    let site = Site::new(&authority, free(), "");
    site.write(&one);
    let right = site.output(&["check-config"]);
    assert_eq!(right.status.code(), Some(0), "{right:?}");

    site.write(&Files {
        key: other.key.clone(),
        ..one
    });
    for command in [&["check-config"][..], &["--config"]] {
        let output = site.output(command);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        let key = format!("listener.https.tls.key = \"{}\"", other.key.display());
        assert!(told.contains(&key), "{told}");
        assert!(told.contains("is not the key of"), "{told}");
    }
}

#[test]
fn port_80_sends_to_https_and_answers_challenges() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let directory = authority.path("acme");
    fs::create_dir(&directory).expect("a directory");
    fs::write(directory.join("token"), "token.print").expect("written");
    let more = format!(
        "redirect_https = 8443\nacme_dir = \"{}\"",
        directory.display()
    );
    let site = Site::new(&authority, toy.address, &more);
    site.write(&authority.issue("a", &["a.example"]));
    let logs = tempfile::tempdir().expect("a directory");
    let _front = site.start(logs.path());

    // Whoever is sent away is not waited for: each has a connection of its own.
    let get = |path: &str| peer::Peer::connect(site.http).get(path);
    let moved = get("/a?b=c");
    assert_eq!(moved.status(), 301);
    assert_eq!(moved.field("location"), Some("https://test:8443/a?b=c"));
    let mut client = peer::Peer::connect(site.http);
    client.send("POST /form HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nkept");
    let posted = client.response("POST");
    assert_eq!(posted.status(), 308);
    assert_eq!(posted.field("location"), Some("https://test:8443/form"));
    let challenge = get("/.well-known/acme-challenge/token");
    assert_eq!((challenge.status(), challenge.text()), (200, "token.print"));
    let none = get("/.well-known/acme-challenge/..%2Fa.key");
    assert_eq!(none.status(), 404);
    // None of them went to a backend, but for checks.
    assert!(
        toy.requests()
            .iter()
            .all(|request| request.start() == "GET / HTTP/1.1")
    );
}

#[test]
fn a_backend_with_a_wrong_certificate_stays_out_and_the_reason_is_shown() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let sound = Backend::named(&authority.issue("b", &["127.0.0.1"]), None, "one");
    let wrong = Backend::named(&stranger.issue("b", &["127.0.0.1"]), None, "two");
    let mut site = Site::new(&authority, sound.address, "");
    site.write(&authority.issue("a", &["a.example"]));
    let mut text = fs::read_to_string(&site.file).expect("written");
    text.push_str(&format!(
        "[[cluster.web.backend]]\naddress = \"{}\"\n[cluster.web]\nproto = \"https\"\n[cluster.web.tls]\nca = \"{}\"\n",
        wrong.address,
        authority.file().display(),
    ));
    site.file = authority.path("https.toml");
    fs::write(&site.file, text).expect("written");
    let logs = tempfile::tempdir().expect("a directory");
    let front = site.start(logs.path());

    let pools = eventually("both are judged", DEADLINE, || {
        let pools = get(site.admin, "/api/v1/pools")?;
        let pools: serde_json::Value = serde_json::from_str(&pools).ok()?;
        let backends = pools["pools"][0]["backends"].as_array()?.clone();
        let all = backends.iter().all(|one| one["state"] != "unproven");
        all.then_some(backends)
    });
    let of = |address: SocketAddr| {
        let address = address.to_string();
        let mut all = pools.iter();
        all.find(|one| one["address"] == *address)
            .expect("it is there")
    };
    assert_eq!(of(sound.address)["in_rotation"], true, "{pools:?}");
    assert_eq!(of(wrong.address)["in_rotation"], false, "{pools:?}");
    let reason = of(wrong.address)["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("its certificate is from an unknown authority"),
        "{reason}"
    );
    assert!(
        front.output().contains("from an unknown authority"),
        "{}",
        front.output()
    );
    let mut client = peer::Peer::connect(site.http);
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "one");
    }
    assert_eq!(wrong.requests().len(), 0);
    let metrics = get(site.admin, "/metrics").expect("metrics");
    let ends = "lb_tls_certificate_not_after_seconds{listener=\"https\",name=\"a.example\"}";
    assert!(metrics.contains(ends), "{metrics}");
}

#[test]
fn clients_that_do_not_get_in_are_told_in_one_line_and_not_in_one_each() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let site = Site::new(&authority, toy.address, "");
    site.write(&authority.issue("a", &["a.example"]));
    let logs = tempfile::tempdir().expect("a directory");
    let front = site.start(logs.path());
    // It connected and left, as monitors do: nothing to tell.
    drop(TcpStream::connect(site.https).expect("it listens"));

    for _ in 0..5 {
        let answer = peer::Peer::connect(site.https).get("/");
        assert_eq!(answer.status(), 400);
        assert!(
            answer.text().contains("this port speaks TLS"),
            "{}",
            answer.text()
        );
    }

    eventually("it is counted", DEADLINE, || {
        let metrics = get(site.admin, "/metrics")?;
        let all = "lb_tls_handshake_failures_total{reason=\"plain_http\"} 5\n";
        metrics.contains(all).then_some(())
    });
    let output = front.output();
    let mut lines = output
        .lines()
        .filter(|line| line.contains("did not get in"));
    let line = lines.next().unwrap_or_default();
    assert!(
        line.contains("TLS plain_http 1") && line.contains("https"),
        "{output}"
    );
    assert_eq!(lines.next(), None, "the others wait for their minute");
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (_, body) = text.split_once("\r\n\r\n")?;
    Some(body.to_owned())
}

/// Resident memory, in KiB.
fn resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let line = line.expect("a line").trim();
    line.trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn two_thousand_half_handshakes_leave_memory_where_it_was() {
    if !system_tests(&[]) {
        return;
    }
    const HALF: usize = 2000;
    let limit = rustix::process::Rlimit {
        current: Some(8192),
        ..rustix::process::getrlimit(rustix::process::Resource::Nofile)
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("descriptors");
    let authority = Authority::new();
    let toy = Toy::named("one");
    // Long enough for all of them to be there at once on any machine.
    let patient = "[timeouts]\ntls_handshake = \"2m\"";
    let site = Site::new(&authority, toy.address, patient);
    site.write(&authority.issue("a", &["a.example"]));
    let logs = tempfile::tempdir().expect("a directory");
    let front = site.start(logs.path());
    let storm = || {
        let half: Vec<TcpStream> = (0..HALF)
            .map(|_| {
                let client = TcpStream::connect(site.https).expect("the kernel accepts");
                (&client)
                    .write_all(b"\x16\x03\x01\x02\x00\x01\x00")
                    .expect("sent");
                client
            })
            .collect();
        eventually("all are there", DEADLINE, || {
            let open = open(site.admin)?;
            (open >= HALF as u64).then_some(())
        });
        let full = resident(front.pid());
        drop(half);
        eventually("all are gone", DEADLINE, || {
            (open(site.admin)? < 10).then_some(())
        });
        full
    };

    eventually("it serves", DEADLINE, || {
        site.shown(&authority, "a.example")
    });
    let before = resident(front.pid());
    for _ in 0..5 {
        let full = storm();
        assert!(full < before + 64 * 1024, "{full} KiB, and {before} before");
    }

    // What is free goes back to the system in a second or so.
    eventually("memory is back", DEADLINE, || {
        (resident(front.pid()) < before + 16 * 1024).then_some(())
    });
    eventually("it serves", DEADLINE, || {
        site.shown(&authority, "a.example")
    });
}

fn open(admin: SocketAddr) -> Option<u64> {
    let metrics = get(admin, "/metrics")?;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("lb_connections "))?;
    line.trim().parse().ok()
}
