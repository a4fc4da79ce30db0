//! With a key: the same cluster, sealed. With another, or none: refused, and said so.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use lb::gossip::core::io::Event;
use lb::gossip::core::keyring::Keyring;
use lb::gossip::core::member::Status;

use crate::common::{self, Running, system_tests};
use crate::peers::{Agent, LONG, Ours, address, member_at, one_is_quiet};

/// 16, 24 and 32 bytes.
const KEYS: [&str; 3] = [
    "MDEyMzQ1Njc4OWFiY2RlZg==",
    "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3",
    "tDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=",
];

fn ring(text: &str) -> Option<Keyring> {
    Some(Keyring::parse(text).expect("keys"))
}

fn encrypt(key: &str) -> String {
    format!("-encrypt={key}")
}

/// Neither side had to drop or doubt anything while it probed the other a few times.
fn are_quiet(ours: &Ours, agent: &Agent) -> Result<(), String> {
    common::eventually("a few probes", LONG, || {
        (ours.call(ours.handle.stats()).probes >= 4).then_some(())
    });
    ours.is_quiet()?;
    agent.is_quiet()
}

#[test]
fn a_stock_agent_with_our_key_joins_us_whatever_its_length_and_compression() {
    if !system_tests(&["serf"]) {
        return;
    }
    for (number, key) in KEYS.into_iter().enumerate() {
        for (host, more) in [(2, None), (3, Some("-disable-compression"))] {
            one_is_quiet(|| {
                let directory = tempfile::tempdir().unwrap();
                let test = 50 + number as u8;
                let ours = Ours::with_keys("front", &member_at(test, 1), &[], ring(key));
                let (join, encrypt) = (format!("-join={}", ours.at()), encrypt(key));
                let arguments: Vec<&str> = [&join[..], &encrypt].into_iter().chain(more).collect();

                let agent =
                    Agent::start(directory.path(), "web1", &address(test, host), &arguments);

                agent.sees("front", "alive");
                ours.sees("web1", Status::Alive);
                are_quiet(&ours, &agent)?;
                ours.leave();
                agent.sees("front", "left");
                Ok(())
            });
        }
    }
}

#[test]
fn we_join_a_stock_agent_with_its_key_hear_its_events_and_see_it_leave() {
    if !system_tests(&["serf"]) {
        return;
    }
    for (number, key) in KEYS.into_iter().enumerate() {
        one_is_quiet(|| {
            let directory = tempfile::tempdir().unwrap();
            let test = 54 + number as u8;
            let agent = Agent::start(
                directory.path(),
                "web1",
                &address(test, 2),
                &[&encrypt(key)],
            );
            let ours = Ours::with_keys(
                "front",
                &member_at(test, 1),
                &[&address(test, 2)],
                ring(key),
            );

            agent.sees("front", "alive");
            ours.sees("web1", Status::Alive);
            are_quiet(&ours, &agent)?;
            let mut events = ours.handle.events();
            assert!(agent.run(&["event", "deploy", "7"]).status.success());
            ours.hears(&mut events, |event| match event {
                Event::User { name, payload, .. } => {
                    (name == "deploy" && payload == b"7").then_some(())
                }
                _ => None,
            });
            assert!(agent.run(&["leave"]).status.success());
            ours.sees("web1", Status::Left);
            Ok(())
        });
    }
}

#[test]
fn rings_in_another_order_are_one_cluster() {
    if !system_tests(&["serf"]) {
        return;
    }
    one_is_quiet(|| {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keyring.json");
        std::fs::write(&file, format!("[\"{}\", \"{}\"]", KEYS[2], KEYS[0])).unwrap();
        let keyring = format!("-keyring-file={}", file.display());
        let agent = Agent::start(directory.path(), "web1", &address(58, 2), &[&keyring]);
        let ours = Ours::with_keys(
            "front",
            &member_at(58, 1),
            &[&address(58, 2)],
            ring(&format!("{}\n{}", KEYS[0], KEYS[2])),
        );

        agent.sees("front", "alive");
        ours.sees("web1", Status::Alive);
        are_quiet(&ours, &agent)?;
        // Serf's own file is one of ours as well.
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(
            Keyring::parse(&text).map(|keys| keys.primary().fingerprint()),
            Ok(ring(KEYS[2]).unwrap().primary().fingerprint())
        );
        Ok(())
    });
}

#[test]
fn with_another_key_or_none_nobody_gets_in_and_both_sides_say_why() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ours = Ours::with_keys("front", &member_at(59, 1), &[], ring(KEYS[2]));
    let other = Agent::start(
        directory.path(),
        "other",
        &address(59, 2),
        &[&encrypt(KEYS[0])],
    );
    let clear = Agent::start(directory.path(), "clear", &address(59, 3), &[]);
    let open = Ours::start("open", &member_at(59, 4), &[]);
    let ours_at = ours.at().to_string();
    let cause = |from: &Ours, host: u8| {
        let joined = from.call(from.handle.join(vec![address(59, host)]));
        assert_eq!(joined.reached, 0);
        joined.failures[0].1.clone()
    };

    let fingerprint = ring(KEYS[2]).unwrap().primary().fingerprint();
    assert_eq!(
        cause(&ours, 2),
        format!(
            "uses another gossip key than ours ({fingerprint}): No installed keys could decrypt the message"
        )
    );
    assert_eq!(
        cause(&ours, 3),
        "does not encrypt its gossip, and we have a key"
    );
    assert_eq!(
        cause(&open, 2),
        "encrypts its gossip, and we have no key; give us --encrypt-key-file"
    );
    assert!(!other.run(&["join", &ours_at]).status.success());
    assert!(!clear.run(&["join", &ours_at]).status.success());
    let said = |agent: &Agent, text: &str| {
        common::eventually(text, LONG, || {
            agent.process.output().contains(text).then_some(())
        });
    };
    said(&other, "No installed keys could decrypt the message");
    said(
        &clear,
        "Remote state is encrypted and encryption is not configured",
    );

    let dropped = ours.call(ours.handle.stats()).dropped;
    assert!(
        dropped["decrypt"] >= 1 && dropped["plaintext"] >= 1,
        "{dropped:?}"
    );
    assert_eq!(ours.handle.members().borrow().by_name.len(), 1);
    assert_eq!(other.member("front"), None);
    assert_eq!(clear.member("front"), None);
}

/// The built agent, with its key in a file.
fn lb_agent(directory: &Path, host: u8, key: &str, more: &[&str]) -> Running {
    let file = directory.join(format!("{host}.key"));
    std::fs::write(&file, format!("{key}\n")).expect("the key can be written");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&file, private).expect("it is ours");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-agent"));
    command
        .args(["--role", "web", "--port", "80", "--node"])
        .arg(format!("ours{host}"))
        .args(["--bind", &member_at(60, host), "--encrypt-key-file"])
        .arg(file)
        .args(more);
    Running::start(&format!("ours{host}"), directory, &mut command)
}

#[test]
fn a_peer_with_another_key_is_one_line_and_no_storm() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ours = lb_agent(directory.path(), 1, KEYS[1], &[]);
    let fingerprint = ring(KEYS[1]).unwrap().primary().fingerprint();
    common::eventually("the banner shows the key", LONG, || {
        let banner = format!("encrypted (key {fingerprint})");
        ours.output().contains(&banner).then_some(())
    });
    let mut other = lb_agent(directory.path(), 2, KEYS[0], &["--join", &address(60, 1)]);
    let agent = Agent::start(
        directory.path(),
        "web3",
        &address(60, 3),
        &[&encrypt(KEYS[2])],
    );
    for _ in 0..50 {
        assert!(!agent.run(&["join", &member_at(60, 1)]).status.success());
    }

    let lines = |program: &Running, text: &str| {
        let output = program.output();
        output.lines().filter(|line| line.contains(text)).count()
    };
    let refused = "gossip from a peer that no key of ours opens";
    // Whatever they are bound to, connections on loopback come from one address: so this is one peer.
    let line = format!(
        "{refused}; it has another key, or a packet was damaged on its way peer=127.0.0.1 count=1 key={fingerprint}"
    );
    assert_eq!(lines(&ours, &line), 1, "{}", ours.output());
    // A second minute may have begun on a slow machine.
    assert!(lines(&ours, refused) <= 2, "{}", ours.output());
    // The one that may not in tries on, and says so once.
    let told = "uses another gossip key than ours";
    common::eventually("it says why it is alone", LONG, || {
        (lines(&other, told) == 1).then_some(())
    });
    assert!(other.is_running());
    assert!(!ours.output().contains(KEYS[1]), "no key is shown");
}
