//! PROXY headers for backends: first of all, and for one client only.

use std::net::SocketAddr;
use std::sync::mpsc;

use lb::pool::hop::Settings as Hop;
use lb::proxy_header::{self, Version};

use crate::front::{Front, settings};
use crate::peer::Peer;
use crate::toy::Toy;
use crate::{relaying, until};

fn sending(version: Version) -> Hop {
    Hop {
        send_proxy: Some(version),
        ..Hop::default()
    }
}

/// What its connections begin with, up to the first word behind the header.
fn listening() -> (Toy, mpsc::Receiver<(Vec<u8>, Peer)>) {
    let (give, take) = mpsc::channel();
    let toy = Toy::raw(move |mut peer, _| {
        let begin = peer.some();
        let _ = give.send((begin, peer));
    });
    (toy, take)
}

fn own_address(client: &Peer) -> SocketAddr {
    client.stream().local_addr().expect("an address")
}

#[test]
fn a_relayed_connection_begins_with_the_header_before_any_byte() {
    for version in [Version::V1, Version::V2] {
        let (toy, begun) = listening();
        let mut front = Front::with(relaying(), &[&toy]);
        front.hop(sending(version));
        let mut client = front.client();

        let (begin, mut backend) = begun.recv().unwrap();

        let expected = proxy_header::write(version, own_address(&client), front.address);
        assert_eq!(begin, expected, "{version}");
        client.send("hello");
        assert_eq!(backend.bytes(5), b"hello");
        backend.send("there");
        assert_eq!(client.bytes(5), b"there");
    }
}

#[test]
fn each_request_has_a_connection_with_a_header_of_its_own() {
    for version in [Version::V1, Version::V2] {
        let toy = Toy::raw(move |mut peer, _| {
            let length = proxy_header::write(version, V4, V4).len();
            let header = match version {
                Version::V1 => peer.until(b"\r\n"),
                Version::V2 => peer.bytes(length),
            };
            while let Some(request) = peer.try_request() {
                let text = format!("{}{:?}", request.start(), header);
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                ));
            }
        });
        let mut front = Front::with(settings(), &[&toy]);
        front.hop(sending(version));
        let mut clients = [front.client(), front.client()];

        for round in 1..4 {
            for client in &mut clients {
                let answer = client.get("/a").text().to_owned();
                let header = proxy_header::write(version, own_address(client), front.address);
                assert_eq!(answer, format!("GET /a HTTP/1.1{header:?}"), "{version}");
            }
            until("each had a connection of its own", || {
                toy.connections() == round * 2
            });
        }
        until("none is kept", || toy.open() == 0);
    }
}

const V4: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1)),
    1,
);

#[test]
fn two_fronts_in_a_row_tell_the_backend_of_the_first_ones_client() {
    for version in [Version::V1, Version::V2] {
        let toy = Toy::scripted(|request, _, peer| {
            let told = request.field("x-forwarded-for").unwrap_or("-").to_owned();
            crate::toy::answer(peer, request, &told);
            crate::toy::Then::Keep
        });
        let mut inner = settings();
        inner.listeners[0].proxy_protocol = Some(vec!["127.0.0.0/8".parse().unwrap()]);
        let inner = Front::with(inner, &[&toy]);
        let mut outer = relaying();
        outer.listeners[0].proxy_protocol = Some(vec!["127.0.0.0/8".parse().unwrap()]);
        let specs = vec![crate::front::spec(inner.address, 1, false)];
        let mut outer = Front::unproven(outer, specs);
        outer.all_up();
        outer.hop(sending(version));
        let mut client = outer.client();

        client.send("PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n");

        assert_eq!(client.get("/").text(), "192.0.2.7");
    }
}

/// One who was introduced to us is introduced by us as he was: both addresses go on.
#[test]
fn an_introduced_client_is_introduced_on_with_both_addresses() {
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
    let mut relay = relaying();
    let mut http = settings();
    for settings in [&mut relay, &mut http] {
        settings.listeners[0].proxy_protocol = Some(vec!["127.0.0.0/8".parse().unwrap()]);
    }
    for (settings, request) in [
        (relay, &b"hello"[..]),
        (http.clone(), b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"),
        // HTTP/2: the preface, empty SETTINGS, and a GET of / for "t" as HEADERS (RFC 7541 §C.4).
        (
            http,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01t",
        ),
    ] {
        let (toy, begun) = listening();
        let mut front = Front::with(settings, &[&toy]);
        front.hop(sending(Version::V1));
        let mut client = front.client();
        client.send([&header[..], request].concat());

        let (begin, _backend) = begun.recv().unwrap();

        let begin = String::from_utf8_lossy(&begin);
        assert!(begin.starts_with("PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"), "{begin}");
    }
}
