//! What is changed on the way, and what is refused.

use crate::front::{Front, trusting};
use crate::toy::{Then, Toy};

#[test]
fn hop_by_hop_fields_are_dropped_on_the_way_in() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    let mut client = front.client();
    client.send(
        "GET /p?q=1 HTTP/1.1\r\nHost: www.example:8080\r\nConnection: keep-alive, X-Mine\r\n\
         Connection: x-other\r\nX-Mine: 1\r\nX-Other: 2\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: websocket\r\nX-Kept: yes\r\n\
         X-Kept: twice\r\n\r\n",
    );
    assert_eq!(client.response("GET").text(), "a");

    let request = &toy.requests()[0];

    assert_eq!(request.start(), "GET /p?q=1 HTTP/1.1");
    assert_eq!(request.field("host"), Some("www.example:8080"));
    assert_eq!(request.all("x-kept"), ["yes", "twice"]);
    for gone in [
        "connection",
        "x-mine",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
    ] {
        assert_eq!(request.field(gone), None, "{gone}");
    }
}

#[test]
fn hop_by_hop_fields_are_dropped_on_the_way_out() {
    let toy = Toy::scripted(|_, _, peer| {
        peer.try_send(
            "HTTP/1.1 299 Fine Indeed\r\nServer: toy\r\nConnection: X-Mine, close\r\nX-Mine: 1\r\n\
             Keep-Alive: timeout=5\r\nX-Forwarded-Host: kept\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
             Content-Length: 2\r\n\r\nok",
        );
        Then::Close
    });
    let front = Front::of(&[&toy]);
    let mut client = front.client();

    let response = client.get("/");

    assert_eq!(response.start(), "HTTP/1.1 299 Fine Indeed");
    assert_eq!(response.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.field("server"), Some("toy"));
    assert_eq!(response.field("x-forwarded-host"), Some("kept"));
    for gone in ["connection", "x-mine", "keep-alive"] {
        assert_eq!(response.field(gone), None, "{gone}");
    }
    // The backend's wish to close is not the client's.
    assert_eq!(client.get("/").status(), 299);
}

#[test]
fn what_a_client_says_about_itself_is_replaced() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    let mut client = front.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: www.example\r\nX-Forwarded-For: 6.6.6.6\r\n\
         X-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
         X-Forwarded-Port: 1\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\r\n",
    );
    client.response("GET");

    let request = &toy.requests()[0];

    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
    assert_eq!(request.field("x-forwarded-host"), Some("www.example"));
    assert_eq!(request.field("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(
        request.field("forwarded"),
        Some("for=127.0.0.1;host=\"www.example\";proto=http")
    );
    assert_eq!(request.field("x-forwarded-port"), None);
    assert_eq!(request.field("via"), Some("1.1 lb"));
    assert!(request.field("traceparent").is_some());
}

#[test]
fn what_a_trusted_proxy_says_is_passed_on_with_ours_behind_it() {
    let toy = Toy::named("a");
    let trusting = trusting();
    let front = Front::with(trusting, &[&toy]);
    let mut client = front.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: www.example\r\nX-Forwarded-For: 6.6.6.6\r\n\
         X-Forwarded-For: 7.7.7.7, 8.8.8.8\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: said\r\n\
         Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nTraceParent: 00-a-b-01\r\n\r\n",
    );
    client.response("GET");

    let request = &toy.requests()[0];

    assert_eq!(
        request.field("x-forwarded-for"),
        Some("6.6.6.6, 7.7.7.7, 8.8.8.8, 127.0.0.1")
    );
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
    assert_eq!(request.field("x-forwarded-host"), Some("said"));
    assert_eq!(request.field("x-real-ip"), Some("6.6.6.6"));
    assert_eq!(
        request.field("forwarded"),
        Some("for=6.6.6.6, for=127.0.0.1;host=\"www.example\";proto=http")
    );
    assert_eq!(request.field("traceparent"), Some("00-a-b-01"));
}

#[test]
fn an_absolute_target_names_the_host() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    let mut client = front.client();
    client.send("GET http://other.example/x HTTP/1.1\r\nHost: www.example\r\n\r\n");
    client.response("GET");

    let request = &toy.requests()[0];

    assert_eq!(request.start(), "GET /x HTTP/1.1");
    assert_eq!(request.field("host"), Some("other.example"));
}

#[test]
fn requests_that_must_not_pass_are_refused_and_say_why() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", 400),
        ("GET admin HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\n\r\n",
            400,
        ),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
    ] {
        let mut client = front.client();
        client.send(request);

        let response = client.response("GET");

        assert_eq!(response.status(), status, "{request:?}");
        assert!(response.text().ends_with('\n'), "{request:?}");
        if status == 405 {
            assert!(response.field("allow").is_some());
        }
    }
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            400,
        ),
        (
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
    ] {
        let mut client = front.client();
        client.send(request);
        assert_eq!(client.response("GET").status(), status, "{request:?}");
        client.assert_closed();
    }
    assert_eq!(toy.count(), 0);
}

#[test]
fn heads_beyond_the_limits_are_431_and_the_answer_arrives() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    let long = format!("X-Long: {}\r\n", "x".repeat(40_000));
    let many = "X-Many: x\r\n".repeat(101);
    for fields in [long, many] {
        let mut client = front.client();
        client.try_send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));

        assert_eq!(client.response("GET").status(), 431);
        client.assert_closed();
    }
    assert_eq!(toy.count(), 0);
    assert_eq!(front.client().get("/").text(), "a");
}

#[test]
fn options_for_the_server_as_a_whole_passes() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    let mut client = front.client();

    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");

    assert_eq!(client.response("OPTIONS").text(), "a");
    assert_eq!(toy.requests()[0].start(), "OPTIONS * HTTP/1.1");
}

#[test]
fn a_transfer_coding_that_is_not_chunked_alone_is_refused() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    for (field, status) in [
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked, chunked", 400),
        ("Transfer-Encoding: , chunked", 400),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            400,
        ),
        ("Transfer-Encoding: xchunked", 400),
    ] {
        let mut client = front.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        ));

        let response = client.response("POST");

        assert_eq!(response.status(), status, "{field:?}");
        client.assert_closed();
    }
    assert_eq!(toy.count(), 0);

    for field in ["Transfer-Encoding: CHUNKED", "transfer-encoding:chunked \t"] {
        let mut client = front.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        ));
        assert_eq!(client.response("POST").text(), "a", "{field:?}");
        assert_eq!(toy.requests().last().unwrap().body, b"abc");
    }
}

#[test]
fn a_client_that_changes_to_http_2_without_asking_is_told_so() {
    let toy = Toy::named("a");
    let front = Front::of(&[&toy]);
    let mut client = front.client();
    client.get("/");

    // The preface and an empty SETTINGS frame: only at the beginning of a connection is that HTTP/2.
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");

    let response = client.response("GET");
    assert_eq!(response.status(), 505);
    assert_eq!(response.text(), "this version of HTTP is not spoken here\n");
    client.assert_closed();
}

#[test]
fn a_malformed_chunk_is_called_the_requests_fault() {
    let toy = Toy::scripted(|_, _, _| Then::Close);
    let front = Front::of(&[&toy]);
    for body in ["zz\r\n", "3\r\nabcdef\r\n", "fffffffffffffffff\r\n"] {
        let mut client = front.client();

        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        ));

        let response = client.response("POST");
        assert_eq!(response.status(), 400, "{body:?}");
        let text = response.text();
        assert!(
            text.starts_with("the request body is malformed: "),
            "{text}"
        );
        client.assert_closed();
    }
}
