//! How lines are written: by whom, in which form, and when nobody takes them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::time::Duration;

use lb::proxy::access::{self, Format, To};

use super::{Logged, open};
use crate::front::{Front, run, settings, spec};
use crate::toy::Toy;

#[test]
fn nothing_that_a_client_says_forges_a_line() {
    let toy = Toy::named("a");
    for format in [Format::Json, Format::Combined] {
        let logged = Logged::with(settings(), format, &[&toy]);
        let mut client = logged.front.client();
        client
            .send("GET /\"},{\"status\":999 HTTP/1.1\r\nHost: t\r\n\r\n".replace("999 ", "999\\ "));
        client.response("GET");
        client.send(b"GET /\xff\xfe\\x22\" HTTP/1.1\r\nHost: t\r\nUser-Agent: a\" \"b\\\xff\xe2\x80\xa8\r\nReferer: \t\x80\r\n\r\n");
        client.response("GET");
        let mut refused = logged.front.client();
        refused.send(b"GET /\x1b[2J\r127.0.0.1\x00 HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_eq!(refused.response("GET").status(), 400);

        crate::until("the lines are written", || {
            logged.text().lines().count() >= 3
        });
        let text = logged.text();

        assert_eq!(text.matches('\n').count(), 3, "{text}");
        let harmless =
            |letter: char| letter == '\n' || !letter.is_control() && letter != '\u{2028}';
        assert!(text.chars().all(harmless), "{text:?}");
        if format == Format::Combined {
            for line in text.lines() {
                assert_eq!(line.matches('"').count(), 6, "{line}");
            }
            continue;
        }
        let lines = logged.lines(3);
        assert_eq!(lines[0]["target"], "/\"},{\"status\":999\\");
        assert_eq!(lines[1]["target"], "/\\xff\\xfe\\x22\"");
        assert_eq!(lines[1]["user_agent"], "a\" \"b\\\\xff\u{2028}");
        assert_eq!(lines[1]["referer"], "\\x80");
    }
}

#[test]
fn combined_is_what_others_write() {
    let toy = Toy::named("hello");
    let mut logged = Logged::with(settings(), Format::Combined, &[&toy]);
    let mut client = logged.front.client();
    client.send("GET /a HTTP/1.0\r\nUser-Agent: curl/8\r\n\r\n");
    client.response("GET");
    logged.stop();

    let text = logged.text();

    let (start, rest) = text.split_once(" [").expect("a time");
    let (time, rest) = rest.split_once("] ").expect("its end");
    assert_eq!(start, "127.0.0.1 - -");
    assert_eq!(time.len(), "02/Jan/2026:03:04:05 +0000".len(), "{time}");
    assert_eq!(rest, "\"GET /a HTTP/1.0\" 200 5 \"-\" \"curl/8\"\n");
}

#[test]
fn a_log_that_takes_nothing_costs_lines_and_no_requests() {
    const REQUESTS: u64 = 4000;
    let toy = Toy::named("a");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).expect("a pipe");
    // So that it can be opened to write, and yet ends when the log does.
    let both = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .expect("a pipe");
    let log = open(path.clone(), Format::Json);
    let pipe = std::fs::File::open(&path).expect("a pipe");
    drop(both);
    let specs = vec![spec(toy.address, 1, false)];
    let mut front = Front::logged(settings(), specs, Some(&log));
    front.all_up();
    let mut client = front.client();
    // Long lines fill the queue with few of them.
    let target = format!("/{}", "x".repeat(8000));

    for _ in 0..REQUESTS {
        client.get(&target);
    }

    let counters = front.counters();
    let lost = counters.scrape().access_log_lost;
    assert!(lost > 0 && lost < REQUESTS, "{lost}");
    let reading = std::thread::spawn(move || BufReader::new(pipe).lines().count() as u64);
    front.stop();
    front.drained();
    run(log.close(Duration::from_secs(20)));
    let written = reading.join().expect("it read to the end");
    assert_eq!(written + counters.scrape().access_log_lost, REQUESTS);
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let to = To::File("/nonexistent/access.log".into());

    let error = access::open(&access::Settings {
        to,
        format: Format::Json,
    })
    .expect_err("there is no such directory");

    assert_eq!(
        error.to_string(),
        "access log /nonexistent/access.log: no such file or directory"
    );
}

#[test]
fn several_workers_write_whole_lines() {
    let toy = Toy::named("a");
    let mut settings = settings();
    settings.workers = 4;
    let mut logged = Logged::with(settings, Format::Json, &[&toy]);
    let address: SocketAddr = logged.front.address;
    let clients: Vec<_> = (0..8)
        .map(|number| {
            std::thread::spawn(move || {
                let mut client = crate::peer::Peer::connect(address);
                for request in 0..100 {
                    client.get(&format!("/{number}/{request}"));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    logged.stop();

    let lines = logged.lines(800);

    let mut targets: Vec<&str> = lines
        .iter()
        .map(|line| line["target"].as_str().unwrap())
        .collect();
    targets.sort_unstable();
    targets.dedup();
    assert_eq!(targets.len(), 800);
}
