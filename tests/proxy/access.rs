//! One line for each request, whatever becomes of it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
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
fn tries_that_failed_are_named_with_why() {
    let refusing = Toy::refusing();
    let reset = Toy::scripted(|_, _, _| Then::Reset);
    let toy = Toy::named("a");
    let logged = Logged::of(&[&refusing, &reset, &toy]);
    let mut client = logged.front.client();
    // Wherever the rotation begins, one of three in a row meets both first.
    for _ in 0..3 {
        client.get("/");
    }

    let lines = logged.lines(3);

    let most = |line: &&Value| line["attempts"].as_u64();
    let line = lines.iter().max_by_key(most).expect("a line");
    assert_has(
        line,
        json!({
            "attempts": 3, "retries": 2, "status": 200, "ended": "done",
            "backend": toy.address.to_string(),
        }),
    );
    let failed = line["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 2, "{line:#}");
    for (bad, why) in [
        (
            &refusing,
            "the backend could not be reached: connection refused",
        ),
        (
            &reset,
            "the backend gave no response: connection reset by peer",
        ),
    ] {
        let address = bad.address.to_string();
        let each = failed.iter().find(|each| each["backend"] == *address);
        let each = each.expect("it is named");
        assert_has(each, json!({"node": address, "why": why}));
        assert!(ms(each, "ms") > 0.0);
    }
}

#[test]
fn an_answer_that_is_passed_on_for_want_of_a_better_one_is_no_failed_try() {
    let busy = Toy::scripted(|_, _, peer| {
        peer.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy");
        Then::Keep
    });
    let refusing = Toy::refusing();
    let logged = Logged::of(&[&busy, &refusing]);
    let mut client = logged.front.client();
    assert_eq!(client.get("/").text(), "busy");

    let line = logged.line();

    assert_has(
        &line,
        json!({
            "status": 503, "backend": busy.address.to_string(), "attempts": 2, "ended": "done", "sent": 4,
        }),
    );
    assert_eq!(line["failed"].as_array().unwrap().len(), 1, "{line:#}");
    assert_eq!(line["failed"][0]["backend"], refusing.address.to_string());
    assert!(ms(&line, "first_byte_ms") > 0.0, "{line:#}");
}

#[test]
fn a_backend_that_gives_no_answer_ended_it() {
    let reset = Toy::scripted(|_, _, _| Then::Reset);
    let logged = Logged::of(&[&reset]);
    assert_eq!(
        logged.front.client().request("POST", "/", b"abc").status(),
        502
    );

    let line = logged.line();

    assert_has(
        &line,
        json!({
            "status": 502, "ended": "backend", "backend": reset.address.to_string(), "attempts": 1,
            "received": 3, "first_byte_ms": null,
        }),
    );
    assert_eq!(line["reason"], line["failed"][0]["why"]);
}

#[test]
fn a_client_that_leaves_before_its_answer_ended_it() {
    let (came, coming) = mpsc::sync_channel(1);
    let toy = Toy::raw(move |mut peer, _| {
        peer.try_request();
        came.send(()).unwrap();
        peer.rest();
    });
    let logged = Logged::of(&[&toy]);
    let mut client = logged.front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    coming.recv().unwrap();

    drop(client);

    assert_has(
        &logged.line(),
        json!({
            "status": null, "ended": "client", "backend": toy.address.to_string(), "failed": [], "kept": false,
            "reason": "the client closed the connection", "sent": 0,
        }),
    );
}

#[test]
fn a_client_that_leaves_within_its_answer_ended_it() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_request();
        peer.try_send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabcd");
        peer.rest();
    });
    let logged = Logged::of(&[&toy]);
    let mut client = logged.front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert!(client.try_head().is_some());
    assert_eq!(client.bytes(4), b"abcd");

    drop(client);

    assert_has(
        &logged.line(),
        json!({"status": 200, "ended": "client", "sent": 4, "kept": false}),
    );
}

#[test]
fn a_backend_that_breaks_off_its_answer_ended_it() {
    let (told, tells) = mpsc::sync_channel::<()>(1);
    let tells = std::sync::Mutex::new(tells);
    let toy = Toy::raw(move |mut peer, _| {
        peer.try_request();
        peer.try_send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabcd");
        tells.lock().unwrap().recv().unwrap();
    });
    let logged = Logged::of(&[&toy]);
    let mut client = logged.front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert!(client.try_head().is_some());
    assert_eq!(client.bytes(4), b"abcd");

    told.send(()).unwrap();

    assert_has(
        &logged.line(),
        json!({
            "status": 200, "ended": "backend", "sent": 4, "kept": false,
            "reason": "the backend's body broke off: connection closed",
        }),
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
fn a_change_of_protocol_is_logged_at_its_end() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_request();
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi");
        assert_eq!(peer.bytes(5), b"there");
        peer.send("bye");
        peer.assert_closed();
    });
    let logged = Logged::of(&[&toy]);
    let mut client = logged.front.client();
    client.send("GET /ws HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert!(client.try_head().is_some());
    assert_eq!(client.bytes(2), b"hi");
    client.send("there");
    assert_eq!(client.bytes(3), b"bye");
    assert_eq!(logged.front.stats().requests_in_flight, 0);
    assert_eq!(logged.text(), "");

    drop(client);

    assert_has(
        &logged.line(),
        json!({"status": 101, "sent": 5, "received": 5, "ended": "done", "target": "/ws"}),
    );
}

#[test]
fn a_request_that_the_stop_cuts_is_logged() {
    let (came, coming) = mpsc::sync_channel(1);
    let toy = Toy::raw(move |mut peer, _| {
        peer.try_request();
        came.send(()).unwrap();
        peer.rest();
    });
    let mut settings = settings();
    settings.timeouts.drain = Duration::from_millis(20);
    let mut logged = Logged::with(settings, Format::Json, &[&toy]);
    let mut client = logged.front.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    coming.recv().unwrap();

    logged.stop();

    assert_has(
        &logged.line(),
        json!({"status": null, "ended": "lb", "reason": "lb stopped"}),
    );
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
