//! Which certificate is shown, what is said of those that can't be, and how they are replaced.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use lb::tls::certificate::Files;
use lb::tls::server::{Refreshed, Server};

use crate::authority::{Authority, read};
use crate::client::{Client, config};
use crate::front::Front;
use crate::toy::Toy;
use crate::{load, settings, tls};

fn problems(certificates: Vec<Files>) -> Vec<String> {
    let problems = Server::load(tls(certificates), lb::clock::wall()).expect_err("it is wrong");
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_name_decides() {
    let authority = Authority::new();
    let all = [
        authority.issue("first", &["first.example"]),
        authority.issue("wild", &["*.example.org"]),
        authority.issue("exact", &["www.example.org"]),
    ];
    let toy = Toy::named("one");
    let front = Front::with(settings(tls(all.to_vec())), &[&toy]);
    let config = config(&authority);

    for (name, expected) in [
        ("first.example", 0),
        ("a.example.org", 1),
        ("www.example.org", 2),
        ("WWW.Example.ORG", 2),
    ] {
        let client = Client::connect(front.address, &config, name);
        assert_eq!(client.certificate(), read(&all[expected]).0[0], "{name}");
    }
    // Of another name it gets the first one, and refuses it.
    assert!(Client::try_connect(front.address, &config, "other.example").is_err());
}

#[test]
fn what_can_not_be_used_is_named_with_its_file_and_the_way_out() {
    let authority = Authority::new();
    let (one, other) = (
        authority.issue("one", &["one.example"]),
        authority.issue("other", &["other.example"]),
    );
    let expired = authority.issue_with("expired", &["a.example"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 2, 3);
    });
    let crossed = Files {
        key: other.key.clone(),
        ..one.clone()
    };
    let swapped = Files {
        cert: one.key.clone(),
        key: one.cert.clone(),
        ocsp: None,
    };
    let absent = Files {
        cert: authority.path("absent.pem"),
        ..one.clone()
    };

    let path = |file: &std::path::Path| file.display().to_string();
    assert_eq!(
        problems(vec![crossed]),
        [format!(
            "{}: is not the key of {}; name the two files that belong together",
            path(&other.key),
            path(&one.cert)
        )]
    );
    assert_eq!(
        problems(vec![expired.clone()]),
        [format!(
            "{}: the certificate expired at 2002-02-03T00:00:00Z; renew it and write it there",
            path(&expired.cert)
        )]
    );
    assert_eq!(
        problems(vec![absent.clone()]),
        [format!(
            "{}: there is no such file; check the path",
            path(&absent.cert)
        )]
    );
    let told = problems(vec![swapped]);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|told| told.contains("swapped")), "{told:?}");
    // All at once, not one after the other.
    assert_eq!(problems(vec![absent, one, expired]).len(), 2);
}

#[test]
fn a_chain_in_the_wrong_order_is_told() {
    let authority = Authority::new();
    let one = authority.issue("one", &["one.example"]);
    let leaf = fs::read_to_string(&one.cert).unwrap();
    let above = fs::read_to_string(authority.file()).unwrap();
    fs::write(&one.cert, format!("{above}{leaf}")).unwrap();

    let told = problems(vec![one]);

    assert!(told[0].contains("put it first"), "{told:?}");
}

#[test]
fn a_certificate_that_ends_soon_works_and_is_spoken_of() {
    let authority = Authority::new();
    let files = authority.issue_with("soon", &["a.example"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 3, 1);
    });
    let at = |day: u64| UNIX_EPOCH + Duration::from_secs((18_262 + day) * 24 * 3600);

    let warned = |day| {
        let (_, warnings) = Server::load(tls(vec![files.clone()]), at(day)).expect("it works");
        warnings
            .iter()
            .map(|one| one.why.clone())
            .collect::<Vec<_>>()
    };

    assert_eq!(warned(10), Vec::<String>::new());
    assert!(warned(50)[0].contains("expires at 2020-03-01T00:00:00Z"));
}

#[test]
fn a_pair_that_is_written_in_two_steps_is_taken_when_it_is_whole() {
    let authority = Authority::new();
    let files = authority.issue("a", &["a.example"]);
    let server = load(tls(vec![files.clone()]));
    let now = lb::clock::wall;
    assert_eq!(server.refresh(now()), Refreshed::Same);
    let (certificate, key) = authority.make(&["a.example"], |_| {});

    fs::write(&files.cert, certificate).unwrap();
    let Refreshed::Kept(problems) = server.refresh(now()) else {
        panic!("half a pair was taken");
    };
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].why.contains("is not the key of"),
        "{problems:?}"
    );
    // It is told once.
    assert_eq!(server.refresh(now()), Refreshed::Same);

    fs::write(&files.key, key).unwrap();
    assert_eq!(server.refresh(now()), Refreshed::Replaced);
    assert_eq!(server.refresh(now()), Refreshed::Same);
}

#[test]
fn files_that_vanish_or_break_leave_the_old_certificate() {
    let authority = Authority::new();
    let files = authority.issue("a", &["a.example"]);
    let toy = Toy::named("one");
    let settings = settings(tls(vec![files.clone()]));
    let server = settings.listeners[0].tls.clone().expect("it is there");
    let front = Front::with(settings, &[&toy]);
    let before = read(&files).0[0].clone();
    let now = lb::clock::wall;

    for broken in [None, Some(""), Some("-----BEGIN CERTIFICATE-----\nAAAA")] {
        match broken {
            None => fs::remove_file(&files.cert).unwrap(),
            Some(text) => fs::write(&files.cert, text).unwrap(),
        }
        assert!(
            matches!(server.refresh(now()), Refreshed::Kept(_)),
            "{broken:?}"
        );
        let client = Client::connect(front.address, &config(&authority), "a.example");
        assert_eq!(client.certificate(), before);
    }
}

#[test]
fn a_reload_takes_over_what_was_read_for_it() {
    let authority = Authority::new();
    let toy = Toy::named("one");
    let settings = settings(tls(vec![authority.issue("a", &["a.example"])]));
    let server = settings.listeners[0].tls.clone().expect("it is there");
    let front = Front::with(settings, &[&toy]);
    let config = config(&authority);
    let mut kept = Client::connect(front.address, &config, "a.example");
    kept.get("/");

    let other = authority.issue("b", &["b.example"]);
    server.replace(&load(tls(vec![other])));

    let stranger = crate::client::config(&authority);
    assert!(Client::try_connect(front.address, &stranger, "a.example").is_err());
    let mut fresh = Client::connect(front.address, &config, "b.example");
    assert_eq!(fresh.get("/").status, 200);
    assert_eq!(kept.get("/").status, 200);
}

#[test]
fn a_look_that_waits_for_a_disk_neither_holds_up_a_reload_nor_undoes_it() {
    let authority = Authority::new();
    let files = authority.issue("a", &["a.example"]);
    let certificate = fs::read(&files.cert).expect("it is there");
    let server = Arc::new(load(tls(vec![files.clone()])));
    let other = tls(vec![authority.issue("b", &["b.example"])]);
    // A disk that hangs: whoever reads it waits for a writer.
    fs::remove_file(&files.cert).expect("it was there");
    let made = Command::new("mkfifo").arg(&files.cert).status();
    assert!(made.expect("coreutils").success());
    let looking = {
        let server = Arc::clone(&server);
        std::thread::spawn(move || server.refresh(lb::clock::wall()))
    };
    // Opens as soon as somebody reads.
    let mut disk = fs::OpenOptions::new()
        .write(true)
        .open(&files.cert)
        .expect("somebody looks");

    server.replace(&load(other.clone()));
    disk.write_all(&certificate).expect("it is read");
    drop(disk);

    let refreshed = looking.join().expect("no panic");
    assert!(matches!(refreshed, Refreshed::Same), "{refreshed:?}");
    assert_eq!(server.settings().certificates, other.certificates);
}
