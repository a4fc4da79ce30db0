//! What is told of a relayed connection: one line at its end, and numbers meanwhile.

use std::path::PathBuf;
use std::time::Duration;

use lb::proxy::access::{self, Format, Log, To};
use serde_json::{Value, json};

use crate::front::{Front, run, spec};
use crate::toy::Toy;
use crate::{echo, relaying, until};

struct Logged {
    front: Front,
    _log: Log,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Logged {
    fn of(format: Format, toys: &[&Toy]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("access.log");
        let to = To::File(path.clone());
        let log = access::open(&access::Settings { to, format }).expect("it opens");
        let specs = toys.iter().map(|toy| spec(toy.address, 1, false)).collect();
        let mut front = Front::logged(relaying(), specs, Some(&log));
        front.all_up();
        Self {
            front,
            _log: log,
            path,
            _directory: directory,
        }
    }

    fn line(&self) -> String {
        let text = || std::fs::read_to_string(&self.path).expect("the log is text");
        until("the line is written", || text().contains('\n'));
        text()
    }
}

#[test]
fn a_connection_has_a_line_with_all_that_is_known_of_it() {
    let (dead, toy) = (Toy::refusing(), echo());
    let logged = Logged::of(Format::Json, &[&dead, &toy]);
    let mut client = logged.front.client();
    let peer = client.stream().local_addr().unwrap();
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
    client.end();
    client.assert_ended_in_order();

    let line: Value = serde_json::from_str(&logged.line()).expect("an object");

    let expected = json!({
        "protocol": "tcp", "client": "127.0.0.1", "peer": peer.to_string(), "sent": 5, "received": 5,
        "pool": "web", "node": toy.address.to_string(), "backend": toy.address.to_string(),
        "ended": "done", "reason": null,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&line[key], value, "{key}: {line}");
    }
    for key in [
        "time",
        "attempts",
        "retries",
        "hold_ms",
        "connect_ms",
        "total_ms",
        "failed",
    ] {
        assert!(!line[key].is_null(), "{key}: {line}");
    }
    // Whose turn it was first depends on the ports.
    let failed = line["failed"].as_array().unwrap().len();
    assert_eq!(line["attempts"], failed + 1);
    assert_eq!(line["retries"], failed);
}

#[test]
fn one_that_nobody_took_says_so() {
    let dead = Toy::refusing();
    let logged = Logged::of(Format::Json, &[&dead]);
    logged.front.client().assert_reset();

    let line: Value = serde_json::from_str(&logged.line()).expect("an object");

    assert_eq!(line["ended"], "backend");
    assert_eq!(
        line["reason"],
        "the backend could not be reached: connection refused"
    );
}

#[test]
fn the_combined_line_names_no_request() {
    let toy = echo();
    let logged = Logged::of(Format::Combined, &[&toy]);
    let mut client = logged.front.client();
    client.send("hello");
    client.end();
    client.rest();

    let line = logged.line();

    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.ends_with("] \"TCP\" 000 5 \"-\" \"-\"\n"), "{line}");
}

#[test]
fn one_that_stands_at_the_stop_was_ended_by_it() {
    let toy = echo();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("access.log");
    let to = To::File(path.clone());
    let format = Format::Json;
    let log = access::open(&access::Settings { to, format }).expect("it opens");
    let mut settings = relaying();
    settings.timeouts.drain = Duration::from_millis(50);
    let specs = vec![spec(toy.address, 1, false)];
    let mut front = Front::logged(settings, specs, Some(&log));
    front.all_up();
    let mut client = front.client();
    client.send("x");
    client.bytes(1);

    front.stop();
    assert_eq!(client.rest(), b"");
    drop(client);
    front.drained();
    run(log.close(Duration::from_secs(20)));

    let line = std::fs::read_to_string(&path).unwrap();
    let line: Value = serde_json::from_str(&line).expect("an object");
    assert_eq!(
        (&line["ended"], &line["reason"]),
        (&json!("lb"), &json!("lb stopped"))
    );
}

#[test]
fn bytes_are_counted_while_they_move() {
    let toy = echo();
    let front = Front::with(relaying(), &[&toy]);
    let mut client = front.client();
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");

    let of_toy = |front: &Front| {
        let backends = front.stats().backends;
        let mut found = backends
            .into_iter()
            .filter(|counts| counts.backend.is_some());
        found.next().expect("it was asked")
    };
    until("they are counted", || {
        let counts = of_toy(&front);
        (counts.received, counts.sent) == (5, 5)
    });
    assert_eq!(of_toy(&front).connections, [0; 4], "it goes on");
    client.end();
    client.rest();
    until("its end is counted", || {
        of_toy(&front).connections == [1, 0, 0, 0]
    });
    assert_eq!(of_toy(&front).classes, [0; 7], "no request was made");
}
