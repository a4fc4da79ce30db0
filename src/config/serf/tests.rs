//! Command lines of `serf agent`, and what they become.

use super::*;

fn translated(arguments: &[&str]) -> Result<Translated, String> {
    let arguments = arguments.iter().map(OsString::from).collect();
    translate(arguments)
}

fn argv(translated: &Translated) -> Vec<&str> {
    let texts = translated.words.iter();
    texts.map(|text| text.to_str().expect("text")).collect()
}

#[test]
fn a_usual_command_line_becomes_ours() {
    let all = translated(&[
        "-node=web1",
        "-bind",
        "10.0.0.1:7946",
        "-join=10.0.0.2",
        "-retry-join=10.0.0.3",
        "-tag",
        "port=8080",
        "-role=web",
        "-rpc-addr=127.0.0.1:7374",
        "-log-level=ERR",
        "--iface=eth0",
        "-profile=wan",
    ])
    .expect("it is right");

    let mut got = argv(&all);
    got.sort_unstable();
    assert_eq!(
        got,
        [
            "--bind=10.0.0.1:7946",
            "--discover=off",
            "--iface=eth0",
            "--join=10.0.0.2",
            "--join=10.0.0.3",
            "--log-level=error",
            "--node=web1",
            "--profile=wan",
            "--rpc-addr=127.0.0.1:7374",
            "--tag=port=8080",
            "--tag=role=web",
        ]
    );
    assert_eq!(all.warnings, Vec::<String>::new());
}

#[test]
fn a_key_in_argv_is_taken_out_of_it_and_warned_of() {
    let key = "tDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=";

    let all = translated(&[&format!("-encrypt={key}")]).expect("it is right");

    assert_eq!(all.variables["LB_ENCRYPT_KEY"], key);
    assert!(!argv(&all).iter().any(|text| text.contains(key)));
    assert!(all.warnings[0].contains("--encrypt-key-file"), "{all:?}");
    let both = translated(&["-encrypt", key, "-keyring-file=/k"]);
    assert!(both.expect_err("as in Serf").contains("-keyring-file"));
}

#[test]
fn what_means_nothing_here_is_accepted_with_a_warning() {
    let all = translated(&[
        "-syslog",
        "-broadcast-timeout=5s",
        "-retry-max=3",
        "-disable-compression=false",
        "-protocol=4",
    ])
    .expect("accepted");

    assert_eq!(argv(&all), ["--discover=off"]);
    let told = all.warnings.join("\n");
    for name in ["-syslog", "-broadcast-timeout", "-retry-max", "protocol 5"] {
        assert!(told.contains(name), "{told}");
    }
    assert!(!told.contains("compression"), "{told}");
}

#[test]
fn flags_of_ours_are_taken_as_well() {
    let all = translated(&["-node=a", "--port", "80", "--insecure-gossip"]).expect("it is right");

    assert_eq!(
        argv(&all),
        [
            "--discover=off",
            "--node=a",
            "--port",
            "80",
            "--insecure-gossip"
        ]
    );
}

#[test]
fn a_file_is_read_and_flags_win_over_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).expect("written");
    };
    write(
        "a.json",
        r#"{"node_name": "file", "role": "db", "tags": {"zone": "a", "port": "1"}, "start_join": ["10.0.0.1"],
            "rpc_auth": "s3cret", "leave_on_terminate": true, "encrypt_key": "k"}"#,
    );
    write("b.json", r#"{"start_join": ["10.0.0.2"], "bind": ""}"#);
    write("c.txt", "no JSON");
    let path = directory.path().to_str().expect("text");

    let all = translated(&["-config-dir", path, "-node=flag", "-tag=port=2", "-join=x"])
        .expect("it is right");

    assert_eq!(
        argv(&all),
        [
            "--discover=off",
            "--node=flag",
            "--join=10.0.0.1",
            "--join=10.0.0.2",
            "--join=x",
            "--tag=port=2",
            "--tag=role=db",
            "--tag=zone=a",
        ]
    );
    assert_eq!(all.variables["LB_RPC_AUTH_KEY"], "s3cret");
    assert_eq!(all.variables["LB_ENCRYPT_KEY"], "k");
    assert_eq!(
        all.warnings,
        ["leave_on_terminate of serf agent is accepted and has no effect"]
    );
}

#[test]
fn tags_of_a_serf_agent_are_announced_as_they_are_whatever_they_mean() {
    let arguments = [
        "-node=web1",
        "-role=web",
        "-tag",
        "state=CA",
        "-tag=port=eth0",
    ];
    let arguments = Arguments(arguments.iter().map(OsString::from).collect());
    let (flags, around) = again(&arguments, &Surroundings::default()).expect("it is right");

    let agent = crate::config::agent(&flags, &around).expect("it starts");

    let tags: Vec<String> = agent
        .gossip
        .tags
        .into_iter()
        .map(|(k, v)| k + "=" + &v)
        .collect();
    assert_eq!(tags, ["port=eth0", "role=web", "state=CA"]);
    let told = agent.warnings.join("\n");
    assert!(told.contains("eth0") && told.contains("CA"), "{told}");
}

#[test]
fn a_reload_reads_the_file_again() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let write = |text: &str| std::fs::write(file.path(), text).expect("written");
    let path = file.path().to_str().expect("text").to_owned();
    let arguments = ["-node=web1", "-config-file", &path];
    let arguments = Arguments(arguments.iter().map(OsString::from).collect());
    let read = || {
        let (flags, around) = again(&arguments, &Surroundings::default())?;
        crate::config::agent(&flags, &around)
    };
    write(r#"{"tags": {"role": "web", "zone": "a"}, "encrypt_key": "MDEyMzQ1Njc4OWFiY2RlZg=="}"#);
    let mut old = read().expect("it is right");
    old.given.serf = Some(arguments.clone());

    write(r#"{"tags": {"role": "web", "zone": "b"}, "encrypt_key": "MDEyMzQ1Njc4OWFiY2RlZg=="}"#);
    let new = crate::config::reload_agent(&old).expect("only tags differ");
    assert_eq!(new.gossip.tags["zone"], "b");
    assert_eq!(new.given.serf, old.given.serf);

    write(r#"{"tags": {"role": "web"}, "node_name": 7, "start_join": "x"}"#);
    assert!(crate::config::reload_agent(&new).is_err());
}

#[test]
fn a_file_with_an_unknown_key_is_refused_as_serf_does() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), r#"{"nodename": "x"}"#).expect("written");
    let path = file.path().to_str().expect("text");

    let why = translated(&["-config-file", path]).expect_err("refused");

    assert!(
        why.ends_with("nodename: is no setting of serf agent"),
        "{why}"
    );
    assert!(translated(&["-config-file=/nonexistent"]).is_err());
    assert_eq!(
        translated(&["-node"]),
        Err("-node: a value is missing".to_owned())
    );
}
