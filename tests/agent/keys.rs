//! Keys that the cluster changes, in Serf's own file: whoever runs next, stock or ours, starts with them.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::common::{Running, eventually};
use crate::rig::{LONG, ip, put, text, verb};

const KEYS: [&str; 2] = [
    "tDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=",
    "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3",
];

/// As a unit file of `serf agent` has it.
fn start(directory: &Path, at: &str) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-agent"));
    command.args(["agent", "-node=web1"]);
    command.arg(format!("-bind={at}:7946"));
    command.arg(format!("-rpc-addr={at}:7373"));
    command.arg("-keyring-file").arg(directory.join("ring"));
    command.arg("--state-dir").arg(directory.join("state"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LB_") {
            command.env_remove(name);
        }
    }
    let agent = Running::start("web1", directory, &mut command);
    eventually("its RPC listens", LONG, || {
        TcpStream::connect(format!("{at}:7373")).ok()
    });
    agent
}

fn keys_are(directory: &Path, keys: &[&str]) {
    eventually(&format!("the file has {keys:?}"), LONG, || {
        let written: Option<Vec<String>> =
            serde_json::from_str(&text(&directory.join("ring"))).ok();
        (written? == keys).then_some(())
    });
}

fn kept(directory: &Path) -> std::path::PathBuf {
    directory.join("state/web1/keyring.json")
}

#[test]
fn the_file_of_a_serf_agent_has_the_keys_as_the_cluster_changed_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let at = ip(171, 1);
    put(&directory.join("ring"), &format!("[\"{}\"]", KEYS[0]));
    let mut agent = start(directory, &at);

    verb(&at, &["keys", "-install", KEYS[1]]);
    keys_are(directory, &KEYS);
    verb(&at, &["keys", "-use", KEYS[1]]);
    keys_are(directory, &[KEYS[1], KEYS[0]]);
    verb(&at, &["keys", "-remove", KEYS[0]]);
    keys_are(directory, &KEYS[1..]);

    let mode = std::fs::metadata(directory.join("ring")).expect("it is there");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    assert!(!kept(directory).exists(), "one file says it");
    // What we wrote ourselves is no change that needs a restart.
    agent.signal(rustix::process::Signal::HUP);
    eventually("it was read again", LONG, || {
        let output = agent.output();
        assert!(!output.contains("needs a restart"), "{output}");
        output.contains("reloaded").then_some(())
    });
    agent.terminate();
    let mut agent = start(directory, &at);
    let listed = verb(&at, &["keys", "-list"]);
    assert!(
        listed.contains(KEYS[1]) && !listed.contains(KEYS[0]),
        "{listed}"
    );
    agent.terminate();
}

/// Of a former version, or of a time when the file could not be written.
#[test]
fn newer_keys_of_the_state_are_moved_into_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let at = ip(171, 2);
    put(&directory.join("ring"), &format!("[\"{}\"]", KEYS[0]));
    std::fs::create_dir_all(directory.join("state/web1")).expect("made");
    put(&kept(directory), &format!("[\"{}\"]", KEYS[1]));

    let mut agent = start(directory, &at);

    let listed = verb(&at, &["keys", "-list"]);
    assert!(
        listed.contains(KEYS[1]) && !listed.contains(KEYS[0]),
        "{listed}"
    );
    keys_are(directory, &KEYS[1..]);
    assert!(!kept(directory).exists());
    let output = agent.output();
    assert!(output.contains("the cluster changed its keys"), "{output}");
    agent.terminate();
}
