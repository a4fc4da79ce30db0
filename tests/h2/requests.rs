//! What a backend gets of a request, and what gets no further.

use crate::PROTOCOL_ERROR;
use crate::client::Client;
use crate::frames::{self, Answer, End};
use crate::front::{Front, settings, trusting};
use crate::hpack;
use crate::toy::{Then, Toy};

#[test]
fn a_backend_gets_the_request_as_http_1() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);

    let stream = client.ask("GET", "/a?b=c", &[("accept", "*/*"), ("te", "trailers")]);
    let answer = client.answer(stream);

    assert_eq!((answer.status(), answer.text().as_str()), (200, "a"));
    assert_eq!(answer.field("content-length"), Some("1"));
    assert!(answer.field("date").is_some());
    let request = &toy.requests()[0];
    assert_eq!(request.start(), "GET /a?b=c HTTP/1.1");
    assert_eq!(request.field("host"), Some("test"));
    assert_eq!(request.field("accept"), Some("*/*"));
    assert_eq!(request.field("via"), Some("2.0 lb"));
    assert_eq!(request.field("te"), None);
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
    assert_eq!(request.field("x-forwarded-host"), Some("test"));
    assert!(request.field("traceparent").is_some());
    assert_eq!(request.field("content-length"), None);
}

#[test]
fn many_requests_of_one_connection_are_counted_and_use_backends_in_turn() {
    let (a, b) = (Toy::named("a"), Toy::named("b"));
    let front = Front::of(&[&a, &b]);
    let mut client = Client::connect(front.address);

    let streams: Vec<u32> = (0..90).map(|_| client.ask("GET", "/", &[])).collect();
    for stream in streams {
        assert_eq!(client.answer(stream).status(), 200);
    }

    assert_eq!((a.count(), b.count()), (45, 45));
    crate::until("all are counted", || front.stats().requests_in_flight == 0);
    assert_eq!(front.stats().connections_open, 1);
}

#[test]
fn cookie_crumbs_are_joined() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);

    for cookies in [&["a=1"][..], &["a=1", "b=2", "c=3"]] {
        let fields: Vec<_> = cookies.iter().map(|cookie| ("cookie", *cookie)).collect();
        let stream = client.ask("GET", "/", &fields);
        assert_eq!(client.answer(stream).status(), 200);
        let requests = toy.requests();
        let request = requests.last().unwrap();
        assert_eq!(request.field("cookie"), Some(cookies.join("; ").as_str()));
    }
}

#[test]
fn a_host_that_agrees_is_said_once() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);

    let stream = client.ask("GET", "/", &[("host", "TEST")]);
    assert_eq!(client.answer(stream).status(), 200);
    let stream = client.next();
    let only = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        ("host", "own"),
    ];
    client.send(frames::headers(stream, &only, true));
    assert_eq!(client.answer(stream).status(), 200);

    assert_eq!(toy.requests()[0].field("host"), Some("test"));
    assert_eq!(toy.requests()[1].field("host"), Some("own"));
}

#[test]
fn strangers_cannot_say_on_whose_behalf_they_ask_and_trusted_proxies_can() {
    let toy = Toy::named("a");
    let said = [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
    ];
    for (settings, addresses, proto) in [
        (settings(), "127.0.0.1", "http"),
        (trusting(), "192.0.2.7, 127.0.0.1", "https"),
    ] {
        let front = Front::with(settings, &[&toy]);
        let mut client = Client::connect(front.address);
        let stream = client.ask("GET", "/", &said);
        assert_eq!(client.answer(stream).status(), 200);

        let requests = toy.requests();
        let request = requests.last().unwrap();
        assert_eq!(request.field("x-forwarded-for"), Some(addresses));
        assert_eq!(request.field("x-forwarded-proto"), Some(proto));
    }
}

#[test]
fn bodies_are_framed_as_they_came() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);
    let mut send = |method, fields: &[(&str, &str)], pieces: &[&str]| {
        let stream = client.open(method, "/", fields);
        for (at, piece) in pieces.iter().enumerate() {
            client.send(frames::data(stream, piece, at + 1 == pieces.len()));
        }
        assert_eq!(client.answer(stream).status(), 200);
        toy.requests().pop().unwrap()
    };

    let known = send("POST", &[("content-length", "8")], &["one", "", "three"]);
    assert_eq!(
        (known.field("content-length"), known.text()),
        (Some("8"), "onethree")
    );
    assert_eq!(known.field("transfer-encoding"), None);

    let unknown = send("GET", &[], &["one", "two", ""]);
    assert_eq!(unknown.field("transfer-encoding"), Some("chunked"));
    assert_eq!(
        (unknown.field("content-length"), unknown.text()),
        (None, "onetwo")
    );

    let stream = client.ask("POST", "/", &[]);
    assert_eq!(client.answer(stream).status(), 200);
    assert_eq!(toy.requests()[2].field("content-length"), Some("0"));
}

#[test]
fn trailers_of_a_request_go_no_further() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);

    let stream = client.open("POST", "/", &[]);
    client.send(frames::data(stream, "body", false));
    client.send(frames::headers(stream, &[("x-sum", "1")], true));

    assert_eq!(client.answer(stream).status(), 200);
    let request = &toy.requests()[0];
    assert_eq!((request.text(), request.field("x-sum")), ("body", None));
}

#[test]
fn answers_without_a_body_have_none() {
    let toy = Toy::scripted(|request, _, peer| {
        let status = match request.start() {
            start if start.contains("/204") => "204 No Content\r\n",
            start if start.contains("/304") => "304 Not Modified\r\nContent-Length: 9\r\n",
            _ => "200 OK\r\nContent-Length: 9\r\n",
        };
        peer.send(format!("HTTP/1.1 {status}\r\n"));
        Then::Keep
    });
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);

    for (method, path, length) in [
        ("HEAD", "/", Some("9")),
        ("GET", "/204", None),
        ("GET", "/304", None),
    ] {
        let stream = client.ask(method, path, &[]);
        let answer = client.answer(stream);
        assert_eq!(answer.end, End::Whole, "{method} {path}");
        assert_eq!((answer.field("content-length"), answer.pieces), (length, 0));
    }
}

#[test]
fn fields_of_the_backends_connection_stay_there() {
    let toy = Toy::scripted(|_, _, peer| {
        peer.send("HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: a\r\nX-Hop: 1\r\nX-End: 2\r\nX-End: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        Then::Keep
    });
    let front = Front::of(&[&toy]);
    let answer = Client::connect(front.address).get("/");

    assert_eq!((answer.text().as_str(), answer.end), ("abc", End::Whole));
    assert_eq!(answer.all("x-end"), ["2", "3"]);
    for name in [
        "connection",
        "keep-alive",
        "x-hop",
        "transfer-encoding",
        "content-length",
    ] {
        assert_eq!(answer.field(name), None, "{name}");
    }
}

#[test]
fn interim_answers_are_passed_on() {
    let toy = Toy::raw(|mut peer, _| {
        peer.try_head();
        peer.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        assert_eq!(peer.bytes(4), b"body");
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        peer.rest();
    });
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);

    let fields = [("content-length", "4"), ("expect", "100-continue")];
    let stream = client.open("POST", "/", &fields);
    client.until("interim answers", |client| {
        client.so_far(stream).interim.len() == 2
    });
    client.send(frames::data(stream, "body", true));
    let answer = client.answer(stream);

    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.interim[0][0].1, "100");
    assert_eq!(answer.interim[1][0].1, "103");
    assert_eq!(answer.interim[1][1].1, "</a>");
}

/// Each begins as one of its own connection. True: it was refused, and how is not asked.
fn refused(front: &Front, bytes: &[u8]) -> Result<Answer, String> {
    let mut client = Client::connect(front.address);
    client.send(bytes);
    let answer = client.answer(1);
    match answer.end {
        End::Reset(PROTOCOL_ERROR) => Ok(answer),
        End::Whole if (400..500).contains(&answer.status()) => Ok(answer),
        End::Open if client.farewell() == Some(PROTOCOL_ERROR) => Ok(answer),
        _ => Err(format!("{answer:?} {:?}", client.goaways)),
    }
}

fn raw(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let flags = frames::END_HEADERS | frames::END_STREAM;
    frames::frame(frames::HEADERS, flags, 1, &hpack::block(fields))
}

#[test]
fn heads_that_no_request_may_have_are_refused() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    const METHOD: (&[u8], &[u8]) = (b":method", b"GET");
    const SCHEME: (&[u8], &[u8]) = (b":scheme", b"http");
    const AUTHORITY: (&[u8], &[u8]) = (b":authority", b"test");
    const PATH: (&[u8], &[u8]) = (b":path", b"/");
    let all = [METHOD, SCHEME, AUTHORITY, PATH];
    let mut heads: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in [
        (&b"X-Upper"[..], &b"1"[..]),
        (b"x\nname", b"1"),
        (b"x name", b"1"),
        (b"x:name", b"1"),
        (b"", b"1"),
        (b"x", b"a\rb"),
        (b"x", b"a\nb"),
        (b"x", b"a\r\nhost: b"),
        (b"x", b"a\0b"),
        (b"x", b" a"),
        (b"x", b"a\t"),
        (b"connection", b"close"),
        (b"connection", b"x-hop"),
        (b"keep-alive", b"1"),
        (b"proxy-connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"websocket"),
        (b"te", b"gzip"),
        (b"te", b"trailers, gzip"),
        (b"host", b"other"),
        (b":path", b"/late"),
        (b":status", b"200"),
        (b":unknown", b"1"),
        (b"content-length", b"1"),
        (b"content-length", b"+0"),
        (b"content-length", b"0, 0"),
        (b"content-length", b"-1"),
        (b"content-length", b"x"),
        (b"expect", b"something"),
    ] {
        let what = format!(
            "{:?}: {:?}",
            String::from_utf8_lossy(name),
            String::from_utf8_lossy(value)
        );
        heads.push((what, raw(&[&all[..], &[(name, value)]].concat())));
    }
    for name in ["content-length", "host"] {
        let value = if name == "host" { "test" } else { "0" };
        let twice = [(name.as_bytes(), value.as_bytes()); 2];
        let head = match name {
            "host" => [&[METHOD, SCHEME, PATH], &twice[..]].concat(),
            _ => [&all[..], &twice].concat(),
        };
        heads.push((format!("{name} twice"), raw(&head)));
    }
    for (at, (name, _)) in all.iter().enumerate() {
        let what = String::from_utf8_lossy(name);
        let without: Vec<_> = all
            .iter()
            .copied()
            .filter(|field| field.0 != *name)
            .collect();
        heads.push((format!("no {what}"), raw(&without)));
        heads.push((
            format!("{what} twice"),
            raw(&[&all[..], &[all[at]]].concat()),
        ));
        let late = [&without[..], &[(&b"x"[..], &b"1"[..]), all[at]]].concat();
        heads.push((format!("{what} late"), raw(&late)));
    }
    for path in [
        "",
        "admin",
        "*",
        "/a b",
        "/a\tb",
        "/a\r\nb",
        "http://other/",
        "/\0",
    ] {
        let head = [METHOD, SCHEME, AUTHORITY, (&b":path"[..], path.as_bytes())];
        heads.push((format!("path {path:?}"), raw(&head)));
    }
    for authority in ["", "u@test", "a b", "a/b", "a:b", "[::1"] {
        let head = [
            METHOD,
            SCHEME,
            (&b":authority"[..], authority.as_bytes()),
            PATH,
        ];
        heads.push((format!("authority {authority:?}"), raw(&head)));
    }
    for method in ["", "GE T", "G\0T", "TRACE", "CONNECT"] {
        let head = [
            (&b":method"[..], method.as_bytes()),
            SCHEME,
            AUTHORITY,
            PATH,
        ];
        heads.push((format!("method {method:?}"), raw(&head)));
    }
    heads.push((
        "CONNECT".to_owned(),
        raw(&[(b":method", b"CONNECT"), AUTHORITY]),
    ));
    let protocol = [
        (&b":method"[..], &b"CONNECT"[..]),
        (b":protocol", b"websocket"),
        SCHEME,
        AUTHORITY,
        PATH,
    ];
    heads.push(("extended CONNECT".to_owned(), raw(&protocol)));
    assert!(heads.len() > 60, "{}", heads.len());

    let failures: Vec<String> = heads
        .iter()
        .filter_map(|(what, head)| {
            let why = refused(&front, head).err()?;
            Some(format!("{what}: {why}"))
        })
        .collect();

    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(toy.connections(), 0, "a backend was asked");
    assert_eq!(Client::connect(front.address).get("/").status(), 200);
}

#[test]
fn a_refused_request_leaves_its_neighbours_alone() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    let mut client = Client::connect(front.address);

    for fields in [
        [("host", "other")],
        [("te", "gzip")],
        [("connection", "close")],
    ] {
        let bad = client.ask("GET", "/", &fields);
        let good = client.ask("GET", "/", &[]);
        assert_ne!(client.answer(bad).status(), 200);
        assert_eq!(client.answer(good).status(), 200);
    }
}

#[test]
fn a_body_must_be_as_long_as_it_said() {
    let toy = Toy::raw(|mut peer, _| {
        peer.rest();
    });
    let front = Front::of(&[&toy]);
    for (said, pieces) in [
        ("5", &["hell"][..]),
        ("5", &["hello", "!"]),
        ("5", &["hello!"]),
        ("0", &["x"]),
    ] {
        let mut client = Client::connect(front.address);
        let stream = client.open("POST", "/", &[("content-length", said)]);
        for (at, piece) in pieces.iter().enumerate() {
            client.try_send(frames::data(stream, piece, at + 1 == pieces.len()));
        }
        let answer = client.answer(stream);
        assert_eq!(answer.end, End::Reset(PROTOCOL_ERROR), "{said} {pieces:?}");
        assert!(client.goaways.is_empty());
    }
    crate::until("no backend is kept waiting", || toy.open() == 0);
}

#[test]
fn a_request_cut_short_is_never_whole_for_its_backend() {
    // It says how what it received ended.
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let toy = Toy::raw(move |mut peer, _| {
        let head = peer.try_head().unwrap_or_default();
        let rest = peer.rest();
        let whole = match head.contains("chunked") {
            true => rest.ends_with(b"0\r\n\r\n"),
            false => rest.len() == 100,
        };
        tell.lock().unwrap().send(whole).unwrap();
    });
    let front = Front::of(&[&toy]);
    for sized in [true, false] {
        let fields: &[(&str, &str)] = if sized {
            &[("content-length", "100")]
        } else {
            &[]
        };
        for way in ["reset", "close", "trailers that do not end it"] {
            let mut client = Client::connect(front.address);
            let stream = client.open("POST", "/", fields);
            client.send(frames::data(stream, "beginning", false));
            crate::until("a backend has it", || {
                front.stats().requests_in_flight == 1 && toy.open() == 1
            });
            match way {
                "reset" => client.send(frames::reset(stream, crate::CANCEL)),
                "close" => drop(client),
                _ => client.send(frames::headers(stream, &[("x", "y")], false)),
            }
            let whole = told
                .recv_timeout(crate::DEADLINE)
                .expect("the backend's connection ends");
            assert!(!whole, "{way}, sized: {sized}");
            crate::until("it is over", || {
                front.stats().requests_in_flight == 0 && toy.open() == 0
            });
        }
    }
}

#[test]
fn heads_have_limits() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    let long = "x".repeat(9000);
    let large = "y".repeat(16_000);
    let many: Vec<(String, String)> = (0..101)
        .map(|at| (format!("x-{at}"), String::new()))
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let path = format!("/{long}");
    for (path, fields, status) in [
        (path.as_str(), &[][..], 414),
        ("/", &many[..], 431),
        ("/", &many[..100], 200),
    ] {
        let mut client = Client::connect(front.address);
        let stream = client.ask("GET", path, fields);
        assert_eq!(client.answer(stream).status(), status);
        assert_eq!(client.get("/").status(), 200);
    }
    // Larger than a frame.
    for (count, status) in [(1, 200), (3, 431)] {
        let mut client = Client::connect(front.address);
        let fields = [
            &frames::pseudo("GET", "/")[..],
            &vec![("x", large.as_str()); count],
        ]
        .concat();
        let fields: Vec<(&[u8], &[u8])> = fields
            .iter()
            .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
            .collect();
        let block = hpack::block(&fields);
        let pieces: Vec<&[u8]> = block.chunks(16_000).collect();
        for (at, piece) in pieces.iter().enumerate() {
            let last = at + 1 == pieces.len();
            let flags = if last { frames::END_HEADERS } else { 0 };
            client.send(match at {
                0 => frames::frame(frames::HEADERS, flags | frames::END_STREAM, 1, piece),
                _ => frames::frame(frames::CONTINUATION, flags, 1, piece),
            });
        }
        assert_eq!(client.answer(1).status(), status, "{count}");
    }
}
