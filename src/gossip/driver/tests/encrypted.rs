//! Keys, on real loopback sockets.

use super::*;
use crate::gossip::core::keyring::{Key, Keyring};
use crate::gossip::core::serf::keys::KeyRequest;

fn ring(bytes: &[u8]) -> Keyring {
    let mut keyring = Keyring::new(Key::new(&[bytes[0]; 32]).unwrap());
    for byte in &bytes[1..] {
        keyring.install(Key::new(&[*byte; 32]).unwrap());
    }
    keyring
}

async fn sealed(name: &str, join: &[&str], keys: &[u8]) -> Handle {
    let mut settings = settings(name, "127.0.0.1:0", join);
    settings.keyring = Some(ring(keys));
    start(settings).await.expect("it starts")
}

async fn cause_of(handle: &Handle, seed: &str) -> String {
    let joined = handle.join(vec![seed.to_owned()]).await;
    assert_eq!(joined.reached, 0);
    joined.failures[0].1.clone()
}

#[tokio::test]
async fn members_with_the_same_key_meet_and_part() {
    let one = sealed("one", &[], &[1]).await;
    let seed = one.advertised().address.to_string();
    let two = sealed("two", &[&seed], &[1]).await;

    sees(&one, "two", Status::Alive).await;
    sees(&two, "one", Status::Alive).await;
    two.leave().await;
    sees(&one, "two", Status::Left).await;

    assert_eq!(one.stats().await.dropped.get("decrypt"), None);
    assert_eq!(one.stats().await.dropped.get("plaintext"), None);
}

#[tokio::test]
async fn rings_that_share_keys_meet_whatever_their_primaries() {
    let one = sealed("one", &[], &[1, 2]).await;
    let seed = one.advertised().address.to_string();
    let two = sealed("two", &[&seed], &[2, 1]).await;

    sees(&one, "two", Status::Alive).await;
    sees(&two, "one", Status::Alive).await;
}

#[tokio::test]
async fn whoever_has_another_key_or_none_is_told_why_it_is_not_let_in() {
    let one = sealed("one", &[], &[1]).await;
    let seed = one.advertised().address.to_string();
    let other = sealed("other", &[], &[2]).await;
    let clear = started("clear", "127.0.0.1:0", &[]).await;

    let fingerprint = ring(&[2]).primary().fingerprint();
    assert_eq!(
        cause_of(&other, &seed).await,
        format!(
            "uses another gossip key than ours ({fingerprint}): No installed keys could decrypt the message"
        )
    );
    // It reads us, but we seal with a key that it lacks: its answer can be opened and says so.
    let half = sealed("half", &[], &[2, 1]).await;
    assert_eq!(
        cause_of(&half, &seed).await,
        format!(
            "uses another gossip key than ours ({fingerprint}): No installed keys could decrypt the message"
        )
    );
    assert_eq!(
        cause_of(&clear, &seed).await,
        "encrypts its gossip, and we have no key; give us --encrypt-key-file"
    );
    assert_eq!(
        cause_of(&other, &clear.advertised().address.to_string()).await,
        "does not encrypt its gossip, and we have a key"
    );

    let dropped = one.stats().await.dropped;
    assert_eq!(dropped.get("decrypt"), Some(&2), "{dropped:?}");
    assert_eq!(dropped.get("plaintext"), Some(&1), "{dropped:?}");
    assert_eq!(one.members().borrow().by_name.len(), 1);
}

#[tokio::test]
async fn packets_of_others_are_counted_by_what_they_are() {
    let one = sealed("one", &[], &[1]).await;
    let address = one.advertised().address;
    let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let ping = [
        &b"\x00\x82\xa5SeqNo\x01\xa4Node\xa3one"[..],
        &[0x08, 0x01, 0x80],
    ];
    for packet in ping {
        udp.send_to(packet, address).await.unwrap();
    }
    udp.send_to(&[1; 100], address).await.unwrap();

    let deadline = clock::now() + Duration::from_secs(10);
    loop {
        let dropped = one.stats().await.dropped;
        let count = |reason| dropped.get(reason).copied().unwrap_or_default();
        if count("plaintext") == 2 && count("decrypt") == 1 {
            break;
        }
        assert!(clock::now() < deadline, "{dropped:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn keys_are_turned_in_the_whole_cluster_and_told_to_those_above() {
    let one = sealed("one", &[], &[1]).await;
    let seed = one.advertised().address.to_string();
    let two = sealed("two", &[&seed], &[1]).await;
    sees(&one, "two", Status::Alive).await;
    sees(&two, "one", Status::Alive).await;
    let mut told = two.keyring();
    let key = |byte| Key::new(&[byte; 32]).unwrap();

    for (request, wanted) in [
        (KeyRequest::Install(key(2)), ring(&[1, 2])),
        (KeyRequest::Use(key(2)), ring(&[2, 1])),
        (KeyRequest::Remove(key(1)), ring(&[2])),
    ] {
        // Again, should an answer be late on a busy machine.
        let report = loop {
            let report = one.keys(request.clone()).await.expect("it may ask");
            if report.responses == 2 {
                break report;
            }
        };
        assert_eq!((report.nodes, report.errors), (2, 0), "{report:?}");
        let told = told.wait_for(|ring| ring.as_ref() == Some(&wanted));
        let told = tokio::time::timeout(Duration::from_secs(30), told).await;
        assert!(told.is_ok(), "{request:?}");
    }
    let three = sealed("three", &[&seed], &[2]).await;
    sees(&three, "two", Status::Alive).await;
    let late = sealed("late", &[], &[1]).await;
    let fingerprint = ring(&[1]).primary().fingerprint();
    assert!(cause_of(&late, &seed).await.contains(&fingerprint));
}
