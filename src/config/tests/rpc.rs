//! The RPC's address and secret.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn with(address: Option<&str>, key_file: Option<&str>) -> flags::Front {
    let mut flags = cluster("web");
    flags.common.rpc_addr = address.map(str::to_owned);
    flags.common.rpc_auth_key_file = key_file.map(str::to_owned);
    flags
}

fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
    file
}

#[test]
fn only_an_address_that_somebody_chose_is_insisted_on() {
    let rpc = |flags, variables: &[(&str, &str)], text: &str| {
        let front = read_front(flags, variables, text).unwrap();
        let address = front.rpc.listen.map(|address| address.to_string());
        (address.unwrap_or_default(), front.rpc.given)
    };
    let default = "127.0.0.1:7373";
    let sample = "[gossip]\nrpc_addr = \"127.0.0.1:7373\"\n";
    let other = "[gossip]\nrpc_addr = \"127.0.0.1:7374\"\n";

    assert_eq!(rpc(with(None, None), &[], ""), (default.to_owned(), false));
    assert_eq!(
        rpc(with(None, None), &[], sample),
        (default.to_owned(), false)
    );
    assert_eq!(
        rpc(with(None, None), &[], other),
        ("127.0.0.1:7374".to_owned(), true)
    );
    assert_eq!(
        rpc(with(Some(default), None), &[], other),
        (default.to_owned(), true)
    );
    assert_eq!(
        rpc(with(None, None), &[("LB_RPC_ADDR", "localhost:1")], other),
        ("127.0.0.1:1".to_owned(), true)
    );
    for off in ["off", "none"] {
        assert_eq!(rpc(with(Some(off), None), &[], "").0, "");
    }
}

#[test]
fn an_address_that_others_reach_needs_a_secret() {
    for address in ["0.0.0.0:7373", "[::]:7373", "10.0.0.1:7373", ":7373"] {
        let why = read_front(with(Some(address), None), &[], "").unwrap_err();
        assert!(
            why.starts_with(&format!("--rpc-addr {address}: lets whoever reaches it")),
            "{why}"
        );
        let secret = [("LB_RPC_AUTH_KEY", "s3cret")];
        let front = read_front(with(Some(address), None), &secret, "").unwrap();
        assert_eq!(front.rpc.auth.unwrap().expose(), "s3cret");
    }
    assert!(read_front(with(Some("127.9.9.9:1"), None), &[], "").is_ok());
    assert!(read_front(with(Some("[::1]:1"), None), &[], "").is_ok());
}

#[test]
fn the_secret_is_one_line_of_a_file_and_is_never_shown() {
    let read = |text: &str, mode| {
        let file = file(text, mode);
        let path = file.path().display().to_string();
        read_front(with(None, Some(&path)), &[], "").map(|front| (front, path))
    };

    let (front, _) = read("s3cret word\n", 0o600).unwrap();
    assert_eq!(front.rpc.auth.as_ref().unwrap().expose(), "s3cret word");
    assert!(!format!("{front:?}").contains("s3cret"));
    assert_eq!(front.warnings, Vec::<String>::new());
    let (front, path) = read("s3cret\r\n", 0o644).unwrap();
    assert_eq!(front.rpc.auth.unwrap().expose(), "s3cret");
    assert_eq!(
        front.warnings,
        [format!(
            "--rpc-auth-key-file: everyone on this machine can read {path}; chmod 600 it"
        )]
    );
    for (text, part) in [("\n", "is empty"), ("a\nb\n", "several lines")] {
        let why = read(text, 0o600).unwrap_err();
        assert!(why.contains(part) && !why.contains("a\nb"), "{why}");
    }
    let absent = read_front(with(Some("0.0.0.0:1"), Some("/nonexistent")), &[], "");
    assert_eq!(
        absent.unwrap_err(),
        "--rpc-auth-key-file /nonexistent: no such file"
    );
}

#[test]
fn two_variables_for_one_secret_are_one_too_many() {
    let both = [("LB_RPC_AUTH_KEY", "a"), ("LB_RPC_AUTH_KEY_FILE", "/b")];

    let why = read_front(with(None, None), &both, "").unwrap_err();

    assert!(why.contains("are both set; drop one"), "{why}");
}

#[test]
fn a_running_front_keeps_its_rpc() {
    let old = read_front(with(None, None), &[], "").unwrap();
    let new = read_front(with(Some("127.0.0.1:1"), None), &[], "").unwrap();
    let keyed = read_front(with(None, None), &[("LB_RPC_AUTH_KEY", "a")], "").unwrap();

    assert_eq!(restart_only_changes(&old, &new), ["gossip.rpc_addr"]);
    assert_eq!(
        restart_only_changes(&old, &keyed),
        ["gossip.rpc_auth_key_file"]
    );
}
