//! What the original systems were first shown to do, by their own words.

use crate::common::{Running, eventually};
use crate::rig::{self, LONG, ip, verb};

/// Name, address and status of each line that `members` prints.
fn members(at: &str) -> Vec<[String; 3]> {
    let said = verb(at, &["members"]);
    let line = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some([words.next()?, words.next()?, words.next()?])
    };
    let mut all: Vec<_> = said.lines().filter_map(line).collect();
    all.sort();
    all
}

#[test]
fn members_show_one_before_a_join_and_all_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let nodes = [("web1", 1), ("web2", 2), ("web3", 3)];
    let row = |(name, host): (&str, u8)| {
        let address = format!("{}:7946", ip(163, host));
        [name.to_owned(), address, "alive".to_owned()]
    };
    let _running = nodes.map(|(name, host)| {
        let mut command = rig::plain(&ip(163, host), name);
        Running::start(name, directory.path(), &mut command)
    });
    for (name, host) in nodes {
        let at = ip(163, host);
        eventually("it knows itself alone", LONG, || {
            (members(&at) == [row((name, host))]).then_some(())
        });
    }

    for (_, host) in &nodes[1..] {
        let said = verb(&ip(163, *host), &["join", &ip(163, 1)]);
        assert!(
            said.contains("Successfully joined cluster by contacting 1 nodes."),
            "{said}"
        );
    }

    for (_, host) in nodes {
        let at = ip(163, host);
        eventually("it knows all", LONG, || {
            (members(&at) == nodes.map(row)).then_some(())
        });
    }
}
