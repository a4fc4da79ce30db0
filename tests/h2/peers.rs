//! Programs of others, over the built `lb`.

use std::process::{Command, Stdio};

use crate::common::system_tests;
use crate::front::Front;
use crate::toy::{Then, Toy, answer};

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn big() -> Toy {
    Toy::scripted(|request, _, peer| {
        let text = match request.start().contains("big") {
            true => "x".repeat(300_000),
            false => format!("{} {}", request.start(), request.body.len()),
        };
        answer(peer, request, &text);
        Then::Keep
    })
}

#[test]
fn curl_gets_and_puts() {
    if !system_tests(&["curl"]) {
        return;
    }
    let toy = big();
    let front = Front::of(&[&toy]);
    let at = |path: &str| format!("http://{}{path}", front.address);
    let curl = |arguments: &[&str]| {
        run(
            "curl",
            &[
                &["-sS", "--max-time", "20", "--http2-prior-knowledge"],
                arguments,
            ]
            .concat(),
        )
    };

    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("body");
    std::fs::write(&file, vec![b'x'; 1_000_000]).expect("it can be written");
    let file = file.to_str().expect("a plain path");

    assert_eq!(
        curl(&["-w", " %{http_version}", &at("/a")]),
        "GET /a HTTP/1.1 0 2"
    );
    assert_eq!(curl(&["-T", file, &at("/b")]), "PUT /b HTTP/1.1 1000000");
    assert_eq!(
        curl(&["-T", "-", "-H", "Expect:", &at("/b")]),
        "PUT /b HTTP/1.1 0"
    );
    assert_eq!(curl(&[&at("/big")]).len(), 300_000);
    assert!(curl(&["-I", &at("/c")]).starts_with("HTTP/2 200"));
}

#[test]
fn h2load_gets_every_answer() {
    if !system_tests(&["h2load"]) {
        return;
    }
    let toy = big();
    let front = Front::of(&[&toy]);
    for (path, count) in [("/a", "5000"), ("/big", "300")] {
        let url = format!("http://{}{path}", front.address);
        let said = run("h2load", &["-n", count, "-c", "10", "-m", "20", &url]);
        let wanted = format!("{count} succeeded, 0 failed, 0 errored, 0 timeout");
        assert!(said.contains(&wanted), "{said}");
    }
    crate::until("all are over", || front.stats().requests_in_flight == 0);
}
