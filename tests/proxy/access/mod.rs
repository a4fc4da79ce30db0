//! One line for each request, whatever becomes of it.

mod ended;
mod written;

use std::path::PathBuf;
use std::time::Duration;

use lb::proxy::access::{self, Format, Log, To};
use lb::proxy::{self, Limits};
use serde_json::{Value, json};

use crate::front::{Front, run, settings, spec, trusting};
use crate::toy::{Then, Toy, answer};

/// A front and the log it writes.
struct Logged {
    front: Front,
    log: Option<Log>,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

fn open(path: PathBuf, format: Format) -> Log {
    let to = To::File(path);
    access::open(&access::Settings { to, format }).expect("it opens")
}

impl Logged {
    fn of(toys: &[&Toy]) -> Self {
        Self::with(settings(), Format::Json, toys)
    }

    fn with(settings: proxy::Settings, format: Format, toys: &[&Toy]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("access.log");
        let log = open(path.clone(), format);
        let specs = toys.iter().map(|toy| spec(toy.address, 1, false)).collect();
        let mut front = Front::logged(settings, specs, Some(&log));
        front.all_up();
        Self {
            front,
            log: Some(log),
            path,
            _directory: directory,
        }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.path).expect("the log is text")
    }

    /// Exactly these lines, once they are there.
    fn lines(&self, count: usize) -> Vec<Value> {
        crate::until("the lines are written", || {
            self.text().lines().count() >= count
        });
        let lines: Vec<Value> = self
            .text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect();
        assert_eq!(lines.len(), count, "{lines:?}");
        lines
    }

    fn line(&self) -> Value {
        self.lines(1).remove(0)
    }

    /// Stops the front; all lines are there then.
    fn stop(&mut self) {
        self.front.stop();
        self.front.drained();
        let log = self.log.take().expect("stopped once");
        run(log.close(Duration::from_secs(20)));
    }
}

/// These keys have these values.
fn assert_has(line: &Value, wanted: Value) {
    for (key, value) in wanted.as_object().expect("an object") {
        assert_eq!(&line[key], value, "{key} in {line:#}");
    }
}

fn ms(line: &Value, key: &str) -> f64 {
    line[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} in {line:#}"))
}

#[test]
fn a_line_says_who_asked_for_what_and_who_answered_when() {
    let toy = Toy::named("hello");
    let logged = Logged::of(&[&toy]);
    let mut client = logged.front.client();
    client.send(
        "GET /a?b=c HTTP/1.1\r\nHost: www.example\r\nUser-Agent: test/1\r\nReferer: http://r/\r\n\r\n",
    );
    client.response("GET");

    let line = logged.line();

    assert_has(
        &line,
        json!({
            "client": "127.0.0.1", "peer": client.stream().local_addr().unwrap().to_string(),
            "forwarded_for": null, "method": "GET", "target": "/a?b=c", "version": "1.1",
            "host": "www.example", "status": 200, "sent": 5, "received": 0,
            "referer": "http://r/", "user_agent": "test/1",
            "pool": "web", "node": toy.address.to_string(), "backend": toy.address.to_string(),
            "attempts": 1, "retries": 0, "failed": [], "reused": false, "kept": true,
            "ended": "done", "reason": null,
        }),
    );
    let traced = toy.requests()[0].field("traceparent").unwrap().to_owned();
    let id = line["trace_id"].as_str().expect("a trace");
    assert!(traced.starts_with(&format!("00-{id}-")), "{traced} {id}");
    let parts = ["head_ms", "hold_ms", "connect_ms", "first_byte_ms"];
    let sum: f64 = parts.iter().map(|key| ms(&line, key)).sum();
    assert!(sum <= ms(&line, "total_ms") + 0.01, "{line:#}");
    assert!(ms(&line, "connect_ms") > 0.0 && ms(&line, "first_byte_ms") > 0.0);

    client.get("/again");
    assert_has(
        &logged.lines(2)[1],
        json!({"reused": true, "connect_ms": null, "target": "/again"}),
    );
}

#[test]
fn a_trace_that_the_client_began_is_named() {
    let toy = Toy::named("a");
    let logged = Logged::of(&[&toy]);
    let mut client = logged.front.client();
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    for name in ["traceparent", "TraceParent"] {
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: t\r\n{name}: 00-{id}-00f067aa0ba902b7-01\r\n\r\n"
        ));
        client.response("GET");
    }
    client.send("GET / HTTP/1.1\r\nHost: t\r\ntraceparent: what\"ever\r\n\r\n");
    client.response("GET");

    let lines = logged.lines(3);

    assert_eq!(lines[0]["trace_id"], id);
    assert_eq!(lines[1]["trace_id"], id);
    assert_eq!(lines[2]["trace_id"], Value::Null);
}

#[test]
fn bodies_are_counted_without_their_framing() {
    let toy = Toy::scripted(|request, _, peer| {
        if request.start().starts_with("POST") {
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n");
            peer.send("3\r\nefg\r\n0\r\n\r\n");
        } else {
            answer(peer, request, "hello");
        }
        Then::Keep
    });
    let logged = Logged::of(&[&toy]);
    let mut client = logged.front.client();
    client.request("POST", "/", &[b'x'; 100_000]);
    client.send(
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    );
    client.response("POST");
    client.send("HEAD / HTTP/1.1\r\nHost: t\r\n\r\n");
    client.response("HEAD");

    let lines = logged.lines(3);

    assert_has(&lines[0], json!({"sent": 7, "received": 100_000}));
    assert_has(&lines[1], json!({"sent": 7, "received": 2}));
    assert_has(
        &lines[2],
        json!({"sent": 0, "received": 0, "method": "HEAD"}),
    );
}

#[test]
fn requests_that_no_backend_was_asked_for_are_logged_and_silent_connections_are_not() {
    let toy = Toy::named("a");
    let mut settings = settings();
    settings.timeouts.request_head = Duration::from_millis(50);
    settings.limits = Limits {
        head_bytes: 1024,
        ..Limits::default()
    };
    let mut logged = Logged::with(settings, Format::Json, &[&toy]);
    drop(logged.front.client());
    let ask = |bytes: &str, status: u16| {
        let mut client = logged.front.client();
        client.send(bytes);
        assert_eq!(client.response("GET").status(), status);
    };
    ask("GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400);
    ask("GET /slow HTTP/1.1\r\nHo", 408);
    let long = "x".repeat(2000);
    ask(
        &format!("GET /long HTTP/1.1\r\nHost: t\r\nA: {long}\r\n\r\n"),
        431,
    );
    ask("TRACE /trace HTTP/1.1\r\nHost: t\r\n\r\n", 405);
    ask(
        "OPTIONS /last HTTP/1.1\r\nHost: t\r\nMax-Forwards: 0\r\n\r\n",
        200,
    );
    ask("\u{16}\u{3}\u{1}\u{0}\"\n", 400);
    logged.front.down(&toy);
    let mut client = logged.front.client();
    assert_eq!(client.get("/nobody").status(), 503);
    drop(client);
    logged.stop();

    let lines = logged.lines(7);

    let nobody =
        json!({"pool": "web", "node": null, "backend": null, "attempts": 0, "hold_ms": null});
    for (line, (target, status, ended)) in lines.iter().zip([
        ("/bad", 400, "client"),
        ("/slow", 408, "client"),
        ("/long", 431, "client"),
        ("/trace", 405, "client"),
        ("/last", 200, "done"),
        ("", 400, "client"),
        ("/nobody", 503, "lb"),
    ]) {
        let target = match target {
            "" => Value::Null,
            target => json!(target),
        };
        assert_has(
            line,
            json!({"target": target, "status": status, "ended": ended}),
        );
        assert_has(line, nobody.clone());
        assert!(line["reason"].is_string(), "{line:#}");
    }
    assert!(ms(&lines[1], "head_ms") >= 50.0, "{:#}", lines[1]);
    assert_eq!(lines[5]["line"], "\u{16}\u{3}\u{1}\u{0}\"");
    assert_eq!(lines[6]["reason"], "no backend of pool web is in rotation");
}

#[test]
fn a_trusted_proxy_says_who_asks() {
    let toy = Toy::named("a");
    let logged = Logged::with(trusting(), Format::Json, &[&toy]);
    let mut client = logged.front.client();
    let mut ask = |said: &str| {
        client.send(format!("GET / HTTP/1.1\r\nHost: t\r\n{said}\r\n"));
        client.response("GET");
    };
    ask("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.7, 127.0.0.9\r\n");
    ask("X-Forwarded-For: [2001:db8::1]:443\r\n");
    ask("X-Forwarded-For: 6.6.6.6, unknown\r\n");

    let lines = logged.lines(3);

    assert_has(
        &lines[0],
        json!({"client": "192.0.2.7", "forwarded_for": "6.6.6.6, 192.0.2.7, 127.0.0.9"}),
    );
    assert_eq!(lines[1]["client"], "2001:db8::1");
    assert_eq!(lines[2]["client"], "127.0.0.1");

    let plain = Logged::of(&[&toy]);
    let mut client = plain.front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
    client.response("GET");
    assert_has(
        &plain.line(),
        json!({"client": "127.0.0.1", "forwarded_for": null}),
    );
}
