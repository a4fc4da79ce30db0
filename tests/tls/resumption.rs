//! Sessions that go on: with any worker, and as long as the keys of their tickets live.

use crate::authority::Authority;
use crate::client::{Client, VERSIONS, of};
use crate::front::Front;
use crate::toy::Toy;
use crate::{load, settings, tls};

#[test]
fn sessions_are_resumed_by_any_worker() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let mut settings = settings(tls(vec![authority.issue("a", &["a.example"])]));
    settings.workers = 4;
    let front = Front::with(settings, &[&toy]);

    for version in VERSIONS {
        let config = of(&authority, &[version], None);
        for number in 0..30 {
            let mut client = Client::connect(front.address, &config, "a.example");
            assert_eq!(client.get("/").status, 200);
            assert_eq!(client.is_resumed(), number > 0, "{version:?} {number}");
        }
    }

    let handshakes = front.stats().handshakes;
    assert_eq!((handshakes.full, handshakes.resumed), (2, 58));
}

#[test]
fn tickets_live_for_two_turns_of_their_keys() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let settings = settings(tls(vec![authority.issue("a", &["a.example"])]));
    let server = settings.listeners[0].tls.clone().expect("it is there");
    let front = Front::with(settings, &[&toy]);

    for version in VERSIONS {
        let resumed = |turns: usize| {
            let config = of(&authority, &[version], None);
            Client::connect(front.address, &config, "a.example").get("/");
            for _ in 0..turns {
                server.turn_tickets().expect("randomness");
            }
            let mut again = Client::connect(front.address, &config, "a.example");
            assert_eq!(again.get("/").status, 200);
            again.is_resumed()
        };

        assert!(resumed(0), "{version:?}");
        assert!(resumed(1), "{version:?}");
        assert!(!resumed(2), "{version:?}");
    }
}

#[test]
fn tickets_outlive_a_new_certificate_but_not_new_rules_for_clients() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let files = authority.issue("a", &["a.example"]);
    let settings = settings(tls(vec![files.clone()]));
    let server = settings.listeners[0].tls.clone().expect("it is there");
    let front = Front::with(settings, &[&toy]);
    let config = of(&authority, rustls::ALL_VERSIONS, None);
    Client::connect(front.address, &config, "a.example").get("/");

    let renewed = authority.issue("renewed", &["a.example"]);
    server.replace(&load(tls(vec![renewed])));
    let mut again = Client::connect(front.address, &config, "a.example");
    again.get("/");
    assert!(again.is_resumed());

    let asking = lb::tls::server::Settings {
        client_auth: lb::tls::server::ClientAuth::Optional,
        client_ca: Some(authority.file()),
        ..tls(vec![files])
    };
    server.replace(&load(asking));
    let mut again = Client::connect(front.address, &config, "a.example");
    again.get("/");
    assert!(!again.is_resumed());
}
