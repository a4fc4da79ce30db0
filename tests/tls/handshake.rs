//! Handshakes that succeed, and those that do not.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use lb::tls::Version;
use lb::tls::failure::LABELS;

use crate::authority::Authority;
use crate::client::{Client, VERSIONS, config, of};
use crate::front::Front;
use crate::toy::{Then, Toy};
use crate::{DEADLINE, settings, tls, until};

fn failures(front: &Front, label: &str) -> u64 {
    let at = LABELS.iter().position(|known| *known == label);
    front.stats().handshakes.failed[at.expect("a label")]
}

#[test]
fn requests_go_through_in_each_version_and_backends_are_told_https() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let front = Front::with(
        settings(tls(vec![authority.issue("a", &["a.example"])])),
        &[&toy],
    );

    for version in VERSIONS {
        let config = of(&authority, &[version], None);
        let mut client = Client::connect(front.address, &config, "a.example");
        for _ in 0..3 {
            let answer = client.get("/x");
            assert_eq!((answer.status, answer.text().as_str()), (200, "one"));
        }
        assert_eq!(client.session().protocol_version(), Some(version.version));
    }

    assert_eq!(toy.requests().len(), 6);
    for request in toy.requests() {
        assert_eq!(request.field("x-forwarded-proto"), Some("https"));
        let forwarded = request.field("forwarded").expect("a field");
        assert!(forwarded.ends_with("proto=https"), "{forwarded}");
    }
    let stats = front.stats();
    assert_eq!((stats.handshakes.full, stats.connections_total), (2, 2));
}

#[test]
fn bodies_of_all_sizes_go_both_ways() {
    let authority = Authority::new();
    let toy = Toy::scripted(|request, _, peer| {
        let length = request.body.len();
        peer.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        ));
        peer.send(&request.body);
        Then::Keep
    });
    let front = Front::with(
        settings(tls(vec![authority.issue("a", &["a.example"])])),
        &[&toy],
    );
    for version in VERSIONS {
        let config = of(&authority, &[version], None);
        let mut client = Client::connect(front.address, &config, "a.example");

        // About a record, a read, what is sealed at once, and what a buffer holds.
        for length in [
            0, 1, 4095, 16_384, 16_385, 65_536, 98_304, 262_144, 3_000_001,
        ] {
            let body: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            client.send(format!(
                "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
            ));
            client.send(&body);

            let answer = client.answer().expect("an answer");

            assert_eq!(answer.status, 200);
            assert!(answer.body == body, "{length} bytes");
        }
    }
}

#[test]
fn a_client_that_reads_late_gets_everything() {
    let authority = Authority::new();
    let toy = Toy::scripted(|_, _, peer| {
        let body: Vec<u8> = (0..8_000_000_u32).map(|at| (at % 253) as u8).collect();
        let length = body.len();
        peer.try_send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        ));
        peer.try_send(&body);
        Then::Keep
    });
    let front = Front::with(
        settings(tls(vec![authority.issue("a", &["a.example"])])),
        &[&toy],
    );
    let mut client = Client::connect(front.address, &config(&authority), "a.example");

    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    // All that fits between the two is full by then.
    until("the backend is held back", || front.in_flight(&toy) == 1);
    std::thread::sleep(Duration::from_millis(50));
    let answer = client.answer().expect("an answer");

    let wrong = (0..)
        .zip(&answer.body)
        .find(|(at, byte)| (at % 253_u32) as u8 != **byte);
    assert_eq!((answer.body.len(), wrong), (8_000_000, None));
}

#[test]
fn requests_in_clear_are_told_what_to_do() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let front = Front::with(
        settings(tls(vec![authority.issue("a", &["a.example"])])),
        &[&toy],
    );

    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");

    let answer = client.response("GET");
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains("use https://"), "{}", answer.text());
    assert_eq!(answer.field("connection"), Some("close"));
    client.assert_closed();
    assert_eq!(failures(&front, "plain_http"), 1);
    assert_eq!(toy.count(), 0);
    drop(client);
    until("it is forgotten", || front.stats().connections_open == 0);
}

#[test]
fn garbage_is_closed_and_counted() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let front = Front::with(
        settings(tls(vec![authority.issue("a", &["a.example"])])),
        &[&toy],
    );

    for garbage in [&b"\0\0\0\0"[..], b"SSH-2.0-x\r\n", &[0x80; 100]] {
        let mut client = front.client();
        client.send(garbage);
        assert_eq!(client.rest(), b"");
    }
    // It begins like a handshake, and then is none.
    let mut client = front.client();
    client.send(b"\x16\x03\x01\x00\x05hello");
    client.rest();

    until("all are counted", || {
        failures(&front, "not_tls") == 3 && failures(&front, "protocol") == 1
    });
    until("they are forgotten", || front.stats().connections_open == 0);
}

#[test]
fn a_slow_handshake_is_cut() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let mut settings = settings(tls(vec![authority.issue("a", &["a.example"])]));
    settings.timeouts.tls_handshake = Duration::from_millis(200);
    let front = Front::with(settings, &[&toy]);

    let mut silent = front.client();
    let mut begun = front.client();
    begun.send(b"\x16\x03\x01\x02");
    silent.assert_closed();
    begun.assert_closed();

    until("both are counted", || failures(&front, "timeout") == 2);
    assert_eq!(front.stats().connections_open, 0);
}

#[test]
fn a_client_that_leaves_within_its_handshake_is_counted_and_gone() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let front = Front::with(
        settings(tls(vec![authority.issue("a", &["a.example"])])),
        &[&toy],
    );

    for _ in 0..10 {
        let client = TcpStream::connect(front.address).expect("it accepts");
        (&client).write_all(b"\x16\x03\x01").expect("sent");
        client.shutdown(Shutdown::Write).expect("shut");
        client.set_read_timeout(Some(DEADLINE)).expect("set");
        assert_eq!((&client).read(&mut [0]).expect("an end"), 0);
    }

    until("all are counted", || failures(&front, "closed") == 10);
    until("all are gone", || front.stats().connections_open == 0);
}

#[test]
fn an_old_version_is_refused_where_it_is_not_wanted() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let mut only = tls(vec![authority.issue("a", &["a.example"])]);
    only.min_version = Version::Tls13;
    let front = Front::with(settings(only), &[&toy]);

    let old = of(&authority, &[&rustls::version::TLS12], None);
    assert!(Client::try_connect(front.address, &old, "a.example").is_err());
    let new = of(&authority, &[&rustls::version::TLS13], None);
    assert_eq!(
        Client::connect(front.address, &new, "a.example")
            .get("/")
            .status,
        200
    );

    until("it is counted", || failures(&front, "incompatible") == 1);
}

#[test]
fn protocols_are_agreed_on() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let front = Front::with(
        settings(tls(vec![authority.issue("a", &["a.example"])])),
        &[&toy],
    );
    let offering = |protocols: &[&[u8]]| {
        let mut config = config(&authority);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Client::try_connect(front.address, &config, "a.example")
    };

    let both = offering(&[b"h2", b"http/1.1"]).expect("agreed");
    assert_eq!(both.session().alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(offering(&[b"spdy/1"]).is_err());
    let mut none = offering(&[]).expect("agreed");
    assert_eq!(none.session().alpn_protocol(), None);
    assert_eq!(none.get("/").status, 200);
}

#[test]
fn many_requests_in_one_write_are_answered_in_order() {
    let authority = Authority::new();
    let toy = Toy::scripted(|request, _, peer| {
        let path = request
            .start()
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        crate::toy::answer(peer, request, &path);
        Then::Keep
    });
    let front = Front::with(
        settings(tls(vec![authority.issue("a", &["a.example"])])),
        &[&toy],
    );
    let mut client = Client::connect(front.address, &config(&authority), "a.example");

    let all: Vec<String> = (0..50).map(|at| format!("/{at}")).collect();
    let text = all
        .iter()
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    client.send(text.collect::<String>());

    for path in &all {
        assert_eq!(client.answer().expect("an answer").text(), *path);
    }
}

#[test]
fn the_end_of_a_kept_connection_is_said() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let mut settings = settings(tls(vec![authority.issue("a", &["a.example"])]));
    settings.timeouts.client_idle = Duration::from_millis(600);
    let front = Front::with(settings, &[&toy]);
    let mut client = Client::connect(front.address, &config(&authority), "a.example");
    client.get("/");

    assert_eq!(client.more().expect("an end in order"), 0);
}
