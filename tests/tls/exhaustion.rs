//! Handshakes that are begun and left lying.

use std::net::TcpStream;
use std::time::Duration;

use crate::authority::Authority;
use crate::client::{Client, config};
use crate::front::Front;
use crate::toy::Toy;
use crate::{settings, tls, until};

#[test]
fn handshakes_that_stand_still_count_as_connections_and_end() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let mut settings = settings(tls(vec![authority.issue("a", &["a.example"])]));
    settings.timeouts.tls_handshake = Duration::from_secs(2);
    settings.limits.connections = 50;
    let front = Front::with(settings, &[&toy]);

    // Each look brings one more: however slow this is, they come faster than they end.
    let mut half = Vec::new();
    until("they fill the front", || {
        for _ in 0..5 {
            let client = TcpStream::connect(front.address).expect("the kernel accepts");
            let sent = std::io::Write::write_all(&mut &client, b"\x16\x03\x01\x02\x00");
            sent.expect("sent");
            half.push(client);
        }
        front.stats().connections_open >= 50
    });
    assert!(front.stats().connections_open <= 51);

    // Behind all of them.
    let mut client = Client::connect(front.address, &config(&authority), "a.example");
    assert_eq!(client.get("/").status, 200);

    drop(half);
    drop(client);
    until("all are gone", || front.stats().connections_open == 0);
}
