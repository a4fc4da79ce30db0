//! `--hosts-file`: the cluster as a resolver sees it.

use std::process::Command;

use crate::common::{Running, eventually};
use crate::rig::{self, LONG, ip, put, text};

#[test]
fn etc_hosts_follows_the_cluster() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (ip(121, 10), ip(121, 11));
    let hosts = directory.path().join("hosts");
    put(&hosts, "127.0.0.1\tlocalhost\n# mine\n");
    let mut agent = rig::agent(&first, "web1", &first);
    agent.arg("--hosts-file").arg(&hosts);
    let mut agent = Running::start("web1", directory.path(), &mut agent);
    let holds = |members: &[(&str, &str)]| {
        let lines: String = members
            .iter()
            .map(|(ip, name)| format!("{ip}\t{name}\n"))
            .collect();
        let mut last = String::new();
        eventually(&format!("the file holds {members:?}"), LONG, || {
            let now = text(&hosts);
            let (before, rest) = now.split_once("# BEGIN lb-agent")?;
            assert_eq!(before, "127.0.0.1\tlocalhost\n# mine\n");
            let (block, after) = rest.split_once("# END lb-agent\n")?;
            assert_eq!(after, "");
            let (_, block) = block.split_once('\n')?;
            if block != last {
                println!("{block}");
                last = block.to_owned();
            }
            (block == lines).then_some(())
        });
    };

    holds(&[(&first, "web1")]);
    let mut other = Running::start(
        "web2",
        directory.path(),
        &mut rig::agent(&second, "web2", &first),
    );
    holds(&[(&first, "web1"), (&second, "web2")]);
    assert!(other.terminate().success());
    holds(&[(&first, "web1")]);
    let mut other = Running::start(
        "web2",
        directory.path(),
        &mut rig::agent(&second, "web2", &first),
    );
    holds(&[(&first, "web1"), (&second, "web2")]);
    other.kill();
    holds(&[(&first, "web1")]);
    assert!(agent.terminate().success());
    // Kept: who runs on without us still finds the others.
    assert!(text(&hosts).contains("# END lb-agent\n"));
}

#[test]
fn a_hosts_file_of_nowhere_harms_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let own = ip(122, 10);
    let mut agent: Command = rig::agent(&own, "web1", &own);
    agent
        .arg("--hosts-file")
        .arg(directory.path().join("no/such/hosts"));
    let mut agent = Running::start("web1", directory.path(), &mut agent);

    eventually("it is told", LONG, || {
        agent.output().contains("cannot be written").then_some(())
    });

    assert!(agent.terminate().success());
}
