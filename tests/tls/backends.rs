//! TLS to backends: only to those that prove who they are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use lb::announce::Proto;
use lb::pool::queue;
use lb::proxy::{Feedback, Routes};
use lb::tls::client::{Client, Settings};
use rustls::HandshakeKind;

use crate::authority::Authority;
use crate::backend::Backend;
use crate::front::{self, Front, spec};
use crate::toy::Toy;
use crate::until;

/// A plain listener before backends that speak TLS by certificates of `authority`.
pub(crate) fn secured(authority: &Authority, backends: &[SocketAddr]) -> Front {
    let trusting = Settings {
        ca: Some(authority.file()),
        ..Settings::default()
    };
    with(trusting, backends)
}

pub(crate) fn with(tls: Settings, backends: &[SocketAddr]) -> Front {
    let specs = backends.iter().map(|address| {
        let mut spec = spec(*address, 1, false);
        spec.proto = Some(Proto::Https);
        spec
    });
    let client = Arc::new(Client::load(tls).unwrap_or_else(|problems| panic!("{problems:?}")));
    let mut front = Front::routed(
        front::settings(),
        specs.collect(),
        queue::Settings::default(),
        None,
        |pools| Routes {
            pools,
            tls: BTreeMap::from([("web".into(), client)]),
        },
    );
    front.all_up();
    front
}

fn failed_connects(front: &mut Front) -> Vec<String> {
    let reasons = front
        .feedback()
        .iter()
        .filter_map(|feedback| match feedback {
            Feedback::ConnectFailed { reason, .. } => Some(reason.clone()),
            _ => None,
        });
    reasons.collect()
}

#[test]
fn requests_reach_a_backend_that_proves_who_it_is() {
    let authority = Authority::new();
    let backend = Backend::named(&authority.issue("b", &["127.0.0.1"]), None, "one");
    let front = secured(&authority, &[backend.address]);

    let mut client = front.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "one");
    }

    assert_eq!(backend.requests().len(), 5);
    // One connection for all of them; an address is no name to be asked for.
    assert_eq!(backend.handshakes(), [(Some(HandshakeKind::Full), None)]);
}

#[test]
fn a_backend_with_a_wrong_certificate_is_never_asked_and_the_reason_is_told() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let expired = authority.issue_with("old", &["127.0.0.1"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    for (files, why) in [
        (
            authority.issue("b", &["other.example"]),
            "its certificate is for other.example, not for 127.0.0.1",
        ),
        (
            stranger.issue("b", &["127.0.0.1"]),
            "its certificate is from an unknown authority",
        ),
        (expired, "its certificate has expired"),
    ] {
        let backend = Backend::named(&files, None, "one");
        let mut front = secured(&authority, &[backend.address]);

        let answer = front.client().get("/");

        assert_eq!(answer.status(), 502);
        assert!(answer.text().contains(why), "{}", answer.text());
        assert_eq!(backend.requests().len(), 0);
        until("it is reported", || {
            failed_connects(&mut front)
                .iter()
                .any(|reason| reason.contains(why))
        });
    }
}

/// Programs that use OpenSSL take it, and `openssl req -x509` makes it an authority.
#[test]
fn a_self_signed_certificate_that_is_its_own_authority_is_taken_for_its_name_and_time_only() {
    let authority = Authority::new();
    let sound = authority.self_signed("sound", &["127.0.0.1"], |_| {});
    let named = authority.self_signed("named", &["other.example"], |_| {});
    let old = authority.self_signed("old", &["127.0.0.1"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let early = authority.self_signed("early", &["127.0.0.1"], |params| {
        params.not_before = rcgen::date_time_ymd(2201, 1, 1);
        params.not_after = rcgen::date_time_ymd(2202, 1, 1);
    });
    // Of the same names, and not in the file.
    let stranger = authority.self_signed("stranger", &["127.0.0.1"], |params| {
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "sound");
    });
    let all = [&sound, &named, &old, &early]
        .map(|files| std::fs::read_to_string(&files.cert).expect("a file"))
        .concat();
    let ca = authority.path("all.pem");
    std::fs::write(&ca, all).expect("written");

    for (files, why) in [
        (&sound, None),
        (
            &named,
            Some("its certificate is for other.example, not for 127.0.0.1"),
        ),
        (&old, Some("its certificate has expired")),
        (&early, Some("its certificate is not valid yet")),
        (&stranger, Some("(CA:TRUE)")),
    ] {
        let backend = Backend::named(files, None, "one");
        let trusting = Settings {
            ca: Some(ca.clone()),
            ..Settings::default()
        };
        let front = with(trusting, &[backend.address]);

        let answer = front.client().get("/");

        match why {
            None => assert_eq!(answer.text(), "one"),
            Some(why) => {
                assert_eq!(answer.status(), 502);
                assert!(answer.text().contains(why), "{why}: {}", answer.text());
                assert_eq!(backend.requests().len(), 0);
            }
        }
    }
}

#[test]
fn a_backend_that_speaks_no_tls_is_told_in_words() {
    let authority = Authority::new();
    let plain = Toy::raw(|mut peer, _| {
        peer.some();
        peer.try_send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let front = secured(&authority, &[plain.address]);

    let answer = front.client().get("/");

    assert_eq!(answer.status(), 502);
    let told = "it answered something that is not TLS: is its port a plain HTTP one?";
    assert!(answer.text().contains(told), "{}", answer.text());
}

#[test]
fn a_sound_backend_is_used_instead() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let wrong = Backend::named(&stranger.issue("b", &["127.0.0.1"]), None, "wrong");
    let sound = Backend::named(&authority.issue("c", &["127.0.0.1"]), None, "sound");
    let front = secured(&authority, &[wrong.address, sound.address]);

    for _ in 0..6 {
        assert_eq!(front.client().get("/").text(), "sound");
    }

    assert_eq!(wrong.requests().len(), 0);
    assert!(wrong.failed() > 0);
}

#[test]
fn the_name_that_is_given_is_asked_for_and_has_to_be_proved() {
    let authority = Authority::new();
    let backend = Backend::named(&authority.issue("b", &["inner.example"]), None, "one");
    let named = Settings {
        ca: Some(authority.file()),
        server_name: Some("inner.example".to_owned()),
        ..Settings::default()
    };
    let front = with(named, &[backend.address]);

    assert_eq!(front.client().get("/").text(), "one");

    let (_, name) = backend.handshakes()[0].clone();
    assert_eq!(name.as_deref(), Some("inner.example"));
}

#[test]
fn whom_nobody_verifies_is_taken_for_who_it_should_be() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let backend = Backend::named(&stranger.issue("b", &["other.example"]), None, "one");
    let careless = Settings {
        ca: Some(authority.file()),
        verify: false,
        ..Settings::default()
    };
    let front = with(careless, &[backend.address]);

    assert_eq!(front.client().get("/").text(), "one");
}

#[test]
fn our_own_certificate_is_shown_to_who_asks() {
    let authority = Authority::new();
    let files = authority.issue("b", &["127.0.0.1"]);
    let backend = Backend::named(&files, Some(&authority), "one");
    let nameless = secured(&authority, &[backend.address]);
    assert_eq!(nameless.client().get("/").status(), 502);
    assert_eq!(backend.requests().len(), 0);

    let own = Settings {
        ca: Some(authority.file()),
        own: Some(authority.issue("us", &["front.example"])),
        ..Settings::default()
    };
    let front = with(own, &[backend.address]);

    assert_eq!(front.client().get("/").text(), "one");
}

#[test]
fn sessions_with_backends_are_resumed() {
    let authority = Authority::new();
    // It closes after each answer.
    let backend = Backend::new(&authority.issue("b", &["127.0.0.1"]), None, |_, stream| {
        use std::io::Write;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\none";
        let sent = stream.write_all(answer);
        sent.and_then(|()| stream.flush()).expect("sent");
        false
    });
    let front = secured(&authority, &[backend.address]);

    for _ in 0..5 {
        assert_eq!(front.client().get("/").text(), "one");
    }

    let kinds: Vec<_> = backend.handshakes().iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds[0], Some(HandshakeKind::Full));
    assert_eq!(kinds[1..], [Some(HandshakeKind::Resumed); 4]);
}

#[test]
fn a_post_that_a_backend_broke_off_is_sent_to_nobody_else() {
    let authority = Authority::new();
    let files = authority.issue("b", &["127.0.0.1"]);
    let breaking = || {
        Backend::new(&files, None, |_, stream| {
            let socket = socket2::SockRef::from(&stream.sock);
            socket
                .set_linger(Some(std::time::Duration::ZERO))
                .expect("set");
            false
        })
    };
    let backends = [breaking(), breaking()];
    let front = secured(&authority, &backends.each_ref().map(|one| one.address));

    for length in [1, 1000, 50_000, 1_000_000] {
        let before: usize = backends.iter().map(|one| one.requests().len()).sum();
        let mut client = front.client();
        let head = format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
        client.try_send(head);
        client.try_send(vec![b'x'; length]);
        let status = client.try_response("POST").map(|answer| answer.status());

        assert!(matches!(status, None | Some(502)), "{status:?}");
        until("it is over", || front.stats().requests_in_flight == 0);
        let after: usize = backends.iter().map(|one| one.requests().len()).sum();
        assert_eq!(after, before + 1, "{length} bytes");
    }
}

#[test]
fn large_bodies_go_both_ways() {
    let authority = Authority::new();
    let backend = Backend::new(
        &authority.issue("b", &["127.0.0.1"]),
        None,
        |head, stream| {
            use std::io::{Read, Write};
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("a body");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).is_ok() && stream.write_all(&body).is_ok()
        },
    );
    let front = secured(&authority, &[backend.address]);
    let mut client = front.client();

    for length in [1, 16_384, 100_000, 2_000_000] {
        let body: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let answer = client.request("POST", "/", &body);
        assert!(answer.body == body, "{length} bytes");
    }
}
