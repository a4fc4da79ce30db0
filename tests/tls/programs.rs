//! Real peers: openssl and curl.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::authority::Authority;
use crate::common::system_tests;
use crate::front::Front;
use crate::toy::Toy;
use crate::{settings, tls};

fn openssl(front: &Front, authority: &Authority, arguments: &[&str]) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &front.address.to_string()])
        .args([
            "-servername",
            "a.example",
            "-verify_return_error",
            "-CAfile",
        ])
        .arg(authority.file())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl starts");
    // It reads on until the front closes.
    let request = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    child
        .stdin
        .as_mut()
        .expect("stdin")
        .write_all(request)
        .expect("written");
    let output = child.wait_with_output().expect("openssl ends");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn curl(front: &Front, authority: &Authority, arguments: &[&str]) -> (i32, String) {
    let port = front.address.port();
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20", "--cacert"])
        .arg(authority.file())
        .arg("--resolve")
        .arg(format!("a.example:{port}:127.0.0.1"))
        .args(arguments)
        .output()
        .expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn openssl_shakes_hands_in_each_version_and_resumes() {
    if !system_tests(&["openssl"]) {
        return;
    }
    let authority = Authority::new();
    let toy = Toy::named("one");
    let front = Front::with(
        settings(tls(vec![authority.issue("a", &["a.example"])])),
        &[&toy],
    );

    for (version, named) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let session = authority.path(version).display().to_string();
        let first = openssl(
            &front,
            &authority,
            &[version, "-ign_eof", "-sess_out", &session],
        );
        assert!(first.contains("HTTP/1.1 200 OK"), "{first}");
        assert!(first.contains("Verify return code: 0 (ok)"), "{first}");
        assert!(first.contains(&format!("New, {named}")), "{first}");
        let again = openssl(
            &front,
            &authority,
            &[version, "-ign_eof", "-sess_in", &session],
        );
        assert!(again.contains(&format!("Reused, {named}")), "{again}");
    }
    for old in ["-tls1", "-tls1_1"] {
        let refused = openssl(&front, &authority, &[old, "-ign_eof"]);
        assert!(!refused.contains("HTTP/1.1"), "{refused}");
    }
}

#[test]
fn openssl_gets_the_stapled_response() {
    if !system_tests(&["openssl"]) {
        return;
    }
    let authority = Authority::new();
    let mut files = authority.issue("a", &["a.example"]);
    // A response that says "try later" (RFC 6960 §4.2.1) is the shortest there is.
    let staple = authority.path("a.ocsp");
    std::fs::write(&staple, b"\x30\x03\x0a\x01\x03").expect("written");
    files.ocsp = Some(staple);
    let toy = Toy::named("one");
    let front = Front::with(settings(tls(vec![files])), &[&toy]);

    let told = openssl(&front, &authority, &["-ign_eof", "-status"]);

    assert!(told.contains("OCSP Response Status: trylater"), "{told}");
}

#[test]
fn curl_gets_its_answers_in_each_version() {
    if !system_tests(&["curl"]) {
        return;
    }
    let authority = Authority::new();
    let toy = Toy::named("one");
    let front = Front::with(
        settings(tls(vec![authority.issue("a", &["a.example"])])),
        &[&toy],
    );
    let url = format!("https://a.example:{}/", front.address.port());

    for version in [
        ["--tlsv1.2", "--tls-max", "1.2"],
        ["--tlsv1.3", "--tls-max", "1.3"],
    ] {
        let arguments = [version[0], version[1], version[2], &url, &url];
        assert_eq!(
            curl(&front, &authority, &arguments),
            (0, "oneone".to_owned())
        );
    }
    let plain = format!("http://a.example:{}/", front.address.port());
    let (_, told) = curl(&front, &authority, &[&plain]);
    assert!(told.contains("use https://"), "{told}");
    // 60: it does not believe who it is.
    let other = format!("https://127.0.0.1:{}/", front.address.port());
    assert_eq!(curl(&front, &authority, &[&other]).0, 60);
}

#[test]
fn curl_shows_its_certificate() {
    if !system_tests(&["curl"]) {
        return;
    }
    let authority = Authority::new();
    let toy = Toy::named("one");
    let own = authority.issue("client", &["client.example"]);
    let asking = lb::tls::server::Settings {
        client_auth: lb::tls::server::ClientAuth::Required,
        client_ca: Some(authority.file()),
        ..tls(vec![authority.issue("a", &["a.example"])])
    };
    let front = Front::with(settings(asking), &[&toy]);
    let url = format!("https://a.example:{}/", front.address.port());
    let (cert, key) = (
        own.cert.display().to_string(),
        own.key.display().to_string(),
    );

    assert_ne!(curl(&front, &authority, &[&url]).0, 0);
    let shown = curl(&front, &authority, &["--cert", &cert, "--key", &key, &url]);

    assert_eq!(shown, (0, "one".to_owned()));
    assert_eq!(
        toy.requests()[0].field("x-client-verified"),
        Some("SUCCESS")
    );
}
