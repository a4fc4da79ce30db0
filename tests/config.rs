//! Files on disk, variables and reloads, through the crate's own door.

use std::fs;
use std::path::{Path, PathBuf};

use lb::argv;
use lb::config::{self, Front, Surroundings, flags};

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("the file is written");
        path
    }
}

fn around() -> Surroundings {
    Surroundings {
        hostname: "front1".to_owned(),
        ..Surroundings::default()
    }
}

fn front_of(file: &Path) -> Result<Front, String> {
    let mut flags = flags::Front::default();
    flags.common.config = Some(file.to_owned());
    config::front(&flags, &around()).map_err(|errors| errors.to_string())
}

#[test]
fn every_flag_of_the_front_has_a_variable() {
    let flags = flags::Front {
        cluster: vec!["web".to_owned()],
        ..flags::Front::default()
    };
    let seen = |name: Option<String>| {
        let mut around = around();
        around
            .variables
            .extend(name.map(|name| (name, "?".to_owned())));
        match config::front(&flags, &around) {
            Ok(front) => format!(
                "{:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                front.gossip,
                front.handlers,
                front.state,
                front.snapshot,
                front.tags_file,
                front.access_log,
                front.warnings
            ),
            Err(errors) => errors.to_string(),
        }
    };
    let plain = seen(None);
    let names = argv::names(&mut flags::Front::default());

    assert!(names.len() > 20, "{names:?}");
    for name in names {
        // A cluster is given by flag here, which wins.
        if name == "cluster" {
            continue;
        }
        assert_ne!(
            seen(Some(flags::variable(name))),
            plain,
            "LB_ variable of --{name}"
        );
    }
}

#[test]
fn every_flag_of_the_agent_has_a_variable() {
    let seen = |name: Option<String>| {
        let mut around = around();
        around
            .variables
            .extend(name.map(|name| (name, "?".to_owned())));
        match config::agent(&flags::Agent::default(), &around) {
            Ok(agent) => format!(
                "{:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                agent.gossip,
                agent.handlers,
                agent.companion,
                agent.state,
                agent.snapshot,
                agent.tags_file,
                agent.warnings
            ),
            Err(errors) => errors.to_string(),
        }
    };
    let plain = seen(None);
    let names = argv::names(&mut flags::Agent::default());

    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert_ne!(
            seen(Some(flags::variable(name))),
            plain,
            "LB_ variable of --{name}"
        );
    }
}

#[test]
fn the_cluster_may_come_from_the_environment() {
    let mut around = around();
    around
        .variables
        .insert("LB_CLUSTER".to_owned(), "web,api".to_owned());

    let front = config::front(&flags::Front::default(), &around).expect("it is right");

    let names: Vec<&str> = front
        .clusters
        .iter()
        .map(|cluster| cluster.pool.name.as_str())
        .collect();
    assert_eq!(names, ["web", "api"]);
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let dir = Dir::new();
    let file = dir.file("lb.toml", "[cluster.api]\n");
    let mut around = around();
    around
        .variables
        .insert("LB_CONFIG".to_owned(), file.display().to_string());

    let front = config::front(&flags::Front::default(), &around).expect("it is right");

    assert_eq!(front.file, Some(file));
    assert_eq!(front.clusters[0].pool.name, "api");
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let dir = Dir::new();
    let binary = dir.0.path().join("binary.toml");
    fs::write(&binary, [0xff, 0xfe]).expect("the file is written");
    let cases = [
        (dir.0.path().join("missing.toml"), "no such file"),
        (dir.0.path().to_owned(), "is a directory"),
        (binary, "is not UTF-8 text"),
    ];
    for (path, why) in cases {
        let error = front_of(&path).expect_err(why);
        assert_eq!(error, format!("reading {}: {why}", path.display()));
    }
}

#[test]
fn a_reload_takes_pools_checks_backends_and_the_log_level() {
    let dir = Dir::new();
    let file = dir.file("lb.toml", "[cluster.web]\n");
    let before = front_of(&file).expect("it is right");
    dir.file(
        "lb.toml",
        "[cluster.web]\ncheck.spec = \"tcp\"\n[[cluster.web.backend]]\naddress = \"10.0.0.1:80\"\n\
         [cluster.api]\n[log]\nlevel = \"debug\"\n",
    );

    let after = config::reload(&before).expect("nothing needs a restart");

    assert_eq!(after.clusters.len(), 2);
    assert_eq!(after.clusters[0].pool.backends.len(), 1);
    assert_ne!(after.log, before.log);
    assert_eq!(after.file, before.file);
}

#[test]
fn a_reload_may_put_another_pool_first() {
    let dir = Dir::new();
    let file = dir.file("lb.toml", "[cluster.web]\n");
    let before = front_of(&file).expect("it is right");
    dir.file("lb.toml", "[cluster.api]\n[cluster.web]\n");

    let after = config::reload(&before).expect("pools may change");

    assert_eq!(after.clusters[0].pool.name, "api");
    assert_eq!(
        after.discover.as_deref(),
        Some("web"),
        "others still look for it"
    );
}

#[test]
fn a_reload_that_needs_a_restart_is_refused_by_name() {
    let dir = Dir::new();
    let file = dir.file("lb.toml", "[cluster.web]\n");
    let before = front_of(&file).expect("it is right");
    let cases = [
        ("[gossip]\nbind = \"127.0.0.1:7000\"\n", "gossip.bind"),
        ("[gossip]\nadvertise = \"10.0.0.1\"\n", "gossip.advertise"),
        ("[gossip]\niface = \"eth1\"\n", "gossip.iface"),
        ("[gossip]\nnode = \"other\"\n", "gossip.node"),
        ("[gossip]\njoin = \"10.0.0.1\"\n", "gossip.join"),
        ("[gossip]\ndiscover = \"off\"\n", "gossip.discover"),
        ("[gossip]\nprofile = \"wan\"\n", "gossip.profile"),
        ("[gossip]\ntags.zone = \"b\"\n", "gossip.tags"),
        (
            "[gossip]\ninsecure_gossip = true\n",
            "gossip.insecure_gossip",
        ),
        ("[admin]\nlisten = \"off\"\n", "admin.listen"),
        (
            "[admin]\nready_requires_backend = true\n",
            "admin.ready_requires_backend",
        ),
        ("[listener.web]\nlisten = \":8080\"\n", "listener"),
        ("[limits]\nworkers = 2\n", "limits.workers"),
        ("[limits]\nattempts = 2\n", "limits"),
        ("[timeouts]\ndrain = \"1s\"\n", "timeouts"),
        (
            "[timeouts]\ndrain = \"1s\"\n[limits]\nworkers = 2\n",
            "limits.workers, timeouts",
        ),
    ];
    for (text, names) in cases {
        dir.file(
            "lb.toml",
            &format!("[cluster.web]\nlost_keep = \"5s\"\n{text}"),
        );

        let error = config::reload(&before).expect_err(names).to_string();

        assert_eq!(error, format!("{names} changed, which needs a restart"));
    }
}

#[test]
fn a_reload_of_a_wrong_file_tells_every_error() {
    let dir = Dir::new();
    let file = dir.file("lb.toml", "[cluster.web]\n");
    let before = front_of(&file).expect("it is right");
    dir.file("lb.toml", "[cluster.web]\nlost_keep = \"x\"\nport = 80\n");

    let errors = config::reload(&before).expect_err("it is wrong");

    assert_eq!(errors.0.len(), 2, "{errors}");
}

#[test]
fn no_text_makes_the_reader_panic() {
    let sample = include_str!("../config/lb.toml");
    let dir = Dir::new();
    // Every prefix at a line's end, and every line dropped: all kinds of half-written files.
    let lines: Vec<&str> = sample.lines().collect();
    for index in 0..lines.len() {
        let mut without = lines.clone();
        without.remove(index);
        for text in [
            lines[..index].join("\n"),
            without.join("\n"),
            sample.replacen('"', "", index),
        ] {
            let _ = config::check_front(&dir.file("lb.toml", &text));
        }
    }
}

#[test]
fn a_public_address_needs_a_key_or_a_word_however_it_was_chosen() {
    let flags = flags::Front {
        cluster: vec!["web".to_owned()],
        ..flags::Front::default()
    };
    let gossip = config::front(&flags, &around())
        .expect("it is right")
        .gossip;
    let judged = |address: &str, insecure| {
        let address = address.parse().expect("an address");
        config::in_clear_only_in_private(address, &gossip, insecure)
    };

    let refused = judged("8.8.8.9:7946", false).expect_err("public, in clear");
    assert!(
        refused.contains("8.8.8.9:7946") && refused.contains("--encrypt-key-file"),
        "{refused}"
    );
    assert_eq!(judged("8.8.8.9:7946", true), Ok(()));
    assert_eq!(judged("10.0.0.1:7946", false), Ok(()));
}
