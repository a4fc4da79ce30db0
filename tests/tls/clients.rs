//! Clients that show a certificate, and what backends are told of it.

use lb::tls::server::{self, ClientAuth};

use crate::authority::Authority;
use crate::client::{Client, VERSIONS, of};
use crate::front::Front;
use crate::toy::Toy;
use crate::{settings, tls};

fn asking(authority: &Authority, client_auth: ClientAuth) -> server::Settings {
    server::Settings {
        client_auth,
        client_ca: Some(authority.file()),
        ..tls(vec![authority.issue("a", &["a.example"])])
    }
}

/// Whether a request gets through: in TLS 1.3 the client learns only then that its certificate was refused.
fn gets_through(front: &Front, config: &rustls::ClientConfig) -> bool {
    let Ok(mut client) = Client::try_connect(front.address, config, "a.example") else {
        return false;
    };
    use std::io::Write;
    let _ = client.socket().flush();
    let sent = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }));
    sent.is_ok() && client.answer().is_ok_and(|answer| answer.status == 200)
}

const FORGED: &str = "GET / HTTP/1.1\r\nHost: test\r\nX-Client-Verified: SUCCESS\r\nx-client-subject: CN=root\r\nX_Client_Fingerprint: 00\r\nx-client-name: kept\r\n\r\n";

#[test]
fn a_required_certificate_is_required_and_told() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let front = Front::with(settings(asking(&authority, ClientAuth::Required)), &[&toy]);
    let own = authority.issue_with("client", &["client.example"], |params| {
        let name = &mut params.distinguished_name;
        name.push(rcgen::DnType::CommonName, "Alice");
    });
    let stranger = Authority::new();
    let theirs = stranger.issue("client", &["client.example"]);

    for version in VERSIONS {
        assert!(!gets_through(&front, &of(&authority, &[version], None)));
        assert!(!gets_through(
            &front,
            &of(&authority, &[version], Some(&theirs))
        ));
        assert_eq!(toy.count(), 0);
    }
    for version in VERSIONS {
        let config = of(&authority, &[version], Some(&own));
        for _ in 0..2 {
            let mut client = Client::connect(front.address, &config, "a.example");
            client.send(FORGED);
            assert_eq!(client.answer().expect("an answer").status, 200);
            // Reads what else came, tickets among it.
            client.get("/");
        }
    }

    for request in toy.requests() {
        assert_eq!(request.all("x-client-verified"), ["SUCCESS"]);
        assert_eq!(request.all("x_client_fingerprint").len(), 0);
        let subject = request.field("x-client-subject").expect("a subject");
        assert!(subject.contains("CN=Alice"), "{subject}");
        let print = request
            .field("x-client-fingerprint")
            .expect("a fingerprint");
        assert_eq!(print.len(), 64, "{print}");
    }
    assert_eq!(toy.requests()[0].field("x-client-name"), Some("kept"));
    // Also of sessions that were resumed, which show nothing anew.
    assert!(front.stats().handshakes.resumed > 0);
}

#[test]
fn an_optional_certificate_may_be_missing_but_not_wrong() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let front = Front::with(settings(asking(&authority, ClientAuth::Optional)), &[&toy]);
    let stranger = Authority::new();
    let theirs = stranger.issue("client", &["client.example"]);

    for version in VERSIONS {
        assert!(!gets_through(
            &front,
            &of(&authority, &[version], Some(&theirs))
        ));
        let config = of(&authority, &[version], None);
        let mut client = Client::connect(front.address, &config, "a.example");
        client.send(FORGED);
        assert_eq!(client.answer().expect("an answer").status, 200);
    }

    assert_eq!(toy.count(), 2);
    for request in toy.requests() {
        assert_eq!(request.all("x-client-verified"), ["NONE"]);
        assert_eq!(request.all("x-client-subject").len(), 0);
    }
}

#[test]
fn where_one_listener_asks_nobody_else_may_say_it_did() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let mut settings = settings(asking(&authority, ClientAuth::Required));
    let plain = crate::front::settings().listeners.remove(0);
    settings.listeners.insert(0, plain);
    let front = Front::with(settings, &[&toy]);

    let mut client = front.client();
    client.send(FORGED);
    assert_eq!(client.response("GET").status(), 200);

    let request = &toy.requests()[0];
    assert_eq!(request.all("x-client-verified").len(), 0);
    assert_eq!(request.all("x-client-subject").len(), 0);
    assert_eq!(request.all("x_client_fingerprint").len(), 0);
}

#[test]
fn a_reload_that_begins_to_ask_drops_what_was_believed_before() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let files = authority.issue("a", &["a.example"]);
    let settings = settings(tls(vec![files]));
    let server = settings.listeners[0].tls.clone().expect("it is there");
    let front = Front::with(settings, &[&toy]);
    let config = of(&authority, rustls::ALL_VERSIONS, None);
    let mut before = Client::connect(front.address, &config, "a.example");
    before.send(FORGED);
    before.answer().expect("an answer");

    server.replace(&crate::load(asking(&authority, ClientAuth::Optional)));
    before.send(FORGED);
    before.answer().expect("an answer");
    let mut after = Client::connect(front.address, &config, "a.example");
    after.send(FORGED);
    after.answer().expect("an answer");

    let verified = |at: usize| {
        let request = &toy.requests()[at];
        let all = request.all("x-client-verified");
        all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(verified(0), ["SUCCESS"]);
    assert_eq!(verified(1), Vec::<String>::new());
    assert_eq!(verified(2), ["NONE"]);
}

#[test]
fn where_nobody_asks_such_fields_are_like_all_others() {
    let toy = Toy::named("one");
    let front = Front::of(&[&toy]);

    let mut client = front.client();
    client.send(FORGED);
    assert_eq!(client.response("GET").status(), 200);

    assert_eq!(toy.requests()[0].all("x-client-verified"), ["SUCCESS"]);
}
