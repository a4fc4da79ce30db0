//! HTTP/2 by agreement (ALPN), and what it knows of TLS.

use std::time::Duration;

use bytes::Bytes;
use lb::tls::client::{Client, Settings};
use lb::tls::server::{self, ClientAuth};

use crate::authority::Authority;
use crate::common::system_tests;
use crate::front::{Front, run};
use crate::streams::Streams;
use crate::toy::Toy;
use crate::{settings, tls};

pub(crate) fn both(authority: &Authority) -> server::Settings {
    server::Settings {
        alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
        ..tls(vec![authority.issue("a", &["a.example"])])
    }
}

/// Status and body of a GET over HTTP/2, within TLS; fields of the client's own with it.
fn get(front: &Front, client: &Client, path: &str, field: (&str, &str)) -> (u16, Bytes) {
    Streams::connect(front.address, client, "a.example").get(path, &[field])
}

pub(crate) fn client(authority: &Authority, own: bool) -> Client {
    Client::load(Settings {
        ca: Some(authority.file()),
        own: own.then(|| authority.issue("own", &["client.example"])),
        ..Settings::default()
    })
    .expect("files that are there")
}

#[test]
fn http_2_is_spoken_where_it_was_agreed_on() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let front = Front::with(settings(both(&authority)), &[&toy]);

    let (status, body) = get(&front, &client(&authority, false), "/x", ("x-a", "b"));

    assert_eq!((status, &body[..]), (200, &b"one"[..]));
    let request = &toy.requests()[0];
    assert_eq!(request.start(), "GET /x HTTP/1.1");
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
    assert_eq!(request.field("host"), Some("a.example"));
    assert_eq!(front.stats().connections_total, 1);
}

/// Its limits count from its own beginning, and not from when the worker last had something to do: the time that a
/// worker knows is that of its last poll of a connection. One that stays open and idles is what leaves it behind.
#[test]
fn a_connection_after_a_silence_longer_than_a_greeting_may_take_is_served() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let mut settings = settings(both(&authority));
    settings.timeouts.request_head = Duration::from_secs(3);
    let front = Front::with(settings, &[&toy]);
    let client = client(&authority, false);
    let mut idle = Streams::connect(front.address, &client, "a.example");
    for _ in 0..2 {
        // With the second it has also said that it got our SETTINGS, and may idle.
        assert_eq!(idle.get("/", &[]).0, 200);
    }

    std::thread::sleep(Duration::from_millis(3500));

    let (status, body) = get(&front, &client, "/", ("x-a", "b"));
    assert_eq!((status, &body[..]), (200, &b"one"[..]));
    assert_eq!(idle.get("/", &[]).0, 200);
}

#[test]
fn over_http_2_backends_learn_of_the_certificate_too() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let asking = server::Settings {
        client_auth: ClientAuth::Optional,
        client_ca: Some(authority.file()),
        ..both(&authority)
    };
    let front = Front::with(settings(asking), &[&toy]);
    let forged = ("x-client-verified", "SUCCESS");

    get(&front, &client(&authority, false), "/", forged);
    get(&front, &client(&authority, true), "/", forged);

    let requests = toy.requests();
    assert_eq!(requests[0].all("x-client-verified"), ["NONE"]);
    assert_eq!(requests[1].all("x-client-verified"), ["SUCCESS"]);
    assert!(requests[1].field("x-client-fingerprint").is_some());
}

#[test]
fn large_answers_come_whole_over_http_2() {
    let authority = Authority::new();
    let toy = Toy::scripted(|_, _, peer| {
        let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        let length = body.len();
        peer.try_send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        ));
        peer.try_send(&body);
        crate::toy::Then::Keep
    });
    let front = Front::with(settings(both(&authority)), &[&toy]);

    let (status, body) = get(&front, &client(&authority, false), "/", ("x-a", "b"));

    assert_eq!((status, body.len()), (200, 3_000_000));
    let wrong = (0_u32..)
        .zip(&body)
        .find(|(at, byte)| (at % 251) as u8 != **byte);
    assert_eq!(wrong, None);
}

#[test]
fn plain_http_2_on_port_80_is_sent_to_https_as_well() {
    let toy = Toy::named("one");
    let mut settings = crate::front::settings();
    settings.listeners[0].redirect_https = Some(443);
    let front = Front::with(settings, &[&toy]);

    let location = run(async {
        let socket = tokio::net::TcpStream::connect(front.address).await.unwrap();
        let (sender, connection) = h2::client::handshake(socket).await.unwrap();
        let driven = tokio::spawn(connection);
        let request = http::Request::get("http://a.example/x").body(()).unwrap();
        let mut sender = sender.ready().await.unwrap();
        let (response, _) = sender.send_request(request, true).unwrap();
        let response = response.await.unwrap();
        driven.abort();
        assert_eq!(response.status(), 301);
        response.headers()["location"].to_str().unwrap().to_owned()
    });

    assert_eq!(location, "https://a.example/x");
    assert_eq!(toy.count(), 0);
}

#[test]
fn curl_speaks_http_2_over_tls() {
    if !system_tests(&["curl"]) {
        return;
    }
    let authority = Authority::new();
    let toy = Toy::named("one");
    let front = Front::with(settings(both(&authority)), &[&toy]);
    let port = front.address.port();

    for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let output = std::process::Command::new("curl")
            .args(["-sS", "--max-time", "20", flag, "-w", " %{http_version}"])
            .arg("--cacert")
            .arg(authority.file())
            .arg("--resolve")
            .arg(format!("a.example:{port}:127.0.0.1"))
            .arg(format!("https://a.example:{port}/"))
            .output()
            .expect("curl runs");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(told, format!("one {version}"));
    }
}
