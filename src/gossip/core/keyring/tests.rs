use super::*;

fn key(byte: u8) -> Key {
    Key::new(&[byte; 16]).unwrap()
}

fn ring(bytes: &[u8]) -> Keyring {
    let mut keyring = Keyring::new(key(bytes[0]));
    for byte in &bytes[1..] {
        keyring.install(key(*byte));
    }
    keyring
}

#[test]
fn the_vectors_of_the_standard_come_out() {
    // The Galois/Counter Mode of Operation (GCM), McGrew and Viega, test cases 2, 8 and 14: all zeros.
    for (len, cipher, tag) in [
        (
            16,
            "0388dace60b6a392f328c2b971b2fe78",
            "ab6e47d42cec13bdf53a67b21257bddf",
        ),
        (
            24,
            "98e7247c07f0fe411c267e4384b0f600",
            "2ff58d80033927ab8ef4d4587514f0fb",
        ),
        (
            32,
            "cea7403d4d606b6e074ec5d3baf39d18",
            "d0d1c8a799996bf0265b98b5d48ab919",
        ),
    ] {
        let keyring = Keyring::new(Key::new(&vec![0; len]).unwrap());
        let mut text = [0; 16];
        let found = keyring.seal(&[0; 12], &[], &mut text);

        let hex =
            |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        assert_eq!((&*hex(&text), &*hex(&found)), (cipher, tag));
        assert_eq!(
            keyring.open(&[0; 12], &[], &text, &found),
            Some(vec![0; 16])
        );
    }
}

#[test]
fn only_three_lengths_are_keys() {
    for len in 0..70 {
        assert_eq!(
            Key::new(&vec![7; len]).is_ok(),
            [16, 24, 32].contains(&len),
            "{len}"
        );
    }
}

#[test]
fn lines_and_serfs_list_mean_the_same() {
    let one = "MDEyMzQ1Njc4OWFiY2RlZg==";
    let two = "tDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=";
    let lines = Keyring::parse(&format!("{one}\n{two}\n")).unwrap();

    assert_eq!(*lines.primary(), Key::new(b"0123456789abcdef").unwrap());
    for text in [
        format!("\r\n{one}\r\n\r\n  {two}  "),
        format!("[\"{one}\",\"{two}\"]"),
        format!(" [\n  \"{one}\",\n  \"{two}\"\n]\n"),
        format!("{one}\n{two}\n{one}"),
    ] {
        assert_eq!(Keyring::parse(&text), Ok(lines.clone()), "{text}");
    }
}

#[test]
fn what_is_no_key_is_told_without_being_shown() {
    let good = "MDEyMzQ1Njc4OWFiY2RlZg==";
    for (text, error) in [
        ("", "holds no key"),
        ("\n \n", "holds no key"),
        ("[]", "holds no key"),
        ("secret", "key 1 (6 characters, not shown) is not base64"),
        ("c2VjcmV0", "key 1 has 6 bytes; AES takes 16, 24 or 32"),
        (
            &format!("{good}\n{good}="),
            "key 2 (25 characters, not shown) is not base64",
        ),
        (
            &format!("[\"{good}\""),
            "begins with [ and is not a JSON list of texts",
        ),
        (
            &format!("[{good}]"),
            "begins with [ and is not a JSON list of texts",
        ),
        (
            "[\"a\", 5]",
            "begins with [ and is not a JSON list of texts",
        ),
        ("[\"\"]", "key 1 has 0 bytes; AES takes 16, 24 or 32"),
    ] {
        let found = Keyring::parse(text).unwrap_err().to_string();
        assert_eq!(found, error, "of {text:?}");
    }
}

#[test]
fn debug_shows_fingerprints_and_nothing_of_the_key() {
    let keyring = Keyring::parse("tDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=").unwrap();
    let shown = format!("{keyring:?} {keyring:#?}");

    let fingerprint = keyring.primary().fingerprint();
    assert!(shown.contains(&fingerprint), "{shown}");
    for secret in ["tDtu", "b43b6e", "180, 59", "0xb4"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert_eq!(fingerprint.len(), 8);
    assert_ne!(key(1).fingerprint(), key(2).fingerprint());
    // Fixed for ever: operators compare it between nodes of different versions.
    assert_eq!(key(1).fingerprint(), FINGERPRINT_OF_ONES);
}

const FINGERPRINT_OF_ONES: &str = "216462ff";

#[test]
fn a_ring_is_turned_without_losing_a_key() {
    let mut keyring = ring(&[1, 2, 3]);

    assert_eq!(keyring.use_key(&key(3)), Ok(()));
    assert_eq!(keyring, ring(&[3, 1, 2]));
    assert_eq!(keyring.use_key(&key(3)), Ok(()));
    assert_eq!(keyring.use_key(&key(9)), Err(RingError::Unknown));
    assert_eq!(keyring.remove(&key(3)), Err(RingError::Primary));
    assert_eq!(keyring.remove(&key(9)), Err(RingError::Unknown));
    assert_eq!(keyring.remove(&key(1)), Ok(()));
    keyring.install(key(2));
    assert_eq!(keyring, ring(&[3, 2]));
}

#[test]
fn any_key_opens_and_only_the_primary_seals() {
    let mut text = *b"hello";
    let tag = ring(&[2, 1]).seal(&[5; 12], b"head", &mut text);

    let opened = |keyring: &Keyring| keyring.open(&[5; 12], b"head", &text, &tag);
    assert_eq!(opened(&ring(&[3, 1, 2])), Some(b"hello".to_vec()));
    assert_eq!(opened(&ring(&[1])), None);
    assert_eq!(ring(&[2]).open(&[6; 12], b"head", &text, &tag), None);
    assert_eq!(ring(&[2]).open(&[5; 12], b"heaD", &text, &tag), None);
}

#[test]
fn the_file_of_a_ring_is_serfs_and_gives_the_ring_again() {
    let keyring =
        Keyring::parse("MDEyMzQ1Njc4OWFiY2RlZg==\ntDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=")
            .unwrap();

    let text = keyring.to_json();
    assert_eq!(
        text,
        "[\n  \"MDEyMzQ1Njc4OWFiY2RlZg==\",\n  \"tDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=\"\n]"
    );
    assert_eq!(Keyring::parse(&text), Ok(keyring));
}
