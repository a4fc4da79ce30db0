//! PROXY headers of a balancer in front: believed from some, demanded from all.

use std::net::SocketAddr;
use std::time::Duration;

use lb::proxy::Settings;
use lb::proxy::stats::Unheaded;
use lb::proxy_header::{self, Version};

use crate::front::{Front, settings, trusting};
use crate::peer::Peer;
use crate::toy::{Then, Toy, answer};
use crate::{echo, relaying, until};

const SOURCE: &str = "192.0.2.7:4711";
const DESTINATION: &str = "198.51.100.1:443";

fn header(version: Version) -> Vec<u8> {
    let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
    proxy_header::write(version, address(SOURCE), address(DESTINATION))
}

/// Believes loopback.
fn introduced(mut settings: Settings) -> Settings {
    settings.listeners[0].proxy_protocol = Some(vec!["127.0.0.0/8".parse().expect("a network")]);
    settings
}

/// Connections that were closed for this reason.
fn refused(front: &Front, why: Unheaded) -> u64 {
    front.stats().unheaded[why as usize]
}

fn ask(client: &mut Peer) -> String {
    client.get("/").text().to_owned()
}

/// Answers with what it was told of its client.
fn mirror() -> Toy {
    Toy::scripted(|request, _, peer| {
        let said = ["x-forwarded-for", "x-real-ip", "forwarded", "host"];
        let said = said.map(|name| request.field(name).unwrap_or("-").to_owned());
        answer(peer, request, &said.join(" | "));
        Then::Keep
    })
}

#[test]
fn the_address_in_the_header_is_the_clients() {
    let toy = mirror();
    let front = Front::with(introduced(settings()), &[&toy]);

    for version in [Version::V1, Version::V2] {
        let mut client = front.client();
        client.send(header(version));

        for _ in 0..2 {
            let told = ask(&mut client);
            assert_eq!(
                told,
                "192.0.2.7 | 192.0.2.7 | for=192.0.2.7;host=\"test\";proto=http | test"
            );
        }
    }
    assert_eq!(front.stats().unheaded, [0; 4]);
}

#[test]
fn a_header_may_come_in_pieces_or_with_what_follows() {
    let toy = mirror();
    let front = Front::with(introduced(settings()), &[&toy]);
    let request = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

    for version in [Version::V1, Version::V2] {
        let header = header(version);
        for cut in 0..=header.len() {
            let mut client = front.client();
            client.send(&header[..cut]);
            // The pieces come apart where the front is quick enough, and whole where it is not.
            if cut % 4 == 0 {
                std::thread::sleep(Duration::from_millis(3));
            }
            client.send([&header[cut..], request].concat());

            let told = client.response("GET");
            assert!(told.text().starts_with("192.0.2.7 | "), "{version} {cut}");
        }
        let mut client = front.client();
        for byte in &header {
            client.send([*byte]);
        }
        assert!(ask(&mut client).starts_with("192.0.2.7 | "), "{version}");
    }
}

#[test]
fn a_proxys_own_connection_keeps_its_address() {
    let toy = mirror();
    let front = Front::with(introduced(settings()), &[&toy]);

    for version in [Version::V1, Version::V2] {
        let mut client = front.client();
        client.send(proxy_header::own(version));

        assert!(ask(&mut client).starts_with("127.0.0.1 | "), "{version}");
    }
}

#[test]
fn ipv6_clients_are_told_as_such() {
    let toy = mirror();
    let front = Front::with(introduced(settings()), &[&toy]);
    let mut client = front.client();
    client.send("PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n");

    assert_eq!(
        ask(&mut client),
        "2001:db8::7 | 2001:db8::7 | for=\"[2001:db8::7]\";host=\"test\";proto=http | test"
    );
}

#[test]
fn a_request_without_a_host_gets_the_address_that_its_client_asked() {
    let toy = mirror();
    let front = Front::with(introduced(settings()), &[&toy]);
    let mut client = front.client();
    client.send(header(Version::V2));
    client.send("GET / HTTP/1.0\r\n\r\n");

    let told = client.response("GET");

    assert!(told.text().ends_with(" | 198.51.100.1:443"), "{told:?}");
}

#[test]
fn who_may_speak_for_others_is_judged_by_the_address_in_the_header() {
    let toy = mirror();
    // Loopback is trusted, and the client is not on it.
    let front = Front::with(introduced(trusting()), &[&toy]);
    for (header, told) in [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n", "192.0.2.7 | "),
        (
            "PROXY TCP4 127.0.0.9 198.51.100.1 1 2\r\n",
            "203.0.113.1, 127.0.0.9 | ",
        ),
    ] {
        let mut client = front.client();
        client.send(header);
        client.send("GET / HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n");

        let answer = client.response("GET");
        assert!(answer.text().starts_with(told), "{answer:?}");
    }
}

#[test]
fn a_connection_without_a_header_is_closed_and_never_served() {
    let toy = mirror();
    let front = Front::with(introduced(settings()), &[&toy]);
    let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
    let oversized = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec();
    let all = [
        b"GET / HTTP/1.1\r\nHost: t\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01".to_vec(),
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n".to_vec(),
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 99999\r\nGET / HTTP/1.1\r\nHost: t\r\n\r\n".to_vec(),
        long,
        oversized,
    ];
    for (before, bytes) in (0..).zip(all) {
        let mut client = front.client();
        client.try_send(bytes);

        assert_eq!(client.rest(), b"");
        until("it is counted", || {
            refused(&front, Unheaded::Malformed) == before + 1
        });
    }

    let client = front.client();
    client.end();
    until("it is counted", || refused(&front, Unheaded::Closed) == 1);
    until("nothing stays open", || front.stats().connections_open == 0);
    assert_eq!(toy.connections(), 0);
}

#[test]
fn a_header_that_does_not_come_is_not_waited_for() {
    let toy = mirror();
    let mut settings = introduced(settings());
    settings.timeouts.request_head = Duration::from_millis(150);
    let front = Front::with(settings, &[&toy]);
    let mut silent = front.client();
    let mut slow = front.client();
    slow.send("PROXY TCP4 1.1");

    assert_eq!(silent.rest(), b"");
    assert_eq!(slow.rest(), b"");
    assert_eq!(refused(&front, Unheaded::Slow), 2);
}

#[test]
fn a_header_from_elsewhere_is_refused() {
    let toy = mirror();
    let mut settings = settings();
    settings.listeners[0].proxy_protocol = Some(vec!["10.0.0.0/8".parse().expect("a network")]);
    let front = Front::with(settings, &[&toy]);
    let mut client = front.client();
    client.try_send(header(Version::V1));
    client.try_send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");

    assert_eq!(client.rest(), b"");
    until("it is counted", || {
        refused(&front, Unheaded::Untrusted) == 1
    });
    assert_eq!(toy.connections(), 0);
}

#[test]
fn without_the_setting_a_header_is_no_request() {
    let toy = mirror();
    let front = Front::with(settings(), &[&toy]);
    let mut client = front.client();
    client.send(header(Version::V1));
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");

    assert_eq!(client.response("GET").status(), 400);
    assert_eq!(toy.connections(), 0);
}

#[test]
fn a_relayed_connection_begins_behind_its_header() {
    let toy = echo();
    let front = Front::with(introduced(relaying()), &[&toy]);
    for version in [Version::V1, Version::V2] {
        let mut client = front.client();
        client.send([&header(version)[..], b"hello"].concat());

        assert_eq!(client.bytes(5), b"hello");
        client.end();
        client.assert_ended_in_order();
    }
}

#[test]
fn a_stop_does_not_wait_for_headers() {
    let toy = mirror();
    let mut front = Front::with(introduced(settings()), &[&toy]);
    let mut silent = front.client();
    until("it is accepted", || front.stats().connections_open == 1);

    front.stop();

    assert_eq!(silent.rest(), b"");
    front.drained();
}
