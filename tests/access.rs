//! The access log of the built program: opened at the start, renamed and opened anew under load.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use self::common::{Running, eventually};

const DEADLINE: Duration = Duration::from_secs(20);

fn lb() -> Command {
    let mut command = common::bare(env!("CARGO_BIN_EXE_lb"));
    command.args(["--bind", "127.0.0.1:0", "--state-dir", "none"]);
    command.args(["--discover", "off"]);
    command
}

/// On a loopback address of its own: servers of other tests take ports on the usual one all the time.
fn free() -> SocketAddr {
    common::free_address([127, 0, 68, 1])
}

/// A backend that answers everything; its threads end with the process.
fn web() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || while let Some(true) = serve(&stream) {});
        }
    });
    address
}

fn serve(mut stream: &TcpStream) -> Option<bool> {
    read_head(stream)?;
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    Some(stream.write_all(answer).is_ok())
}

fn read_head(mut stream: &TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read(&mut byte).ok().filter(|read| *read == 1)?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// The status of one request on a connection of its own.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let head = read_head(&stream)?;
    head.split(' ').nth(1).map(str::to_owned)
}

fn front(directory: &Path, log: &str) -> (Running, SocketAddr) {
    let (listen, backend) = (free(), web());
    let running = Running::start(
        "lb",
        directory,
        lb().args(["--listen", &listen.to_string(), "--admin", "off"])
            .args(["--backend", &backend.to_string()])
            .args(["--access-log", log]),
    );
    eventually("the front answers", DEADLINE, || {
        (get(listen, "/warm").as_deref() == Some("200")).then_some(())
    });
    (running, listen)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Targets below `/n/`, with how often they stand there.
fn targets(texts: &[String]) -> std::collections::BTreeMap<String, usize> {
    let mut found = std::collections::BTreeMap::new();
    for line in texts.iter().flat_map(|text| text.lines()) {
        let line: serde_json::Value = serde_json::from_str(line).expect("a whole line");
        let target = line["target"].as_str().expect("a target").to_owned();
        if target.starts_with("/n/") {
            *found.entry(target).or_default() += 1;
        }
    }
    found
}

#[test]
fn a_rename_and_sigusr1_under_load_lose_no_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("access.log");
    let (mut running, listen) = front(directory.path(), path.to_str().unwrap());
    // As long as the turns last, however fast this machine is.
    let (done, stop) = mpsc::channel::<()>();
    let asking = thread::spawn(move || {
        let mut asked = 0;
        while stop.try_recv() == Err(TryRecvError::Empty) {
            assert_eq!(get(listen, &format!("/n/{asked}")).as_deref(), Some("200"));
            asked += 1;
        }
        asked
    });

    let mut old = Vec::new();
    for turn in 0..3 {
        eventually("something is written", DEADLINE, || {
            (text(&path).lines().count() > 20).then_some(())
        });
        let renamed = directory.path().join(format!("access.log.{turn}"));
        std::fs::rename(&path, &renamed).expect("it can be renamed");
        running.signal(Signal::USR1);
        eventually("it is opened anew", DEADLINE, || {
            path.exists().then_some(())
        });
        old.push(renamed);
    }
    drop(done);
    let asked = asking.join().expect("all were answered");
    assert_eq!(running.terminate().code(), Some(0));

    old.push(path);
    let texts: Vec<String> = old.iter().map(|path| text(path)).collect();
    let found = targets(&texts);
    assert_eq!(found.len(), asked);
    assert!(found.values().all(|times| *times == 1), "{found:?}");
}

#[test]
fn a_file_that_cannot_be_opened_anew_is_told_and_the_old_one_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let logs = directory.path().join("logs");
    std::fs::create_dir(&logs).expect("a directory");
    let path = logs.join("access.log");
    let (running, listen) = front(directory.path(), path.to_str().unwrap());
    let moved = directory.path().join("moved");
    std::fs::rename(&logs, &moved).expect("it can be renamed");

    running.signal(Signal::USR1);

    eventually("it is told", DEADLINE, || {
        running
            .output()
            .contains("access log not reopened")
            .then_some(())
    });
    assert_eq!(get(listen, "/n/1").as_deref(), Some("200"));
    eventually("the old file is used", DEADLINE, || {
        text(&moved.join("access.log"))
            .contains("/n/1")
            .then_some(())
    });
}

#[test]
fn sigusr1_without_a_log_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut running, listen) = front(directory.path(), "off");

    running.signal(Signal::USR1);

    eventually("it is told", DEADLINE, || {
        running.output().contains("no access log").then_some(())
    });
    assert_eq!(get(listen, "/").as_deref(), Some("200"));
    assert!(running.is_running());
}

#[test]
fn lines_on_stdout_are_for_pipes() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut running, listen) = front(directory.path(), "stdout");
    assert_eq!(get(listen, "/n/out").as_deref(), Some("200"));
    assert_eq!(running.terminate().code(), Some(0));

    assert!(
        running.output().contains("\"target\":\"/n/out\""),
        "{}",
        running.output()
    );
}

#[test]
fn a_log_that_cannot_be_opened_is_exit_2() {
    let output = lb()
        .args([
            "--listen",
            &free().to_string(),
            "--admin",
            "off",
            "--cluster",
            "web",
        ])
        .args(["--access-log", "/nonexistent/access.log"])
        .output()
        .expect("lb starts");

    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        said.trim_end(),
        "lb: access log /nonexistent/access.log: no such file or directory; let this user write there, or choose another with --access-log"
    );
}
