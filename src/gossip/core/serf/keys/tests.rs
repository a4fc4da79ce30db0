use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

/// Captured from serf agent 0.9.4.
const KEY: &str = "tDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=";
const CAPTURED: &[u8] = b"\x08\x84\xa4Keys\x91\xda\x00\x2ctDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=\
    \xa7Message\xa0\xaaPrimaryKey\xda\x00\x2ctDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=\xa6Result\xc3";

fn key(byte: u8) -> Key {
    Key::new(&[byte; 16]).expect("a key")
}

fn order(request: &KeyRequest) -> Order {
    let question = request.question(6);
    Order::of(&question.name, &question.payload).expect("it is about keys")
}

fn said(answer: &KeyAnswer) -> (bool, &str) {
    (answer.result, &answer.message)
}

#[test]
fn questions_and_answers_are_those_of_a_real_agent() {
    let keyring = Keyring::parse(KEY).expect("a ring");

    assert_eq!(KeyRequest::List.question(6).payload, b"\x07\x81\xa3Key\xa0");
    assert_eq!(KeyAnswer::list(&keyring).encode(), CAPTURED);
    assert_eq!(
        KeyAnswer::decode(&CAPTURED[1..]),
        Ok(KeyAnswer::list(&keyring))
    );
}

#[test]
fn answers_are_relayed_as_far_as_there_are_others() {
    for (members, relays) in [(0, 0), (1, 0), (2, 1), (4, 3), (300, 3)] {
        let question = KeyRequest::List.question(members);
        assert_eq!(question.relay_factor, relays, "{members} members");
    }
}

#[test]
fn a_rotation_changes_the_ring_step_by_step() {
    let mut keyring = Keyring::new(key(1));
    for (request, ring) in [
        (KeyRequest::Install(key(2)), vec![1, 2]),
        (KeyRequest::Install(key(2)), vec![1, 2]),
        (KeyRequest::Use(key(2)), vec![2, 1]),
        (KeyRequest::Remove(key(9)), vec![2, 1]),
        (KeyRequest::Remove(key(1)), vec![2]),
    ] {
        let answer = order(&request).apply(Some(&mut keyring));
        assert_eq!(said(&answer), (true, ""), "{request:?}");
        let wanted: Vec<Key> = ring.into_iter().map(key).collect();
        assert_eq!(keyring.keys(), wanted, "{request:?}");
    }
}

#[test]
fn what_cannot_be_done_changes_nothing_and_says_why() {
    let mut keyring = Keyring::new(key(1));
    for (order, why) in [
        (
            Order::Install(vec![1; 15]),
            "key size must be 16, 24 or 32 bytes",
        ),
        (
            Order::Use(vec![2; 16]),
            "Requested key is not in the keyring",
        ),
        (
            Order::Use(Vec::new()),
            "Requested key is not in the keyring",
        ),
        (
            Order::Remove(vec![1; 16]),
            "Removing the primary key is not allowed",
        ),
        (Order::Unreadable, ""),
    ] {
        let answer = order.apply(Some(&mut keyring));
        assert_eq!(said(&answer), (false, why), "{order:?}");
        assert_eq!(keyring.keys(), [key(1)]);
    }
    for (order, why) in [
        (Order::List, "Keyring is empty (encryption not enabled)"),
        (
            Order::Use(vec![1; 16]),
            "No keyring to modify (encryption not enabled)",
        ),
    ] {
        assert_eq!(said(&order.apply(None)), (false, why));
    }
}

#[test]
fn orders_that_cannot_be_read_are_told_apart_from_no_orders() {
    assert_eq!(Order::of(INSTALL, b""), Some(Order::Unreadable));
    assert_eq!(Order::of(INSTALL, b"\x07"), Some(Order::Unreadable));
    assert_eq!(
        Order::of(USE, b"\x08\x81\xa3Key\xa1x"),
        Some(Order::Unreadable)
    );
    assert_eq!(Order::of(LIST, b""), Some(Order::List));
    assert_eq!(Order::of("_serf_ping", b""), None);
}

#[test]
fn a_list_that_is_too_long_is_cut_and_says_so() {
    let mut keyring = Keyring::new(key(0));
    (1..30).for_each(|byte| keyring.install(key(byte)));

    let payload = KeyAnswer::list(&keyring).fitting(|payload| payload.len() <= 600);
    let answer = KeyAnswer::decode(&payload[1..]).expect("an answer");
    let shown = answer.keys.len();
    assert!((15..25).contains(&shown), "{shown}");
    assert_eq!(
        said(&answer),
        (
            true,
            &*format!("truncated key list response, showing first {shown} of 30 keys")
        )
    );
    // None fits at all: the answer is sent, or dropped, as it is.
    let payload = KeyAnswer::list(&keyring).fitting(|_| false);
    assert!(
        KeyAnswer::decode(&payload[1..])
            .expect("an answer")
            .keys
            .is_empty()
    );
}

fn response(from: &str, payload: Vec<u8>) -> Answer {
    Answer::Response {
        from: from.to_owned(),
        payload,
    }
}

#[test]
fn answers_are_added_up_until_all_have_come() {
    let keyring = Keyring::parse(KEY).expect("a ring");
    let no = Order::List.apply(None).encode();
    let mut tally = KeyTally::new(4);

    assert!(!tally.add(&response("a", CAPTURED.to_vec())));
    assert!(!tally.add(&Answer::Ack {
        from: "b".to_owned()
    }));
    assert!(!tally.add(&response("b", KeyAnswer::list(&keyring).encode())));
    assert!(!tally.add(&response("c", no)));
    assert!(tally.add(&response("d", b"nonsense".to_vec())));
    let report = tally.report();
    assert_eq!((report.nodes, report.responses, report.errors), (4, 4, 2));
    assert_eq!(report.keys, BTreeMap::from([(KEY.to_owned(), 2)]));
    assert_eq!(report.primary_keys, report.keys);
    assert_eq!(
        report.messages["c"],
        "Keyring is empty (encryption not enabled)"
    );
    assert!(report.messages["d"].starts_with("its answer can't be read"));
    assert_eq!(report.messages.len(), 2);
}

#[test]
fn the_deadline_ends_a_tally() {
    assert!(KeyTally::new(3).add(&Answer::Done));
}

#[test]
fn a_key_is_the_bytes_behind_the_text() {
    let key = Key::parse(KEY).expect("a key");
    assert_eq!(STANDARD.encode(key.bytes()), KEY);
    assert_eq!(
        order(&KeyRequest::Use(key.clone())),
        Order::Use(key.bytes().to_vec())
    );
}
