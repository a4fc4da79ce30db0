//! Keys: where they come from, and that they are never shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

const ONE: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
const TWO: &str = "tDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=";
const FIX: &str = "write one base64 key a line, of 16, 24 or 32 bytes, as `serf keygen` makes them";

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Its path as text.
    fn write(&self, name: &str, text: &str, mode: u32) -> String {
        let path: PathBuf = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    }
}

/// A front with a key file given by flag.
fn with(file: &str) -> flags::Front {
    let mut flags = cluster("web");
    flags.common.encrypt_key_file = Some(file.to_owned());
    flags
}

fn fingerprint(front: &Front) -> Option<String> {
    let keys = front.gossip.keyring.as_ref()?;
    Some(keys.primary().fingerprint())
}

fn fingerprint_of(text: &str) -> Option<String> {
    let keys = gossip::core::keyring::Keyring::parse(text).unwrap();
    Some(keys.primary().fingerprint())
}

#[test]
fn the_flag_wins_over_the_environment_and_that_over_the_file() {
    let files = Files::new();
    let one = files.write("one", &format!("{ONE}\n"), 0o600);
    let two = files.write("two", TWO, 0o600);
    let file = format!("[gossip]\nencrypt_key_file = {two:?}\n[cluster.web]\n");
    let read = |flags, variables: &[(&str, &str)]| {
        let front = read_front(flags, variables, &file).expect("it is right");
        assert_eq!(front.warnings, Vec::<String>::new());
        fingerprint(&front)
    };

    let plain = flags::Front::default;
    assert_eq!(read(plain(), &[]), fingerprint_of(TWO));
    assert_eq!(
        read(plain(), &[("LB_ENCRYPT_KEY_FILE", &one)]),
        fingerprint_of(ONE)
    );
    assert_eq!(
        read(plain(), &[("LB_ENCRYPT_KEY", ONE)]),
        fingerprint_of(ONE)
    );
    assert_eq!(
        read(with(&two), &[("LB_ENCRYPT_KEY", ONE)]),
        fingerprint_of(TWO)
    );
    let agent = read_agent(role("web"), &[("LB_ENCRYPT_KEY", ONE)], "").expect("it is right");
    assert!(agent.gossip.keyring.is_some());
}

#[test]
fn what_keeps_a_file_from_giving_keys_is_one_line() {
    let files = Files::new();
    let line = |path: &str| read_front(with(path), &[], "").expect_err("it is wrong");

    for (text, why) in [
        ("", "holds no key"),
        ("hunter2", "key 1 (7 characters, not shown) is not base64"),
        ("c2VjcmV0\n", "key 1 has 6 bytes; AES takes 16, 24 or 32"),
    ] {
        let path = files.write("keys", text, 0o600);
        assert_eq!(
            line(&path),
            format!("--encrypt-key-file {path}: {why}; {FIX}")
        );
    }
    let long = files.write("long", &"\n".repeat(100_000), 0o600);
    assert_eq!(
        line(&long),
        format!("--encrypt-key-file {long}: is too large for a file of keys; {FIX}")
    );
    let path = files.0.path().join("binary");
    fs::write(&path, [0xff, 0xfe, 0x80]).unwrap();
    let path = path.display().to_string();
    assert_eq!(
        line(&path),
        format!("--encrypt-key-file {path}: is not UTF-8 text; {FIX}")
    );
}

#[test]
fn two_keys_in_the_environment_are_refused() {
    let variables = [("LB_ENCRYPT_KEY", ONE), ("LB_ENCRYPT_KEY_FILE", "/k")];

    let error = read_front(cluster("web"), &variables, "").expect_err("it is wrong");

    assert_eq!(
        error,
        "LB_ENCRYPT_KEY and LB_ENCRYPT_KEY_FILE are both set; drop one"
    );
}

#[test]
fn a_file_that_everyone_can_read_is_a_warning() {
    let files = Files::new();
    let path = files.write("keys", ONE, 0o644);

    let front = read_front(with(&path), &[], "").expect("it is right");

    assert_eq!(
        front.warnings,
        [format!(
            "--encrypt-key-file: everyone on this machine can read {path}; chmod 600 it"
        )]
    );
}

#[test]
fn with_a_key_a_public_address_is_taken_and_a_bad_key_does_not_hide_behind_it() {
    let files = Files::new();
    let path = files.write("keys", ONE, 0o600);
    let mut flags = with(&path);
    flags.common.bind = Some("8.8.8.8".to_owned());
    flags.common.join = vec!["9.9.9.9".to_owned()];
    assert!(read_front(flags.clone(), &[], "").is_ok());

    let bad = files.write("bad", "", 0o600);
    flags.common.encrypt_key_file = Some(bad.clone());
    assert_eq!(
        read_front(flags, &[], "").expect_err("it is wrong"),
        format!("--encrypt-key-file {bad}: holds no key; {FIX}")
    );
}

#[test]
fn no_key_is_shown_by_debug() {
    let front = read_front(cluster("web"), &[("LB_ENCRYPT_KEY", TWO)], "").expect("it is right");

    let shown = format!("{front:?}");

    assert!(shown.contains("LB_ENCRYPT_KEY"), "{shown}");
    assert!(!shown.contains("tDtu"), "{shown}");
    assert!(!shown.contains("180, 59"), "{shown}");
}

#[test]
fn another_key_needs_a_restart() {
    let files = Files::new();
    let path = files.write("keys", ONE, 0o600);
    let around = Surroundings::default();
    let running = front(&with(&path), &around).expect("it is right");
    assert!(reload(&running).is_ok());

    files.write("keys", TWO, 0o600);

    assert_eq!(
        reload(&running).expect_err("refused").to_string(),
        "gossip.encrypt_key_file changed, which needs a restart"
    );
}
